"""index.csv is read as it was written, and what is no index is refused."""

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets import index


def made(folds=1, boxes=None):
    return index.Index(
        ["a.zip/x, y.jpg", "a.zip/ü.jpg", ""],
        np.array([1, 0, 2]),
        ["owl", "wren", 'the "gull"'],
        np.array(["trainval", "test_seen", "test_unseen"]),
        [np.array(["train", "", ""])] * folds,
        boxes,
    )


@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("boxes", [None, np.arange(12).reshape(3, 4)])
def test_round_trip(tmp_path, folds, boxes):
    index.write(tmp_path / "index.csv", made(folds, boxes))
    found, stated = index.read(tmp_path / "index.csv"), made(folds, boxes)
    assert found.images == stated.images
    assert found.class_names == stated.class_names
    np.testing.assert_array_equal(found.labels, stated.labels)
    np.testing.assert_array_equal(found.split, stated.split)
    np.testing.assert_array_equal(found.validation, stated.validation)
    np.testing.assert_array_equal(found.boxes, stated.boxes)
    header = (tmp_path / "index.csv").read_text(encoding="utf-8").splitlines()[0]
    more = ",validation2,validation3" if folds == 3 else ""
    assert header == f"row,image,class_id,class_name,split,validation{more}" + (
        "" if boxes is None else ",left,top,right,bottom"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "is no index"),
        ("row,image\n0,a\n", "is no index"),
        ("row,image,class_id,class_name,split,validation\n1,a,0,owl,trainval,train\n", "not numbered 0, 1, 2"),
        ("row,image,class_id,class_name,split,validation\n0,a,-1,owl,trainval,train\n", "row 0 has a class_id below 0"),
        ("row,image,class_id,class_name,split,validation\n0,a,0,owl,trainva,train\n", "row 0 is in 'trainva', none of"),
        ("row,image,class_id,class_name,split,validation\n0,a,0,owl,trainval,tra\n", "none of train, val_seen, val_"),
        ("row,image,class_id,class_name,split,validation\n0,a,9999999999999999999,owl,trainval,train\n", "too large"),
        ("row,image,class_id,class_name,split,validation\n0,a,owl,owl,trainval,train\n", "invalid literal"),
        (
            "row,image,class_id,class_name,split,validation,left\n0,a,0,owl,trainval,train,3\n",
            "right, bottom",
        ),
        ("row,image,class_id,class_name,split,validation\n0,a\n", "row 0 has 2 values for 6 columns"),
    ],
)
def test_what_is_no_index_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "index.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        index.read(tmp_path / "index.csv")


def test_a_long_index_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "READ", 2)
    stated = made(3, None)
    index.write(tmp_path / "index.csv", stated)
    found = index.read(tmp_path / "index.csv")
    assert (found.images, found.class_names) == (list(stated.images), list(stated.class_names))
    for name in ("labels", "split", "validation"):
        np.testing.assert_array_equal(getattr(found, name), getattr(stated, name))
    brief = index.read(tmp_path / "index.csv", images=False)
    assert (brief.images, brief.class_names) == ([], [])
    np.testing.assert_array_equal(brief.labels, stated.labels)
    assert brief.split.dtype == found.split.dtype == stated.split.dtype
