"""A worker whose processor comes to another precision refuses a step, in one line."""

import pytest

from pipeline.common.errors import UserError
from pipeline.study import work


def test_a_worker_of_another_precision_is_told_in_one_line():
    there = dict.fromkeys(work.WORDS, "same") | {"precision": "bfloat16"}
    work.differing(there, there)
    with pytest.raises(UserError) as error:
        work.differing(there | {"precision": "float32"}, there)
    assert str(error.value) == (
        "the precision (auto) of this host is not that of where the study was started (float32 instead of bfloat16)"
    )
