"""Many trainings: nothing is computed twice, nothing is lost, and `dvc repro` takes what there is."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline.common import files, params, training
from pipeline.protocol import selection, store, trained
from pipeline.study import progress, rows
from stages import select, train
from tests.study import project

ROWS = Path("results/studies/grid.jsonl")
FAST = ("grid", "--models", "eszsl", "hsva")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return project.make(tmp_path)


def fails(capsys, *words):
    """What a command that must fail says, in one line."""
    with pytest.raises(SystemExit) as caught:
        project.run(*words)
    assert caught.value.code == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    return line, said.out


def stage(monkeypatch, module, seed=0):
    monkeypatch.setattr("sys.argv", [module.__name__, "--dataset", "shapes", "--seed", str(seed)])
    module.main()


def test_the_stages_take_what_a_grid_left_and_make_the_same_alone(folder, monkeypatch, capsys):
    project.run(*FAST)
    assert [row["model"] for row in rows.read(ROWS)] == ["eszsl", "hsva"]
    with monkeypatch.context() as alone:
        for module, name in ((selection, "select"), (trained, "train")):
            alone.setattr(module, name, lambda *args: pytest.fail("trained"))
        stage(alone, select)
        stage(alone, train)
    assert capsys.readouterr().out.count(", taken from data/.trained/") == 2
    taken = {path.name: path.read_bytes() for path in Path("runs/shapes/0").iterdir()}
    assert taken.keys() == {"selected.json", "selection.csv", "model.safetensors", "history.csv"}
    for made in ("data/.trained", "runs"):
        shutil.rmtree(made)
    stage(monkeypatch, select)
    stage(monkeypatch, train)
    assert {path.name: path.read_bytes() for path in Path("runs/shapes/0").iterdir()} == taken
    # and what the stages made is the grid's
    entries = len(list(store.FOLDER.iterdir()))
    ROWS.unlink()
    project.run("grid", "--models", "hsva")
    assert len(list(store.FOLDER.iterdir())) == entries == 2


def test_a_row_says_what_made_it_and_a_second_time_nothing_is_made(folder, capsys):
    project.run("grid", "--models", "eszsl", "--seeds", "0", "1")
    first = rows.read(ROWS)
    assert [row["seed"] for row in first] == [0, 1]
    assert first[0]["command"].startswith("dvc exp run -S model=eszsl -S 'datasets=[shapes]' -S 'seeds=[0]'")
    assert {"commit", "made", "epoch", "validation_H", "T1", "U", "S", "H", "AUSUC"} <= first[0].keys()
    capsys.readouterr()
    project.run("grid", "--models", "eszsl", "--seeds", "0", "1")
    assert "all 2 rows are in results/studies/grid.jsonl" in capsys.readouterr().out
    assert rows.read(ROWS) == first


def test_other_params_are_another_row(folder):
    project.run("grid", "--models", "eszsl")
    tree = params.load().tree
    tree["eszsl"]["shapes"] = {"scale": "none"}
    files.write_json(params.FILE, tree)
    project.run("grid", "--models", "eszsl")
    assert len({row["key"] for row in rows.read(ROWS)}) == 2


def test_errors_of_one_do_not_stop_the_others_and_are_told_together(folder, monkeypatch, capsys):
    right = selection.sweep

    def sweep(task, module, config, seed, *rest):
        if seed == 1:
            raise RuntimeError("a fault of ours")
        return right(task, module, config, seed, *rest)

    monkeypatch.setattr(selection, "sweep", sweep)
    tree = params.load().tree
    tree["hsva"]["shapes"]["lr"] = 1e30
    files.write_json(params.FILE, tree)
    line, out = fails(capsys, *FAST, "--seeds", "0", "1")
    assert line.startswith("error: 3 of 4 trainings failed, all others are done: ")
    assert line.count("RuntimeError: a fault of ours") == 2
    assert "hsva, shapes, seed 0" in line
    assert "diverged in epoch 1" in line
    # a fault of ours is told in full as well, above
    assert "in sweep" in out
    assert [(row["model"], row["seed"]) for row in rows.read(ROWS)] == [("eszsl", 0)]
    (status,) = progress.read()
    assert (status["state"], status["done"], len(status["failed"])) == ("failed", 1, 3)
    monkeypatch.setattr(selection, "sweep", right)
    project.run("grid", "--models", "eszsl", "--seeds", "0", "1")
    assert len(rows.read(ROWS)) == 2


def test_a_stopped_training_goes_on_from_its_checkpoint(folder, monkeypatch, capsys):
    project.run("grid", "--models", "hsva")
    whole = project.kept(folder)
    shutil.rmtree(store.FOLDER)
    ROWS.unlink()
    began, looks = [], []
    check, load = selection.check, training.Checkpoint.load
    monkeypatch.setattr(training.Checkpoint, "load", lambda *args: began.append(load(*args)) or began[-1])

    def dies(*args):
        looks.append(args)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return check(*args)

    with monkeypatch.context() as patched:
        patched.setattr(selection, "check", dies)
        line, _ = fails(capsys, "grid", "--models", "hsva")
    assert line == "error: stopped; what is done stays done, and the same command goes on"
    assert [status["state"] for status in progress.read()] == ["stopped"]
    began.clear()
    project.run("grid", "--models", "hsva")
    assert began[0]["epoch"] > 0
    assert project.kept(folder) == whole
    assert list(Path("checkpoints").iterdir()) == []


def test_a_full_disk_stops_it_in_one_line_and_loses_nothing(folder, monkeypatch, capsys):
    leaving = store.Entry.leaving
    project.run("grid", "--models", "eszsl")

    def full(entry):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(entry.folder))

    monkeypatch.setattr(store.Entry, "leaving", full)
    line, _ = fails(capsys, *FAST)
    assert line.startswith("error: no space is left on the disk (data/.trained/")
    assert "what is done stays done" in line
    # no lock and no half is left behind
    assert not list(store.FOLDER.glob(".*"))
    monkeypatch.setattr(store.Entry, "leaving", leaving)
    project.run(*FAST)
    assert [row["model"] for row in rows.read(ROWS)] == ["eszsl", "hsva"]


def test_a_row_that_does_not_fit_the_disk_is_not_half_there(folder, monkeypatch):
    rows.append(ROWS, {"key": "a", "variant": "", "H": 1.0})

    class Full:
        """A file that takes ten bytes more and no other."""

        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *reason):
            self.file.close()

        def write(self, data):
            self.file.write(data[:10])
            self.file.flush()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rows, "open", lambda *args: Full(open(*args)), raising=False)  # noqa: SIM115
    with pytest.raises(OSError, match="No space"):
        rows.append(ROWS, {"key": "b", "variant": "", "H": 2.0})
    monkeypatch.undo()
    assert [row["key"] for row in rows.read(folder / ROWS)] == ["a"]
    assert (folder / ROWS).read_bytes().endswith(b"}\n")


@pytest.fixture
def linked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return project.make(tmp_path, seeds=(0, 1), changes={"hsva": {"epochs": 10}}, linked=True)


@pytest.mark.slow
def test_a_killed_driver_and_two_at_once_compute_nothing_twice(linked):
    words = ("grid", "--models", "hsva")
    killed = project.begin(linked, *words)
    # in the middle of the first selection
    project.until(lambda: list((linked / "checkpoints").glob("*/*.pt")), killed)
    project.kill(killed)
    assert next(iter(progress.lines(progress.read()))).startswith("grid: killed, 0 of 2 ended")
    two = [project.begin(linked, *words), project.begin(linked, *words)]
    said = [process.communicate()[0] for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    found = rows.read(linked / ROWS)
    assert sorted(row["seed"] for row in found) == [0, 1]
    assert len(project.kept(linked)) == 8
    # the log has a line for each look at a training: three of each selection, by one of both, and those of the killed
    log = (linked / "results/studies/grid.log").read_text()
    assert log.count("epoch 9/10") == 2
    assert "going on after epoch" in log
    assert not list((linked / "data/.trained").glob(".*"))


def test_status_tells_another_terminal(folder, capsys):
    project.run("status")
    assert capsys.readouterr().out == "no study has run in this folder\n"
    board = progress.Board("grid", 3)
    board.start("hsva, shapes, seed 0", "here")
    board.end("eszsl, shapes, seed 0", "H 3.0")
    board.end("bsegn, shapes, seed 0", "diverged", failed=True)
    capsys.readouterr()
    project.run("status")
    first, _, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("grid: running, 2 of 3 ended, 1 of them failed; last change ")
    assert rest == ["  at hsva, shapes, seed 0 (here), for 0 min", "  failed: bsegn, shapes, seed 0: diverged"]
    status = json.loads(board.path.read_text())
    assert progress.alive(status | {"host": "elsewhere"}) is None
    board.close("done")
    project.run("status")
    assert "grid: done" in capsys.readouterr().out


def test_two_processes_at_a_study_are_both_told_until_they_are_over(folder):
    board = progress.Board("grid", 2)
    status = json.loads(board.path.read_text())
    names = ("grid.far.1", "grid.near.2", "search")
    elsewhere, killed, other = (board.path.with_name(f"{name}.json") for name in names)
    files.write_json(elsewhere, status | {"host": "far"})
    # no process has that number
    files.write_json(killed, status | {"pid": 2**22 + 1})
    files.write_json(other, status | {"name": "search", "state": "done"})
    for name, text in (("damaged", "{"), ("list", "[]"), ("empty", "{}"), ("odd", '{"pid": "no"}')):
        board.path.with_name(f"{name}.json").write_text(text)
    steps = [{"running": {"a": step}} for step in (1, {"where": "here"}, {"where": "here", "since": "noon"})]
    for number, wrong in enumerate([{"failed": 7}, {"pid": 2**70}, {"pid": 0}, *steps]):
        files.write_json(board.path.with_name(f"wrong-{number}.json"), status | wrong)
    shown = [line.split(",")[0] for line in progress.lines(progress.read()) if not line.startswith(" ")]
    assert sorted(shown) == ["grid: killed", "grid: running", "grid: running on far", "search: done"]
    board.close("done")
    progress.Board("grid", 2)
    shown = [line.split(",")[0] for line in progress.lines(progress.read()) if not line.startswith(" ")]
    assert sorted(shown) == ["grid: running", "grid: running on far", "search: done"]
