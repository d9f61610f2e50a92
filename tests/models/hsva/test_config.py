"""Ramps at their corners, and refused where they run backward."""

import pytest

from pipeline.common import params
from pipeline.common.errors import UserError
from pipeline.models.hsva.config import Ramp


def test_ramp_at_its_corners():
    ramp = Ramp(21, 75, 2.37)
    assert [ramp.at(epoch) for epoch in (0, 21, 75, 500)] == [0, 0, 2.37, 2.37]
    assert ramp.at(48) == pytest.approx(2.37 / 2)
    assert Ramp(0, 0, 8).at(0) == 8
    assert [Ramp(5, 5, 8).at(epoch) for epoch in (0, 4, 5)] == [0, 0, 8]


def test_a_ramp_that_ends_before_it_starts_is_refused_with_its_place():
    with pytest.raises(UserError, match=r"hsva\.cub\.gamma_c\.end: 10 is before start, 21"):
        params.build(Ramp, {"start": 21, "end": 10, "most": 2}, "hsva.cub.gamma_c")
