"""aPascal and aYahoo (Farhadi et al., CVPR 2009): 15,339 objects cut out of photographs, 32 classes, 64 attributes.

A row is an object: several share a photograph. The published rows are those of apascal_train.txt, apascal_test.txt and
ayahoo_test.txt, one after the other. Where two objects of one class lie in one photograph, nothing published says
which row is which: they are taken in the order of those lists.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.base import Holdout, Listing, Semantics, Source, lists, normalised, xlsa17
from pipeline.datasets.base.text import short
from pipeline.sources import archives

LISTS = ("apascal_train.txt", "apascal_test.txt", "ayahoo_test.txt")
PASCAL, YAHOO = "VOCdevkit/VOC2008/JPEGImages", "ayahoo_test_images"
ATTRIBUTES = 64
# pixels; no photograph of VOC 2008 or aYahoo is as wide
FARTHEST = 100_000
SEMANTICS = Literal["published"]


@dataclass(frozen=True)
class Sources:
    """`pascal`: VOCtrainval_14-Jul-2008.tar; `yahoo`: ayahoo_test_images.tar.gz; `annotations`:
    attribute_data.tar.gz; `splits`: xlsa17.zip; `features`: res101.mat, where it is not in the archive of the
    splits."""

    pascal: Source
    yahoo: Source
    annotations: Source
    splits: Source
    features: Source | None = None


@dataclass(frozen=True)
class SplitConfig(Holdout):
    """`apy.splits`."""


def listing(raw):
    """The objects in published order, each with its box in its photograph."""
    classes = xlsa17.class_names(raw, "APY")
    names, labels, boxes = _rows(raw, classes)
    images = [""] * len(names)
    for role, folder in (("pascal", PASCAL), ("yahoo", YAHOO)):
        rows = [row for row, name in enumerate(names) if name.startswith(folder)]
        # photographs are looked for once, however many objects they hold
        photographs = sorted({names[row] for row in rows})
        found = dict(zip(photographs, archives.addresses(raw, role, photographs), strict=True))
        for row in rows:
            images[row] = found[names[row]]
    return Listing(images, labels, classes, boxes, names)


def semantics(raw, choice):
    """`att` as published: means over the objects of a class."""
    classes = xlsa17.class_names(raw, "APY")
    names = [line.fields[0] for line in lists.lines(*_file(raw, "attribute_names.txt"), count=1, rest=True)]
    return Semantics(normalised(xlsa17.attributes(raw, "APY/att_splits.mat", len(classes))), classes, names)


def splits(raw, config):
    """The published split with its three class folds."""
    classes = xlsa17.class_names(raw, "APY")
    names, labels, _ = _rows(raw, classes)
    return xlsa17.splits(raw, "APY", names, labels, classes)


def published(raw):
    """The published features, N x d_x float32."""
    classes = xlsa17.class_names(raw, "APY")
    names, labels, _ = _rows(raw, classes)
    return xlsa17.published(raw, "APY", names, labels, len(classes))


def _rows(raw, classes):
    """N names of photographs, N class ids, N x 4 boxes, in published order.

    With res101.mat at hand its rows are the order, and boxes are joined by photograph and class.
    """
    names, labels, boxes = _annotated(raw, classes)
    if not xlsa17.has_rows(raw, "APY"):
        return names, labels, boxes
    files, found = xlsa17.rows(raw, "APY", len(classes))
    if "" in files:
        raise UserError(f"{raw}: APY/res101.mat names no image_files, so its rows' boxes cannot be found")
    waiting = defaultdict(list)
    for name, label, box in zip(names, labels, boxes, strict=True):
        waiting[name, label].append(box)
    ordered, joined = [], []
    for row, (file, label) in enumerate(zip(files, found, strict=True)):
        folder = YAHOO if f"/{YAHOO}/" in f"/{file}" else PASCAL
        name = f"{folder}/{file.split('/')[-1]}"
        if not waiting[name, label]:
            raise UserError(
                f"{raw}: row {row} of APY/res101.mat, '{file}' as '{classes[label]}', is in no list of objects"
            )
        ordered.append(name)
        joined.append(waiting[name, label].pop(0))
    if left := sum(map(len, waiting.values())):
        raise UserError(f"{raw}: {left} objects of {', '.join(LISTS)} are not in APY/res101.mat")
    return ordered, found, np.array(joined)


def _annotated(raw, classes):
    """The rows of the three lists: a line is photograph, class, xmin, ymin, xmax, ymax and 64 attributes."""
    names, objects, boxes, known = [], [], [], set(classes)
    for part in LISTS:
        folder = YAHOO if part.startswith("ayahoo") else PASCAL
        for line in lists.lines(*_file(raw, part), count=6 + ATTRIBUTES):
            if line.fields[1] not in known:
                raise line.wrong(f"{short(line.fields[1])} is no class of att_splits.mat")
            names.append(f"{folder}/{line.fields[0]}")
            objects.append(line.fields[1])
            boxes.append(_box(line))
    labels = xlsa17.class_ids(f"{raw}/annotations", objects, classes)
    return names, labels, np.array(boxes, dtype=np.int64)


def _box(line):
    """left, top, right, bottom of a line's box, counted from zero and the last outside; there from one, and inside."""
    sides = [round(line.number(place)) for place in range(2, 6)]
    if not all(-FARTHEST < side < FARTHEST for side in sides):
        raise line.wrong(f"its box {' '.join(line.fields[2:6])[:80]} should be within a photograph")
    xmin, ymin, xmax, ymax = sides
    return xmin - 1, ymin - 1, xmax, ymax


def _file(raw, tail):
    """The bytes of a file of the annotations, and its name for messages."""
    return archives.need(raw, "annotations", tail), f"{raw}/annotations: {tail}"
