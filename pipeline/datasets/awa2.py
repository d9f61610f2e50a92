"""Animals with Attributes 2 (Xian et al., TPAMI 2018): 37,322 images, 50 classes, 85 attributes.

Rows are sorted by path; a class is a folder of JPEGImages.
"""

from dataclasses import dataclass
from typing import Literal

from pipeline.common.errors import UserError
from pipeline.datasets.base import Holdout, Listing, Source, awa, xlsa17
from pipeline.sources import archives

SEMANTICS = Literal["attributes", "published"]


@dataclass(frozen=True)
class Sources:
    """`images`: AwA2-data.zip; `annotations`: AwA2-base.zip; `splits`: xlsa17.zip; `features`: res101.mat, where it is
    not in the archive of the splits."""

    images: Source
    annotations: Source
    splits: Source
    features: Source | None = None


@dataclass(frozen=True)
class SplitConfig(Holdout):
    """`awa2.splits`."""


def listing(raw):
    """The images of JPEGImages, sorted by path; without their archive, the rows of res101.mat."""
    classes = xlsa17.class_names(raw, "AWA2")
    names, labels = _rows(raw, classes)
    return Listing(archives.addresses(raw, "images", names), labels, classes, names=names)


def semantics(raw, choice):
    """See `awa.semantics`."""
    return awa.semantics(raw, choice, "AWA2")


def splits(raw, config):
    """The published split with its three class folds."""
    classes = xlsa17.class_names(raw, "AWA2")
    return xlsa17.splits(raw, "AWA2", *_rows(raw, classes), classes)


def published(raw):
    """The published features, N x d_x float32."""
    classes = xlsa17.class_names(raw, "AWA2")
    return xlsa17.published(raw, "AWA2", *_rows(raw, classes), len(classes))


def _rows(raw, classes):
    """N image names, such as antelope/antelope_10001.jpg, and N class ids, in published order."""
    path = archives.find(raw, "images")
    if path is None:
        files, labels = xlsa17.rows(raw, "AWA2", len(classes))
        return ["/".join(file.split("/")[-2:]) for file in files], labels
    names = sorted(
        "/".join(parts[-2:])
        for parts in (name.split("/") for name in archives.opened(path).names)
        if len(parts) > 2 and parts[-3] == "JPEGImages" and parts[-1].endswith(".jpg")
    )
    if not names:
        raise UserError(f"{path}: holds no JPEGImages/<class>/<image>.jpg; it should be AwA2-data.zip")
    return names, xlsa17.class_ids(path, [name.split("/")[0] for name in names], classes)
