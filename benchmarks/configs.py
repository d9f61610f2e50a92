"""Configs of the models for benchmarks and tests: those of params.yaml, but for what is named."""

import functools
from pathlib import Path

from pipeline.common import params
from pipeline.models.base import registry as models

FILE = Path(__file__).parent.parent / params.FILE


def config(model, dataset, *changes):
    """The `Config` of a model for a data set, as params.yaml has it, under nested mappings of changes, the last on top.

    `config("hsva", "cub", {"epochs": 3, "networks": {"latent": 8}})` changes two values and keeps all others. Raises
    UserError where a change is none that params.yaml could hold.
    """
    tree = _params().laid(f"{model}.common", f"{model}.{dataset}")
    for change in changes:
        tree = params.Params({"below": tree, "above": change}).laid("below", "above")
    return params.build(models.get(model).Config, tree, f"{model}.{dataset}")


@functools.cache
def _params():
    return params.load(FILE)
