"""Files appear whole or not at all."""

import pytest

from pipeline import files
from pipeline.errors import UserError, one_line


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), files.replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert files.read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_csv_keeps_commas_quotes_and_unicode(tmp_path):
    rows = [{"name": 'Großer, "bunter" Specht', "n": 1}, {"name": "鳥\nb", "n": 2}]
    files.write_csv(tmp_path / "a.csv", rows)
    assert files.read_csv(tmp_path / "a.csv") == [{"name": row["name"], "n": str(row["n"])} for row in rows]


def test_a_users_table_keeps_quoted_line_ends_and_is_told_where_it_is_wrong():
    data = '\ufeffname;n\r\r"a\rb";1,5\r'.encode()
    assert files.read_table(data, "t.csv") == (["name", "n"], [(4, ["a\nb", "1.5"])])
    assert files.read_table(b'name,n\na,"1,5"\n', "t.csv")[1] == [(2, ["a", "1,5"])]
    with pytest.raises(UserError, match=r"^t\.csv: cannot be read from line 2 on .* its second one$"):
        files.read_table(b'name,n\n"' + bytes(200_000), "t.csv")


def test_digest_is_the_known_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.digest(tmp_path / "a", "md5") == "900150983cd24fb0d6963f7d28e17f72"


def test_a_user_error_is_one_line_and_status_one(capsys):
    @one_line
    def main():
        raise UserError("first\n  second")

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: first second\n"


def test_an_unreadable_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json: not readable as JSON"):
        files.read_json(tmp_path / "a.json")
