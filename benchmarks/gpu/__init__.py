"""All that only a GPU can show, in one command: see `benchmarks.gpu.__main__`."""
