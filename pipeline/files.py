"""Writing files so that none is ever found half-written; reading what the stages hand on, and a user's tables."""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np

from pipeline.errors import UserError


@contextlib.contextmanager
def replacing(path, mode="wb"):
    """Open a temporary file beside `path`; it takes the name `path` only if the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with os.fdopen(descriptor, mode, **text) as file:
            yield file
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def digest(path, algorithm="sha256", progress=None):
    """Hex digest of a file, read in blocks; `progress` is called with each block's length in bytes."""
    state = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
            if progress:
                progress(len(block))
    return state.hexdigest()


def write_json(path, value):
    """Write `value` as indented JSON with a final newline."""
    with replacing(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path):
    """Read a JSON file this pipeline wrote."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); run the stage that makes it again") from None


def write_csv(path, rows, columns=()):
    """Write dictionaries with the same keys as a CSV with a header; `columns` names them where there may be no row."""
    rows = list(rows)
    with replacing(path, "w") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path):
    """Read a CSV of the pipeline's own, with a header, as a list of dictionaries of strings."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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


def write_npz(path, **arrays):
    """Write named arrays as one .npz."""
    with replacing(path) as file:
        np.savez(file, **arrays)


def read_npz(path):
    """Read all arrays of an .npz; nothing in it is unpickled."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def write_npy(path, array):
    """Write one array as .npy."""
    with replacing(path) as file:
        np.save(file, array)
