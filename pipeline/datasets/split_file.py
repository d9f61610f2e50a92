"""A split that a user brings as a CSV, by image or by class.

    image,split,validation                        class,split
    002.Laysan_Albatross/x.jpg,trainval,train     Laysan Albatross,unseen
    ...                                           ...

By image: split is trainval, test_seen or test_unseen, and `validation`, `validation2`, ..., which may be left out, are
train, val_seen or val_unseen for images of trainval (data/<data set>/index.csv is such a table). By class: split is
seen or unseen, and `validation`, ... are seen or unseen for seen classes.
"""

import dataclasses
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets import index, splits
from pipeline.datasets.base import Splits
from pipeline.datasets.base.table import read_table
from pipeline.datasets.own import names

IMAGE, CLASS = ("image", "images", "image_file"), ("class", "class_name")


class Stated:
    """What a split file says: `by_class`, whether it is a table of classes; see `of_images` and `of_classes`.

    Raises UserError where it is no such table.
    """

    def __init__(self, path):
        self.path = path
        try:
            self.sheet = read_table(Path(path).read_bytes(), path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        header = [name.lower() for name in self.sheet.header]
        key = next((name for name in (*IMAGE, *CLASS) if name in header), None)
        if key is None or "split" not in header or not self.sheet.rows:
            raise UserError(f"{path}: should have a column 'image' or 'class', a column 'split', and a row each")
        self.by_class = key in CLASS
        self.names = self._cells(header.index(key))
        self.split = self._cells(header.index("split"))
        self.folds = [self._cells(at) for at, name in enumerate(header) if name.startswith("validation")]
        self.class_names = next((self._cells(header.index(name)) for name in CLASS if name in header), None)

    def _cells(self, column):
        return [cells[column] for cells in self.sheet.rows]

    def _place(self, row):
        return f"{self.path}: line {self.sheet.lines[row]}, '{self.names[row]}'"

    def _words(self, values, order, allowed, column):
        """The cells of a column for the rows in `order`, each one of the allowed words. Raises UserError."""
        found = np.array([values[row].lower() for row in order])
        if (wrong := np.flatnonzero(~np.isin(found, allowed))).size:
            row = order[wrong[0]]
            words = ", ".join(word or "empty" for word in allowed)
            raise UserError(f"{self._place(row)}: {column} is '{values[row]}'; it should be one of {words}")
        return found

    def of_images(self, listing):
        """(`Splits` of a listing, its folds empty where none is stated; words that say how rows were found)."""
        order, words = names.images(listing.known_as, self.names, self.path)
        if self.class_names is not None:
            self._compare_classes(order, listing)
        split = self._words(self.split, order, index.PARTS, "split")
        folds = [self._words(fold, order, ("", *index.VALIDATION), "validation") for fold in self.folds]
        for fold in folds:
            self._need_part(fold, split == "trainval", order)
        unseen = [np.unique(listing.labels[fold == "val_unseen"]) for fold in folds]
        return Splits(split.astype("<U11"), unseen, [fold.astype("<U10") for fold in folds] or None), words

    def _compare_classes(self, order, listing):
        for row, label in zip(order, listing.labels, strict=True):
            ours, theirs = listing.class_names[label], self.class_names[row]
            if names.spelling(ours) != names.spelling(theirs):
                raise UserError(f"{self._place(row)}: is of class '{ours}', not '{theirs}'")

    def _need_part(self, fold, learnt, order):
        """Raise UserError where a validation part stands beside a test row, or none beside one of trainval."""
        if (wrong := np.flatnonzero((fold != "") != learnt)).size:
            row = order[wrong[0]]
            what = "has no part in validation" if learnt[wrong[0]] else "is for testing, so has no part in validation"
            raise UserError(f"{self._place(row)}: {what}")

    def of_classes(self, classes):
        """(C words, seen or unseen; for each stated fold, the ids of the seen classes that act as unseen; words)."""
        order, words = names.classes(classes, self.names, self.path)
        split = self._words(self.split, order, ("seen", "unseen"), "split")
        folds = []
        for fold in self.folds:
            part = self._words(fold, order, ("", "seen", "unseen"), "validation")
            self._need_part(part, split == "seen", order)
            folds.append(np.flatnonzero(part == "unseen"))
        if not (split == "unseen").any() or (split == "seen").sum() < 2:
            raise UserError(
                f"{self.path}: {int((split == 'unseen').sum())} of {len(classes)} classes are unseen; there should be"
                " at least one, and two seen"
            )
        return split, folds, words


def apart(proposed, labels, stated, seed):
    """The split of N images whose classes are stated: as proposed where a class stays seen, drawn where it becomes so.

    proposed: a `Splits`; stated: C words, seen or unseen. Of a class that was unseen, as large a share of the images is
    drawn for test_seen as the proposed split holds out of its seen classes.
    """
    seen = stated == "seen"
    split = np.where(seen[labels], proposed.split, "test_unseen").astype("<U11")
    held, learnt = (int((proposed.split == part).sum()) for part in ("test_seen", "trainval"))
    generator = np.random.default_rng([seed, 3])
    for label in np.unique(labels[split == "test_unseen"]):
        if seen[label]:
            rows = np.flatnonzero(labels == label)
            count = min(max(1, round(held / (held + learnt) * len(rows))), len(rows) - 1)
            split[rows] = "trainval"
            split[generator.permutation(rows)[:count]] = "test_seen"
    return split


def folds(labels, split, proposed, seed):
    """Validation folds where none is stated: the proposed ones where those classes are the seen ones, else drawn.

    Drawn are as many folds, of as large a share of the seen classes, as proposed; a class acts as unseen in one fold
    at most where there are enough. Returns (folds, words).
    """
    seen, before = np.unique(labels[split == "trainval"]), np.unique(labels[proposed.split == "trainval"])
    if np.array_equal(seen, before):
        return proposed.folds, "validation folds as proposed"
    drawn = np.random.default_rng([seed, 2]).permutation(seen)
    share = max(len(fold) for fold in proposed.folds) / len(before)
    count = min(max(1, round(share * len(seen))), len(seen) - 1)
    parts = [np.sort(np.roll(drawn, -i * count)[:count]) for i in range(len(proposed.folds))]
    return parts, f"{len(parts)} validation folds of {count} classes drawn, the seen classes are others than proposed"


def build(module, raw, config, path, own):
    """(`Index` of a data set, checked; how the split file was read, in words, or "").

    module, raw, config: as for `splits` of `pipeline.datasets.base`; path: the split file, or None for the proposed
    split; own: an `Own`. Raises UserError where the file does not fit, or anything leaks.
    """
    more = (own,) if hasattr(module, "OWN") else ()
    listing = module.listing(raw, *more)
    if path is None:
        return splits.build(listing, module.splits(raw, config, *more), config), ""
    stated = Stated(path)
    make = _by_class if stated.by_class else _by_image
    given, words = make(stated, listing, module, raw, config, more)
    try:
        return splits.build(listing, given, config), words
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _by_class(stated, listing, module, raw, config, own):
    split, unseen, words = stated.of_classes(listing.class_names)
    if own:
        proposed = module.splits(raw, config, dataclasses.replace(*own, stated=split.tolist()))
        return Splits(proposed.split, unseen or proposed.folds), words
    proposed = module.splits(raw, config)
    parts = apart(proposed, listing.labels, split, config.seed)
    if not unseen:
        unseen, how = folds(listing.labels, parts, proposed, config.seed)
        words = "; ".join(filter(None, (words, how)))
    return Splits(parts, unseen), words


def _by_image(stated, listing, module, raw, config, own):
    given, words = stated.of_images(listing)
    if own:
        module.check_copies(raw, listing, given.split)
    if given.validation is not None:
        return given, words
    if own:
        return Splits(given.split, module.folds(np.unique(listing.labels[given.split == "trainval"]), config)), words
    unseen, how = folds(listing.labels, given.split, module.splits(raw, config), config.seed)
    return Splits(given.split, unseen), f"{words}; {how}"
