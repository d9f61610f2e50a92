"""A user's table of classes: what its columns say of them, and the attributes that they become."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from pipeline.common.errors import UserError, first_of
from pipeline.datasets.base import Semantics, normalised
from pipeline.datasets.base.table import read_table

SPLIT = "split"
WORDS = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Table:
    """classes.csv: C names, C statements (seen, unseen or ""), the other columns and their C cells each."""

    where: str
    names: list[str]
    split: list[str]
    columns: dict[str, list[str]]


def read(data, where):
    """Read and check classes.csv. Raises UserError naming the line or column."""
    header, lines = read_table(data, where)
    if len(lines) < 2 or len(header) < 2:
        raise UserError(f"{where}: should have a header, at least two classes and at least one attribute")
    for number, cells in lines:
        if not cells[0] or cells[0] in (".", "..") or "/" in cells[0]:
            raise UserError(f"{where}: line {number}: '{cells[0]}' is no name of a class")
    columns = dict(zip(header, map(list, zip(*(cells for _, cells in lines), strict=True)), strict=True))
    names = columns.pop(header[0])
    if double := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{where}: class '{double[0]}' stands {names.count(double[0])} times; each should stand once")
    title = next((name for name in columns if name.lower() == SPLIT), None)
    stated = [cell.lower() for cell in columns.pop(title)] if title else [""] * len(names)
    if wrong := [cell for cell in stated if cell not in ("seen", "unseen", *([] if any(stated) else [""]))]:
        raise UserError(f"{where}: column {title}: '{wrong[0]}' should be seen or unseen, for every class")
    if not columns:
        raise UserError(f"{where}: has no attribute column")
    return Table(where, names, stated, columns)


def semantics(given):
    """C x d_a attributes, each from 0 to 1, then each row of length one. Raises UserError naming a bad cell."""
    names, columns = [], []
    for name, cells in given.columns.items():
        if len({cell if _number(cell) is None else _number(cell) for cell in cells}) == 1:
            print(f"{given.where}: '{name}' is the same for every class and is left out", flush=True)
            continue
        for title, values in _attribute(given, name, cells):
            names.append(title)
            columns.append(values)
    if not columns:
        raise UserError(f"{given.where}: no attribute differs between classes; there should be at least one that does")
    rows = np.stack(columns, axis=1)
    if empty := [name for name, row in zip(given.names, rows, strict=True) if not row.any()]:
        raise UserError(f"{given.where}: class {first_of(empty)} has none of the attributes; give it one that it has")
    if alike := [group for group in groups((row.tobytes() for row in rows), given.names) if len(group) > 1]:
        print(f"{given.where}: same attributes, so never told apart if unseen: {', '.join(alike[0])}", flush=True)
    return Semantics(normalised(rows), given.names, names)


def _attribute(given, name, cells):
    """(title, C values from 0 to 1) of each attribute that a column makes; see above."""
    values = [_number(cell) for cell in cells]
    if None not in values:
        values = np.array(values)
        if values.min() == 0:
            yield name, values / values.max()
        else:
            share = (values - values.min()) / (values.max() - values.min())
            yield f"{name}: large", share
            yield f"{name}: small", 1 - share
        return
    for row, cell in enumerate(cells):
        if not cell:
            raise UserError(f"{given.where}: class '{given.names[row]}' has no '{name}'; every cell needs a value")
    if any(value is not None for value in values):
        row = values.index(None)
        raise UserError(
            f"{given.where}: column '{name}' mixes numbers with words: '{cells[row]}' for '{given.names[row]}'"
        )
    for word in sorted(set(cells)):
        yield f"{name}: {word}", np.array([float(cell == word) for cell in cells])


def _number(cell):
    """A finite number, 1 for yes, 0 for no; None for anything else."""
    try:
        value = WORDS[cell.lower()] if cell.lower() in WORDS else float(cell)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def groups(keys, values):
    """Values with the same key together, in order of first appearance."""
    groups = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        groups[key].append(value)
    return list(groups.values())
