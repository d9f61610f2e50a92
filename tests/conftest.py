"""Fast tests first: those marked slow, which walk the pipeline as a user does, come last."""

import os

# the tests' tensors are small: on a busy machine several threads spend their time waiting for each other
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items):
    # of the slow ones the file that takes longest goes first, since one process runs a file
    items.sort(key=lambda item: item.get_closest_marker("slow") and 2 - (item.path.name == "test_walk.py") or 0)
