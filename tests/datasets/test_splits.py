"""The validation split holds out what it says, and each kind of leak fails the check."""

import dataclasses

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets import index, splits
from pipeline.datasets.base import Holdout, Listing, Splits

# ten classes of ten images; 7, 8 and 9 are unseen, and every fifth image of the others is test_seen
LABELS = np.repeat(np.arange(10), 10)
SPLIT = np.where(LABELS > 6, "test_unseen", np.where(np.arange(100) % 5 == 0, "test_seen", "trainval"))
NAMES = [f"class {i}" for i in range(10)]
LISTING = Listing([f"a.zip/{i}.jpg" for i in range(100)], LABELS, NAMES)
FOLDS = [np.array([0, 1]), np.array([2]), np.array([3])]
CONFIG = Holdout(val_seen=0.25, seed=0)


def built(listing=LISTING, split=SPLIT, folds=FOLDS, config=CONFIG):
    return splits.build(listing, Splits(split, folds), config)


def test_val_seen_is_a_share_of_each_class_and_folds_differ():
    found = built()
    for fold, unseen in zip(found.validation, FOLDS, strict=True):
        assert set(LABELS[fold == "val_unseen"]) == set(unseen)
        np.testing.assert_array_equal(fold == "", SPLIT != "trainval")
        counts = np.bincount(LABELS[fold == "val_seen"], minlength=10)
        assert set(counts[[c for c in range(7) if c not in unseen]]) == {2}
    assert (found.validation[1][LABELS == 6] != found.validation[2][LABELS == 6]).any()


def test_the_same_seed_draws_the_same_and_another_does_not():
    first, again, other = (built(config=Holdout(0.25, seed)).validation[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_of_two_images_one_is_held_out_whatever_the_share():
    labels, split = np.array([0, 0, 1, 1, 2, 2]), np.repeat("trainval", 6)
    part = splits.validate(labels, split, [2], 0.2, [0, 0])
    assert (part[:4] == "val_seen").reshape(2, 2).sum(1).tolist() == [1, 1]


def test_a_class_with_one_image_keeps_it_in_train():
    labels = np.array([0, 1, 1, 1, 2])
    found = splits.validate(labels, np.full(5, "trainval"), [2], 0.9, 0)
    assert found[0] == "train"
    assert sorted(found[1:4]) == ["train", "val_seen", "val_seen"]


def test_many_classes_take_no_time_worth_naming():
    labels = np.repeat(np.arange(5000), 40)
    found = splits.validate(labels, np.full(len(labels), "trainval"), np.arange(500), 0.25, 0)
    assert (found == "val_seen").sum() == 4500 * 10


def changed(field, row, value, fold=None):
    """A sound index with one entry changed."""
    sound = built()
    if fold is not None:
        validation = [array.copy() for array in sound.validation]
        validation[fold][row] = value
        return dataclasses.replace(sound, validation=validation)
    entries = np.array(getattr(sound, field), dtype=object)
    entries[row] = value
    if field == "split":
        return dataclasses.replace(sound, split=entries.astype(str))
    return dataclasses.replace(sound, **{field: entries.tolist()})


UNSEEN, TEST, TRAINVAL = 75, 5, 6


@pytest.mark.parametrize(
    ("leak", "message"),
    [
        (lambda: changed("split", UNSEEN, "trainval"), "unseen class 'class 7' has images in trainval"),
        (lambda: changed("split", slice(70, 100), "test_seen"), r"'class 7' \(and 2 more such\) is in test_seen"),
        (lambda: changed("images", TEST, "a.zip/6.jpg"), "'a.zip/6.jpg' is listed 2 times, in test_seen, trainval"),
        (lambda: changed("images", 7, "a.zip/6.jpg"), "'a.zip/6.jpg' is listed 2 times, in trainval"),
        (lambda: changed("split", TEST, "test"), "'test' is none of"),
        (lambda: changed("split", SPLIT == "test_seen", "trainval"), "no image is in test_seen"),
        (lambda: changed("", TEST, "train", fold=0), "fold 1 test row 5 takes part"),
        (lambda: changed("", UNSEEN, "val_unseen", fold=1), "fold 2 test row 75 takes part"),
        (lambda: changed("", TRAINVAL, "", fold=2), "fold 3 trainval row 6 has no part"),
        (lambda: changed("", TRAINVAL, "train", fold=0), "'class 0' in validation fold 1 is val_unseen and in tr"),
        (lambda: changed("", LABELS == 0, "val_unseen", fold=1), "takes part"),
        (lambda: built(folds=[np.array([], dtype=int)]), "no class acts as unseen"),
        (lambda: changed("", built().validation[0] == "val_seen", "train", fold=0), "no image is held out"),
    ],
)
def test_every_leak_fails_the_check(leak, message):
    with pytest.raises(UserError, match=message):
        splits.check(leak())


def test_a_sound_index_passes_and_is_described():
    splits.check(built())
    text = splits.describe(built())
    assert text.startswith("100 images: trainval 56 (7 classes), test_seen 14 (7 classes), test_unseen 30 (3 classes)")


def test_images_that_are_not_distributed_are_no_copies_of_each_other():
    splits.check(built(dataclasses.replace(LISTING, images=[""] * 100)))


def test_objects_may_share_a_photograph_and_that_is_said():
    shared = ["a.zip/one.jpg"] * 20 + LISTING.images[20:]
    found = built(dataclasses.replace(LISTING, images=shared, boxes=np.arange(400).reshape(100, 4)))
    assert "1 photographs hold objects of two parts or more" in splits.describe(found)
    assert isinstance(found, index.Index)
