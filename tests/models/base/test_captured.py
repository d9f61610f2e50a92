"""Captured steps: what happens around the graph, on any machine with a stand-in for it, and on a GPU itself."""

import contextlib

import pytest
import torch

from pipeline.models.base.captured import WARM, Captured


def doubled(calls):
    """A step that notes what it was called with."""

    def step(tensor):
        calls.append(tensor)
        return 2 * tensor

    return step


def test_on_a_processor_every_call_runs_as_it_is():
    calls = []
    step = Captured(doubled(calls), torch.device("cpu"))
    for value in range(WARM + 2):
        given = torch.tensor([float(value)])
        assert step(given).item() == 2 * value
        assert calls[-1] is given


def stand_in(monkeypatch, works=True):
    """A captured step as on CUDA, whose graph repeats its step on the inputs it was captured with."""
    step = Captured(doubled([]), torch.device("cuda"))
    monkeypatch.setattr(step, "_aside", lambda tensors: step.step(*tensors))

    class Graph:
        def replay(self):
            step.output.copy_(2 * step.inputs[0])

    @contextlib.contextmanager
    def capture(graph):
        if not works:
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    return step


def test_a_replay_reads_new_inputs_and_hands_out_its_own_outputs(monkeypatch):
    step = stand_in(monkeypatch)
    outputs = [step(torch.tensor([float(value)])) for value in range(WARM + 4)]
    assert [output.item() for output in outputs] == [2 * value for value in range(WARM + 4)]
    assert step.graph is not None


def test_forgetting_warms_up_and_captures_again(monkeypatch):
    step = stand_in(monkeypatch)
    for _ in range(WARM + 1):
        step(torch.ones(1))
    first = step.graph
    step.forget()
    assert step.graph is None
    for _ in range(WARM + 1):
        step(torch.ones(1))
    assert step.graph not in (None, first)


def test_a_capture_that_fails_is_said_once_and_training_goes_on(monkeypatch, capsys):
    step = stand_in(monkeypatch, works=False)
    assert [step(torch.tensor([float(value)])).item() for value in range(WARM + 3)] == [
        2 * value for value in range(WARM + 3)
    ]
    out = capsys.readouterr().out
    assert out.count("without a captured graph") == 1
    assert "more lines" not in out


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_graph_gives_what_the_step_gives():
    device = torch.device("cuda")
    weight = torch.randn(8, 8, device=device)
    step = Captured(lambda x: (x @ weight).relu().sum(0), device)
    for _ in range(WARM + 4):
        x = torch.randn(4, 8, device=device)
        torch.testing.assert_close(step(x), (x @ weight).relu().sum(0))
    assert step.graph is not None
