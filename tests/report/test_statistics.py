import math

import pytest

from pipeline.report.statistics import compare, spread


def test_one_value_has_no_interval():
    over = spread([42.0])
    assert (over.mean, over.std, over.half, over.count) == (42.0, 0.0, math.inf, 1)


def test_interval_of_three_values_by_hand():
    over = spread([1.0, 2.0, 3.0])
    # t(0.975, 2 degrees of freedom) = 4.302653, the standard error is 1 / sqrt(3)
    assert over.mean == 2.0
    assert over.std == 1.0
    assert over.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_comparison_pairs_by_seed():
    a = {0: 10.0, 1: 20.0, 2: 30.0, 7: 99.0}
    b = {2: 33.0, 1: 22.0, 0: 11.0, 8: 0.0}
    found = compare(a, b)
    assert found.seeds == [0, 1, 2]
    assert found.difference.mean == pytest.approx(2.0)
    assert found.favour_b == 3
    # t = 2 / (1 / sqrt(3)) with 2 degrees of freedom; p = 1 - t / sqrt(2 + t^2)
    t = 2 * math.sqrt(3)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-6)


def test_comparison_without_a_common_seed_or_spread():
    assert compare({0: 1.0}, {1: 1.0}) is None
    alike = compare({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0})
    assert math.isnan(alike.p)
    assert alike.favour_b == 2
