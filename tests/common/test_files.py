"""Files appear whole or not at all."""

import pytest

from pipeline.common import files
from pipeline.common.errors import UserError, one_line


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
