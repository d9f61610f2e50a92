import pipeline  # noqa: F401 - sets up what torch reads when it is loaded
