"""The figures against values worked out by hand and by brute force."""

import numpy as np
import pytest

from pipeline.protocol import metrics
from tests import scored


def test_every_class_counts_the_same():
    labels = np.array([0, 0, 0, 0, 1])
    predictions = np.array([0, 0, 0, 1, 0])
    assert metrics.per_class(predictions, labels) == {0: 0.75, 1: 0.0}
    assert metrics.mean_per_class(predictions, labels) == 0.375


def test_harmonic_mean():
    assert metrics.harmonic(0.6, 0.3) == pytest.approx(0.4)
    assert metrics.harmonic(0.0, 0.0) == 0


# classes 0, 1 seen, 2, 3 unseen
SEEN = np.array([True, True, False, False])


def test_the_curve_by_hand():
    scores = np.array([[3.0, 0, 1, 0], [0, 2, 0, 1.5], [1, 0, 4, 0], [2, 0, 0, 1]])
    labels = np.array([0, 1, 2, 3])
    # margins 2, 0.5, -3, 1: U rises at -3 and 1, S falls at 0.5 and 2
    curve = scored.predictions(scores, labels, SEEN).curve
    assert curve.constants.tolist() == [-np.inf, -3, 0.5, 1, 2]
    assert curve.unseen.tolist() == [0, 0.5, 0.5, 1, 1]
    assert curve.seen.tolist() == [1, 1, 0.5, 0.5, 0]
    assert curve.area == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    assert curve.at(0) == (0.5, 1)
    assert curve.best() == pytest.approx(-1.25)


def brute_force(scores, labels, seen, constant):
    predictions = np.where(seen, scores - constant, scores).argmax(1)
    of_seen = seen[labels]
    return tuple(metrics.mean_per_class(predictions[part], labels[part]) for part in (~of_seen, of_seen))


def test_the_curve_equals_subtracting_the_constant():
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(size=(300, 4)), generator.integers(0, 4, 300)
    scores[np.arange(300), labels] += 1
    curve = scored.predictions(scores, labels, SEEN).curve
    for constant in (-1e9, -1.0, 0.0, 0.3, 2.0, 1e9):
        assert curve.at(constant) == pytest.approx(brute_force(scores, labels, SEEN, constant))
    grid = [brute_force(scores, labels, SEEN, c) for c in np.linspace(-8, 8, 20_001)]
    unseen, seen = np.array(grid).T
    assert curve.area == pytest.approx(np.trapezoid(seen, unseen), abs=2e-3)
    unseen_at, seen_at = curve.at(curve.best())
    assert metrics.harmonic(unseen_at, seen_at) == pytest.approx(metrics.harmonic(unseen, seen).max(), abs=1e-3)


def test_summary_in_percent():
    scores = np.array([[3.0, 0, 1, 0], [0, 2, 0, 3], [1, 0, 4, 0], [2, 0, 0, 1]])
    labels = np.array([0, 1, 2, 3])
    figures = metrics.summary(scored.predictions(scores, labels, SEEN, scores[2:, 2:]), constant=1.5)
    expected = {"T1": 100, "U": 50, "S": 50, "H": 50, "U_cal": 100, "S_cal": 50, "H_cal": 200 / 3}
    assert {name: figures[name] for name in expected} == pytest.approx(expected)


def test_without_an_image_of_an_unseen_class_there_is_s_alone():
    scores = np.array([[3.0, 0, 1, 0], [0, 2, 0, 3]])
    judged = scored.predictions(scores, np.array([0, 1]), SEEN, scores[:0, 2:])
    assert metrics.summary(judged, constant=1.5) == {"S": 50}


def test_a_tie_goes_to_the_seen_class_as_in_argmax():
    judged = scored.predictions(np.array([[1.0, 1.0]]), np.array([1]), np.array([True, False]))
    assert judged.curve.at(0)[0] == 0
    assert judged.gzsl.tolist() == [0]


def test_the_curve_is_that_of_every_constant_in_turn():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 12, 200)
    seen = np.arange(12) < 8
    # few values, so that many images share a margin and classes tie
    scores = generator.integers(0, 6, (200, 12)).astype(np.float32)
    curve = scored.predictions(scores, labels, seen).curve
    constants, unseen, of_seen = scored.curve(scores, labels, seen)
    assert curve.constants[1:].tolist() == constants.tolist()
    np.testing.assert_allclose(curve.unseen[1:], unseen, rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.seen[1:], of_seen, rtol=0, atol=1e-12)


def test_a_class_without_images_does_not_count():
    assert metrics.per_class(np.array([5, 5]), np.array([5, 2])) == {2: 0.0, 5: 1.0}
