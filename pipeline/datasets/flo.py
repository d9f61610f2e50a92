"""Oxford Flowers 102 (Nilsback and Zisserman, ICVGIP 2008): 8,189 images, 102 classes, 1024-d sentence embeddings.

Row i is image number `concat(trnid, valid, tstid)[i]` of setid.mat; columns of `att` are classes 1 to 102.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.base import Holdout, Listing, Semantics, Source, normalised, xlsa17
from pipeline.sources import archives

CLASSES = 102
SPLITS = "FLO/att_splits.mat"
SEMANTICS = Literal["published"]


@dataclass(frozen=True)
class Sources:
    """`images`: 102flowers.tgz; `labels`: imagelabels.mat; `setid`: setid.mat; `splits`: att_splits.mat, bare or in
    cvpr18xian.zip; `features`: res101.mat, likewise."""

    images: Source
    labels: Source
    setid: Source
    splits: Source
    features: Source | None = None


@dataclass(frozen=True)
class SplitConfig(Holdout):
    """`flo.splits`."""


def listing(raw):
    """The images by number, in the order of setid.mat."""
    names, labels = _rows(raw)
    names = [f"jpg/{name}" for name in names]
    return Listing(archives.addresses(raw, "images", names), labels, class_names(), names=names)


def class_names():
    """The classes are published by number."""
    return [f"{number:03d}" for number in range(1, CLASSES + 1)]


def semantics(raw, choice):
    """`att` as published: 1024-d sentence embeddings (Reed et al., CVPR 2016)."""
    return Semantics(normalised(xlsa17.attributes(raw, SPLITS, CLASSES)), class_names(), [])


def splits(raw, config):
    """The published split; validation from `train_loc` and `val_loc`."""
    return xlsa17.splits(raw, "FLO", *_rows(raw), class_names())


def published(raw):
    """The published features, N x d_x float32."""
    return xlsa17.published(raw, "FLO", *_rows(raw), CLASSES)


def _rows(raw):
    """N image names and N class ids, in published order."""
    where, labels = xlsa17.load(raw, "labels", "imagelabels.mat", "labels")
    labels = xlsa17.ids(where, "labels", labels, CLASSES)
    where, *numbers = xlsa17.load(raw, "setid", "setid.mat", "trnid", "valid", "tstid")
    order = xlsa17.ids(where, "trnid, valid, tstid", np.concatenate([np.ravel(part) for part in numbers]), len(labels))
    if len(order) != len(labels) or len(np.unique(order)) != len(labels):
        raise UserError(f"{where}: trnid, valid and tstid should name each of the {len(labels):,} images once")
    return [f"image_{number + 1:05d}.jpg" for number in order], labels[order]
