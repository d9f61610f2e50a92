import sys
import time

import pytest
import torch

from pipeline.common import files, record

PARAMS = "model: eszsl\ndatasets: [shapes]\nseeds: [0]\nshapes: {}\neszsl: {shapes: {}}\n"


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A folder with params.yaml, and the command line of its stage `train`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "stages/train.py"), "--dataset", "shapes", "--seed", "3"])
    return tmp_path


def test_a_stage_that_ends_well_is_recorded(stage):
    began = time.monotonic()
    record.recorded(lambda: None)()
    found = files.read_json(record.FOLDER / "train-shapes-3.json")
    assert (found["stage"], found["of"], found["model"]) == ("train", ["shapes", "3"], "eszsl")
    # this process holds torch or numpy: more than 10 MB, less than a terabyte, whatever the platform's unit
    assert 1e7 < found["memory"] < 1e12
    # rounded to hundredths
    assert 0 <= found["seconds"] <= time.monotonic() - began + 0.01


@pytest.mark.parametrize("edited", ["model: [", PARAMS.replace("eszsl", "hsva")])
def test_an_edit_of_params_while_a_stage_runs_changes_nothing(stage, edited):
    record.recorded(lambda: (stage / "params.yaml").write_text(edited))()
    assert files.read_json(record.FOLDER / "train-shapes-3.json")["model"] == "eszsl"


def test_the_device_is_the_one_that_was_used(monkeypatch):
    cuda = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 3,
        "max_memory_allocated": lambda device=0: (0, 7, 5)[device],
        "get_device_name": lambda device=0: f"GPU {device}",
    }
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, value)
    found = record.measured(0)
    assert (found["device"], found["device_memory"]) == ("GPU 1", 7)


def test_a_stage_that_fails_is_not(stage):
    def fail():
        raise ValueError

    try:
        record.recorded(fail)()
    except ValueError:
        assert not record.FOLDER.exists()
    else:
        raise AssertionError("the error was swallowed")


def test_other_programs_leave_no_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest"])
    record.recorded(lambda: None)()
    assert not record.FOLDER.exists()


@pytest.mark.parametrize("content", ["", "null", "{}", '{"stage": 5}', "[" * 100_000, '{"stage": NaN}'])
def test_a_damaged_record_is_left_out_with_a_line(stage, content, capsys):
    record.recorded(lambda: None)()
    path = record.FOLDER / "train-shapes-3.json"
    assert record.read(path)["stage"] == "train"
    path.write_text(content)
    assert record.read(path) is None
    assert "train-shapes-3.json: " in capsys.readouterr().out
