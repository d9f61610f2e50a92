"""Training steps compared and timed, small ones on the processor: losses that differ are found, as is a capture that
did not work."""

import contextlib

import pytest
import torch

from benchmarks.gpu import steps
from benchmarks.gpu.steps import CAPTURED, EAGER, METHODS, PLAIN, PROCESSOR, SMALL
from pipeline.models.base.captured import Captured

CPU = torch.device("cpu")
both = pytest.mark.parametrize("model", METHODS)


def begun(model, precision="float32"):
    return steps.begin(METHODS[model], precision, CPU, SMALL[model])


def apart(model, sides):
    """The largest difference by pair."""
    found = steps.compared(METHODS[model], sides, SMALL[model].compared)
    return {pair: max(loss["largest"] for loss in losses.values()) for pair, losses in found.items()}


@both
def test_the_same_steps_come_to_the_same_losses(model):
    found = apart(model, begun(model))
    plain = found.pop(f"{PLAIN} against {EAGER}")
    assert set(found.values()) == {0.0}
    assert 0 < plain < 1e-3


@both
def test_a_weight_that_is_perturbed_is_noticed_in_the_pairs_that_it_is_part_of(model):
    sides = begun(model)
    trainer = sides[EAGER].trainer
    with torch.no_grad():
        next(trainer.model.parameters()).mul_(1.5)
        next(trainer.model.visual.parameters() if model == "hsva" else trainer.critic.parameters()).mul_(1.5)
    found = apart(model, sides)
    assert found.pop(f"{CAPTURED} against {PROCESSOR}") == 0
    assert min(found.values()) > 1e-5


@both
def test_one_minibatch_late_is_noticed_though_the_first_is_the_same(model):
    """A replay that read the last minibatch's inputs again would look like this."""
    sides, held = begun(model), []
    late = sides[CAPTURED].step

    def stale(draws):
        held.append(draws)
        return late(held[max(0, len(held) - 2)])

    found = steps.compared(METHODS[model], sides | {CAPTURED: sides[CAPTURED]._replace(step=stale)}, 4)
    losses = found[f"{CAPTURED} against {EAGER}"].values()
    assert {loss["first"] for loss in losses} == {0.0}
    assert min(loss["largest"] for loss in losses) > 0


@both
def test_relative_differences_are_those_of_the_numbers(model):
    ours = [{"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0)}]
    theirs = [{"a": torch.tensor(1.0)}, {"a": torch.tensor(-4.0)}]
    assert steps._apart(ours, theirs) == {"a": {"first": 0.0, "largest": 1.75}}


@both
def test_all_of_it_in_both_precisions(model):
    found = steps.run(print, model, "cpu", SMALL[model])
    assert set(found) == {"float32", "bfloat16"}
    for each in found.values():
        assert each["captured"] is False
        assert set(each["milliseconds"]) == {CAPTURED, EAGER, PLAIN, PROCESSOR}
        assert min(each["milliseconds"].values()) > 0
        assert set(each["times_as_long_as_captured"]) == {EAGER, PLAIN, PROCESSOR}
        took = each["milliseconds"][CAPTURED] / 1e3
        reached = each["step"]["bytes"] / took / each["machine"]["bytes_a_second"]
        assert each["shares"][CAPTURED]["bandwidth"] == pytest.approx(reached)
        assert each["step"]["operations"] > each["step"]["bytes"] > 0


@both
def test_a_capture_that_fails_is_told_and_the_losses_stay(model, monkeypatch, capsys):
    @contextlib.contextmanager
    def refused(graph):
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", refused)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(Captured, "_aside", lambda captured, tensors: captured.step(*tensors))
    sides = begun(model)
    graph = METHODS[model].graph(sides[CAPTURED].trainer)
    graph.works = True
    assert apart(model, sides)[f"{CAPTURED} against {EAGER}"] == 0
    assert graph.graph is None
    assert capsys.readouterr().out.count("without a captured graph") == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@both
def test_on_a_gpu_the_step_is_captured_and_comes_to_the_same_losses(model):
    found = steps.run(print, model, "cuda", SMALL[model])["float32"]
    assert found["captured"] is True
    for pair in ((CAPTURED, EAGER), (CAPTURED, PROCESSOR)):
        losses = found["losses_apart"][" against ".join(pair)].values()
        assert max(loss["largest"] for loss in losses) < 1e-2
    assert found["peak_device_gib"] > 0
