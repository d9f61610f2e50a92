"""What every data set's module gives: its images, semantics and splits, all in the published order.

A module of this folder holds

    Sources          dataclass of `Source`, the schema of <data set>.sources; a field's name is the file's role
    SEMANTICS        the schema of <data set>.semantics, a `Literal` of the choices
    SplitConfig      dataclass, the schema of <data set>.splits

    listing(raw)             -> Listing
    semantics(raw, choice)   -> Semantics
    splits(raw, config)      -> Splits       config: a `SplitConfig`
    published(raw)           -> N x d_x float32 published features; only where there are some
    make(raw, sources)       draws its raw files itself; only where nothing is fetched
    OWN                      True where listing and splits take a further `Own`, and class_names(raw, own) -> C names
                             is there: a data set whose classes or rows a user's files may say

`raw` is the folder that the download stage fills: each source under its role and the published ending, so that
`images: 102flowers.tgz` becomes `images.tar` (a .tgz cannot be read at random and is made a .tar) and
`labels: imagelabels.mat` becomes `labels.mat`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np

from pipeline.common.params import Range


@dataclass(frozen=True)
class Listing:
    """The images, one a row, in published row order.

    images: "<archive in raw>/<member>", such as "images.tar/jpg/image_00001.jpg"; "" where it is not distributed
    labels: N int64, rows of `class_names`
    class_names: C names in the published class order
    boxes: N x 4 (left, top, right, bottom) pixels where a row is a part of its image, else None
    names: N paths by which a user's files may call the rows, known without the images too; None: the addresses
    """

    images: list[str]
    labels: np.ndarray
    class_names: list[str]
    boxes: np.ndarray | None = None
    names: list[str] | None = None

    @property
    def known_as(self):
        """N paths of the rows' images, "" where not known."""
        return self.images if self.names is None else self.names


@dataclass(frozen=True)
class Semantics:
    """Class semantics: `attributes` C x d_a float64, rows of length one; names of classes and, if any, columns.

    source: where they come from, in words for people: "attributes", "sentences", or the name of a user's file
    taken: of a user's table, how each of its columns was taken: {column, taken, attributes}, in words
    """

    attributes: np.ndarray
    class_names: list[str]
    attribute_names: list[str]
    source: str = ""
    taken: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class Splits:
    """The proposed split.

    split: N strings, trainval, test_seen or test_unseen
    folds: for each validation fold, the ids of the seen classes that act as unseen in it
    validation: for each fold, N strings of `index.VALIDATION` where they are stated; None: they are drawn
    """

    split: np.ndarray
    folds: list[np.ndarray]
    validation: list[np.ndarray] | None = None


# how much weight a file's semantics have beside the data set's own; null: they are alone
FileShare = Annotated[float, Range(above=0, below=1)] | None


@dataclass(frozen=True)
class Files:
    """`<data set>.files`: files of a user's own in place of what the data set brings; each `params.NO_FILE` if none.

    features: N x d_x; semantics: C x d_a; splits: a CSV by image or by class; share: see FileShare
    """

    features: str
    semantics: str
    splits: str
    share: FileShare = None


@dataclass(frozen=True)
class Own:
    """What files of a user's own say of a data set that has no list of its own.

    classes: C names, where no table names them; rows: N names and N class ids, where no images are there; stated: C
    words, seen or unseen, which go before the table's
    """

    classes: list[str] | None = None
    rows: tuple[list[str], np.ndarray] | None = None
    stated: list[str] | None = None


@dataclass(frozen=True)
class Source:
    """One published file.

    url: where it is to be had, in order of preference; a path on this machine and file:// are urls too, and a
        folder is packed into a .tar
    file: its name in the archive store, by default the last part of the first url
    sha256, md5: its checksum, where one is known
    needed: always, or only where `features.source` says images or published, or `semantics` says sentences
    """

    url: list[str] | str
    file: str | None = None
    sha256: str | None = None
    md5: str | None = None
    needed: Literal["always", "images", "published", "sentences"] = "always"


@dataclass(frozen=True)
class Holdout:
    """`val_seen`: the share of each seen class's trainval images that is held out in validation, and its seed."""

    val_seen: Annotated[float, Range(above=0, below=1)]
    seed: Annotated[int, Range(least=0)]


def normalised(rows):
    """Rows divided by their Euclidean length (C x d_a, float64); a row of zeros stays, for the check to name."""
    rows = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
