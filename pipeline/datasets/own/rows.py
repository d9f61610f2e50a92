"""Whose features a file holds: each row joined to an image of the data set, and its class compared."""

import dataclasses
from collections import Counter

import numpy as np

from pipeline.common.errors import UserError, first_of
from pipeline.datasets.base import Own
from pipeline.datasets.own import arrays, names


def joined(found, listing):
    """(N rows of the file, one for each image of a `Listing`; words that say how they were found and compared).

    found: an `arrays.Rows`, oriented. By name where the file has names, else by position. Raises UserError, naming
    the row or image, where one is missing, stands twice, or is of another class.
    """
    count = len(listing.images)
    if found.names is not None:
        order, words = names.images(listing.known_as, found.names, found.where)
    elif len(found.values) != count:
        raise UserError(f"{found.where}: has {len(found.values):,} rows; the data set has {count:,} images")
    else:
        order, words = np.arange(count), "rows taken by position, the file names no images"
    if found.labels is None:
        return order, f"{words}; it has no labels to compare" if found.names is None else words
    compared = _compared(found, order, listing)
    return order, f"{words}; {compared}"


def _compared(found, order, listing):
    """How the labels in a file agree with the data set's, in words. Raises UserError, naming a row that does not."""
    ours, theirs = listing.labels, named(found, order)
    if theirs.dtype.kind == "U":
        # classes of rows that are left out may be any
        kinds, at = np.unique(theirs, return_inverse=True)
        ids = {names.spelling(name): i for i, name in enumerate(listing.class_names)}
        exact = {name: i for i, name in enumerate(listing.class_names)}
        ids = np.array([exact.get(name, ids.get(names.spelling(name), -1)) for name in kinds])
        _need_equal(found, order, listing, ids[at] == ours, theirs)
        return "its classes agree"
    for first in (0, 1):
        if (theirs - first == ours).all():
            return f"its labels agree, counted from {first}"
    if found.names is not None:
        # names say whose a row is, so numbers may count the classes in an order of their own
        kinds, at = np.unique(theirs, return_inverse=True)
        owners = _commonest(at, ours)
        if len(set(owners.tolist())) == len(kinds):
            _need_equal(found, order, listing, owners[at] == ours, theirs)
            return "its labels agree, counting the classes in another order"
    first = max((0, 1), key=lambda first: int((theirs - first == ours).sum()))
    _need_equal(found, order, listing, theirs - first == ours, theirs, first)
    return ""


def _commonest(at, ours):
    """Of each label, 0 to L - 1, the class that most of its rows are of: L ids."""
    pairs, counts = np.unique(np.stack([at, ours]), axis=1, return_counts=True)
    owners = np.zeros(at.max() + 1, dtype=np.int64)
    # in the order of their counts: the commonest is written last
    by_count = np.argsort(counts, kind="stable")
    owners[pairs[0, by_count]] = pairs[1, by_count]
    return owners


def _need_equal(found, order, listing, equal, theirs, first=None):
    if equal.all():
        return
    row, more = int(np.flatnonzero(~equal)[0]), int((~equal).sum()) - 1
    label, image = listing.labels[row], listing.known_as[row]
    wanted = f"'{listing.class_names[label]}'" + ("" if first is None else f" ({label + first})")
    raise UserError(
        f"{found.where}: row {order[row]}{f', {image!r},' if image else ''} is of class {theirs[row]} where {wanted} is"
        f" expected (and {more:,} more such rows); is the order of the rows the published one?"
    )


def named(found, order):
    """The labels of rows as names where they are, or count, names in the file; else as whole numbers."""
    labels, classes = found.labels[order], found.classes
    if labels.dtype.kind == "U" or classes is None:
        return labels
    first = _first(found.labels, len(classes))
    if first is None:
        raise UserError(
            f"{found.where}: its labels, {found.labels.min()} to {found.labels.max()}, do not count its"
            f" {len(classes)} class names from 0 or from 1"
        )
    return np.array(classes)[labels - first]


def _first(labels, count):
    """0 or 1, from which labels count `count` classes; None where it cannot be told."""
    least, most = int(labels.min()), int(labels.max())
    if least == 0 and most < count:
        return 0
    return 1 if least >= 1 and most == count else None


def told(module, raw, file):
    """The `Own` that a `File` tells of a data set which may have no list of its own; that of others says nothing."""
    own = Own(classes=file.classes)
    if not file.rows:
        return own
    return dataclasses.replace(own, rows=listed(file.rows["path"], module.class_names(raw, own)))


def listed(path, classes):
    """(N names or "", N class ids) of a features file that is itself the list of a data set's images.

    classes: C names. The class of a row is its label, or the folder in its name. Raises UserError.
    """
    found = arrays.read(path, arrays.FEATURES)
    if found.names is None and found.labels is None:
        raise UserError(
            f"{path}: says of no row which class it is of; it should hold 'labels' or 'names' (class/image), or the"
            " data set its photographs"
        )
    found = found.oriented(None)
    count = len(found.values)
    images = found.names or [""] * count
    if double := [name for name, times in Counter(filter(None, images)).items() if times > 1]:
        raise UserError(f"{path}: has {first_of(double)} twice; each image should be there once")
    if found.labels is None:
        labels = np.array([name.replace("\\", "/").rpartition("/")[0].rpartition("/")[2] for name in images])
    else:
        labels = named(found, np.arange(count))
    if labels.dtype.kind != "U":
        first = _first(labels, len(classes))
        if first is None:
            raise UserError(
                f"{path}: its labels, {labels.min()} to {labels.max()}, do not count the {len(classes)} classes from 0"
                " or from 1; give names of classes"
            )
        return images, labels - first
    kinds, at = np.unique(labels, return_inverse=True)
    spelt = {names.spelling(name): i for i, name in enumerate(classes)}
    if unknown := [name for name in kinds.tolist() if names.spelling(name) not in spelt]:
        raise UserError(f"{path}: {first_of(unknown)} is no class of the data set; name it in the table of classes")
    return images, np.array([spelt[names.spelling(name)] for name in kinds.tolist()])[at]
