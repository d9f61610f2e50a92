"""What AWA1 and AWA2 share: 50 classes, 85 attributes, and the annotations of AwA2-base.zip."""

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.base import Semantics, normalised, xlsa17
from pipeline.sources import archives


def semantics(raw, choice, folder):
    """`attributes`: the continuous matrix; `published`: `att`, the same.

    -1 stands for a missing value; the published matrix keeps it, and so must who wants to compare.
    """
    classes = xlsa17.class_names(raw, folder)
    names = _names(raw, "predicates.txt")
    if choice == "published":
        return Semantics(normalised(xlsa17.attributes(raw, f"{folder}/att_splits.mat", len(classes))), classes, names)
    listed = _names(raw, "classes.txt")
    text = archives.need(raw, "annotations", "predicate-matrix-continuous.txt").decode("utf-8")
    rows = np.array([line.split() for line in text.splitlines() if line.strip()], dtype=np.float64)
    if rows.shape != (len(listed), len(names)):
        raise UserError(f"{raw}/annotations: the matrix is {rows.shape}; it should be {len(listed)} x {len(names)}")
    order = xlsa17.class_ids(f"{raw}/annotations: classes.txt", classes, listed)
    return Semantics(normalised(rows[order]), classes, names)


def _names(raw, tail):
    """The second column of a numbered list."""
    text = archives.need(raw, "annotations", tail).decode("utf-8")
    return [line.split(maxsplit=1)[1].strip() for line in text.splitlines() if line.strip()]
