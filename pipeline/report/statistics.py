"""Figures over seeds: mean, standard deviation, 95% interval, and two runs compared seed by seed."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """mean; std, the standard deviation with n - 1; half, half the width of the mean's 95% interval (Student's t).

    Of a single value, std is 0 and half is infinite: one seed says nothing about the next.
    """

    mean: float
    std: float
    half: float
    count: int


def spread(values):
    """The `Spread` of n >= 1 values."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n == 1:
        return Spread(float(values[0]), 0.0, math.inf, 1)
    std = float(values.std(ddof=1))
    return Spread(float(values.mean()), std, float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(n), n)


@dataclass(frozen=True)
class Comparison:
    """Differences b - a over the seeds that both have: their `Spread`, how many favour b, and the paired t-test's
    two-sided p (nan below two seeds, or where all differences are equal)."""

    seeds: list[int]
    difference: Spread
    favour_b: int
    p: float


def compare(a, b):
    """Compare two runs pairwise: `a` and `b` map seeds to one figure. Returns None where no seed is in both."""
    seeds = sorted(set(a) & set(b))
    if not seeds:
        return None
    differences = np.array([b[seed] - a[seed] for seed in seeds])
    over = spread(differences)
    p = math.nan
    if over.std > 0:
        t = abs(over.mean) * math.sqrt(len(seeds)) / over.std
        p = 2 * float(stdtr(len(seeds) - 1, -t))
    return Comparison(seeds, over, int((differences > 0).sum()), p)
