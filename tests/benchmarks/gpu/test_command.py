"""The command: which steps it does under which names, what it says where it cannot, and what it does without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import extraction, steps
from benchmarks.gpu.processes import Failed
from benchmarks.gpu.results import Results
from tests.study import project


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return project.make(tmp_path)


@pytest.fixture
def done(monkeypatch):
    """What was asked of processes, which come to what the test says."""
    asked, outcome = [], {"is": "found"}

    def together(works, until):
        asked.append(works)
        return dict.fromkeys(works, outcome["is"])

    monkeypatch.setattr(gpu, "together", together)
    return asked, outcome


def fails(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        gpu.main(list(words))
    assert caught.value.code == 1
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    return line, said.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_a_line_says_so_and_nothing_is_written(folder, capsys):
    line, out = fails(capsys)
    assert line.startswith("error: --device cuda: no GPU can be used here (")
    assert line.endswith("); run this where there is one, or try its parts out by --device cpu --small")
    assert out == ""
    assert not Path("gpu.json").exists()


def test_a_small_step_in_a_process_of_its_own(folder):
    gpu.main(["hsva", "--device", "cpu", "--small", "--out", "some.json"])
    entry = json.loads(Path("some.json").read_text())["steps"]["hsva, small, on the processor"]
    assert entry["found"]["float32"]["captured"] is False
    assert "CPU" in entry["device"]


def test_steps_by_name_and_all_without(folder, done):
    gpu.main(["bsegn", "features", "--device", "cpu"])
    gpu.main(["--device", "cpu", "--small", "--arch", "resnet10t", "--images", "3"])
    assert [list(works.items()) for works in done[0]] == [
        [("bsegn, on the processor", (steps.run, "bsegn", "cpu", steps.Sizes()))],
        [("features, on the processor", (extraction.run, "cpu", extraction.Sizes()))],
        [
            (
                "features, small, on the processor",
                (extraction.run, "cpu", extraction.Sizes("resnet10t", 6, 3, (80, 60), 4, 1)),
            )
        ],
        *(
            [(f"{name}, small, on the processor", (steps.run, name, "cpu", steps.SMALL[name]))]
            for name in ("hsva", "bsegn")
        ),
    ]
    assert Results("gpu.json", "").read()["steps"].keys() == {name for works in done[0] for name in works}


def test_a_step_that_fails_is_kept_as_such_and_the_next_goes_on(folder, done, capsys):
    _, outcome = done
    outcome["is"] = Failed("RuntimeError: no kernel", "Traceback of it")
    line, out = fails(capsys, "features", "hsva", "--device", "cpu")
    assert line == "error: features, hsva: failed; the reasons are above and in gpu.json, all else is done"
    assert "hsva, on the processor: failed: RuntimeError: no kernel\nTraceback of it" in out
    held = Results("gpu.json", "").read()
    assert held["steps"] == {}
    assert [entry["why"].splitlines()[1] for entry in held["failed"].values()] == ["Traceback of it"] * 2


def test_when_the_time_is_over_no_step_begins(folder, done, monkeypatch, capsys):
    times = iter([0, 30])
    # the first step takes all of it
    monkeypatch.setattr(gpu, "now", lambda: next(times, 90))
    gpu.main(["features", "hsva", "train", "--device", "cpu", "--minutes", "1", "--datasets", "shapes"])
    assert [list(works) for works in done[0]] == [["features, on the processor"]]
    out = capsys.readouterr().out
    left = [line.partition(":")[0] for line in out.splitlines() if "left for another call" in line]
    assert left == ["hsva", *(f"train {model} shapes, on the processor" for model in ("hsva", "bsegn"))]


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_minutes_that_are_none_are_refused(folder, capsys, minutes):
    line, _ = fails(capsys, "--device", "cpu", "--minutes", minutes)
    assert line.endswith("should be a number above 0")


def test_a_step_that_is_none_is_refused(folder, capsys):
    with pytest.raises(SystemExit) as caught:
        gpu.main(["forward"])
    assert caught.value.code == 2
    assert "'forward' is none of the steps features, hsva, bsegn, train" in capsys.readouterr().err


WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("dvc", "ray", "optuna"):
            raise ImportError(name)
sys.meta_path.insert(0, Without())
import benchmarks.gpu.__main__ as gpu
from pipeline.common import params
wanted, run = gpu.schedules.wanted(params.load(), "hsva", "shapes", [0], [gpu.schedules.SMALL])
print(gpu.schedules.one(print, *wanted, run, 1e12)["figures"]["H"])
"""


def test_neither_dvc_nor_ray_nor_optuna_need_be_there(folder):
    environment = os.environ | {"PYTHONPATH": str(project.ROOT)}
    done = subprocess.run([sys.executable, "-c", WITHOUT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) >= 0
