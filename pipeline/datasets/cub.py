"""Caltech-UCSD Birds 200-2011 (Wah et al.): 11,788 images, 200 classes, 312 attributes or 1024-d sentence embeddings.

Rows are sorted by path. Classes follow `allclasses_names`, which is not the numeric order of the class folders.
"""

from dataclasses import dataclass
from typing import Literal

from pipeline.common.errors import UserError
from pipeline.datasets.base import Holdout, Listing, Semantics, Source, lists, normalised, xlsa17
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
    listed = lists.numbered(*_file(raw, "classes.txt"))
    rows = lists.matrix(*_file(raw, ANNOTATIONS), (len(listed), None))
    order = xlsa17.class_ids(f"{raw}/images: classes.txt", classes, listed)
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
    by_number = {str(number): name for number, name in enumerate(lists.numbered(*_file(raw, "classes.txt")), start=1)}
    numbers = lists.keyed(*_file(raw, "image_class_labels.txt"), rest=False)
    names = lists.keyed(*_file(raw, "images.txt"))
    for image, (line, name) in names.items():
        stated = by_number.get(numbers[image][1]) if image in numbers else None
        if stated != name.split("/")[0]:
            raise line.wrong(f"image {image}, {name}, is of class {stated} by its number in image_class_labels.txt")
    ordered = sorted(name for _, name in names.values())
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
    names = lists.numbered(archive.read(found[0]), f"{raw}/images: {found[0]}")
    if len(names) != count:
        raise UserError(f"{raw}/images: {found[0]} names {len(names)} attributes, there are {count}")
    return names


def _file(raw, tail):
    """The bytes of a file of the archive, and its name for messages."""
    return archives.need(raw, "images", tail), f"{raw}/images: {tail}"
