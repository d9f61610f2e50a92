"""Animals with Attributes (Lampert et al., CVPR 2009): 30,475 images, 50 classes, 85 attributes.

Its images are not distributed: it works with `features.source: published` alone, whose file also says the classes.
"""

from dataclasses import dataclass
from typing import Literal

from pipeline.datasets.base import Holdout, Listing, Source, awa, xlsa17

SEMANTICS = Literal["attributes", "published"]


@dataclass(frozen=True)
class Sources:
    """`annotations`: AwA2-base.zip, the same for both; `splits`: xlsa17.zip; `features`: res101.mat, where it is not in
    the archive of the splits."""

    annotations: Source
    splits: Source
    features: Source | None = None


@dataclass(frozen=True)
class SplitConfig(Holdout):
    """`awa1.splits`."""


def listing(raw):
    """The rows of res101.mat; no image can be read."""
    classes = xlsa17.class_names(raw, "AWA1")
    names, labels = xlsa17.rows(raw, "AWA1", len(classes))
    return Listing([""] * len(names), labels, classes, names=names)


def semantics(raw, choice):
    """See `awa.semantics`."""
    return awa.semantics(raw, choice, "AWA1")


def splits(raw, config):
    """The published split; three class folds, the first of which `val_loc` states too."""
    rows = listing(raw)
    return xlsa17.splits(raw, "AWA1", rows.images, rows.labels, rows.class_names)


def published(raw):
    """The published features, N x d_x float32."""
    rows = listing(raw)
    return xlsa17.published(raw, "AWA1", rows.images, rows.labels, len(rows.class_names))
