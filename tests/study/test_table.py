import csv
import json
import re
from pathlib import Path

import pytest

from pipeline.common.errors import UserError
from pipeline.study import __main__ as study
from pipeline.study import table


def row(model, seed, height, dataset="cub", **more):
    made = f"dvc exp run -S model={model} -S 'datasets=[{dataset}]' -S 'seeds=[{seed}]' -S '++a={{b: 1}}'"
    figures = dict.fromkeys(("T1", "U", "S", "AUSUC"), 50.0) | {"H": height}
    return {"dataset": dataset, "model": model, "seed": seed, "command": made, "commit": "abc"} | figures | more


def write(path, found):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(one)}\n" for one in found))
    return path


FOUND = [
    *(row("hsva", seed, height) for seed, height in enumerate((40.0, 42.0, 44.0))),
    *(row("bsegn", seed, height) for seed, height in enumerate((41.0, 44.0, 47.0))),
    row("eszsl", 0, 33.0, "sun"),
]


def test_the_table_says_means_intervals_tests_and_the_best(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(Path("results/studies/grid.jsonl"), FOUND)
    study.main(["table"])
    out = capsys.readouterr().out
    # half the interval: 4.3027 s / sqrt(3) with s = 2 and 3
    assert "| CUB | HSVA | **50.0 ± 0.0** |" in out
    hsva, bsegn = (next(line for line in out.splitlines() if f"CUB | {name}" in line) for name in ("HSVA |", "BSeGN |"))
    assert "| 42.0 ± 5.0 |" in hsva
    assert "| **44.0 ± 7.5** |" in bsegn
    # differences -1, -2, -3: t = 2 sqrt(3) with two degrees of freedom
    assert hsva.endswith("| 0, 1, 2 | 0.074 |")
    assert bsegn.endswith("| 0, 1, 2 |  |")
    # a data set of one row has no best
    assert "| SUN | ESZSL | 50.0 | 50.0 | 50.0 | 33.0 | 50.0 | 0 |  |" in out
    assert "TF-VAEGAN" in out
    assert "published, picked on test | \u2013 | 52.8 | 64.7 | 58.1 |" in out
    # the command of all seeds as one
    made = "dvc exp run -S model=hsva -S 'datasets=[cub]' -S 'seeds=[0,1,2]' -S '++a={b: 1}'"
    assert out.count(f"- CUB, HSVA (abc): `{made}`") == 1
    assert Path("results/studies/table.md").read_text() == out
    with open("results/studies/table.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [line["method"] for line in written] == ["HSVA", "BSeGN", "ESZSL"]
    assert (written[0]["H"], written[0]["H_half"], written[2]["H_half"]) == ("42.0000", "4.9683", "")


def test_latex_is_balanced_and_escaped(tmp_path):
    found = table.lines([row("hsva", 0, 1.0), row("hsva", 0, 2.0, variant="50% & a_b {x} ~ \\ #")])
    text = "\n".join(table.latex(found))
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert r"50\% \& a\_b \{x\} \textasciitilde{} \textbackslash{} \#" in text
    assert all(re.sub(r"\\.", "", line).count("{") == re.sub(r"\\.", "", line).count("}") for line in body)
    ended = [line for line in body if line.endswith(r" \\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in ended} == {6}
    assert r"$\mathbf{2.0}$" in text


def test_the_page_shows_without_a_network_and_escapes(tmp_path):
    text = table.html(table.lines([row("hsva", 0, 1.0, variant="<script>"), row("hsva", 1, 2.0)]))
    assert text.startswith("<!doctype html>")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"(?:src|href)=\"https?:", text)
    assert "<b>2.0</b>" in text


def test_rows_of_before_say_their_data_set_by_the_name_of_their_file(tmp_path):
    old = {key: value for key, value in row("hsva", 0, 1.0).items() if key in ("seed", "H", "T1")}
    (line,) = table.lines(table.gather([write(tmp_path / "flo-bsegn-more.jsonl", [old | {"variant": "a"}])]))
    assert (line.dataset, line.method) == ("flo", "BSeGN, a")


def test_of_rows_of_one_seed_the_last_counts():
    (line,) = table.lines([row("hsva", 0, 1.0), row("hsva", 0, 2.0)])
    assert line.figure("H").mean == 2.0


@pytest.mark.parametrize("content", [None, [], [{"dataset": "cub", "model": "hsva", "seed": 0, "validation_H": 3.0}]])
def test_no_rows_are_one_line(tmp_path, content):
    path = tmp_path / "grid.jsonl"
    if content is not None:
        write(path, content)
    with pytest.raises(UserError, match=r"grid\.jsonl: (is not there|holds no row with figures on the test images)"):
        table.gather([path])
