"""The tables of results/README.md are those of the rows that were measured."""

from pathlib import Path

import pytest

from pipeline.study import ablate, rows

RESULTS = Path(__file__).parents[1] / "results"
MEASURED = sorted((RESULTS / "measured").glob("*.jsonl"))


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_a_table_says_what_its_rows_say(path):
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    head, rule, *lines = ablate.table(rows.read(path))
    start = page.index(f"{head}\n{rule}\n{lines[0]}\n")
    shown = page[start:].split("\n\n")[0].splitlines()[2:]
    assert shown == lines


def test_there_are_rows():
    assert len(MEASURED) > 4
