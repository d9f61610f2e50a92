"""A user's table of classes: what its columns say of them, and the attributes that they become."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from pipeline.common.errors import UserError, first_of
from pipeline.datasets.base import Semantics, normalised
from pipeline.datasets.base.cells import FLAG, NUMBER
from pipeline.datasets.base.kinds import figure, take
from pipeline.datasets.base.table import Sheet, alike, loose, read_table
from pipeline.datasets.base.text import short

SPLIT = "split"
# attributes named in the line that says how a column was taken
NAMED = 6


@dataclass(frozen=True)
class Table:
    """classes.csv: C names, C statements (seen, unseen or ""), the titles of the other columns, and the sheet.

    Without a table, the classes of a file of semantics: no titles, no sheet.
    """

    where: str
    names: list[str]
    split: list[str]
    titles: list[str] = field(default_factory=list)
    sheet: Sheet | None = None


def read(data, where, listed=None):
    """Read and check classes.csv. Raises UserError naming the line or column. listed: see `table.Faults`."""
    sheet = read_table(data, where, listed)
    if len(sheet.rows) < 2:
        raise UserError(
            f"{where}: should have a header, at least two classes and at least one attribute, parted by commas, "
            "semicolons or tabs"
        )
    names = sheet.column(sheet.header[0])
    _check_names(sheet, names, where)
    title = next((title for title in sheet.header[1:] if title.casefold() == SPLIT), None)
    split = _split(sheet, names, title) if title else [""] * len(names)
    titles = [other for other in sheet.header[1:] if other != title]
    return Table(where, names, split, titles, sheet)


def _check_names(sheet, names, where):
    """Raise UserError unless each row has a class's name of its own."""
    if not sheet.header[0] and names in ([str(i + start) for i in range(len(names))] for start in (0, 1)):
        raise UserError(
            f"{where}: its first column numbers the rows; it should hold the class, as its folder is called"
        )
    first = {}
    for line, name in zip(sheet.lines, names, strict=True):
        if not name or name in (".", "..") or "/" in name or "\n" in name:
            sheet.faults.add(line, f"{short(name)} is no name of a class")
        elif (before := first.setdefault(name, line)) != line:
            sheet.faults.add(line, f"class {short(name)} stands in line {before} too; each should stand once")
    for before, name in alike(names, loose):
        sheet.faults.add(first[name], f"classes {short(before)} and {short(name)} differ in capitals or blanks alone")
    sheet.faults.tell()


def _split(sheet, names, title):
    """What the column `split` says of each class; nothing at all if it is empty."""
    stated = [cell.casefold() for cell in sheet.column(title)]
    if any(stated):
        for line, name, cell in zip(sheet.lines, names, stated, strict=True):
            if cell not in ("seen", "unseen"):
                sheet.faults.add(line, f"{short(cell)} should be seen or unseen, for every class", title, name)
    sheet.faults.tell()
    return stated


def semantics(given, tell=lambda line: None):
    """C x d_a attributes, each from 0 to 1, then each row of length one, and how each column was taken.

    tell: called with lines for people. Raises UserError naming the bad cells.
    """
    if not given.titles:
        raise UserError(
            f"{given.where}: has no attribute column; give it one, or folder.files.semantics a file; cells are parted "
            "by commas, semicolons or tabs"
        )
    names, values, taken = [], [], []
    for column in take(given.sheet, given.names, given.titles):
        made = [] if len(set(column.values)) == 1 else list(_attributes(column))
        names += [name for name, _ in made]
        values += [rows for _, rows in made]
        taken.append({"column": column.title, "taken": _how(column), "attributes": _named([name for name, _ in made])})
        tell(f"{column.title}: {taken[-1]['taken']} -> {taken[-1]['attributes'] or 'left out'}")
    if not names:
        raise UserError(f"{given.where}: no attribute differs between classes; there should be at least one that does")
    if double := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{given.where}: two columns make the attribute {short(double[0])}; rename one of them")
    rows = np.stack(values, axis=1)
    if empty := [name for name, row in zip(given.names, rows, strict=True) if not row.any()]:
        raise UserError(f"{given.where}: class {first_of(empty)} has none of the attributes; give it one that it has")
    if same := [group for group in groups((row.tobytes() for row in rows), given.names) if len(group) > 1]:
        tell(f"{given.where}: same attributes, so never told apart if unseen: {', '.join(same[0])}")
    return Semantics(normalised(rows), given.names, names, taken=taken)


def _attributes(column):
    """(title, C values from 0 to 1) of each attribute that a column makes; `folder` says how and why."""
    title, values = column.title, column.values
    if column.kind == FLAG:
        yield title, np.array(values, dtype=np.float64)
    elif column.kind == NUMBER:
        values = np.array(values)
        if values.min() == 0:
            yield title, values / values.max()
        else:
            share = (values - values.min()) / (values.max() - values.min())
            yield f"{title}: large", share
            yield f"{title}: small", 1 - share
    else:
        for word in sorted(set(values)):
            yield f"{title}: {word}", np.array([float(value == word) for value in values])


def _how(column):
    """How a column was taken, in words."""
    values = column.values
    if len(set(values)) == 1:
        value = {True: "yes", False: "no"}.get(values[0], values[0]) if column.kind == FLAG else values[0]
        return f"{figure(value) if column.kind == NUMBER else value} for every class"
    if column.kind == FLAG:
        return f"yes or no, {sum(values)} of {len(values)} yes"
    if column.kind == NUMBER:
        name = "a measurement" if min(values) else "how strongly"
        return f"{name}{f' in {column.unit}' if column.unit else ''}, {figure(min(values))} to {figure(max(values))}"
    counts = Counter(values)
    alone = sum(count == 1 for count in counts.values())
    return f"words, {len(counts)} kinds{f', {alone} of one class alone' if alone else ''}"


def _named(names):
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def groups(keys, values):
    """Values with the same key together, in order of first appearance."""
    found = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        found[key].append(value)
    return list(found.values())
