"""What a single cell of a user's table is: a number, yes or no, a word, missing; what may be two of these is refused.

Whether `1,200` is 1200 or 1.2 is not for one cell to say: a number is read under either decimal sign, and its column
and table choose (see `kinds`).
"""

import functools
import math
import re
import unicodedata
from dataclasses import dataclass

from pipeline.datasets.base import vocabulary
from pipeline.datasets.base.table import LONGEST

MISSING, NUMBER, FLAG, WORD, REFUSED = "missing", "a number", "yes or no", "a word", "refused"
PUNCTUATION_OF_NOTHING = re.compile(r"[-?._/#\u2010-\u2015\u2026\u2212]+")
SPREADSHEET_ERROR = re.compile(r"#\S{2,20}[!?]")

PLAIN = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
POINT_OR_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}")


def _any(entries):
    """A pattern for any of some words, the longest first."""
    return "|".join(sorted(map(re.escape, entries), key=len, reverse=True))


def _refusing(pattern):
    return re.compile(pattern, re.IGNORECASE)


MONTH = _any(vocabulary.MONTHS)
DATE = _refusing(
    rf"\d{{1,4}}[. /-]*(?:{MONTH})\b.*|(?:{MONTH})[. /-]*\d{{1,4}}|\d{{1,4}}([./-])\d{{1,2}}\1\d{{1,4}}\b.*"
)
RANGE = _refusing(
    rf"(?:between |from |zwischen |von |de )?[+-]?\d.*?(?:-+|\.\.+|…|±|\+/-|\b(?:{_any(vocabulary.BETWEEN)})\b)\s*\d.*"
)
FRACTION = _refusing(r"[+-]?\d+(?: \d+)?\s*[/:]\s*\d.*|[+-]?\d*\s*[¼-¾⅐-⅞].*")
BOUND = _refusing(rf"(?:[<>≤≥]|(?:{_any(vocabulary.LIMITS)})\b\.?).*\d.*|\d[\d.,]*\s*(?:\+|plus|or more|und mehr)")
ROUGHLY = _refusing(rf"(?:~|(?:{_any(vocabulary.ROUGH)})\b\.?).*\d.*")
INFINITE = re.compile(r"[+-]?(?:inf|infinity|∞)", re.IGNORECASE)
# hexadecimal and the like, and Fortran's exponents
PROGRAMS = re.compile(r"[+-]?(?:0[xob][0-9a-f]+|[0-9.]+d[+-]?[0-9]+)", re.IGNORECASE)
# words that begin with a digit: 3rd, 7-spotted
DIGIT_WORD = re.compile(r"\d+(?:st|nd|rd|th|er|ème)|\d+-[^\W\d_]{3,}(?:[ -][^\W\d_]+)*", re.IGNORECASE)
# the signs % and ° and letters, with exponents, parted by blanks or / · * - .
UNIT = re.compile(r"(?:[^\W\d_]|[%‰°'\"])(?:[^\W\d_]|[%‰°'\"²³ /·*.()-]|(?<=[^\W\d_])\^?-?[123](?!\d))*")
NO_UNITS = _refusing(rf"\b(?:{_any(vocabulary.AROUND_NUMBERS)})\b")
LONGEST_UNIT = 24


def _numbers(decimal, group):
    """The pattern of a number with its decimal sign and the sign between its thousands, blanks and ' besides."""
    thousands = "|".join(rf"[1-9]\d{{0,2}}(?:{sign}\d{{3}})+(?!\d)" for sign in (re.escape(group), " ", "'"))
    sign = re.escape(decimal)
    return re.compile(
        rf"[+-]?(?:(?:{thousands}|\d+)(?:{sign}\d*)?|{sign}\d+)(?:e[+-]?\d+)?(?![\d{re.escape(decimal + group)}_])",
        re.IGNORECASE | re.ASCII,
    )


PATTERNS = {".": _numbers(".", ","), ",": _numbers(",", ".")}


@dataclass(frozen=True)
class Cell:
    """A cell's text and its kind.

    value: of a FLAG, True or False; of a NUMBER, {decimal sign: (float, unit)} for each sign under which it is one
    fault: of what is MISSING or REFUSED, why it cannot be taken, in words
    """

    text: str
    kind: str
    value: object = None
    fault: str = ""


@functools.lru_cache(maxsize=20_000)
def read(text):
    """The `Cell` of a text whose ends are clean (see `text.plain`)."""
    # what most cells are, found without the many patterns below
    if (match := PLAIN.fullmatch(text)) and not POINT_OR_THOUSANDS.fullmatch(text):
        return _number(text, dict.fromkeys("." if match.group(1) else ".,", (text, "")))
    if len(text) > LONGEST:
        return Cell(text, REFUSED, fault=f"has {len(text):,} characters; it should be a number, yes or no, or a word")
    text = _unquoted(" ".join(text.split()))
    folded = text.casefold()
    if folded in vocabulary.NONE:
        return Cell(text, MISSING, fault="may be missing or say that the class has none; if none, write 0 or absent")
    number = text.translate(vocabulary.SAME).strip()
    if not number or _is_nothing(folded):
        return Cell(text, MISSING, fault="is missing; every cell needs a value")
    if folded in vocabulary.YES or folded in vocabulary.NO:
        return Cell(text, FLAG, folded in vocabulary.YES)
    if not any(pattern.fullmatch(number) for pattern in (DATE, PROGRAMS, DIGIT_WORD)) and (
        found := {sign: parts for sign in PATTERNS if (parts := _parsed(number, sign))}
    ):
        return _number(text, found)
    return _word(text, number)


def _unquoted(text):
    """Text without a pair of quotes around all of it."""
    inside = text[1:-1].strip()
    return inside if inside and vocabulary.QUOTES.get(text[0]) == text[-1] else text


def _is_nothing(folded):
    return (
        folded in vocabulary.NOTHING
        or bool(PUNCTUATION_OF_NOTHING.fullmatch(folded))
        or bool(SPREADSHEET_ERROR.fullmatch(folded))
    )


def _parsed(text, decimal):
    """(digits as float reads them, unit) of a number with this decimal sign, or None."""
    prefix = text[0] if unicodedata.category(text[0]) == "Sc" else ""
    body = text[len(prefix) :].lstrip()
    match = PATTERNS[decimal].match(body)
    if not match:
        return None
    unit = unicodedata.normalize("NFKC", body[match.end() :].strip())
    if unit and not (len(unit) <= LONGEST_UNIT and (UNIT.fullmatch(unit) or _is_currency(unit))):
        return None
    if NO_UNITS.search(unit) or (prefix and unit):
        return None
    digits = re.sub(r"[ ']", "", match.group()).replace("." if decimal == "," else ",", "")
    return digits.replace(decimal, "."), prefix or unit


def _is_currency(unit):
    return len(unit) == 1 and unicodedata.category(unit) == "Sc"


def _number(text, found):
    """The `Cell` of a number, given its digits and unit under each decimal sign."""
    value = {}
    for sign, (digits, unit) in found.items():
        # -0 is 0
        number = float(digits) + 0.0
        if math.isinf(number) or (number == 0 and re.search("[1-9]", re.split("[eE]", digits)[0])):
            return Cell(text, REFUSED, fault="is beyond the numbers that a computer calculates with")
        value[sign] = (number, unit)
    return Cell(text, NUMBER, value)


def _word(text, number):
    """The `Cell` of what is no number: a word, or refused where it looks like a number or holds no letter."""
    reasons = {
        INFINITE: "is no finite number",
        DATE: "looks like a date, which spreadsheets make of 1-2; write the number or word that it was",
        FRACTION: "is a fraction, a ratio, a time or a date; write one number, 0.5 for a half",
        ROUGHLY: "is a number said roughly; write it alone",
        BOUND: "is a bound; write one number",
        RANGE: "is a range; write one number, as its middle",
    }
    if fault := next((words for pattern, words in reasons.items() if pattern.fullmatch(number)), None):
        return Cell(text, REFUSED, fault=fault)
    if DIGIT_WORD.fullmatch(number):
        return Cell(text, WORD)
    first = re.search(r"\w", number)
    if first and first.group().isnumeric() and unicodedata.category(first.group()) != "Lo":
        return Cell(
            text, REFUSED, fault="is no single number; write one as 1200 or 0.5, or a word that begins with a letter"
        )
    if not any(unicodedata.category(sign)[0] == "L" or unicodedata.category(sign) == "So" for sign in text):
        return Cell(
            text, REFUSED, fault="is neither a number, yes or no, nor a word; write yes or no where it is a mark"
        )
    return Cell(text, WORD)
