"""Class semantics are checked before they are written."""

import numpy as np
import pytest

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.datasets import semantics
from pipeline.datasets.base import Semantics, normalised

ROWS = normalised([[1, 2, 3], [0, 1, 0]])


def test_written_as_float32_with_names(tmp_path):
    semantics.write(tmp_path / "semantics.npz", Semantics(ROWS, ["owl", "wren ü"], []))
    found = files.read_npz(tmp_path / "semantics.npz")
    assert found["attributes"].dtype == np.float32
    np.testing.assert_allclose(found["attributes"], ROWS, atol=1e-7)
    assert found["class_names"].tolist() == ["owl", "wren ü"]
    assert len(found["attribute_names"]) == 0


@pytest.mark.parametrize(
    ("rows", "classes", "names", "message"),
    [
        (ROWS, ["owl"], [], "values for 1 classes"),
        (ROWS, ["owl", "owl"], [], "'owl' stands twice"),
        (ROWS, ["owl", "wren"], ["a"], "1 attribute names for 3 columns"),
        (ROWS * 2, ["owl", "wren"], [], "class 'owl' has a row of length 2"),
        (ROWS * [[1], [np.nan]], ["owl", "wren"], [], "class 'wren' has a value that is not finite"),
        (ROWS * [[1], [0]], ["owl", "wren"], [], "class 'wren' has no attribute set"),
    ],
)
def test_wrong_rows_are_named(tmp_path, rows, classes, names, message):
    with pytest.raises(UserError, match=message):
        semantics.write(tmp_path / "semantics.npz", Semantics(rows, classes, names))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_row_is_left_for_the_check_to_name():
    assert normalised([[0, 0], [3, 4]]).tolist() == [[0, 0], [0.6, 0.8]]
