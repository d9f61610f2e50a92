import shutil

import pytest

from pipeline.common import files
from stages import report
from tests.report import made_up


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    made_up.project(root)
    return root


@pytest.fixture
def root(built, tmp_path, monkeypatch):
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_writes_figures_page_and_tables(root):
    report.main()
    figures = files.read_json("results/metrics.json")
    assert figures.keys() == {"shapes"}
    assert {"T1", "U", "S", "H", "AUSUC", "T1_std", "AUSUC_std"} <= figures["shapes"].keys()
    assert (root / "results/report.html").read_text().startswith("<!doctype html>")
    assert len(files.read_csv("results/seeds.csv")) == 2
    assert (root / "results/plots/confusion/shapes-1.csv").exists()


def test_runs_that_the_params_do_not_name_are_left_alone(root):
    for name in ("shapes/7", "cub/0"):
        (root / "runs" / name).mkdir(parents=True)
        (root / "runs" / name / "metrics.json").write_text("not even JSON")
    report.main()
    assert {row["seed"] for row in files.read_csv("results/seeds.csv")} == {"0", "1"}


def test_a_run_of_another_model_stops_it_in_one_line(root, capsys):
    metrics = files.read_json("runs/shapes/1/metrics.json")
    files.write_json("runs/shapes/1/metrics.json", metrics | {"model": "hsva"})
    with pytest.raises(SystemExit):
        report.main()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is a run of hsva, not of eszsl" in error
    assert not (root / "results").exists()


def test_without_photographs_of_unseen_classes_only_s_is_reported(tmp_path, monkeypatch):
    made_up.project(tmp_path, unseen_photographs=False)
    monkeypatch.chdir(tmp_path)
    report.main()
    assert files.read_json("results/metrics.json")["shapes"].keys() == {"S", "S_std"}
    page = (tmp_path / "results/report.html").read_text()
    assert "Selection on validation" in page
    assert "nan" not in page
    assert "Seen-unseen curve" not in page


def test_photographs_that_are_not_there_are_said_to_be_missing(root):
    report.main()
    assert "no photograph" in (root / "results/report.html").read_text()
