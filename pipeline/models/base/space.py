"""Ranges that a search draws params from. They stand beside each model's `Config`, in its `space`, by dotted key."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`, drawn evenly in its logarithm where `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class OneOf:
    """One of some values."""

    values: tuple


def times(low, high):
    """A number between two others whose ratio counts, such as a learning rate or a weight."""
    return Between(low, high, log=True)
