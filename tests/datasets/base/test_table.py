"""A user's table is read as any spreadsheet saves it."""

import pytest

from pipeline.common.errors import UserError
from pipeline.datasets.base.table import read_table


def read(data):
    sheet = read_table(data if isinstance(data, bytes) else data.encode(), "t.csv")
    return sheet.header, sheet.rows, sheet.lines


def test_quoted_line_ends_are_kept_and_lines_are_those_of_the_file():
    assert read('\ufeffname;n\r\r"a\rb";1,5\r') == (["name", "n"], [["a\nb", "1,5"]], [3])


def test_a_quote_without_its_second_one_is_told_with_its_line():
    with pytest.raises(UserError, match=r"^t\.csv: cannot be read from line 2 on .* its second one"):
        read_table(b'name,n\n"' + b"x" * 200, "t.csv")


@pytest.mark.parametrize("text", ["sep=;\nname;n\na;1\n", '"sep=;"\r\nname;n\r\na;1\r\n', "name;n\na;1\n"])
def test_the_delimiter_is_stated_or_found(text):
    assert read(text)[:2] == (["name", "n"], [["a", "1"]])


def test_delimiters_inside_quotes_do_not_count():
    assert read('name,n\n"a;b;c;d",1\n"e;f;g;h",2\n')[1] == [["a;b;c;d", "1"], ["e;f;g;h", "2"]]


def test_empty_columns_and_rows_do_not_count():
    assert read("name,n,,\n,,,\na,1,,\n,,,\n")[:2] == (["name", "n"], [["a", "1"]])
    assert read("name,,n\na,,1\n")[:2] == (["name", "n"], [["a", "1"]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("name,n\na,1,2\n", "line 2: has 3 cells; the header has 2"),
        ("name,,n\na,5,1\n", "line 2: '5' stands in column 2, which has no title"),
        ("name,wing,Wing\na,1,2\n", "differ in capitals alone"),
        (b"name,n\na\xe4,1\n", "is not UTF-8"),
        ("name,n\na," + "1" * 200_000 + "\n", "no cell more than 131,072 characters"),
        (b"PK\x03\x04" + bytes(60), "CSV"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(data, message):
    with pytest.raises(UserError, match=message):
        read(data)


def test_of_many_faults_the_first_are_told_and_all_are_listed(tmp_path):
    rows = "".join(f"a{i}\n" for i in range(40))
    with pytest.raises(UserError, match=r"and 37 more, all in .*faults\.csv$") as told:
        read_table(f"name,n\n{rows}".encode(), "t.csv", tmp_path / "faults.csv")
    assert len(str(told.value)) < 400
    assert len((tmp_path / "faults.csv").read_text().splitlines()) == 41
