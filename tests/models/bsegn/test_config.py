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


@pytest.mark.parametrize(("synthetic", "proportion", "found"), [(3, 2.0, "both are"), (None, None, "neither is")])
def test_one_param_says_how_many_features_are_synthesised(synthetic, proportion, found):
    with pytest.raises(UserError, match=f"synthetic, proportion: {found} set; set one, and leave the other null$"):
        configs.bsegn(synthetic=synthetic, proportion=proportion)


@pytest.mark.parametrize("proportion", [0.0, -1.0, 1e308])
def test_a_proportion_that_no_memory_holds_is_refused(proportion):
    with pytest.raises(UserError, match=r"proportion: .* is out of range"):
        configs.bsegn(synthetic=None, proportion=proportion)


def test_a_fem_that_never_learns_predicts_nothing():
    with pytest.raises(UserError, match=r"fem\.joint: .* set fem\.joint to 0 too$"):
        configs.bsegn(fem={"joint": 1.0, "training": "none"})


def test_a_shared_fem_cannot_be_frozen():
    with pytest.raises(UserError, match="shared"):
        configs.bsegn(fem={"shared": True, "training": "frozen"})
