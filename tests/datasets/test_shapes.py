"""The embedded data set is what its params say, the same each time, and its unseen classes can be described."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.datasets import semantics, shapes, splits
from pipeline.sources import archives

SOURCES = shapes.Sources(version=1, seed=0, seen=14, unseen=6, images_per_class=8, test_share=0.25, size=32)
CONFIG = shapes.SplitConfig(val_seen=0.2, seed=0, folds=3, unseen=3)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    shapes.make(folder, SOURCES)
    return folder


def test_counts(raw):
    listing, split = shapes.listing(raw), shapes.splits(raw, CONFIG)
    assert len(listing.images) == 160
    assert len(listing.class_names) == 20
    assert [(split.split == part).sum() for part in ("trainval", "test_seen", "test_unseen")] == [84, 28, 48]
    assert [len(fold) for fold in split.folds] == [3, 3, 3]
    built = splits.build(listing, split, CONFIG)
    assert len(built.validation) == 3


def test_every_value_of_an_unseen_class_stands_in_a_seen_one_and_classes_differ_twice():
    classes = shapes.combinations(SOURCES)
    for column in range(classes.shape[1]):
        assert set(classes[14:, column]) <= set(classes[:14, column])
    differences = (classes[:, None] != classes[None]).sum(2)
    assert differences[~np.eye(20, dtype=bool)].min() >= 2


def test_semantics_have_one_value_of_each_group(raw):
    made = shapes.semantics(raw, "attributes")
    semantics.check(made)
    assert made.attributes.shape == (20, 21)
    assert ((made.attributes > 0).sum(1) == len(shapes.GROUPS)).all()
    first = made.class_names[0]
    assert all(
        name.split(": ")[1] in first for name, v in zip(made.attribute_names, made.attributes[0], strict=True) if v
    )


def test_images_open_and_differ(raw):
    listing = shapes.listing(raw)
    reader = archives.Images(raw)
    pictures = [np.asarray(Image.open(io.BytesIO(reader.read(name)))) for name in listing.images[:8]]
    assert {picture.shape for picture in pictures} == {(32, 32, 3)}
    assert len({picture.tobytes() for picture in pictures}) == 8


def test_the_same_params_draw_the_same_bytes_and_another_seed_others(raw, tmp_path):
    def digest(folder):
        return files.digest(Path(folder) / shapes.ARCHIVE)

    small = {"version": 1, "seen": 14, "unseen": 6, "images_per_class": 4, "test_share": 0.25, "size": 16}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        shapes.make(tmp_path / name, shapes.Sources(seed=seed, **small))
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_too_many_classes_or_folds_are_refused(raw):
    with pytest.raises(UserError, match=r"shapes\.sources: only \d+ classes differ enough"):
        shapes.combinations(shapes.Sources(1, 0, 200, 100, 8, 0.25, 32))
    with pytest.raises(UserError, match=r"shapes\.splits: 4 folds of 4 classes need more than the 14 seen"):
        shapes.splits(raw, shapes.SplitConfig(val_seen=0.2, seed=0, folds=4, unseen=4))
