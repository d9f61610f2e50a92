"""The models by the name that params.yaml gives them."""

import importlib

from pipeline.common import params


def get(name):
    """The package of a model; it offers `Config` and `Model` (see `pipeline.models.base`)."""
    return importlib.import_module(f"pipeline.models.{name}")


def configured(given, dataset):
    """The model that a `Params` chooses: its name, its package, and its `Config` for a data set."""
    name = given.section("model", params.Model)
    module = get(name)
    return name, module, given.layered(f"{name}.common", f"{name}.{dataset}", module.Config)
