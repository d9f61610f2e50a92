"""A split of a user's own, by image or by class, with the checks of every split."""

import dataclasses
import types

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets import index, split_file, splits
from pipeline.datasets.base import Holdout, Listing, Splits

# ten classes of ten images; proposed: 7, 8 and 9 are unseen, and every fifth image of the others is test_seen
LABELS = np.repeat(np.arange(10), 10)
CLASSES = [f"{i:03d}.bird {i}" for i in range(10)]
NAMES = [f"{CLASSES[label]}/{i}.jpg" for i, label in enumerate(LABELS)]
LISTING = Listing([f"images.tar/set/{name}" for name in NAMES], LABELS, CLASSES, names=NAMES)
PROPOSED = np.where(LABELS > 6, "test_unseen", np.where(np.arange(100) % 5 == 0, "test_seen", "trainval"))
FOLDS = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]
CONFIG = Holdout(val_seen=0.25, seed=0)
MODULE = types.SimpleNamespace(listing=lambda raw: LISTING, splits=lambda raw, config: Splits(PROPOSED, FOLDS))


def built(path, module=MODULE):
    return split_file.build(module, "raw", CONFIG, path, None)


def by_image(path, split, more=(), names=NAMES, header="image,split"):
    columns = [names, split, *more]
    heads = [header, *(f"validation{'' if i == 0 else i + 1}" for i in range(len(more)))]
    path.write_text("\n".join([",".join(heads), *map(",".join, zip(*columns, strict=True))]) + "\n")
    return path


def by_class(path, unseen, more=None, names=CLASSES):
    lines = [f"{name},{'unseen' if i in unseen else 'seen'}" for i, name in enumerate(names)]
    if more:
        lines = [f"{line},{cell}" for line, cell in zip(lines, more, strict=True)]
    path.write_text("\n".join([f"class,split{',validation' if more else ''}", *lines]) + "\n")
    return path


def changed(values, row, value):
    values = values.astype("<U20").copy()
    values[row] = value
    return values


def test_without_a_file_the_split_is_the_proposed_one():
    found, words = built(None)
    np.testing.assert_array_equal(found.split, PROPOSED)
    assert words == ""


def test_the_proposed_split_as_a_file_gives_the_same_index(tmp_path):
    expected, _ = built(None)
    found, words = built(by_image(tmp_path / "mine.csv", PROPOSED))
    assert "its names are those of the images, in the same order; validation folds as proposed" in words
    for ours, theirs in zip((found.split, *found.validation), (expected.split, *expected.validation), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_index_is_a_split_file(tmp_path):
    expected, _ = built(None)
    index.write(tmp_path / "index.csv", expected)
    lines = (tmp_path / "index.csv").read_text().splitlines()
    (tmp_path / "mine.csv").write_text("\n".join([lines[0], *sorted(lines[1:])]))
    index.write(tmp_path / "again.csv", built(tmp_path / "mine.csv")[0])
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "index.csv").read_bytes()


def test_images_of_other_seen_classes_draw_as_many_folds_of_as_large_a_share(tmp_path):
    split = np.where(LABELS < 3, "test_unseen", np.where(np.arange(100) % 4 == 0, "test_seen", "trainval"))
    order = np.random.default_rng(0).permutation(100)
    found, words = built(by_image(tmp_path / "mine.csv", split[order], names=np.array(NAMES)[order]))
    np.testing.assert_array_equal(found.split, split)
    classes = [set(LABELS[fold == "val_unseen"]) for fold in found.validation]
    assert [len(of_fold) for of_fold in classes] == [2, 2, 2]
    assert len(set.union(*classes)) == 6
    assert "3 validation folds of 2 classes drawn, the seen classes are others than proposed" in words


def test_stated_validation_is_kept(tmp_path):
    fold = np.where(PROPOSED != "trainval", "", np.where(LABELS == 6, "val_unseen", "train"))
    fold[(PROPOSED == "trainval") & (np.arange(100) % 10 == 1) & (LABELS != 6)] = "val_seen"
    found, _ = built(by_image(tmp_path / "mine.csv", PROPOSED, [fold, fold]))
    assert len(found.validation) == 2
    np.testing.assert_array_equal(found.validation[1], fold)


def test_classes_that_stay_seen_keep_their_images_and_others_are_drawn(tmp_path):
    found, words = built(by_class(tmp_path / "mine.csv", {0, 1, 7}, names=[f"bird {i}" for i in range(10)]))
    assert set(LABELS[found.split == "test_unseen"]) == {0, 1, 7}
    kept = np.isin(LABELS, [2, 3, 4, 5, 6])
    np.testing.assert_array_equal(found.split[kept], PROPOSED[kept])
    for label in (8, 9):
        assert (found.split[label == LABELS] == "test_seen").sum() == 2
    assert "10 classes are spelt otherwise, such as 'bird 0' for '000.bird 0'" in words
    again, _ = built(tmp_path / "mine.csv")
    np.testing.assert_array_equal(found.split, again.split)


def test_the_proposed_classes_give_the_proposed_split(tmp_path):
    found, expected = built(by_class(tmp_path / "mine.csv", {7, 8, 9}))[0], built(None)[0]
    np.testing.assert_array_equal(found.split, expected.split)
    np.testing.assert_array_equal(found.validation, expected.validation)


def test_classes_may_state_their_fold(tmp_path):
    more = ["unseen" if i in (2, 5) else "" if i > 6 else "seen" for i in range(10)]
    found, _ = built(by_class(tmp_path / "mine.csv", {7, 8, 9}, more))
    assert [set(LABELS[fold == "val_unseen"]) for fold in found.validation] == [{2, 5}]


TRAIN = np.where(PROPOSED == "trainval", np.where(LABELS == 6, "val_unseen", "train"), "")
WRONG = {
    "unseen class learnt from": (changed(PROPOSED, 75, "trainval"), (), "class '007.bird 7' has images in trainval"),
    "tested but never learnt": (
        np.where(LABELS == 3, "test_seen", PROPOSED),
        (),
        "class '003.bird 3' is in test_seen but has no image in trainval",
    ),
    "nothing to learn": (np.where(LABELS < 7, "test_seen", PROPOSED), (), "no image is in trainval"),
    "nothing seen to test": (np.where(LABELS < 7, "trainval", PROPOSED), (), "no image is in test_seen"),
    "no such part": (changed(PROPOSED, 4, "train"), (), "line 6, '000.bird 0/4.jpg': split is 'train'; it should be"),
    "no part": (changed(PROPOSED, 4, ""), (), "line 6, .*: split is ''; it should be one of trainval, test_seen"),
    "test image in validation": (PROPOSED, [changed(TRAIN, 5, "train")], "line 7, .*: is for testing, so has no part"),
    "no validation part": (PROPOSED, [changed(TRAIN, 4, "")], "line 6, .*: has no part in validation"),
    "no such validation": (PROPOSED, [changed(TRAIN, 4, "val")], "line 6, .* validation is 'val'; it should be one of"),
    "val_unseen learnt from": (
        PROPOSED,
        [changed(changed(TRAIN, 61, "train"), 4, "val_seen")],
        "class '006.bird 6' in validation fold 1 is val_unseen and in train",
    ),
    "nobody unseen in validation": (
        PROPOSED,
        [np.where(TRAIN == "val_unseen", "train", TRAIN)],
        "in validation fold 1 no class acts as unseen",
    ),
    "nothing held out": (PROPOSED, [TRAIN], "no image is held out of seen classes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_leak_by_image_is_refused_in_one_line(tmp_path, case):
    split, more, message = WRONG[case]
    path = by_image(tmp_path / "mine.csv", split, more)
    with pytest.raises(UserError, match=message) as caught:
        built(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


TABLES = {
    "missing image": ("image,split\n" + f"{NAMES[0]},trainval\n", "lacks 99 of 100 images"),
    "image twice": (
        "image,split\n" + "".join(f"{name},trainval\n" for name in [*NAMES, NAMES[3]]),
        "has '000.bird 0/3.jpg' twice, in rows 3 and 100",
    ),
    "no key": ("picture,split\nx,trainval\n", "should have a column 'image' or 'class', a column 'split'"),
    "no split": ("image,part\nx,trainval\n", "should have a column 'image' or 'class', a column 'split'"),
    "no rows": ("image,split\n", "and a row each"),
    "another class": (
        "image,split,class_name\n" + "".join(f"{n},{p},{CLASSES[0]}\n" for n, p in zip(NAMES, PROPOSED, strict=True)),
        "line 12, '001.bird 1/10.jpg': is of class '001.bird 1', not '000.bird 0'",
    ),
    "class missing": ("class,split\n" + "".join(f"{n},seen\n" for n in CLASSES[:9]), "lacks the class '009.bird 9'"),
    "class twice": ("class,split\n" + "".join(f"{n},seen\n" for n in [*CLASSES, "bird 4"]), "class '004.bird 4' twice"),
    "all seen": ("class,split\n" + "".join(f"{n},seen\n" for n in CLASSES), "0 of 10 classes are unseen"),
    "all unseen": ("class,split\n" + "".join(f"{n},unseen\n" for n in CLASSES), "10 of 10 classes are unseen"),
    "no word": ("class,split\n" + "".join(f"{n},test\n" for n in CLASSES), "split is 'test'; it should be one of seen"),
    "unseen in a fold": (
        "class,split,validation\n"
        + "".join(f"{n},{'unseen' if i > 6 else 'seen'},seen\n" for i, n in enumerate(CLASSES)),
        "line 9, '007.bird 7': is for testing, so has no part in validation",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_wrong_table_is_one_line(tmp_path, case):
    text, message = TABLES[case]
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        built(tmp_path / "mine.csv")


def test_rows_that_share_a_photograph_need_the_published_order(tmp_path):
    boxes = np.arange(400).reshape(100, 4)
    shared = dataclasses.replace(LISTING, names=[name.replace("1.jpg", "0.jpg") for name in NAMES], boxes=boxes)
    module = types.SimpleNamespace(listing=lambda raw: shared, splits=MODULE.splits)
    path = by_image(tmp_path / "mine.csv", PROPOSED, names=shared.names)
    np.testing.assert_array_equal(built(path, module)[0].split, PROPOSED)
    by_image(path, PROPOSED[::-1], names=shared.names[::-1])
    with pytest.raises(UserError, match="rows cannot be found by name, for several are of"):
        built(path, module)


def test_checks_are_those_of_every_split(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(splits, "check", seen.append)
    built(by_image(tmp_path / "mine.csv", PROPOSED))
    assert len(seen) == 1
