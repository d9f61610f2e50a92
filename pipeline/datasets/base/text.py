"""Bytes of a text file that somebody made -> text, or what the file is instead."""

import io
import re
import unicodedata
import zipfile

from pipeline.common.errors import UserError

AS_CSV = "save the table as 'CSV UTF-8'"
# how files begin that are often given in place of a text
BEGINNINGS = {
    b"\xd0\xcf\x11\xe0": "an Excel file (.xls)",
    b"\x1f\x8b": "a file packed by gzip",
    b"%PDF": "a PDF",
    b"{\\rtf": "a text of a word processor (.rtf)",
    b"PAR1": "a Parquet file",
    b"SQLite format": "a database of SQLite",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
}
MARKUP = re.compile(rb"\s*<(!doctype|html|\?xml|table|svg)", re.IGNORECASE)
# the four-byte mark begins like the two-byte one, so it is looked for first
MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}
LINE_ENDS = re.compile(rb"\r\n|\r|\n")
# what no text holds, and the sign that programs put where they could not read a letter
STRANGE = re.compile("[\0-\x08\x0e-\x1f\x7f\ufffd]")
# blanks, and signs that take no room: spreadsheets and web pages leave both at the ends of cells
EDGES = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
SHOWN = 40


def plain(text):
    """Blanks at the ends removed and accents composed: some systems store an accented letter as two characters."""
    return unicodedata.normalize("NFC", text).strip(EDGES)


def short(text):
    """Text for a message: on one line, in quotes, cut where it is long."""
    text = " ".join(text[: 4 * SHOWN].split())
    return f"'{text}'" if len(text) <= SHOWN else f"'{text[:SHOWN]}...'"


def decoded(data, where, advice="save it as UTF-8"):
    """Text of bytes in UTF-8, or in what their first bytes say. Raises UserError with the line of what is no text."""
    if kind := _other_format(data):
        raise UserError(f"{where}: is {kind}, not a text; {advice}")
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8":
            before, bad = data[: error.start], data[error.start]
            line = len(LINE_ENDS.findall(before)) + 1
            raise UserError(f"{where}: line {line}: is not UTF-8 text (byte 0x{bad:02x}); {advice}") from None
        raise UserError(f"{where}: begins as {encoding.upper()} text and does not go on so; {advice}") from None
    # newline=None: a lone \r ends a line too, as in 'CSV (Macintosh)'
    text = io.StringIO(text, newline=None).read()
    if found := STRANGE.search(text):
        line, sign = text.count("\n", 0, found.start()) + 1, ord(found.group())
        what = "letters that an earlier conversion lost" if sign == 0xFFFD else f"the byte {sign}, which no text holds"
        raise UserError(f"{where}: line {line}: holds {what}; {advice}")
    return text


def _other_format(data):
    """What a file is that is no text, in words, as far as its beginning tells; None where it may be a text."""
    if data.startswith(b"PK\x03\x04"):
        return _zipped(data)
    if MARKUP.match(data[:200]):
        return "a web page or XML"
    return next((kind for beginning, kind in BEGINNINGS.items() if data.startswith(beginning)), None)


def _zipped(data):
    """Which of the formats that are zip files inside."""
    try:
        names = " ".join(zipfile.ZipFile(io.BytesIO(data)).namelist())
    except Exception:  # zipfile raises whatever a damaged file leads it to
        return "a damaged zip file or spreadsheet"
    if "xl/workbook" in names:
        return "an Excel file (.xlsx)"
    if "content.xml" in names:
        return "a spreadsheet of LibreOffice (.ods)"
    return "a spreadsheet of Numbers" if ".iwa" in names else "a zip file"
