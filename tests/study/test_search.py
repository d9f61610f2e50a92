"""A search sees validation alone, keeps what it tried, and stops what is worse than most."""

import dataclasses
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.common import files, params
from pipeline.models.base.space import Between, OneOf
from pipeline.protocol import selection, tasks
from pipeline.study import search, trainings, trials, work
from tests.study import project

CSV = Path("results/studies/search-hsva-shapes.csv")
WORDS = ("search", "hsva", "shapes", "-S", "epochs=3")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return project.make(tmp_path)


def tried(path=CSV):
    return files.read_csv(path)


@pytest.mark.parametrize("model", params.MODELS)
@pytest.mark.parametrize("dataset", params.DATASETS)
def test_the_ends_of_every_range_are_params_of_every_data_set(model, dataset):
    given = params.load(project.ROOT / params.FILE)
    base = trainings.configured(given, model, dataset)
    for key, drawn in search.space(model, base).items():
        for value in drawn.values if isinstance(drawn, OneOf) else (drawn.low, drawn.high):
            config = trainings.configured(given, model, dataset, search.words({key: value}))
            assert search.value(config, key) == value


def test_what_the_params_leave_empty_is_not_drawn_unasked():
    given = params.load(project.ROOT / params.FILE)
    by_proportion, by_count = (trainings.configured(given, "bsegn", dataset) for dataset in ("cub", "flo"))
    assert "proportion" in search.space("bsegn", by_proportion).keys() - search.space("bsegn", by_count).keys()
    assert "synthetic" in search.space("bsegn", by_count).keys() - search.space("bsegn", by_proportion).keys()
    # empty is one of its values
    assert by_count.latent is None
    assert "latent" in search.space("bsegn", by_count)
    assert list(search.space("bsegn", by_count, ["proportion"])) == ["proportion"]


def test_it_never_reads_a_test_row(folder, monkeypatch):
    project.run(*WORDS, "--trials", "3")
    seen = tried()
    features, rows = np.load("data/shapes/features.npy"), files.read_csv("data/shapes/index.csv")
    features[[row["split"] != "trainval" for row in rows]] = np.nan
    files.write_npy(Path("data/shapes/features.npy"), features)
    # which looks at all of them, and refuses such
    monkeypatch.setattr(tasks, "need_finite", lambda path, array: None)
    project.run(*WORDS, "--trials", "3", "--name", "blind")
    assert tried("results/studies/blind.csv") == seen
    assert len(seen) == 3
    assert all(row["state"] == "complete" for row in seen)


def test_labels_of_test_rows_take_no_part(folder):
    """The data sets' sizes stay, so classes are as many; who is who among test images is not looked at."""
    benchmark = tasks.load("data/shapes")
    rows = np.flatnonzero(benchmark.split == "test_seen")
    labels = benchmark.labels.copy()
    labels[rows] = labels[rows][::-1]
    ours = trainings.configured(params.load(), "hsva", "shapes"), trainings.protocol(params.load())[0]
    found = []
    for given in (benchmark, dataclasses.replace(benchmark, labels=labels)):
        training = trainings.Training("shapes", "hsva", 0, *ours, tested=False)
        run = trainings.protocol(params.load())[1]
        decided = training.setting("x", run, "cpu").decided("selection")
        found.append(work.do(work.Step("select", training, decided, "x"), given, run, folder / "checkpoints"))
    assert found[0] == found[1]


def test_it_goes_on_with_more_and_begins_with_what_is_configured(folder, capsys):
    project.run(*WORDS, "--trials", "2")
    first = tried()
    out = capsys.readouterr().out
    assert "[1/3] hsva, shapes, as configured, seed 0" in out
    given = params.load().laid("hsva.common", "hsva.shapes")
    project.run(*WORDS, "--trials", "2")
    assert "[2/2] hsva, shapes, trial 3, seed 0" in capsys.readouterr().out
    assert tried()[:2] == first
    assert len({tuple(row.items()) for row in tried()}) == 4
    best = np.maximum.accumulate([float(row["H"]) for row in tried()])
    assert [float(row["best"]) for row in tried()] == pytest.approx(best)
    # the widths of the small project are not in the ranges, so it is a training beside the trials
    assert given["networks"]["latent"] == 8
    assert not any(row["networks.latent"] == "8" for row in tried())


def test_what_is_configured_is_the_first_trial_where_the_ranges_hold_it(folder):
    project.run(*WORDS, "--trials", "1", "--only", "lr", "beta.most")
    (row,) = tried()
    given = params.load().laid("hsva.common", "hsva.shapes")
    assert (float(row["lr"]), float(row["beta.most"])) == (given["lr"], given["beta"]["most"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--goal", "AUSUC"), r"was begun with other goal \(H, now AUSUC\)"),
        (("-S", "epochs=4"), "was begun with other settings"),
        (("--only", "lr"), "was begun with other ranges"),
        (("--seed", "1"), r"was begun with other seed \(0, now 1\)"),
    ],
)
def test_one_that_was_begun_with_other_params_is_not_gone_on_with(folder, capsys, change, message):
    project.run(*WORDS, "--trials", "0")
    with pytest.raises(SystemExit):
        project.run(*WORDS, *change, "--trials", "1")
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)


def test_the_best_is_written_as_dvc_writes_and_the_store_has_it(folder, capsys):
    project.run(*WORDS, "--trials", "4", "--apply")
    top = max(tried(), key=lambda row: float(row["H"]))
    config = trainings.configured(params.load(), "hsva", "shapes")
    assert config.epochs == 3
    for key in search.space("hsva", config):
        assert str(search.value(config, key)) == top[key]
    # a grid with these params takes the selection that the search made
    entries = len(list(Path("data/.trained").iterdir()))
    project.run("grid", "--models", "hsva", "--validation")
    assert len(list(Path("data/.trained").iterdir())) == entries
    # every other line is as it was, in the layout of `-S`
    assert yaml.safe_load(Path(params.FILE).read_text())["bsegn"] == params.load().tree["bsegn"]


def test_the_median_stops_what_is_worse_than_most(folder):
    watch = search.Median("H", (5.0, 5.0, 6.0))
    rows = [{"epoch": epoch, "classifier_epoch": c, "H": h} for epoch, h in ((2, 9), (4, 3)) for c in (1, 2)]
    watch(rows[:2])
    watch(rows)
    with pytest.raises(work.Pruned) as stopped:
        watch([row | {"H": row["H"] / 2} for row in rows])
    assert stopped.value.curve == [4.5, 1.5]
    # beyond what others reached there is nothing to compare with
    search.Median("H", (5.0,))([row | {"H": 0.0} for row in rows])


def test_bars_are_medians_of_five_or_more():
    curves = [[1.0, 5.0], [2.0, 4.0], [3.0, 3.0], [4.0, 2.0]]
    assert search.bar(curves) == ()
    assert search.bar([*curves, [9.0]]) == (3.0,)
    assert search.bar([*curves, [9.0, 9.0]]) == (3.0, 4.0)


def test_what_was_stopped_is_kept_and_its_checkpoint_is_not(folder, monkeypatch, capsys):
    monkeypatch.setattr(search, "bar", lambda curves: (1000.0,) * 9)
    project.run(*WORDS, "--trials", "2")
    assert "stopped after 2 looks, worse than most were then" in capsys.readouterr().out
    assert [row["state"] for row in tried()] == ["pruned", "pruned"]
    assert list(Path("checkpoints").iterdir()) == []
    # the one as configured alone is in the store
    assert len(list(Path("data/.trained").iterdir())) == 1
    ranges = search.space("hsva", trainings.configured(params.load(), "hsva", "shapes"))
    kept = trials.Trials(Path("results/studies/search-hsva-shapes.journal"), ranges, 0)
    assert [len(trial.intermediate_values) for trial in kept.study.trials] == [2, 2]


def test_a_trial_that_fails_is_told_and_the_others_go_on(folder, monkeypatch, capsys):
    right = selection.leave

    def leave(our, how, label, *rest):
        if "trial 0" in label:
            raise RuntimeError("broken")
        right(our, how, label, *rest)

    monkeypatch.setattr(selection, "leave", leave)
    with pytest.raises(SystemExit):
        project.run(*WORDS, "--trials", "2")
    assert "1 of 2 trainings failed" in capsys.readouterr().err
    assert [row["state"] for row in tried()] == ["fail", "complete"]


def test_what_a_killed_driver_was_at_is_tried_again(folder):
    ranges = {"lr": Between(0.1, 1.0), "kind": OneOf(("a", None))}
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    kept = trials.Trials(folder / "a.journal", ranges, 0)
    trial, drawn = kept.ask()
    trial.set_user_attr("by", f"{os.uname().nodename}:{ended.pid}")
    # another driver's, which still is
    kept.ask()
    again = trials.Trials(folder / "a.journal", ranges, 0)
    assert again.ask()[1] == drawn
    assert [trial.state.name for trial in again.study.trials] == ["FAIL", "RUNNING", "RUNNING"]


def test_a_journal_that_a_kill_cut_off_is_read(folder):
    project.run(*WORDS, "--trials", "1")
    journal = Path("results/studies/search-hsva-shapes.journal")
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 4, "work')
    project.run(*WORDS, "--trials", "1")
    assert len(tried()) == 2


def test_the_lock_of_a_killed_driver_is_broken(folder, monkeypatch):
    monkeypatch.setattr(trials, "GRACE", 3)
    journal = Path("results/studies/search-hsva-shapes.journal")
    journal.parent.mkdir(parents=True)
    journal.touch()
    Path(f"{journal}.lock").symlink_to(journal.absolute())
    trials.Trials(journal, {"lr": Between(0.1, 1.0)}, 0).ask()
    assert not Path(f"{journal}.lock").is_symlink()


def test_a_line_that_another_driver_is_writing_is_left_alone(folder):
    """The lock is waited for before what has no end is cut off."""
    trials.Trials(Path("a.journal"), {"lr": Between(0.1, 1.0)}, 0)
    whole = Path("a.journal").read_bytes()
    lock = Path("a.journal.lock")
    lock.symlink_to(Path("a.journal").absolute())
    with Path("a.journal").open("ab") as file:
        line = whole.splitlines(keepends=True)[-1]
        file.write(line[:5])
        file.flush()
        waiting = threading.Thread(target=trials.Trials, args=(Path("a.journal"), {"lr": Between(0.1, 1.0)}, 0))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        file.write(line[5:])
    lock.unlink()
    waiting.join(60)
    assert Path("a.journal").read_bytes().startswith(whole + line)


def test_mistakes_are_one_line(folder, capsys, monkeypatch):
    def said(*words):
        with pytest.raises(SystemExit):
            project.run(*words)
        return capsys.readouterr().err

    assert "--only: no search of hsva draws 'lrr'; did you mean 'lr'?" in said(*WORDS, "--trials", "1", "--only", "lrr")
    assert "--trials -1: should be at least 0" in said(*WORDS, "--trials", "-1")
    assert "selection.folds: this data set has 1 validation fold(s), 3 are asked for" in said(
        *WORDS, "--trials", "1", "--folds", "3"
    )
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "Optuna, which draws the settings, is not installed here" in said(*WORDS, "--trials", "1", "--name", "b")
