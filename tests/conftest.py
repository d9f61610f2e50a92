"""Fast tests first: those marked slow, which walk the pipeline as a user does, come last."""

import os

# the tests' tensors are small: on a busy machine several threads spend their time waiting for each other
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items):
    items.sort(key=_place)


def _place(item):
    """Of the slow ones the file that takes longest goes first, since one process runs a file."""
    return 0 if item.get_closest_marker("slow") is None else 1 if item.path.name == "test_walk.py" else 2
