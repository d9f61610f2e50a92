"""A short run of the fuzzer; `python -m tests.fuzz --cases 10000` is the long one."""

from tests.fuzz import __main__ as fuzzer


def test_damaged_files_of_every_kind_are_refused_set_aside_or_taken(capsys):
    assert fuzzer.main(["--cases", "200", "--seed", "7"]) == 0, capsys.readouterr().out
