"""Caltech-UCSD Birds 200-2011 (Wah et al.): 11,788 images, 200 classes, 312 attributes or 1024-d sentence embeddings.

Rows are sorted by path. Classes follow `allclasses_names`, which is not the numeric order of the class folders.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.base import Holdout, Listing, Semantics, Source, normalised, xlsa17
from pipeline.sources import archives

ANNOTATIONS = "attributes/class_attribute_labels_continuous.txt"
SEMANTICS = Literal["attributes", "sentences", "published"]


@dataclass(frozen=True)
class Sources:
    """`images`: CUB_200_2011.tgz with its annotations; `splits`: xlsa17.zip; `sentences`: cvpr18xian.zip or
    sent_splits.mat; `features`: res101.mat, where it is not in the archive of the splits."""

    images: Source
    splits: Source
    sentences: Source | None = None
    features: Source | None = None


@dataclass(frozen=True)
class SplitConfig(Holdout):
    """`cub.splits`."""


def listing(raw):
    """The images of images.txt, sorted by path."""
    classes = xlsa17.class_names(raw, "CUB")
    names, labels = _rows(raw, classes)
    return Listing(archives.addresses(raw, "images", names), labels, classes, names=names)


def semantics(raw, choice):
    """`attributes`: the continuous class labels in percent; `sentences`: 1024-d embeddings (Reed et al., CVPR 2016);
    `published`: `att`, the same as attributes."""
    classes = xlsa17.class_names(raw, "CUB")
    if choice == "sentences":
        return _sentences(raw, classes)
    if choice == "published":
        return Semantics(normalised(xlsa17.attributes(raw, "CUB/att_splits.mat", len(classes))), classes, [])
    numbers = [line.split()[1] for line in _lines(raw, "classes.txt")]
    rows = np.array([line.split() for line in _lines(raw, ANNOTATIONS)], dtype=np.float64)
    if len(rows) != len(numbers):
        raise UserError(f"{raw}/images: {ANNOTATIONS} has {len(rows)} rows, classes.txt {len(numbers)}")
    order = xlsa17.class_ids(f"{raw}/images: classes.txt", classes, numbers)
    return Semantics(normalised(rows[order]), classes, _attribute_names(raw, rows.shape[1]))


def splits(raw, config):
    """The published split with its three class folds."""
    classes = xlsa17.class_names(raw, "CUB")
    return xlsa17.splits(raw, "CUB", *_rows(raw, classes), classes)


def published(raw):
    """The published features, N x d_x float32."""
    classes = xlsa17.class_names(raw, "CUB")
    return xlsa17.published(raw, "CUB", *_rows(raw, classes), len(classes))


def _rows(raw, classes):
    """N image names and N class ids, in published order. The class by the images' folder and by number must agree."""
    numbers = dict(line.split(maxsplit=1) for line in _lines(raw, "classes.txt"))
    names = dict(line.split(maxsplit=1) for line in _lines(raw, "images.txt"))
    stated = {image: numbers.get(number) for image, number in map(str.split, _lines(raw, "image_class_labels.txt"))}
    for image, name in names.items():
        if stated.get(image) != name.split("/")[0]:
            raise UserError(f"{raw}/images: image {image}, {name}, is of class {stated.get(image)} by its number")
    ordered = sorted(names.values())
    return ordered, xlsa17.class_ids(f"{raw}/images", [name.split("/")[0] for name in ordered], classes)


def _sentences(raw, classes):
    where, cells = xlsa17.load(raw, "sentences", "CUB/sent_splits.mat", "allclasses_names")
    rows = xlsa17.attributes(raw, "CUB/sent_splits.mat", len(classes), "sentences")
    return Semantics(normalised(rows[xlsa17.class_ids(where, classes, xlsa17.texts(cells))]), classes, [])


def _attribute_names(raw, count):
    """The names in attributes.txt, which lies beside the folder of the images; none where it was left out."""
    archive = archives.opened(archives.find(raw, "images"))
    found = sorted(name for name in archive.names if name.split("/")[-1] == "attributes.txt")
    if not found:
        return []
    names = [line.split(maxsplit=1)[1] for line in archive.read(found[0]).decode("utf-8").splitlines() if line.strip()]
    if len(names) != count:
        raise UserError(f"{raw}/images: {found[0]} names {len(names)} attributes, there are {count}")
    return names


def _lines(raw, tail):
    return [line for line in archives.need(raw, "images", tail).decode("utf-8").splitlines() if line.strip()]
