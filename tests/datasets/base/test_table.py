"""A user's table is read as any spreadsheet saves it."""

import pytest

from pipeline.common.errors import UserError
from pipeline.datasets.base.table import read_table


def test_a_users_table_keeps_quoted_line_ends_and_is_told_where_it_is_wrong():
    data = '\ufeffname;n\r\r"a\rb";1,5\r'.encode()
    assert read_table(data, "t.csv") == (["name", "n"], [(4, ["a\nb", "1.5"])])
    assert read_table(b'name,n\na,"1,5"\n', "t.csv")[1] == [(2, ["a", "1,5"])]
    with pytest.raises(UserError, match=r"^t\.csv: cannot be read from line 2 on .* its second one$"):
        read_table(b'name,n\n"' + bytes(200_000), "t.csv")
