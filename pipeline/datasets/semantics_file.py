"""Semantics that a user brings in a file: a vector a class, joined by the classes' names."""

import dataclasses
import re
from collections import Counter
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError, first_of
from pipeline.datasets.base import Own, Semantics, normalised
from pipeline.datasets.base.kinds import take
from pipeline.datasets.base.table import read_table
from pipeline.datasets.base.text import short
from pipeline.datasets.own import arrays, names

PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def chosen(module, raw, choice, path, share):
    """(`Semantics` that the params choose; words that say how the rows of a file were found, or "").

    module, raw, choice: as for `semantics` of `pipeline.datasets.base`; path: the semantics file, or None; share: None
    for the file alone, or its weight beside the choice. Raises UserError.
    """
    if path is None or share is not None:
        own = dataclasses.replace(module.semantics(raw, choice), source=choice)
        if path is None:
            return own, ""
    if hasattr(module, "OWN"):
        classes = module.class_names(raw, Own(classes=class_names(path)))
    else:
        classes = module.listing(raw).class_names
    added, words = build(path, classes)
    return (added if share is None else beside(own, added, share)), words


def class_names(path):
    """The classes that a semantics file names, or None. Raises UserError where it names one twice."""
    found = _read(path).names
    if double := [name for name, count in Counter(found or ()).items() if count > 1]:
        raise UserError(f"{path}: has class {first_of(double)} twice; it should be there once")
    return found


def build(path, classes):
    """(`Semantics` of a file, C x d_a with rows of length one; words that say how its rows were found).

    classes: C names. Without names in the file, its rows are taken as those classes in order. Raises UserError, naming
    the class, where one is missing, stands twice, or has a vector that is all zero or not finite.
    """
    found = _read(path).oriented(len(classes))
    if found.names is not None:
        order, words = names.classes(classes, found.names, found.where)
        words = f"rows found by the classes' names{f'; {words}' if words else ''}"
    elif len(found.values) != len(classes):
        raise UserError(f"{path}: has {len(found.values):,} rows; the data set has {len(classes):,} classes")
    else:
        order = np.arange(len(classes))
        words = "rows taken by position, the file names no classes"
    values = arrays.floats(found.values, order, np.float64)
    _check(path, classes, values)
    if alike := _alike(classes, values):
        words += f"; same vector, so never told apart if unseen: {alike}"
    return Semantics(normalised(values), classes, list(found.columns or ()), Path(path).name), words


def _check(path, classes, values):
    # of all of a row at once: squares of numbers that are finite may not be
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(values, axis=1)
    for name, row, length in zip(classes, values, lengths, strict=True):
        if not np.isfinite(row).all():
            raise UserError(f"{path}: class '{name}' has a value that is not finite; each should be a number")
        if not row.any():
            raise UserError(f"{path}: class '{name}' is all zero; it needs a value to be told from others")
        if not 0 < length < np.inf:
            raise UserError(f"{path}: class '{name}' has values out of all scale; bring them near to 1")


def _alike(classes, values):
    first = {}
    for name, row in zip(classes, values, strict=True):
        if (other := first.setdefault(row.tobytes(), name)) != name:
            return f"{other}, {name}"
    return ""


def beside(own, added, share):
    """Two `Semantics` of the same classes side by side: vectors whose products are (1 - share) and share of theirs."""
    rows = np.hstack([np.sqrt(1 - share) * own.attributes, np.sqrt(share) * added.attributes])
    columns = [*_titled(own), *_titled(added)] if own.attribute_names or added.attribute_names else []
    source = f"{own.source} ({1 - share:g}) beside {added.source} ({share:g})"
    return Semantics(normalised(rows), own.class_names, columns, source)


def _titled(part):
    return part.attribute_names or [f"{part.source} {i + 1}" for i in range(part.attributes.shape[1])]


def _read(path):
    if Path(path).suffix.lower() != ".csv":
        return arrays.read(path, arrays.SEMANTICS)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return _table(path, read_table(data, path))


def _table(path, sheet):
    """A CSV with the class first and a column a number, as `arrays.Rows`."""
    header = sheet.header
    if len(header) < 2 or not sheet.rows:
        raise UserError(f"{path}: should have a header, then a row a class: its name, and a number in each column")
    numbered = [int(name) if name.isdecimal() else None for name in header[1:]]
    if all(PLAIN.fullmatch(name) for name in header[1:]) and numbered not in (
        [*range(len(numbered))],
        [*range(1, len(numbered) + 1)],
    ):
        raise UserError(f"{path}: its first line holds numbers; it should be a header that names the columns")
    names = sheet.column(header[0])
    # counted columns have no name
    columns = None if None not in numbered else header[1:]
    return arrays.Rows(str(path), _numbers(sheet, names), False, names, None, None, columns)


def _numbers(sheet, names):
    """R x columns float64: what programs write at once, what people write for a number as in their own tables."""
    if all(PLAIN.fullmatch(cell) for row in sheet.rows for cell in row[1:]):
        return np.array([list(map(float, row[1:])) for row in sheet.rows])
    columns = take(sheet, names, sheet.header[1:], numbers_only=True)
    if units := {column.unit for column in columns} - {""}:
        raise UserError(
            f"{sheet.faults.where}: numbers in {short(min(units))}; vectors are numbers without a unit, on one scale"
        )
    return np.stack([column.values for column in columns], axis=1)
