"""A user's tables, as any spreadsheet saves them: bytes -> titles, and rows of cells that know their line."""

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.datasets.base.text import AS_CSV, decoded, plain, short

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Excel's own first line; the sign may be any that is no letter
STATED = re.compile(r'"?sep=(\\t|[^\w"\s]|\t)"?[,;\t ]*\n', re.IGNORECASE)
# no name of a column and no trait is longer; a file's name cannot be
LONGEST = 200
TOLD = 3


@dataclass
class Faults:
    """What is wrong with single cells, gathered so that a user hears of all at once.

    where: what to call the table; listed: a file for all of them where they are more than a message holds
    """

    where: str
    listed: Path | None = None
    found: list[dict] = field(default_factory=list)

    def add(self, line, words, column="", row=""):
        """line: counted from one; column, row: the title and the name there, as far as known; words: what is wrong."""
        self.found.append({"line": line, "row": row, "column": column, "fault": words})

    def tell(self):
        """Raise a UserError of one line if there are any."""
        many = len(self.found) > TOLD
        if self.listed and not many:
            self.listed.unlink(missing_ok=True)
        if not self.found:
            return
        # a stable sort: faults of one line stay in the order of the columns
        self.found.sort(key=lambda fault: fault["line"])
        text = "; ".join(map(_sentence, self.found[:TOLD]))
        if many:
            text += f"; and {len(self.found) - TOLD:,} more"
            if self.listed:
                files.write_csv(self.listed, self.found)
                text += f", all in {self.listed}"
        raise UserError(f"{self.where}: {text}")


def _sentence(fault):
    row = f" ({short(fault['row'])})" if fault["row"] else ""
    column = f", column {short(fault['column'])}" if fault["column"] else ""
    return f"line {fault['line']}{row}{column}: {fault['fault']}"


@dataclass(frozen=True)
class Sheet:
    """A table as read: M titles, R rows of M cells, and the line in which each row begins.

    delimiter: what parted its cells; faults: where what is wrong with a cell goes
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str
    faults: Faults

    def column(self, title):
        """The R cells below a title."""
        place = self.header.index(title)
        return [row[place] for row in self.rows]


def read_table(data, where, listed=None):
    """Read a user's CSV, as any spreadsheet saves it, into a `Sheet`.

    data: its bytes; where: what to call it in errors; listed: see `Faults`. Cells are parted by commas, semicolons or
    tabs, or by what a first line `sep=;` says. Blank lines, and columns without title and cells, do not count.
    Raises UserError.
    """
    text = decoded(data, where, AS_CSV)
    delimiter, records = _records(text, where)
    records = [(line, list(map(plain, cells))) for line, cells in records if any(map(plain, cells))]
    faults = Faults(where, listed)
    if not records:
        return Sheet([], [], [], delimiter, faults)
    header = [" ".join(title.split()) for title in _trimmed(records[0][1])]
    rows = [_row(header, line, cells, faults) for line, cells in records[1:]]
    faults.tell()
    # a column in the midst that holds nothing at all
    kept = [i for i, title in enumerate(header) if title or i == 0 or any(row[i] for row in rows)]
    header, rows = [header[i] for i in kept], [[row[i] for i in kept] for row in rows]
    _check_titles(header, where)
    return Sheet(header, rows, [line for line, _ in records[1:]], delimiter, faults)


def _records(text, where):
    """The delimiter, and (line, cells) of each record."""
    if stated := STATED.match(text):
        delimiter = stated.group(1).replace("\\t", "\t")
        records, fault = _parsed(text[stated.end() :], delimiter, 1)
    else:
        widths = {delimiter: _width(text, delimiter) for delimiter in DELIMITERS}
        # where no sign parts the first line, the table has one column, whatever else is in it
        possible = [delimiter for delimiter, width in widths.items() if width > 1] or [","]
        tried = {delimiter: _parsed(text, delimiter, 0) for delimiter in possible}
        delimiter = _delimiter(tried, widths, where)
        records, fault = tried[delimiter]
    if fault:
        raise UserError(f"{where}: {fault}")
    return delimiter, records


def _parsed(text, delimiter, skipped):
    """(line, cells) of each record, and why reading ended early, or None. Lines are counted from one."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    records, line = [], 1 + skipped
    try:
        for cells in reader:
            records.append((line, cells))
            line = 1 + skipped + reader.line_num
    except csv.Error as error:
        words = f'cannot be read from line {line} on ({error}); a quote (") there should have its second one'
        if "field limit" in str(error):
            words += f", and no cell more than {csv.field_size_limit():,} characters"
        return records, words
    return records, None


def _width(text, delimiter):
    """How many cells the header has with a delimiter; a header that cannot be read counts as wide as its first line."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        return len(next((filled for cells in reader if (filled := _trimmed(cells))), []))
    except csv.Error:
        return 1 + text.partition("\n")[0].count(delimiter)


def _delimiter(tried, widths, where):
    """The delimiter by which all rows have as many cells as the header; of several, the one that parts it most."""
    fitting = [
        delimiter
        for delimiter, (records, fault) in tried.items()
        if not fault and all(_fits(widths[delimiter], cells) for _, cells in records)
    ] or list(tried)
    most = max(widths[delimiter] for delimiter in fitting)
    best = [delimiter for delimiter in fitting if widths[delimiter] == most]
    if len(best) > 1:
        words = " or by ".join(DELIMITERS[delimiter] for delimiter in best)
        raise UserError(f"{where}: its cells may be parted by {words}; say by which in a line before the header, sep=;")
    return best[0]


def _fits(width, cells):
    return not any(map(plain, cells)) or len(_trimmed(cells)) <= width <= len(cells)


def _trimmed(cells):
    """Cells without the empty ones at the end."""
    cells = list(map(plain, cells))
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _row(header, line, cells, faults):
    """As many cells as the header has, or a fault."""
    filled = _trimmed(cells)
    if len(filled) > len(header) or len(cells) < len(header):
        count = len(filled) if len(filled) > len(header) else len(cells)
        faults.add(line, f"has {count} cells; the header has {len(header)}")
        return [""] * len(header)
    for place, (title, cell) in enumerate(zip(header, cells, strict=False)):
        if place and cell and not title:
            faults.add(line, f"{short(cell)} stands in column {place + 1}, which has no title")
    return cells[: len(header)]


def _check_titles(header, where):
    """Raise UserError where a title is too long, or stands twice: capitals tell no columns apart."""
    if long := [title for title in header if len(title) > LONGEST]:
        raise UserError(f"{where}: a column's title has {len(long[0]):,} characters, {short(long[0])}; shorten it")
    if double := [title for title, count in Counter(header).items() if count > 1]:
        raise UserError(f"{where}: column {short(double[0])} stands twice")
    if pair := alike(header, str.casefold):
        first, second = map(short, pair[0])
        raise UserError(f"{where}: columns {first} and {second} differ in capitals alone; give one another title")


def alike(names, key):
    """(first, other) for each of the different names that a key does not tell apart from an earlier one."""
    first = {}
    return [(other, name) for name in dict.fromkeys(names) if (other := first.setdefault(key(name), name)) != name]


def loose(name):
    """A name without its capitals, and with one blank for what people use in its place between words."""
    return re.sub(r"(?<=\w)[\s_-]+(?=[^\W_])", " ", name).casefold()


def nearest(name, names):
    """The one of some names that a mistyped one was probably meant to be, or None."""
    by_key = {loose(other): other for other in names}
    close = get_close_matches(loose(name), by_key, n=1, cutoff=0.75)
    return by_key[close[0]] if close else None
