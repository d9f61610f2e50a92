"""Oxford Flowers, from the published layout with all its photographs in small."""

import io

import numpy as np
import pytest
import scipy.io
from PIL import Image

from pipeline.common.errors import UserError
from pipeline.datasets import flo
from pipeline.sources import archives
from tests.datasets import published

FILES = {
    "images": "flo64/102flowers.tgz",
    "labels": "flo64/imagelabels.mat",
    "setid": "flo64/setid.mat",
    "splits": "cvpr18xian/FLO/att_splits.mat",
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    published.needs(*FILES.values())
    return published.fill(
        tmp_path_factory.mktemp("flo") / "raw", **{role: published.SHARED / path for role, path in FILES.items()}
    )


def test_rows_and_split_are_the_published_ones(raw):
    index = published.built(flo, raw)
    content = scipy.io.loadmat(published.SHARED / FILES["splits"])
    published.assert_split_as_published(index, "FLO", content)
    setid = scipy.io.loadmat(published.SHARED / FILES["setid"])
    numbers = np.concatenate([setid[key].ravel() for key in ("trnid", "valid", "tstid")])
    assert index.images == [f"images.tar/jpg/image_{number:05d}.jpg" for number in numbers]
    assert set(index.labels[index.split == "test_unseen"]) == set(range(20))


def test_validation_is_train_loc_and_val_loc_within_trainval(raw):
    index = published.built(flo, raw)
    content = scipy.io.loadmat(published.SHARED / FILES["splits"])
    trainval = set(content["trainval_loc"].ravel())
    stated = {key: set(content[f"{key}_loc"].ravel()) for key in ("train", "val")}
    # as published they hold test images
    assert stated["train"] - trainval
    assert stated["val"] - trainval
    fold = index.validation[0]
    assert set(np.flatnonzero(fold == "val_unseen") + 1) == stated["val"] & trainval
    assert set(np.flatnonzero(np.isin(fold, ["train", "val_seen"])) + 1) == stated["train"] & trainval
    assert len(index.validation) == 1


def test_photographs_are_read_out_of_the_archive(raw):
    listing = flo.listing(raw)
    reader = archives.Images(raw)
    for row in (0, 4000, 8188):
        assert Image.open(io.BytesIO(reader.read(listing.images[row]))).size == (64, 64)


def test_semantics_are_the_published_embeddings(raw):
    built = flo.semantics(raw, "published")
    stated = scipy.io.loadmat(published.SHARED / FILES["splits"])["att"].T
    difference = np.abs(built.attributes - stated).max()
    print(f"largest difference of FLO's semantics: {difference:.1e}")
    assert difference < 1e-12


def test_published_features_are_checked_by_image_number(raw, tmp_path):
    listing = flo.listing(raw)
    names = [image.removeprefix("images.tar/") for image in listing.images]
    features = published.res101(tmp_path / "res101.mat", listing.labels + 1, [f"/x/flowers/{name}" for name in names])
    loose = {role: published.SHARED / path for role, path in FILES.items() if role != "images"}
    other = published.fill(tmp_path / "raw", ["published"], **loose, features=tmp_path / "res101.mat")
    np.testing.assert_allclose(flo.published(other), features.T, rtol=1e-6)
    published.res101(tmp_path / "res101.mat", listing.labels + 1, names[::-1])
    other = published.fill(tmp_path / "raw", ["published"], **loose, features=tmp_path / "res101.mat")
    with pytest.raises(UserError, match=r"row 0 is .* where 'image_06765\.jpg' is expected"):
        flo.published(other)


def test_swapped_files_are_named(tmp_path):
    published.needs(*FILES.values())
    swapped = FILES | {"labels": FILES["setid"]}
    raw = published.fill(tmp_path / "raw", **{role: published.SHARED / path for role, path in swapped.items()})
    with pytest.raises(UserError, match=r"imagelabels\.mat: lacks 'labels'"):
        flo.listing(raw)
