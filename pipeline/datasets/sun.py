"""SUN Attribute (Patterson and Hays, CVPR 2012): 14,340 images, 717 classes, 102 attributes.

Rows are in the order of images.mat, which is sorted by path. A class is the path between letter and file, its parts
joined by `_`. The annotations are votes per image; only their class means serve as semantics.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.base import Holdout, Listing, Semantics, Source, normalised, xlsa17
from pipeline.sources import archives

SEMANTICS = Literal["attributes", "published"]


@dataclass(frozen=True)
class Sources:
    """`images`: SUNAttributeDB_Images.tar.gz; `annotations`: SUNAttributeDB.tar.gz; `splits`: xlsa17.zip;
    `features`: res101.mat, where it is not in the archive of the splits."""

    images: Source
    annotations: Source
    splits: Source
    features: Source | None = None


@dataclass(frozen=True)
class SplitConfig(Holdout):
    """`sun.splits`."""


def listing(raw):
    """The images of images.mat, in its order."""
    classes = xlsa17.class_names(raw, "SUN")
    names, labels = _rows(raw, classes)
    return Listing(archives.addresses(raw, "images", names), labels, classes, names=names)


def semantics(raw, choice):
    """`attributes`: class means of the images' continuous labels; `published`: `att`, the same."""
    classes = xlsa17.class_names(raw, "SUN")
    where, cells = xlsa17.load(raw, "annotations", "attributes.mat", "attributes")
    names = xlsa17.texts(cells)
    if choice == "published":
        return Semantics(normalised(xlsa17.attributes(raw, "SUN/att_splits.mat", len(classes))), classes, names)
    _, labels = _rows(raw, classes)
    where, votes = xlsa17.load(raw, "annotations", "attributeLabels_continuous.mat", "labels_cv")
    if votes.shape != (len(labels), len(names)):
        raise UserError(f"{where}: 'labels_cv' is {votes.shape}; it should be {len(labels):,} images x {len(names)}")
    means = np.zeros((len(classes), len(names)))
    np.add.at(means, labels, votes)
    return Semantics(normalised(means / np.bincount(labels, minlength=len(classes))[:, None]), classes, names)


def splits(raw, config):
    """The published split with its three class folds."""
    classes = xlsa17.class_names(raw, "SUN")
    return xlsa17.splits(raw, "SUN", *_rows(raw, classes), classes)


def published(raw):
    """The published features, N x d_x float32."""
    classes = xlsa17.class_names(raw, "SUN")
    return xlsa17.published(raw, "SUN", *_rows(raw, classes), len(classes))


def _rows(raw, classes):
    """N image names and N class ids, in published order."""
    where, cells = xlsa17.load(raw, "annotations", "images.mat", "images")
    names = xlsa17.texts(cells)
    if names != sorted(names):
        raise UserError(f"{where}: 'images' should be sorted by path, as the published rows are")
    return names, xlsa17.class_ids(where, ["_".join(name.split("/")[1:-1]) for name in names], classes)
