import pytest

from pipeline.report import svg


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 100), (-3, 4), (0.001, 0.0042), (5, 1e6), (1, 30)])
def test_ticks_are_few_round_and_inside(low, high):
    found = svg.ticks(low, high)
    assert 2 <= len(found) <= 7
    span = high - low
    assert all(low - 1e-9 * span <= tick <= high + 1e-9 * span for tick in found)


def test_nice_holds_the_range():
    assert svg.nice(0, 93) == (0, 100)
    low, high = svg.nice(5, 5)
    assert low < 5 < high


def test_pixels_of_the_corners():
    plot = svg.Plot("t", (0, 10), (0, 1), 100, 80, (5, 10, 15, 20))
    assert (plot.px(0), plot.px(10)) == (20, 90)
    assert (plot.py(0), plot.py(1)) == (65, 5)


def test_words_are_escaped():
    plot = svg.Plot("a<b", (0, 1), (0, 1)).text(0, 0, "<&>").dot(0, 0, "k", tip="x<y")
    assert "<&>" not in str(plot)
    assert "x&lt;y" in str(plot)
    assert 'aria-label="a&lt;b"' in str(plot)
