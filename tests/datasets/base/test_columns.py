"""A cell of a user's table is a number, yes or no, a word or missing, and is never taken for another of these."""

import pytest

from pipeline.common.errors import UserError
from pipeline.datasets.base import columns


def taken(*cells, mark=";"):
    """How a column of these cells was taken, and the values of its first attribute."""
    rows = "".join(f"class {i}{mark}{cell}{mark}{i % 2}\n" for i, cell in enumerate(cells))
    # of another column each class has something
    rows += f"another{mark}{cells[0]}{mark}1\n"
    given = columns.read(f"class{mark}x{mark}other\n{rows}".encode(), "t.csv")
    given.titles.remove("other")
    found = columns.take(given.sheet, given.names, given.titles)[0]
    return columns._how(found), found.values[: len(cells)]


@pytest.mark.parametrize(
    ("cells", "how", "values"),
    [
        (("15%", "20 %", "5%"), "a measurement in %, 5 to 20", [15, 20, 5]),
        (("10 cm", "12 cm", "13cm"), "a measurement in cm, 10 to 13", [10, 12, 13]),
        (("1.200,5", "2,5", "3"), "a measurement, 2.5 to 1200.5", [1200.5, 2.5, 3]),
        (("1,200.5", "2.5", "3"), "a measurement, 2.5 to 1200.5", [1200.5, 2.5, 3]),
        (("1 200", "1\u202f300", "20"), "a measurement, 20 to 1300", [1200, 1300, 20]),
        (("1'200", "50", "60"), "a measurement, 50 to 1200", [1200, 50, 60]),
        (("1e3", "2E+02", "5"), "a measurement, 5 to 1000", [1000, 200, 5]),
        (("+5", "\u22123", "2"), "a measurement, -3 to 5", [5, -3, 2]),
        (("\uff11\uff12", "3", "4"), "a measurement, 3 to 12", [12, 3, 4]),
        (("0", "0.5", "2"), "how strongly, 0 to 2", [0, 0.5, 2]),
        (("TRUE", "FALSE", "TRUE"), "yes or no, 3 of 4 yes", [True, False, True]),
        (("yes", "No ", "YES"), "yes or no, 3 of 4 yes", [True, False, True]),
        (("ja", "nein", "ja"), "yes or no, 3 of 4 yes", [True, False, True]),
        (("red", "blue", "red"), "words, 2 kinds, 1 of one class alone", ["red", "blue", "red"]),
        (("3rd", "1st", "2nd"), "words, 3 kinds, 2 of one class alone", ["3rd", "1st", "2nd"]),
    ],
)
def test_what_has_one_meaning_is_read(cells, how, values):
    assert taken(*cells) == (how, values)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("15%", "0.2", "5%"), "'0.2' has no unit"),
        (("10 cm", "12 mm", "13 cm"), "'12 mm' is in 'mm', most of the column in 'cm'"),
        (("1,200", "1,500", "900"), "'1,200' may be 1200 or 1.2"),
        (("1.200", "1.500", "900"), "'1.200' may be 1.2 or 1200"),
        (("3", "10-12", "4"), "'10-12' is a range"),
        (("3", "10 bis 12", "4"), "'10 bis 12' is a range"),
        (("3", "~10", "4"), "'~10' is a number said roughly"),
        (("3", "<5", "4"), "'<5' is a bound"),
        (("3", "1/2", "4"), "'1/2' is a fraction"),
        (("3", "02. Jan", "4"), "'02. Jan' looks like a date"),
        (("3", "1_000", "4"), "'1_000' is no single number"),
        (("3", "0x10", "4"), "'0x10' is no single number"),
        (("3", "inf", "4"), "'inf' is no finite number"),
        (("3", "red", "4"), "'red' is a word; most of the column is numbers"),
        (("x", "", "x"), "'' is missing; if it means no, write no here"),
        (("red", "Red", "blue"), "differ in capitals"),
    ],
)
def test_what_has_none_or_several_is_refused_with_its_cell(cells, message):
    with pytest.raises(UserError, match=r"^t\.csv: line \d+ \('class \d'\), column 'x': ") as told:
        taken(*cells)
    assert message in str(told.value)


@pytest.mark.parametrize(
    "cell",
    ["NA", "n/a", "N/A", "nan", "NULL", "None", "?", "-", "--", "\u2014", ".", "#N/A", "#DIV/0!", "#VALUE!", " "],
)
@pytest.mark.parametrize("others", [("1", "2", "3"), ("red", "blue", "red"), ("yes", "no", "yes")])
def test_what_people_write_for_nothing_is_missing(cell, others):
    with pytest.raises(UserError, match=r"line 5 \('class 3'\), column 'x': .* (is|may be) missing"):
        taken(*others, cell)


def test_between_commas_a_comma_in_quotes_is_for_thousands_unless_the_column_shows_otherwise():
    assert taken('"1,200"', '"1,300"', "5", mark=",")[1] == [1200, 1300, 5]
    assert taken('"1,5"', "2", "3", mark=",")[1] == [1.5, 2, 3]


def test_each_column_is_told_in_a_line():
    said = []
    data = b"class,wing,diet,nocturnal,same\nowl,29,mice,yes,1\nswift,17,insects,no,1\nwren,10,insects,no,1\n"
    found = columns.semantics(columns.read(data, "t.csv"), said.append)
    assert said[:4] == [
        "wing: a measurement, 10 to 29 -> wing: large, wing: small",
        "diet: words, 2 kinds, 1 of one class alone -> diet: insects, diet: mice",
        "nocturnal: yes or no, 1 of 3 yes -> nocturnal",
        "same: 1 for every class -> left out",
    ]
    assert [row["column"] for row in found.taken] == ["wing", "diet", "nocturnal", "same"]


def test_a_table_of_names_alone_has_no_attributes():
    with pytest.raises(UserError, match="has no attribute column"):
        columns.semantics(columns.read(b"class,split\na,seen\nb,unseen\n", "t.csv"))
