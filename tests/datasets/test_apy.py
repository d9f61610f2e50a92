"""APY, from archives of the published layout: real rows and classes that fit the split; boxes are made up."""

import shutil
from collections import Counter

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets import apy
from tests.datasets import published

# the lengths of the three lists
ENDS = (6340, 12695, 15339)


def classes_of_rows(names):
    """N class names: a photograph of aYahoo is called by its class; the others get one that fits the split."""
    content = published.att_splits("APY")
    unseen = set((published.SHARED / "xlsa17/APY/testclasses.txt").read_text().split())
    pascal = [str(cell[0]) for cell in content["allclasses_names"].ravel()][:20]
    seen = [name for name in pascal if name not in unseen]
    hidden = [name for name in pascal if name in unseen]
    is_unseen = np.zeros(len(names), dtype=bool)
    is_unseen[content["test_unseen_loc"].ravel().astype(int) - 1] = True
    return [
        name.split("/")[1].rpartition("_")[0]
        if name.startswith("ayahoo")
        else (hidden if is_unseen[row] else seen)[row % len(hidden if is_unseen[row] else seen)]
        for row, name in enumerate(names)
    ]


def lines(names, classes, start):
    attributes = " ".join("01" * 32)
    return "".join(
        f"{name.split('/')[-1]} {kind} {row % 50 + 1} 2 {row % 50 + 30} 40 {attributes}\n"
        for row, (name, kind) in enumerate(zip(names, classes, strict=True), start=start)
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    published.needs("xlsa17/APY")
    folder = tmp_path_factory.mktemp("apy")
    names = published.image_files("APY")
    classes = classes_of_rows(names)
    parts = dict(zip(apy.LISTS, zip((0, *ENDS), ENDS, strict=False), strict=True))
    members = {f"attribute_data/{part}": lines(names[a:b], classes[a:b], a).encode() for part, (a, b) in parts.items()}
    members["attribute_data/attribute_names.txt"] = "".join(f"attribute {i}\n" for i in range(64)).encode()
    published.tgz(folder / "attribute_data.tar.gz", members)
    pascal = sorted({name for name in names if name.startswith("VOC")})
    yahoo = sorted({name for name in names if not name.startswith("VOC")})
    published.tgz(folder / "VOCtrainval.tar", dict.fromkeys(pascal, published.pixel()), compressed=False)
    published.tgz(folder / "ayahoo_test_images.tar.gz", dict.fromkeys(yahoo, published.pixel()))
    published.xlsa17(folder / "xlsa17.zip", "APY")
    return published.fill(
        folder / "raw",
        pascal=folder / "VOCtrainval.tar",
        yahoo=folder / "ayahoo_test_images.tar.gz",
        annotations=folder / "attribute_data.tar.gz",
        splits=folder / "xlsa17.zip",
    )


def test_rows_split_and_folds_are_the_published_ones(raw):
    index = published.built(apy, raw)
    names = published.image_files("APY")
    assert [image.partition("/")[2] for image in index.images] == names
    assert index.images[0].startswith("pascal.tar/")
    assert index.images[-1].startswith("yahoo.tar/")
    published.assert_split_as_published(index, "APY", published.att_splits("APY"))
    published.assert_folds_as_published(index, "APY")


def test_boxes_count_from_zero_and_end_outside(raw):
    boxes = published.built(apy, raw).boxes
    assert boxes.shape == (15339, 4)
    assert boxes[:3].tolist() == [[0, 1, 30, 40], [1, 1, 31, 40], [2, 1, 32, 40]]


def test_semantics_are_the_published_matrix(raw):
    built = apy.semantics(raw, "published")
    difference = np.abs(built.attributes - published.att_splits("APY")["att"].T).max()
    print(f"largest difference of APY's semantics: {difference:.1e}")
    assert difference < 1e-12
    assert built.attribute_names[63] == "attribute 63"


def test_with_features_boxes_are_joined_by_photograph_and_class(raw, tmp_path):
    """The features' rows decide the order; here they are the lists' rows turned round."""
    names = published.image_files("APY")
    listing = apy.listing(raw)
    shutil.copytree(raw, tmp_path / "raw")
    published.res101(tmp_path / "raw/features.mat", listing.labels[::-1] + 1, [f"/x/{name}" for name in names[::-1]])
    other = apy.listing(tmp_path / "raw")
    assert other.images == listing.images[::-1]
    np.testing.assert_array_equal(other.labels, listing.labels[::-1])
    times = Counter(names)
    single = [row for row, name in enumerate(names) if times[name] == 1]
    np.testing.assert_array_equal(other.boxes[::-1][single], listing.boxes[single])


def test_an_object_in_no_list_is_named(raw, tmp_path):
    names = published.image_files("APY")
    labels = apy.listing(raw).labels + 1
    labels[5] = labels[5] % 32 + 1
    shutil.copytree(raw, tmp_path / "raw")
    published.res101(tmp_path / "raw/features.mat", labels, names)
    with pytest.raises(UserError, match="is in no list of objects"):
        apy.listing(tmp_path / "raw")
