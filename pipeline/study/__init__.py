"""Many trainings: variants of a model, and the comparison of experiments: `python -m pipeline.study --help`.

May import every other room.
"""
