"""Fast tests first: those marked slow, which walk the pipeline as a user does, come last."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
