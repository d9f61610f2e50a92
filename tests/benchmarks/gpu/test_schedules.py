"""Whole trainings, small ones on the processor: stopped and killed ones go on to what an uninterrupted one comes to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import schedules
from benchmarks.gpu.processes import Failed
from benchmarks.gpu.results import Results
from pipeline.common import params
from pipeline.protocol import store
from pipeline.study import rows, trainings
from tests.study import project

FAR = 1e12
MODELS = pytest.mark.parametrize("model", schedules.MODELS)
TRAIN = ("train", "--device", "cpu", "--datasets", "shapes", "--models", "hsva")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainings.benchmark.cache_clear()
    return project.make(tmp_path)


@pytest.fixture
def alone(monkeypatch):
    """Processes as calls in this one, one after the other."""

    def together(works, until, heard):
        return {
            name: function(lambda news, name=name: heard(name, news), *arguments)
            for name, (function, *arguments) in works.items()
        }

    monkeypatch.setattr(schedules, "together", together)


class Ticking:
    """A clock by which each look at it takes a second."""

    def __init__(self):
        self.time = 0

    def __call__(self):
        self.time += 1
        return self.time


def asked(model, seeds=(0, 1), settings=()):
    return schedules.wanted(params.load(), model, "shapes", seeds, settings)


def part(model, out, until=FAR, **named):
    """What is kept after one call, and what failed."""
    results = Results(out, "a device")
    failed = schedules.part(*asked(model, **named), results, "it", until)
    return results.found("it"), failed


@MODELS
def test_figures_are_those_of_a_study(folder, alone, model):
    found, failed = part(model, "gpu.json")
    assert failed == {}
    project.run("grid", "--models", model, "--seeds", "0", "1", "--out", "grid.jsonl")
    of_study = rows.read(Path("grid.jsonl"))
    assert [row["seed"] for row in of_study] == [0, 1]
    for row in of_study:
        known = found["seeds"][str(row["seed"])]
        assert (known["chosen"] | known["figures"]).items() <= row.items()
    mean = sum(row["H"] for row in of_study) / 2
    assert found["mean"]["H"] == pytest.approx(mean)
    assert found["std"]["H"] == pytest.approx(abs(of_study[0]["H"] - mean) * 2**0.5)
    assert found["done"] == 2


@MODELS
def test_a_training_that_ran_out_of_time_again_and_again_comes_to_the_same(folder, alone, model, monkeypatch):
    whole, _ = part(model, "whole.json", seeds=[0])
    kept = project.kept(folder)
    for path in (folder / "data/.trained").iterdir():
        path.rename(folder / path.name)
    clock, epochs, calls = Ticking(), [], 0
    monkeypatch.setattr(schedules, "now", clock)
    found = {}
    while found.get("done") != 1:
        # six looks at the clock: an epoch or two
        found, failed = part(model, "cut.json", until=clock.time + 6, seeds=[0])
        assert failed == {}
        epochs.append(sum(phase["epoch"] for phase in found["seeds"]["0"]["phases"].values()))
        calls += 1
        assert calls < 30
    assert calls >= 3
    assert epochs == sorted(epochs)
    assert project.kept(folder) == kept
    ours, theirs = found["seeds"]["0"], whole["seeds"]["0"]
    assert (ours["figures"], ours["chosen"]) == (theirs["figures"], theirs["chosen"])
    for phase, took in ours["phases"].items():
        assert took["epoch"] == theirs["phases"][phase]["epoch"]
        # a second between two looks, and in all at least one an epoch
        assert took["seconds_an_epoch"] >= 1
        assert took["seconds"] >= took["epoch"]
    assert not list(folder.glob("checkpoints/*"))


def test_what_is_done_is_not_done_again_and_what_has_changed_is(folder, alone, monkeypatch):
    part("hsva", "gpu.json", seeds=[0])
    with monkeypatch.context() as idle:
        idle.setattr(schedules, "one", lambda *args: pytest.fail("trained"))
        again, _ = part("hsva", "gpu.json", seeds=[0])
    more, _ = part("hsva", "gpu.json", seeds=[1])
    assert more["seeds"].keys() == {"0", "1"}
    assert more["seeds"]["0"] == again["seeds"]["0"]
    other, _ = part("hsva", "gpu.json", seeds=[1], settings=["lr=0.01"])
    assert other["seeds"].keys() == {"1"}
    assert other["seeds"]["1"]["key"] != more["seeds"]["1"]["key"]
    assert other["settings"] == "lr=0.01"


def test_one_that_fails_leaves_the_others(folder, monkeypatch):
    def together(works, until, heard):
        heard("0", {"phases": {"fold-0": {"from": 0, "epoch": 2, "seconds": 4.0, "seconds_an_epoch": 2.0}}})
        return {"0": Failed("diverged"), "1": {"phases": {}, "figures": {"T1": 3.0, "U": 4.0, "S": 5.0, "H": 6.0}}}

    monkeypatch.setattr(schedules, "together", together)
    found, failed = part("hsva", "gpu.json")
    assert failed == {"0": Failed("diverged")}
    assert found["seeds"]["0"]["phases"] == {"fold-0": {"epoch": 2, "seconds": 4.0, "seconds_an_epoch": 2.0}}
    assert (found["done"], found["mean"]["H"]) == (1, 6.0)


def test_a_phase_that_goes_on_adds_its_seconds_and_one_that_starts_over_does_not():
    before = {"key": "k", "phases": {"training": {"epoch": 3, "seconds": 30.0, "seconds_an_epoch": 9.0}}}
    on = {"phases": {"training": {"from": 3, "epoch": 5, "seconds": 21.0, "seconds_an_epoch": 10.0}}}
    assert schedules.joined(before, on)["phases"]["training"] == {
        "epoch": 5,
        "seconds": 51.0,
        "seconds_an_epoch": 10.0,
    }
    peaks = schedules.joined(before | {"peak_device_gib": 3.0}, on | {"peak_device_gib": 2.0})
    assert peaks["peak_device_gib"] == 3
    over = {"phases": {"training": {"from": 0, "epoch": 1, "seconds": 8.0}}}
    assert schedules.joined(before, over)["phases"]["training"] == {"epoch": 1, "seconds": 8.0}
    assert before["phases"]["training"]["epoch"] == 3


def test_a_killed_command_goes_on_to_the_same(folder, alone):
    project.make(folder, changes={"hsva": {"epochs": 40}})
    words = [*TRAIN, "--seeds", "0"]
    gpu.main([*words, "--out", "whole.json"])
    kept = project.kept(folder)
    store.FOLDER.rename(folder / "before")
    killed = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu", *words, "--out", "cut.json"],
        env=os.environ | {"PYTHONPATH": str(project.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    project.until(lambda: list(folder.glob("checkpoints/*/*.pt")), killed)
    killed.kill()
    # until those that it started, which write into the same pipe, have ended too
    killed.communicate(timeout=300)
    gpu.main([*words, "--out", "cut.json"])
    assert project.kept(folder) == kept
    whole, cut = (Results(f"{name}.json", "").found("train hsva shapes, on the processor") for name in ("whole", "cut"))
    assert [cut[name] for name in ("mean", "std", "done")] == [whole[name] for name in ("mean", "std", "done")]


def test_data_that_are_not_there_are_left_out_in_a_line(folder, alone, capsys):
    gpu.main([*TRAIN[:3], "--datasets", "cub", "shapes", "--models", "hsva", "--seeds", "0"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert line.startswith("train: cub is left out: data/cub/features.npy: is not there; ")
    assert Results("gpu.json", "").found("train hsva shapes, on the processor")["done"] == 1


def test_settings_and_checks_are_laid_over_params_and_named(folder, alone):
    gpu.main([*TRAIN, "--seeds", "0", "--small", "-S", "epochs=1", "--checks", "1"])
    found = Results("gpu.json", "").found("train hsva shapes, epochs=1, 1 checks, small, on the processor")
    assert found["epochs"] == 1
    assert found["settings"] == f"{schedules.SMALL} epochs=1"
    assert found["seeds"]["0"]["phases"]["fold-0"]["epoch"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [(["-S", "nope=1"], "'nope=1': hsva has no such param"), (["--checks", "0"], "--checks 0: should be at least 1")],
)
def test_what_is_wrong_with_trainings_is_told_before_any_step_begins(folder, alone, capsys, monkeypatch, words, said):
    monkeypatch.setattr(gpu, "measure", lambda *args: pytest.fail("began"))
    with pytest.raises(SystemExit) as caught:
        gpu.main(["features", *TRAIN, *words])
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {said}")
    assert not Path("gpu.json").exists()
