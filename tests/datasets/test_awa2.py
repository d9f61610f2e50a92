"""AWA2, from zips of the published layout with the real names."""

import numpy as np
import pytest

from pipeline.datasets import awa2
from tests.datasets import published


def base_zip(path):
    """AwA2-base.zip, which serves AWA1 too."""
    source = published.SHARED / "AwA2-base"
    published.zipped(path, {f"Animals_with_Attributes2/{file.name}": file.read_bytes() for file in source.iterdir()})


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    published.needs("AwA2-base", "xlsa17/AWA2")
    folder = tmp_path_factory.mktemp("awa2")
    base_zip(folder / "AwA2-base.zip")
    names = published.image_files("AWA2")
    members = {f"Animals_with_Attributes2/JPEGImages/{name}": b"" for name in names[::-1]}
    published.zipped(folder / "AwA2-data.zip", {"Animals_with_Attributes2/README.txt": b"x"} | members)
    published.xlsa17(folder / "xlsa17.zip", "AWA2")
    return published.fill(
        folder / "raw",
        images=folder / "AwA2-data.zip",
        annotations=folder / "AwA2-base.zip",
        splits=folder / "xlsa17.zip",
    )


def test_rows_split_and_folds_are_the_published_ones(raw):
    index = published.built(awa2, raw)
    assert index.images == [
        f"images.zip/Animals_with_Attributes2/JPEGImages/{name}" for name in published.image_files("AWA2")
    ]
    published.assert_split_as_published(index, "AWA2", published.att_splits("AWA2"))
    published.assert_folds_as_published(index, "AWA2")


def test_the_continuous_matrix_equals_the_published_one(raw):
    built = awa2.semantics(raw, "attributes")
    content = published.att_splits("AWA2")
    difference = np.abs(built.attributes - content["att"].T).max()
    print(f"largest difference of AWA2's attributes: {difference:.1e}")
    assert difference < 1e-12
    # missing values stay -1 before the rows are normalised
    assert (content["original_att"] == -1).any()
    assert (built.attributes < 0).any()
    assert built.attribute_names[:2] == ["black", "white"]


def test_without_images_the_rows_are_those_of_the_features(raw, tmp_path):
    names = published.image_files("AWA2")
    order = awa2.listing(raw).class_names
    labels = [order.index(name.split("/")[0]) + 1 for name in names]
    features = published.res101(tmp_path / "res101.mat", labels, [f"/x/AwA2//JPEGImages/{name}" for name in names])
    published.xlsa17(tmp_path / "xlsa17.zip", "AWA2")
    other = published.fill(
        tmp_path / "raw", ["published"], splits=tmp_path / "xlsa17.zip", features=tmp_path / "res101.mat"
    )
    index = published.built(awa2, other)
    assert index.images == [""] * 37322
    np.testing.assert_array_equal(index.labels, awa2.listing(raw).labels)
    np.testing.assert_allclose(awa2.published(other), features.T, rtol=1e-6)
