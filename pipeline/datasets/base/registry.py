"""The data sets by the name that params.yaml gives them."""

import importlib


def get(name):
    """The module of a data set; what it holds is in `pipeline.datasets.base`."""
    return importlib.import_module(f"pipeline.datasets.{name}")
