"""What a column of a user's table is: numbers in one unit, yes or no, or words; a mixture is refused by its cells."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace

from pipeline.datasets.base import cells
from pipeline.datasets.base.cells import FLAG, MISSING, NUMBER, REFUSED, WORD
from pipeline.datasets.base.table import alike, loose
from pipeline.datasets.base.text import short
from pipeline.datasets.base.vocabulary import CODES, MARKS, UNSURE, YES, YES_AND_NO

PLURAL = {NUMBER: "numbers", FLAG: "yes or no", WORD: "words"}


@dataclass(frozen=True)
class Column:
    """A column whose cells are of one kind.

    title: its own; kind: NUMBER, FLAG or WORD; values: R floats, bools or strings; unit: of the numbers, "" without one
    """

    title: str
    kind: str
    values: list
    unit: str = ""


def take(sheet, names, titles, numbers_only=False):
    """The `Column` below each title of a `Sheet`. names: R, what its rows are called in messages.

    Raises UserError with the cells that are missing, of two meanings, or of another kind than the rest of their column;
    with numbers_only also with those that are no numbers.
    """
    taken = {}
    for title in titles:
        reader = _Reader(sheet, names, title, [cells.read(cell) for cell in sheet.column(title)])
        taken[title] = reader, reader.kind(numbers_only)
    signs = {sign for reader, kind in taken.values() if kind == NUMBER for sign in reader.signs()}
    if sheet.delimiter == ",":
        # whoever parts cells by commas writes 0.5, unless the table shows otherwise
        signs.add(".")
    columns = [reader.column(kind, signs) for reader, kind in taken.values() if kind]
    sheet.faults.tell()
    return columns


class _Reader:
    """One column on its way to be a `Column`; whatever is wrong goes to the sheet's faults."""

    def __init__(self, sheet, names, title, column):
        self.sheet, self.names, self.title, self.cells = sheet, names, title, column

    def fault(self, row, words):
        self.sheet.faults.add(self.sheet.lines[row], words, self.title, self.names[row])

    def kind(self, numbers_only):
        """NUMBER, FLAG or WORD; None where a cell is at fault."""
        self._read_letters()
        wrong = [row for row, cell in enumerate(self.cells) if cell.kind in (MISSING, REFUSED)]
        for row in wrong:
            self.fault(row, f"{short(self.cells[row].text)} {self._advice(self.cells[row])}")
        if wrong:
            return None
        counts = Counter(cell.kind for cell in self.cells)
        most = NUMBER if numbers_only else max((NUMBER, FLAG, WORD), key=lambda kind: counts[kind])
        others = [row for row, cell in enumerate(self.cells) if cell.kind != most]
        hint = "should be a number" if numbers_only else f"most of the column is {PLURAL[most]}; write one kind"
        if most == FLAG:
            hint += ", or numbers from 0 to 1 for degrees"
        for row in others:
            cell = self.cells[row]
            self.fault(
                row, f"{short(cell.text)} {hint}" if numbers_only else f"{short(cell.text)} is {cell.kind}; {hint}"
            )
        return None if others else most

    def _read_letters(self):
        """Settle what single letters and signs mean where the whole column tells, or refuse them."""
        found = {cell.text.casefold() for cell in self.cells}
        if found in YES_AND_NO:
            self.cells = [replace(cell, kind=FLAG, value=cell.text.casefold() != "n") for cell in self.cells]
        elif found in UNSURE:
            fault = "may mean yes or no; write yes and no"
            self.cells = [replace(cell, kind=REFUSED, fault=fault) for cell in self.cells]

    def _advice(self, cell):
        """What is wrong with a cell; where the column holds one mark besides gaps, what to write instead of both."""
        marks = {other.text.casefold() for other in self.cells if other.kind != MISSING}
        if cell.kind == MISSING and len(marks) == 1 and marks <= MARKS | YES:
            mark = next(other.text for other in self.cells if other.kind != MISSING)
            return f"is missing; if it means no, write no here and yes for {short(mark)}"
        return cell.fault

    def signs(self):
        """The decimal signs that the column shows beyond doubt."""
        return {sign for cell in self.cells if len(cell.value) == 1 for sign in cell.value}

    def column(self, kind, signs):
        """The `Column`. signs: decimal signs that the table shows."""
        if kind == NUMBER:
            return self._numbers(self.signs() or signs)
        if kind == WORD:
            self._check_spelling()
            return Column(self.title, kind, [cell.text for cell in self.cells])
        return Column(self.title, kind, [cell.value for cell in self.cells])

    def _numbers(self, signs):
        found = []
        for row, cell in enumerate(self.cells):
            choices = set(cell.value.values())
            if len(choices) > 1 and len(signs) == 1:
                choices = {cell.value[sign] for sign in signs}
            if len(choices) > 1:
                first, second = (figure(number) for number, _ in cell.value.values())
                self.fault(row, f"{short(cell.text)} may be {first} or {second}; write it without a sign for thousands")
            found.append(min(choices))
        self._check_codes([number for number, _ in found])
        self._check_span([number for number, _ in found])
        return Column(self.title, NUMBER, [number for number, _ in found], self._unit([unit for _, unit in found]))

    def _unit(self, units):
        """The one unit of the column; a plural s makes no other."""
        same = [unit.removesuffix("s") if len(unit) > 3 else unit for unit in units]
        most = Counter(same).most_common(1)[0][0]
        for row, unit in enumerate(same):
            if unit != most:
                own = f"is in {short(units[row])}" if unit else "has no unit"
                other = f"in {short(units[same.index(most)])}" if most else "without a unit"
                self.fault(row, f"{short(self.cells[row].text)} {own}, most of the column {other}; write one unit")
        return units[same.index(most)]

    def _check_codes(self, numbers):
        below = {number for number in numbers if number < 0}
        if len(below) == 1 and below <= CODES and len(set(numbers)) > 1:
            for row, number in enumerate(numbers):
                if number in below:
                    self.fault(
                        row, f"{short(self.cells[row].text)} looks like a code for a missing value; write a value"
                    )

    def _check_span(self, numbers):
        if max(numbers) - min(numbers) == float("inf"):
            row = numbers.index(max(numbers))
            self.fault(row, f"{short(self.cells[row].text)} is too far from the least of the column to calculate with")

    def _check_spelling(self):
        """Words that differ in capitals, accents or blanks alone are mostly one word, and would become two traits."""
        words = [cell.text for cell in self.cells]
        counts = Counter(words)
        for pair in alike(words, lambda word: loose(_bare(word))):
            # by the rarer spelling; of two as rare, the later
            common, rare = sorted(pair, key=lambda word: -counts[word])
            for row, word in enumerate(words):
                if word == rare:
                    line = self.sheet.lines[words.index(common)]
                    other = f"{short(common)} in line {line}"
                    self.fault(row, f"{short(word)} and {other} differ in capitals, accents or blanks alone; write one")


def _bare(word):
    """A word without the accents of Latin and Greek letters; in other scripts such signs make other letters."""
    return re.sub("(?<=[\0-\u03ff])[\u0300-\u036f]+", "", unicodedata.normalize("NFKD", word))


def figure(number):
    """A number for people: 1200, 0.25, 1e+20."""
    return f"{number:.0f}" if number == round(number) and abs(number) < 1e15 else f"{number:.6g}"
