"""What the `run` section sets up."""

import dataclasses

import pytest
import torch

from pipeline.common import machine, params

RUN = params.load("params.yaml").section("run", machine.Run)


def test_cores_are_shared_out_among_a_launchers_processes(monkeypatch):
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    shares = {}
    for processes in (1, 4, 16):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        shares[processes] = RUN.decoders
    assert shares == {1: 8, 4: 2, 16: 1}
    assert dataclasses.replace(RUN, workers=5).decoders == 5


def test_each_process_of_a_launcher_has_its_gpu_and_a_named_one_stays(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda *shape, device: None)
    assert [str(machine.device("auto", local)) for local in (0, 1, 2)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert str(machine.device("cuda:1", 0)) == "cuda:1"
    assert str(machine.device("cpu", 1)) == "cpu"


def test_float32_is_made_a_full_one():
    for flags in (torch.backends.cudnn, torch.backends.cuda.matmul):
        flags.allow_tf32 = True
    machine.start(RUN)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic


@pytest.mark.parametrize("name", ["cuda:99", "no such"])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(machine.UserError, match=f"run.device: '{name}' cannot be used here"):
        machine.device(name)
