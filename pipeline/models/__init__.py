"""The models, by the name that params.yaml gives them.

A new one is a module here, its name in `pipeline.params.MODELS`, and a section of params.yaml.
"""

import importlib


def get(name):
    """The module of a model; it offers `Config` and `Model` (see `pipeline.models.base`)."""
    return importlib.import_module(f"pipeline.models.{name}")
