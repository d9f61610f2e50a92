"""Small archives of the published layout: the real file names and annotations, one-pixel images.

The annotations are read from ../shared, which is no part of this project; without it these tests are skipped.
"""

import csv
import functools
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from pipeline.datasets import base, splits
from pipeline.sources import download

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
PARTS = {"trainval": "trainval_loc", "test_seen": "test_seen_loc", "test_unseen": "test_unseen_loc"}


def needs(*paths):
    """Skip the calling test unless these files are in ../shared/data."""
    for path in paths:
        if not (SHARED / path).exists():
            pytest.skip(f"../shared/data/{path} is not here")


@functools.cache
def pixel():
    """A JPEG of one pixel."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1), "grey").save(file, "JPEG")
    return file.getvalue()


def image_files(folder):
    """The published image of each row."""
    return (SHARED / "xlsa17" / folder / "image_files.txt").read_text().splitlines()


def att_splits(folder):
    return scipy.io.loadmat(SHARED / "xlsa17" / folder / "att_splits.mat")


def res101(path, labels, images, width=7, **changes):
    """Write a file of the published layout, with small random features; the features, width x N."""
    features = np.random.default_rng(0).random((width, len(labels)))
    cells = np.empty((len(images), 1), dtype=object)
    cells[:, 0] = images
    content = {"features": features, "labels": np.reshape(labels, (-1, 1)).astype(float), "image_files": cells}
    scipy.io.savemat(path, content | changes, do_compression=True)
    return features


def tgz(path, members, compressed=True):
    """Write a .tgz or .tar of name -> bytes."""
    with tarfile.open(path, "w:gz" if compressed else "w", **({"compresslevel": 1} if compressed else {})) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def zipped(path, members):
    """Write a .zip of name -> bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            file.writestr(name, content)


def xlsa17(path, folder, res=None):
    """Write a zip laid out as xlsa17.zip with the files of one data set, and its res101.mat if given."""
    members = {
        f"xlsa17/data/{folder}/{file.name}": file.read_bytes()
        for file in (SHARED / "xlsa17" / folder).iterdir()
        if file.name not in ("res101.mat", "image_files.txt")
    }
    if res is not None:
        members[f"xlsa17/data/{folder}/res101.mat"] = Path(res).read_bytes()
    zipped(path, members)


def fill(raw, wanted=("images",), **urls):
    """Run the download of sources given by role."""
    sources = {
        role: base.Source(str(url), needed="published" if role == "features" else "always")
        for role, url in urls.items()
    }
    download.fill(raw, sources, raw / "store", wanted)
    return raw


def built(module, raw):
    """The checked index of a data set, as the splits stage builds it."""
    config = module.SplitConfig(val_seen=0.2, seed=0)
    return splits.build(module.listing(raw), module.splits(raw, config), config)


def assert_split_as_published(index, folder, content):
    """Each part of the split holds the rows that `*_loc` lists, counted from one."""
    for part, key in PARTS.items():
        rows = np.flatnonzero(index.split == part) + 1
        np.testing.assert_array_equal(rows, np.sort(content[key].ravel()), err_msg=f"{folder} {part}")


def assert_folds_as_published(index, folder):
    """Each fold's val_unseen classes are those of valclasses1.txt to 3, the others those of trainclasses."""
    assert len(index.validation) == 3
    names = np.array(index.class_names)
    for number, fold in enumerate(index.validation, start=1):
        for part, kind in (("val_unseen", "valclasses"), ("train", "trainclasses")):
            stated = (SHARED / "xlsa17" / folder / f"{kind}{number}.txt").read_text().split()
            assert set(names[fold == part]) == set(stated)


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
