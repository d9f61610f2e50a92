"""Features of a user's own become features.npy, row by row those of the images, or are refused by name."""

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.datasets.base import Listing
from pipeline.vision import feature_file
from tests.datasets.own import writers

GENERATOR = np.random.default_rng(0)
CLASSES = ["001.Owl", "002.Tit", "École"]
LABELS = np.repeat([1, 0, 2], 3)
NAMES = [f"{CLASSES[label]}/photo_{i}.jpg" for i, label in enumerate(LABELS)]
LISTING = Listing([f"images.tar/set/{name}" for name in NAMES], LABELS, CLASSES, names=NAMES)
ROWS = GENERATOR.normal(size=(9, 5)).astype(np.float32)
ORDER = GENERATOR.permutation(9)


def built(tmp_path, path, listing=LISTING):
    feature_file.build(path, listing, tmp_path / "features.npy")
    return np.load(tmp_path / "features.npy")


@pytest.mark.parametrize("ending", writers.NAMED)
def test_rows_in_any_order_are_joined_by_name_in_every_format(tmp_path, capsys, ending):
    path = tmp_path / f"mine.{ending}"
    names = np.array([f"/home/me/{NAMES[i]}" for i in ORDER])
    writers.NAMED[ending](path, ROWS[ORDER], labels=LABELS[ORDER], image_files=names)
    found = built(tmp_path, path)
    np.testing.assert_array_equal(found, ROWS)
    assert found.dtype == np.float32
    said = capsys.readouterr().out
    assert f"9 x 5 of {path}: rows found by the last 2 parts of the path; its labels agree, counted from" in said


def test_an_npy_is_taken_by_position_and_that_is_said(tmp_path, capsys):
    np.save(tmp_path / "mine.npy", ROWS.astype(np.float64))
    np.testing.assert_array_equal(built(tmp_path, tmp_path / "mine.npy"), ROWS)
    assert "rows taken by position, the file names no images; it has no labels to compare" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_floats_are_kept_as_float32(tmp_path, dtype):
    torch.save(torch.tensor(ROWS).to(dtype), tmp_path / "mine.pt")
    found = built(tmp_path, tmp_path / "mine.pt")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, torch.tensor(ROWS).to(dtype).float().numpy())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"labels": LABELS}, "its labels agree, counted from 0"),
        ({"labels": LABELS + 1}, "its labels agree, counted from 1"),
        ({"labels": np.array([CLASSES[label] for label in LABELS])}, "its classes agree"),
        ({"labels": np.array(["tit"] * 3 + ["owl"] * 3 + ["ecole"] * 3)}, "its classes agree"),
        ({"labels": np.repeat([0, 1, 2], 3), "class_names": ["tit", "owl", "ecole"]}, "agree"),
        ({"labels": np.repeat([7, 3, 5], 3), "names": np.array(NAMES)}, "counting the classes in another order"),
    ],
)
def test_labels_are_compared_however_they_count(tmp_path, capsys, more, words):
    np.savez(tmp_path / "mine.npz", features=ROWS, **more)
    np.testing.assert_array_equal(built(tmp_path, tmp_path / "mine.npz"), ROWS)
    assert words in capsys.readouterr().out


def changed(array, row, value):
    array = array.copy()
    array[row] = value
    return array


NAMED = {"features": ROWS, "names": np.array(NAMES)}
WRONG = {
    "a row missing": ({"features": ROWS[:8], "names": np.array(NAMES[:8])}, "lacks 1 of 9 images, 'École/photo_8.jpg'"),
    "a row twice": (
        {"features": ROWS[[*range(9), 4]], "names": np.array([*NAMES, NAMES[4]])},
        "has '001.Owl/photo_4.jpg' twice, in rows 4 and 9",
    ),
    "not finite": (
        NAMED | {"features": changed(ROWS, 4, np.nan)},
        "row 4, '001.Owl/photo_4.jpg', holds values that are",
    ),
    "too large": (NAMED | {"features": changed(ROWS.astype(float), 2, 1e39)}, "row 2, .* not finite in float32"),
    "of another class": (
        NAMED | {"labels": changed(LABELS, 4, 2)},
        r"row 4, '001.Owl/photo_4.jpg', is of class 2 where '001.Owl' is expected \(and 0 more",
    ),
    "of another class by name": (
        NAMED | {"labels": changed(np.array([CLASSES[label] for label in LABELS]), 4, "École")},
        "row 4, '001.Owl/photo_4.jpg', is of class École where '001.Owl' is expected",
    ),
    "of another class, in an order of its own": (
        NAMED | {"labels": changed(np.repeat([7, 3, 5], 3), 4, 7)},
        "row 4, '001.Owl/photo_4.jpg', is of class 7 where '001.Owl' is expected",
    ),
    # equal classes in number and size: only their order tells
    "another order of classes": (
        {"features": ROWS, "labels": np.repeat([0, 1, 2], 3)},
        r"row 0, '002.Tit/photo_0.jpg', is of class 0 where '002.Tit' \(1\) is expected \(and 5 more",
    ),
    "too few by position": ({"features": ROWS[:8], "labels": LABELS[:8]}, "has 8 rows; the data set has 9 images"),
    "labels out of their names": (
        {"features": ROWS, "labels": LABELS + 4, "class_names": ["a", "b", "c"]},
        "its labels, 4 to 6, do not count its 3 class names",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_and_nothing_is_written(tmp_path, case):
    content, message = WRONG[case]
    np.savez(tmp_path / "mine.npz", **content)
    with pytest.raises(UserError, match=message) as caught:
        built(tmp_path, tmp_path / "mine.npz")
    assert str(tmp_path / "mine.npz") in str(caught.value)
    assert not (tmp_path / "features.npy").exists()


def test_blocks_join_to_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_file, "BLOCK", 4)
    np.savez(tmp_path / "mine.npz", features=ROWS[ORDER], names=np.array(NAMES)[ORDER])
    np.testing.assert_array_equal(built(tmp_path, tmp_path / "mine.npz"), ROWS)
    np.save(tmp_path / "mine.npy", ROWS)
    np.testing.assert_array_equal(built(tmp_path, tmp_path / "mine.npy"), ROWS)


def test_images_that_are_not_here_are_known_by_their_published_names(tmp_path):
    away = dataclasses.replace(LISTING, images=[""] * 9)
    np.savez(tmp_path / "mine.npz", features=ROWS[ORDER], names=np.array(NAMES)[ORDER])
    np.testing.assert_array_equal(built(tmp_path, tmp_path / "mine.npz", away), ROWS)
