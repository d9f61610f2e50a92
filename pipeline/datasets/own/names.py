"""Whose row is whose: the names in a user's file joined to those of a data set."""

import difflib
import re
import unicodedata
from collections import Counter, defaultdict

import numpy as np

from pipeline.common.errors import UserError, first_of
from pipeline.datasets.base.table import plain


def images(ours, theirs, where):
    """(N rows of the file, one for each image; words that say how they were found).

    ours: N paths of the data set's images; theirs: M names in the file. Names are equal where one path ends as the
    other; of the ways to compare ends, the longest under which most are found is taken. Raises UserError, naming an
    image that the file lacks or has twice.
    """
    ours, theirs = [_parts(name) for name in ours], [_parts(name) for name in theirs]
    if len(ours) == len(theirs) and all(map(_agree, ours, theirs)):
        if len(set(theirs)) == len(theirs):
            return np.arange(len(ours)), "its names are those of the images, in the same order"
        return np.arange(len(ours)), "rows taken by position; its names agree, but several rows share one"
    if not all(ours):
        raise UserError(f"{where}: its names cannot be compared, the images' own are not known; leave them out")
    if double := [name for name, count in Counter(ours).items() if count > 1]:
        # objects cut out of photographs: their folders may be called otherwise, their order alone says which is which
        if [name[-1] for name in ours] == [(name or ("",))[-1] for name in theirs]:
            return np.arange(len(ours)), "its file names are those of the images, in the same order"
        raise UserError(
            f"{where}: rows cannot be found by name, for several are of {_said(double[0])}; give them in the published"
            " order"
        )
    ways = [(depth, ends) for ends in (True, False) for depth in range(max(map(len, ours)), 0, -1)]
    found, depth, ends = 0, 0, True
    for way in ways:
        keys = {_tail(name, *way) for name in ours}
        count = len(keys & {_tail(name, *way) for name in theirs}) if len(keys) == len(ours) else 0
        if count > found:
            found, depth, ends = count, *way
    if not found:
        raise UserError(
            f"{where}: none of its {len(theirs):,} names is that of an image; it has {_said(theirs[0])} where"
            f" {_said(ours[0])} is expected"
        )
    rows = defaultdict(list)
    for row, name in enumerate(theirs):
        rows[_tail(name, depth, ends)].append(row)
    keys = [_tail(name, depth, ends) for name in ours]
    if missing := [name for name, key in zip(ours, keys, strict=True) if key not in rows]:
        raise UserError(f"{where}: lacks {len(missing):,} of {len(ours):,} images, {_said(missing[0])} first")
    if double := next((name for name, key in zip(ours, keys, strict=True) if len(rows[key]) > 1), None):
        first, second, *_ = rows[_tail(double, depth, ends)]
        raise UserError(f"{where}: has {_said(double)} twice, in rows {first} and {second}; it should be there once")
    by = "file name" if depth == 1 else f"the last {depth} parts of the path"
    words = f"rows found by {by}{'' if ends else ' without its ending'}"
    if more := len(theirs) - len(ours):
        words += f"; {more:,} more rows are of no image here and are left out"
    return np.array([rows[key][0] for key in keys]), words


def _parts(name):
    return tuple(part for part in plain(name).replace("\\", "/").split("/") if part not in ("", "."))


def _agree(left, right):
    shorter = min(len(left), len(right))
    return shorter > 0 and left[-shorter:] == right[-shorter:]


def _tail(name, depth, ends):
    *folders, last = name[-depth:] or ("",)
    return (*folders, last if ends else last.rpartition(".")[0] or last)


def _said(name):
    return f"'{'/'.join(name)}'"


def classes(ours, theirs, where):
    """(C rows of the file, one for each class; words that say of other spellings and what is left out).

    Names are equal as they are, or where they differ in case, accents, blanks and signs, or a number before them
    alone ("Laysan Albatross", "002.Laysan_Albatross"). Raises UserError, naming a class that is missing, with the
    nearest name there is, or that stands twice.
    """
    theirs = [plain(name) for name in theirs]
    exact, loose = defaultdict(list), defaultdict(list)
    for row, name in enumerate(theirs):
        exact[name].append(row)
        loose[spelling(name)].append(row)
    alike = Counter(map(spelling, ours))
    chosen, respelt, missing = [], [], []
    for name in ours:
        # two classes that differ in signs alone are told apart by them
        rows = loose.get(spelling(name), []) if alike[spelling(name)] == 1 else exact.get(plain(name), [])
        if len(rows) > 1:
            spelt = " and ".join(f"'{theirs[row]}' (row {row + 1})" for row in rows[:2])
            raise UserError(f"{where}: has class '{name}' twice: {spelt}; it should be there once")
        if not rows:
            missing.append(name)
            continue
        chosen.append(rows[0])
        if theirs[rows[0]] != plain(name):
            respelt.append(f"'{theirs[rows[0]]}' for '{name}'")
    if missing:
        close = difflib.get_close_matches(min(missing), theirs, n=1, cutoff=0.5)
        raise UserError(
            f"{where}: lacks the class {first_of(missing)}{f'; the nearest it has is {close[0]!r}' if close else ''};"
            f" it should have all {len(ours):,}"
        )
    words = [f"{len(respelt):,} classes are spelt otherwise, such as {respelt[0]}"] if respelt else []
    if more := len(theirs) - len(ours):
        words.append(f"{more:,} more rows are of no class here and are left out")
    return np.array(chosen), "; ".join(words)


def spelling(name):
    """A name without what people spell differently; numbers as numbers, "007" as "7"."""
    text = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).casefold()
    text = re.sub(r"^\s*\d+\s*[._ -]\s*(?=.*[^\W\d])", "", text)
    return re.sub(r"\d+", lambda digits: digits[0].lstrip("0") or "0", re.sub(r"[\W_]+", " ", text)).replace(" ", "")
