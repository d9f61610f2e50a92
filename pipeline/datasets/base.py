"""What every data set's module gives: its images, semantics and splits, all in the published order."""

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Listing:
    """The images, one a row, in published row order.

    images: "<archive in raw>/<member>", such as "102flowers.tar/jpg/image_00001.jpg"; "" where it is not distributed
    labels: N int64, rows of `class_names`
    class_names: C names in the published class order
    boxes: N x 4 (left, top, right, bottom) pixels where a row is a part of its image, else None
    """

    images: list[str]
    labels: np.ndarray
    class_names: list[str]
    boxes: np.ndarray | None = None


@dataclass(frozen=True)
class Semantics:
    """Class semantics: `attributes` C x d_a float64, rows of length one; names of classes and, if any, columns."""

    attributes: np.ndarray
    class_names: list[str]
    attribute_names: list[str]


@dataclass(frozen=True)
class Splits:
    """The proposed split.

    split: N strings, trainval, test_seen or test_unseen
    folds: for each validation fold, the ids of the seen classes that act as unseen in it
    """

    split: np.ndarray
    folds: list[np.ndarray]


@dataclass(frozen=True)
class Source:
    """One published file: its name in `raw`, where it is to be had (in order of preference), and its checksum."""

    file: str
    url: list[str]
    sha256: str | None = None
    md5: str | None = None
    needed: Literal["always", "images", "published"] = "always"
