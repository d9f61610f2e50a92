"""Reading the published .mat files, on small ones made here: what is right is read, what is wrong is named."""

import io
import zipfile

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from pipeline.common.errors import UserError
from pipeline.datasets.base import xlsa17
from tests.datasets import published

CLASSES = ["wren", "owl", "crow", "gull"]
# two rows a class and part; gull is unseen
LABELS = np.array([0, 0, 1, 1, 2, 2, 0, 1, 2, 3, 3])
NAMES = [f"{CLASSES[label]}/{row}.jpg" for row, label in enumerate(LABELS)]
PARTS = {"trainval_loc": [1, 2, 3, 4, 5, 6], "test_seen_loc": [7, 8, 9], "test_unseen_loc": [10, 11]}
LISTS = {"testclasses": "gull"} | {
    f"{kind}{number}": text
    for number, unseen in ((1, "wren"), (2, "owl"), (3, "crow"))
    for kind, text in (
        ("valclasses", unseen),
        ("trainclasses", "\n".join(name for name in CLASSES[:3] if name != unseen)),
    )
}


def cells(texts):
    array = np.empty((len(texts), 1), dtype=object)
    array[:, 0] = texts
    return array


def mat(**content):
    file = io.BytesIO()
    scipy.io.savemat(file, content)
    return file.getvalue()


def att_splits(**changes):
    parts = {key: np.array(rows, dtype=np.uint16)[:, None] for key, rows in PARTS.items()}
    return mat(**({"allclasses_names": cells(CLASSES), "att": np.eye(5, 4) + 0.5} | parts | changes))


def raw_of(folder, att=None, lists=LISTS, **members):
    """A raw folder whose splits.zip holds the given files of a data set called TOY."""
    members = {"att_splits.mat": att or att_splits()} | members
    members |= {f"{name}.txt": text.encode() for name, text in lists.items()}
    with zipfile.ZipFile(folder / "splits.zip", "w") as file:
        for name, content in members.items():
            file.writestr(f"xlsa17/data/TOY/{name}", content)
    return folder


def splits(raw):
    return xlsa17.splits(raw, "TOY", NAMES, LABELS, CLASSES)


def test_split_and_class_folds(tmp_path):
    found = splits(raw_of(tmp_path))
    assert found.split.tolist() == ["trainval"] * 6 + ["test_seen"] * 3 + ["test_unseen"] * 2
    assert [fold.tolist() for fold in found.folds] == [[0], [1], [2]]


def test_rows_of_the_file_serve_where_no_lists_are_given(tmp_path):
    # both cover test_seen, as published
    att = att_splits(train_loc=[[1, 2, 3, 4, 7, 8]], val_loc=[[5, 6, 9]])
    assert [fold.tolist() for fold in splits(raw_of(tmp_path, att, {})).folds] == [[2]]


@pytest.mark.parametrize(
    ("changes", "lists", "message"),
    [
        ({}, {}, "no train_loc and val_loc, and no TOY/trainclasses1.txt"),
        ({"train_loc": [[1, 2, 3, 4]], "val_loc": [[4, 5, 6]]}, {}, "should part the classes"),
        ({"train_loc": [[1, 2, 3, 4]], "val_loc": [[5, 6]]}, LISTS, "name different classes"),
        ({"trainval_loc": [[0, 1, 2, 3, 4, 5]]}, LISTS, "'trainval_loc' should hold whole numbers from 1 to 11"),
        ({"trainval_loc": [[1.5, 2, 3, 4, 5, 6]]}, LISTS, "whole numbers"),
        ({"test_seen_loc": [[6, 7, 8]]}, LISTS, "in two parts"),
        ({"test_seen_loc": [[7, 8]]}, LISTS, "splits 10 images, but there are 11"),
        ({"test_seen_loc": [[7, 8, 10]], "test_unseen_loc": [[9, 11]]}, LISTS, "row 8 is of class 'crow' but in test_"),
        ({}, LISTS | {"valclasses2": "penguin"}, "'penguin' is no class"),
        ({}, LISTS | {"valclasses2": "owl\nwren"}, "a class is in both trainclasses2 and valclasses2"),
    ],
)
def test_what_does_not_belong_together_is_named(tmp_path, changes, lists, message):
    with pytest.raises(UserError, match=message):
        splits(raw_of(tmp_path, att_splits(**changes), lists))


def test_missing_keys_and_damaged_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"att_splits\.mat: lacks 'trainval_loc'; it should hold trainval_loc, test_"):
        splits(raw_of(tmp_path, mat(att=np.eye(3))))
    for damaged in (att_splits()[:-8], b"<html>" * 100):
        with pytest.raises(UserError, match=r"att_splits\.mat: not readable as a MATLAB file"):
            splits(raw_of(tmp_path, damaged))
    with pytest.raises(UserError, match=r"'att' is \(5, 4\); it should be a number of attributes x 7 classes"):
        xlsa17.attributes(raw_of(tmp_path), "TOY/att_splits.mat", 7)
    with pytest.raises(UserError, match="'att' holds values that are not finite"):
        xlsa17.attributes(raw_of(tmp_path, att_splits(att=np.full((5, 4), np.nan))), "TOY/att_splits.mat", 4)


@pytest.mark.parametrize("value", [cells(["a", "b"]), scipy.sparse.eye(4).tocsc(), np.array(["text"]), {"a": 1}])
def test_what_should_be_numbers_is_named_where_it_is_not(tmp_path, value):
    def raises(key):
        return pytest.raises(UserError, match=rf"\.mat: '{key}' should be a full matrix of numbers, neither sparse nor")

    with raises("att"):
        xlsa17.attributes(raw_of(tmp_path, att_splits(att=value)), "TOY/att_splits.mat", 4)
    for key in (*PARTS, "val_loc"):
        content = {"train_loc": [[1, 2, 3, 4]], "val_loc": [[5, 6]]} | {key: value}
        with raises(key):
            splits(raw_of(tmp_path, att_splits(**content)))
    raw = raw_of(tmp_path)
    for key in ("labels", "features"):
        content = {"features": np.ones((5, 11)), "labels": LABELS[:, None] + 1} | {key: value}
        (raw / "features.mat").write_bytes(mat(**content))
        with raises(key):
            xlsa17.published(raw, "TOY", NAMES, LABELS, 4)


@pytest.mark.parametrize("value", [np.eye(4), scipy.sparse.eye(4).tocsc(), {"a": 1}])
def test_what_should_be_names_is_named_where_it_is_not(tmp_path, value):
    with pytest.raises(UserError, match="'allclasses_names' should be a cell array of strings"):
        xlsa17.class_names(raw_of(tmp_path, att_splits(allclasses_names=value)), "TOY")


def test_an_absurdly_large_array_is_refused_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(xlsa17, "MOST_VALUES", 10)
    with pytest.raises(UserError, match=r"'att' claims to be \(5, 4\), more than 10 values"):
        xlsa17.attributes(raw_of(tmp_path), "TOY/att_splits.mat", 4)


def features(folder, labels=LABELS + 1, names=NAMES, **changes):
    published.res101(folder / "features.mat", labels, [f"/data/{name}" for name in names], **changes)
    return folder


def test_published_features(tmp_path):
    found = xlsa17.published(features(raw_of(tmp_path), width=2048), "TOY", NAMES, LABELS, 4)
    assert found.shape == (11, 2048)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": LABELS}, "'labels' should hold whole numbers from 1 to 4"),
        ({"labels": (LABELS + 1) % 4 + 1}, "row 0 has label 2 where 1 is expected"),
        ({"labels": np.ones(11)}, "only 1 of 4 classes occur in 'labels'"),
        ({"names": NAMES[1:] + NAMES[:1]}, "row 0 is '/data/wren/1.jpg' where 'wren/0.jpg' is expected"),
        ({"names": NAMES[1:]}, "10 image_files for 11 labels"),
        ({"features": np.ones((11, 5))}, r"'features' is \(11, 5\); it should be a width x 11 images"),
        ({"features": np.full((5, 11), np.inf)}, "'features' holds values that are not finite"),
        ({"labels": np.r_[LABELS, 0] + 1, "names": [*NAMES, "a"]}, "has 12 rows; the data set has 11 images"),
    ],
)
def test_features_of_other_rows_are_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        xlsa17.published(features(raw_of(tmp_path), **changes), "TOY", NAMES, LABELS, 4)


def test_features_without_names_are_checked_by_class(tmp_path):
    raw = raw_of(tmp_path)
    (raw / "features.mat").write_bytes(mat(features=np.ones((5, 11)), labels=LABELS[:, None] + 1))
    assert xlsa17.published(raw, "TOY", NAMES, LABELS, 4).shape == (11, 5)


def test_a_split_is_compared_with_the_features_rows_where_they_are_at_hand(tmp_path):
    with pytest.raises(UserError, match="the row order is another"):
        splits(features(raw_of(tmp_path), names=NAMES[::-1]))
    assert len(splits(features(raw_of(tmp_path))).folds) == 3
