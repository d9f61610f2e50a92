"""What AWA1 and AWA2 share: 50 classes, 85 attributes, and the annotations of AwA2-base.zip."""

from pipeline.datasets.base import Semantics, lists, normalised, xlsa17
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
    tail = "predicate-matrix-continuous.txt"
    data = archives.need(raw, "annotations", tail)
    rows = lists.matrix(data, f"{raw}/annotations: {tail}", (len(listed), len(names)))
    order = xlsa17.class_ids(f"{raw}/annotations: classes.txt", classes, listed)
    return Semantics(normalised(rows[order]), classes, names)


def _names(raw, tail):
    """The second column of a numbered list."""
    return lists.numbered(archives.need(raw, "annotations", tail), f"{raw}/annotations: {tail}")
