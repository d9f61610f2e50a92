"""Params as YAML reads them, and those refused together."""

import typing

import pytest
import yaml

from pipeline.common.errors import UserError
from pipeline.models.bsegn.config import Config, Embedding
from tests import configs


def test_every_choice_reads_from_yaml_as_it_is_written():
    """YAML takes some words, such as off, for something else."""
    hints = [hint for schema in (Config, Embedding) for hint in typing.get_type_hints(schema).values()]
    choices = [word for hint in hints if typing.get_origin(hint) is typing.Literal for word in typing.get_args(hint)]
    assert len(choices) > 10
    assert [yaml.safe_load(str(word)) for word in choices] == choices


def test_mfim_has_no_more_levels_than_the_cycle_branch_has_layers():
    with pytest.raises(UserError, match=r"levels: 2 is more .*; set cycle\.depth to 2"):
        configs.bsegn(levels=2, cycle={"depth": 1})


def test_a_shared_fem_cannot_be_frozen():
    with pytest.raises(UserError, match="shared"):
        configs.bsegn(fem={"shared": True, "training": "frozen"})
