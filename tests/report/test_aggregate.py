import shutil

import pytest

from pipeline.common.errors import UserError
from pipeline.report import aggregate
from tests.report import made_up


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    made_up.project(root)
    return root


@pytest.fixture(scope="module")
def runs(root):
    return [aggregate.load("eszsl", "shapes", seed, root / "runs") for seed in (0, 1)]


def test_summary_is_mean_and_deviation_in_percent(runs):
    for run, height in zip(runs, (40.0, 43.0), strict=True):
        run.figures["H"] = height
    figures = aggregate.summary(runs)
    assert figures["H"] == 41.5
    assert figures["H_std"] == 2.12
    assert {"T1", "U", "S", "AUSUC", "U_cal", "H_cal", "oracle_H", "oracle_T1_std"} <= set(figures)
    assert "oracle" not in figures
    assert aggregate.summary(runs[:1])["H_std"] == 0.0


def test_a_run_of_another_model_is_refused(root):
    with pytest.raises(UserError, match="is a run of eszsl, not of hsva"):
        aggregate.load("hsva", "shapes", 0, root / "runs")


def test_a_missing_run_names_the_file(root):
    with pytest.raises(UserError, match=r"shapes/5/metrics\.json: missing"):
        aggregate.load("eszsl", "shapes", 5, root / "runs")


def test_best_by_epoch_averages_folds_before_choosing():
    def row(fold, epoch, classifier_epoch, height):
        figures = dict.fromkeys(("T1", "U", "S", "AUSUC"), "1")
        return {
            "fold": str(fold),
            "epoch": str(epoch),
            "classifier_epoch": str(classifier_epoch),
            "H": height,
        } | figures

    # classifier epoch 2 wins in fold 1 alone, epoch 1 over both
    rows = [row(1, 5, 1, "30"), row(1, 5, 2, "40"), row(2, 5, 1, "30"), row(2, 5, 2, "10"), row(1, 10, 1, "7")]
    run = aggregate.Run("hsva", "shapes", 0, None, {}, {}, rows, [], [], [], [])
    best = aggregate.best_by_epoch(run)
    assert [(r["epoch"], r["classifier_epoch"], r["H"]) for r in best] == [(5, 1, 30.0), (10, 1, 7.0)]


def test_tables_hold_every_seed_and_term(runs):
    tables = aggregate.tables(runs)
    assert [(row["model"], row["dataset"], row["seed"]) for row in tables["seeds.csv"]] == [
        ("eszsl", "shapes", 0),
        ("eszsl", "shapes", 1),
    ]
    assert len(tables["plots/confusion/shapes-1.csv"]) == 3 * made_up.IMAGES
    assert tables["plots/confusion/shapes-1.csv"][0].keys() == {"actual", "predicted"}
    history = tables["plots/training/shapes-0-gamma.csv"]
    assert [row["epoch"] for row in history] == [str(i + 1) for i in range(runs[0].selected["epoch"])]


def test_a_cut_off_run_is_one_line(root, tmp_path):
    shutil.copytree(root / "runs", tmp_path / "runs")
    (tmp_path / "runs/shapes/0/selected.json").write_text('{"epoch": ')
    with pytest.raises(UserError, match="not readable as JSON"):
        aggregate.load("eszsl", "shapes", 0, tmp_path / "runs")
