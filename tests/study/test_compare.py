import re

import pytest

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.study import compare


def table(path, model, heights, dataset="cub"):
    figures = ("T1", "U", "S", "AUSUC")
    rows = [
        {"model": model, "dataset": dataset, "seed": seed} | dict.fromkeys(figures, 50.0) | {"H": height}
        for seed, height in heights.items()
    ]
    files.write_csv(path, rows)
    return str(path)


def test_differences_are_of_the_seeds_in_both(tmp_path):
    a = compare.read(table(tmp_path / "a.csv", "hsva", {0: 40.0, 1: 42.0, 2: 44.0, 9: 0.0}))
    b = compare.read(table(tmp_path / "b.csv", "bsegn", {0: 41.0, 1: 44.0, 2: 47.0, 8: 100.0}))
    shown = list(compare.lines(a, b))
    assert shown[0] == "cub: hsva -> bsegn, 3 seeds in both (0, 1, 2)"
    height = next(line for line in shown if line.startswith("  H "))
    assert "42.0 ->  44.0" in height
    assert "+2.0" in height
    assert "higher on 3 of 3" in height
    # differences 1, 2, 3: the half width is 4.3027 / sqrt(3) = 2.48
    assert "95% -0.5 to +4.5" in height


def test_one_seed_gives_no_interval(tmp_path):
    a, b = (compare.read(table(tmp_path / f"{h}.csv", "hsva", {0: h})) for h in (40.0, 41.0))
    first, *rest = compare.lines(a, b)
    assert first == "cub: hsva -> hsva, 1 seed in both (0)"
    height = next(line for line in rest if line.startswith("  H "))
    assert "95%" not in height
    assert "nan" not in height


def test_no_common_seed_says_so(tmp_path):
    a = compare.read(table(tmp_path / "a.csv", "hsva", {0: 40.0}))
    b = compare.read(table(tmp_path / "b.csv", "hsva", {1: 40.0}))
    assert list(compare.lines(a, b)) == ["cub: no seed is in both"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the column 'AUSUC' (and 7 more such); it should be a seeds.csv, which `dvc repro` writes"),
        (b"model,dataset,seed,T1,U,S,H\nhsva,cub,0,1,2,3,4\n", "lacks the column 'AUSUC'; it should be a seeds.csv"),
        (b"model,dataset,seed,T1,U,S,H,AUSUC\n", "holds no rows"),
        (b"model,dataset,seed,T1,U,S,H,AUSUC\nhsva,cub,0,1,2,3,?,5\n", "line 2: H is '?'; it should be a number"),
        (b"model,dataset,seed,T1,U,S,H,AUSUC\nhsva,cub,0,1,2,3\n", "line 2: H is ''; it should be a number"),
        (b"model,dataset,seed,T1,U,S,H,AUSUC\nhsva,cub,first,1,2,3,4,5\n", "line 2: seed is 'first'; it should be"),
        (b"\x89PNG\xff", "is not text; it should be a seeds.csv"),
    ],
)
def test_what_is_no_seeds_csv_is_one_line(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{path}: {message}")):
        compare.read(str(path))


def test_runs_without_photographs_of_unseen_classes_are_compared_by_s(tmp_path):
    row = {"model": "hsva", "dataset": "folder", "seed": 0, "T1": "", "U": "", "S": 50.0, "H": "", "AUSUC": ""}
    files.write_csv(tmp_path / "a.csv", [row])
    found = compare.read(str(tmp_path / "a.csv"))
    first, *rest = compare.lines(found, found)
    assert first == "folder: hsva -> hsva, 1 seed in both (0)"
    assert [line.split()[0] for line in rest] == ["S"]


def test_what_is_no_revision_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"nothing: holds no results/seeds\.csv .*name an experiment"):
        compare.read("nothing")
