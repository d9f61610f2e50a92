"""CUB, from an archive of the published layout with its real annotations, to exact splits and semantics."""

import numpy as np
import pytest
import scipy.io

from pipeline.datasets import cub, semantics, semantics_file
from pipeline.sources import archives
from pipeline.vision import feature_file
from tests.datasets import published
from tests.datasets.own import writers


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    published.needs("CUB_200_2011", "xlsa17/CUB", "cvpr18xian/CUB/sent_splits.mat")
    folder = tmp_path_factory.mktemp("cub")
    source = published.SHARED / "CUB_200_2011"
    members = {f"CUB_200_2011/{path.relative_to(source)}": path.read_bytes() for path in source.rglob("*.txt")}
    members["attributes.txt"] = "".join(f"{i} has_part::kind_{i}\n" for i in range(1, 313)).encode()
    # in the order of images.txt, which is not that of the published rows
    for line in (source / "images.txt").read_text().splitlines():
        members[f"CUB_200_2011/images/{line.split()[1]}"] = published.pixel()
    published.tgz(folder / "CUB_200_2011.tgz", members)
    published.xlsa17(folder / "xlsa17.zip", "CUB")
    return published.fill(
        folder / "raw",
        images=folder / "CUB_200_2011.tgz",
        splits=folder / "xlsa17.zip",
        sentences=published.SHARED / "cvpr18xian/CUB/sent_splits.mat",
    )


def test_rows_are_the_published_ones_and_every_image_can_be_read(raw):
    index = published.built(cub, raw)
    names = published.image_files("CUB")
    assert index.images == [f"images.tar/CUB_200_2011/images/{name}" for name in names]
    assert index.class_names == [name.split("/")[0] for name in names]
    reader = archives.Images(raw)
    assert {reader.read(image) for image in index.images} == {published.pixel()}


def test_split_and_folds_are_the_published_ones(raw):
    index = published.built(cub, raw)
    published.assert_split_as_published(index, "CUB", published.att_splits("CUB"))
    published.assert_folds_as_published(index, "CUB")


def test_attributes_equal_the_published_matrix(raw):
    built = cub.semantics(raw, "attributes")
    difference = np.abs(built.attributes - published.att_splits("CUB")["att"].T).max()
    print(f"largest difference of CUB's attributes: {difference:.1e}")
    assert difference < 1e-12
    assert built.class_names[0] == "002.Laysan_Albatross"
    assert built.attribute_names[0] == "has_part::kind_1"
    assert len(built.attribute_names) == 312
    assert np.abs(cub.semantics(raw, "published").attributes - built.attributes).max() < 1e-12


def test_sentences_are_the_published_embeddings_at_length_one(raw):
    built = cub.semantics(raw, "sentences")
    stated = scipy.io.loadmat(published.SHARED / "cvpr18xian/CUB/sent_splits.mat")["att"].T
    assert built.attributes.shape == (200, 1024)
    assert np.abs(built.attributes - stated / np.linalg.norm(stated, axis=1, keepdims=True)).max() < 1e-12


def test_validation_classes_agree_with_the_rows_that_the_sentences_file_lists(raw):
    """`val_loc` covers test_seen too; within trainval it is the val_unseen of the first fold."""
    index = published.built(cub, raw)
    rows = scipy.io.loadmat(published.SHARED / "cvpr18xian/CUB/sent_splits.mat")["val_loc"].ravel().astype(int) - 1
    assert (index.split[rows] == "test_seen").any()
    inside = rows[index.split[rows] == "trainval"]
    np.testing.assert_array_equal(np.sort(inside), np.flatnonzero(index.validation[0] == "val_unseen"))


@pytest.fixture(scope="module")
def with_features(tmp_path_factory):
    """Annotations without images, and features, given as loose files and folders."""
    published.needs("CUB_200_2011", "xlsa17/CUB/res101.mat")
    shared = published.SHARED
    return published.fill(
        tmp_path_factory.mktemp("cub") / "raw",
        ["published"],
        images=shared / "CUB_200_2011",
        splits=shared / "xlsa17",
        features=shared / "xlsa17/CUB/res101.mat",
    )


def test_published_features_come_row_by_row(with_features):
    features = cub.published(with_features)
    content = scipy.io.loadmat(published.SHARED / "xlsa17/CUB/res101.mat")
    assert features.dtype == np.float32
    assert features.flags.c_contiguous
    np.testing.assert_array_equal(features, content["features"].T)
    index = published.built(cub, with_features)
    np.testing.assert_array_equal(index.labels, content["labels"].ravel() - 1)
    assert index.images == [""] * 11788


def test_published_features_come_out_of_the_zip(with_features, tmp_path):
    published.xlsa17(tmp_path / "xlsa17.zip", "CUB", published.SHARED / "xlsa17/CUB/res101.mat")
    raw = published.fill(
        tmp_path / "raw", ["published"], images=published.SHARED / "CUB_200_2011", splits=tmp_path / "xlsa17.zip"
    )
    np.testing.assert_array_equal(cub.published(raw), cub.published(with_features))


def test_the_sentences_as_a_users_file_are_the_sentences_bit_for_bit(raw, tmp_path):
    semantics.write(tmp_path / "ours.npz", cub.semantics(raw, "sentences"))
    ours = np.load(tmp_path / "ours.npz")["attributes"]
    path = published.SHARED / "cvpr18xian/CUB/sent_splits.mat"
    content = scipy.io.loadmat(path)
    names = np.array([str(cell[0][0]) for cell in content["allclasses_names"]])
    order = np.random.default_rng(0).permutation(200)
    # as people spell them: "Laysan Albatross" for "002.Laysan_Albatross"
    spoken = np.array([name.partition(".")[2].replace("_", " ") for name in names])[order]
    writers.npz(tmp_path / "mine.npz", content["att"].T[order], class_names=spoken)
    writers.csv(tmp_path / "mine.csv", content["att"].T[order], spoken)
    for mine in (path, tmp_path / "mine.npz", tmp_path / "mine.csv"):
        built, _ = semantics_file.chosen(cub, raw, "attributes", mine, None)
        semantics.write(tmp_path / "theirs.npz", built)
        theirs = np.load(tmp_path / "theirs.npz")
        assert theirs["attributes"].tobytes() == ours.tobytes()
        assert theirs["source"] == mine.name
    attributes, _ = semantics_file.chosen(cub, raw, "attributes", None, None)
    assert (attributes.source, attributes.attributes.shape) == ("attributes", (200, 312))


def test_res101_as_a_users_file_is_the_published_features(with_features, tmp_path, capsys):
    ours, path = cub.published(with_features), published.SHARED / "xlsa17/CUB/res101.mat"
    np.save(tmp_path / "mine.npy", scipy.io.loadmat(path)["features"].T)
    listing = cub.listing(with_features)
    for mine in (tmp_path / "mine.npy", path):
        feature_file.build(mine, listing, tmp_path / "features.npy")
        assert np.load(tmp_path / "features.npy").tobytes() == ours.tobytes()
    rows = np.random.default_rng(0).permutation(len(ours))
    np.savez(tmp_path / "mine.npz", features=ours[rows], names=np.array(listing.names)[rows])
    feature_file.build(tmp_path / "mine.npz", listing, tmp_path / "features.npy")
    assert np.load(tmp_path / "features.npy").tobytes() == ours.tobytes()
    print(said := capsys.readouterr().out)
    assert "rows taken by position, the file names no images; it has no labels to compare" in said
    assert "its labels agree, counted from 1" in said
    assert "rows found by the last 2 parts of the path" in said
