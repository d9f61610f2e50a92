"""A user's tables, as any spreadsheet saves them."""

import csv
import io
import re
import unicodedata
from collections import Counter

from pipeline.common.errors import UserError


def read_table(data, where):
    """Read a user's CSV, as any spreadsheet saves it: its header, and (line number, cells) of each further row.

    data: its bytes; where: what to call it in errors. The first column holds names; in the others `29,5` becomes 29.5
    where semicolons or tabs part the cells. Blank lines are left out. Raises UserError.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{where}: is not UTF-8 text; save it as 'CSV UTF-8'") from None
    # newline=None: csv by itself refuses a lone \r, which 'CSV (Macintosh)' ends its lines with
    file = io.StringIO(text, newline=None)
    delimiter = max(",;\t", key=file.readline().count)
    file.seek(0)
    lines = list(_lines(file, delimiter, where))
    header = lines[0][1] if lines else []
    if double := [name for name, count in Counter(header).items() if count > 1]:
        raise UserError(f"{where}: column '{double[0]}' stands twice")
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise UserError(f"{where}: line {number} has {len(cells)} cells; the header has {len(header)}")
        if delimiter != ",":
            cells[1:] = [re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", cell) for cell in cells[1:]]
    return header, lines[1:]


def _lines(file, delimiter, where):
    """(line number, cells) of each line of a CSV that is not blank."""
    reader, number = csv.reader(file, delimiter=delimiter), 0
    try:
        for cells in reader:
            number = reader.line_num
            if any(map(str.strip, cells)):
                yield number, [plain(cell) for cell in cells]
    except csv.Error as error:
        raise UserError(
            f'{where}: cannot be read from line {number + 1} on ({error}); a quote (") there should have its second one'
        ) from None


def plain(text):
    """Blanks at the ends removed and accents composed: some systems store an accented letter as two characters."""
    return unicodedata.normalize("NFC", text).strip()
