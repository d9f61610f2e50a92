"""The text lists that data sets are published with: one reader of lines and columns, which says where one is wrong."""

import math
import re
from dataclasses import dataclass

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.base.text import decoded, short

# as C prints numbers; Python reads more than that, such as 1_000 and nan
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
AGAIN = "take the file as published"


@dataclass(frozen=True)
class Line:
    """A line with something in it: where it stands, for messages, and its fields, parted by blanks."""

    where: str
    fields: list[str]

    def wrong(self, words):
        """A UserError that says where."""
        return UserError(f"{self.where}: {words}; {AGAIN}")

    def number(self, place):
        """A field as a finite float."""
        value = float(self.fields[place]) if NUMBER.fullmatch(self.fields[place]) else math.nan
        if not math.isfinite(value):
            raise self.wrong(f"{short(self.fields[place])} should be a number")
        return value


def lines(data, where, count=None, rest=False):
    """The `Line` of each line that is not blank.

    data: the bytes of a list; where: its file; count: how many fields each should have; rest: the last field holds all
    that is left, with its blanks. Raises UserError with the line's number.
    """
    found = []
    for number, text in enumerate(decoded(data, where, AGAIN).split("\n"), start=1):
        fields = text.split(maxsplit=count - 1) if rest else text.split()
        if not fields:
            continue
        line = Line(f"{where}: line {number}", [field.strip() for field in fields])
        if count is not None and len(fields) != count:
            raise line.wrong(f"has {len(fields)} fields; it should have {count}")
        found.append(line)
    if not found:
        raise UserError(f"{where}: is empty; {AGAIN}")
    return found


def names(data, where):
    """(Line, name) of each line of a list of names, each once."""
    found, seen = lines(data, where, 1), {}
    for line in found:
        name = line.fields[0]
        if name in seen:
            raise line.wrong(f"{short(name)} stands in {seen[name]} too")
        seen[name] = line.where.rpartition(": ")[2]
    return [(line, line.fields[0]) for line in found]


def keyed(data, where, rest=True):
    """Lines of a key and a value as a dictionary, in their order: key -> (Line, value). Each key should stand once."""
    found = {}
    for line in lines(data, where, 2, rest):
        key, value = line.fields
        if key in found:
            raise line.wrong(f"{short(key)} stands in an earlier line too")
        found[key] = line, value
    return found


def numbered(data, where):
    """The values of lines that are numbered 1, 2, 3, ..."""
    found = keyed(data, where)
    for number, (key, (line, _)) in enumerate(found.items(), start=1):
        if key != str(number):
            raise line.wrong(f"is numbered {short(key)}; it should be {number}")
    return [value for _, value in found.values()]


def matrix(data, where, shape):
    """Lines of numbers as a float64 array. shape: rows and columns; None for whatever the first line has."""
    found = lines(data, where)
    width = shape[1] or len(found[0].fields)
    for line in found:
        if len(line.fields) != width:
            raise line.wrong(f"has {len(line.fields)} numbers; it should have {width}")
    if len(found) != shape[0]:
        raise UserError(f"{where}: has {len(found)} lines of numbers; it should have {shape[0]}; {AGAIN}")
    return np.array([[line.number(place) for place in range(width)] for line in found])
