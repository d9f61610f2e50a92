"""Each step's reach, its losses beside a plain loop's, switches, resuming, divergence."""

import math

import pytest
import torch

from benchmarks.hsva import PlainLoop
from pipeline.common.errors import UserError
from pipeline.models.base import Problem
from pipeline.models.hsva import losses
from tests.models.hsva.small import build, problem


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_separates_classes_and_resumes_bit_for_bit(precision):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    model, made = build(precision=precision)
    trainer = model.trainer(made, 1)
    history = [trainer.epoch() for _ in range(3)]
    state = {"model": {k: v.clone() for k, v in model.state_dict().items()}, "trainer": _copied(trainer.state_dict())}
    history += [trainer.epoch() for _ in range(3)]
    assert history[-1]["reconstruction"] < history[0]["reconstruction"]
    assert set(history[0]) == set(trainer.terms)

    again, _ = build(precision=precision)
    resumed = again.trainer(made, 7)
    again.load_state_dict(state["model"])
    resumed.load_state_dict(state["trainer"])
    assert [resumed.epoch() for _ in range(3)] == history[3:]
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    # the user's own random numbers are left alone
    assert torch.equal(before, torch.random.get_rng_state())


def _copied(state):
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_copied(value) for value in state]
    return state.clone() if isinstance(state, torch.Tensor) else state


PARTS = ("visual", "semantic", "common", "visual_decoder", "semantic_decoder", "tasks")


@pytest.mark.parametrize(
    ("sub_step", "moved"),
    [
        ("classification", {"visual", "semantic", "tasks"}),
        ("discrepancy", {"tasks"}),
        ("adaptation", {"visual", "semantic"}),
        ("adaptation again", {"visual", "semantic"}),
        ("distribution", {"visual", "semantic", "common", "visual_decoder", "semantic_decoder"}),
    ],
)
def test_each_sub_step_moves_its_own_networks(sub_step, moved, monkeypatch):
    model, made = build()
    trainer = model.trainer(made, 0)
    trainer.weights.fill_(1)
    changed = []
    step = trainer._step

    def watched(loss, *parts):
        before = {name: value.clone() for name, value in model.named_parameters()}
        step(loss, *parts)
        # all parameters of a moved part get a gradient; only a bias before a batch normalisation has none to speak of
        after = dict(model.named_parameters())
        changed.append(
            {
                part: [n for n in after if n.split(".")[0] == part and not torch.equal(before[n], after[n])]
                for part in PARTS
            }
        )

    monkeypatch.setattr(trainer, "_step", watched)
    trainer.minibatch(*trainer.draws(1))
    order = ["classification", "discrepancy", "adaptation", "adaptation again", "distribution"]
    assert len(changed) == len(order)
    names = changed[order.index(sub_step)]
    assert {part for part in PARTS if names[part]} == moved
    for part in moved:
        weights = [n for n, _ in model.named_parameters() if n.split(".")[0] == part and "bias" not in n]
        assert set(weights) <= set(names[part])


def both_loops(dtype, minibatches, **changes):
    """Loss terms, minibatches x terms, of the trainer and of the plain loop, and both losses of the last sub-step."""
    torch.set_default_dtype(dtype)
    try:
        made = problem()
        made = Problem(*(t.to(dtype) if t.is_floating_point() else t for t in vars(made).values()))
        trainer = build(made, **changes)[0].trainer(made, 3)
        plain = PlainLoop(trainer)
        weights = torch.tensor([0.2, 1.5, 3.0])
        trainer.weights.copy_(weights)
        draws = list(trainer.draws(minibatches))
        values = [
            torch.stack([trainer.minibatch(d) for d in draws]),
            torch.stack([plain.minibatch(d, weights) for d in draws]),
        ]
        factors = torch.tensor([0, 0, 1, 0.2, 1.5, 3, -3])
        return *values, values[0] @ factors, values[1] @ factors
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("reparameterization", ["released", "standard"])
def test_losses_are_those_of_the_plain_loop(reparameterization):
    fast, plain, *_ = both_loops(torch.float64, 8, reparameterization=reparameterization)
    torch.testing.assert_close(fast, plain, rtol=1e-6, atol=1e-9)


def test_losses_are_those_of_the_plain_loop_in_float32():
    fast, plain, *minimised = both_loops(torch.float32, 8, lr=1e-4, task_lr=1e-4)
    # Biases before a batch normalisation have no gradient but rounding, which Adam scales up to whole steps: the small
    # terms part company, though what is minimised does not.
    torch.testing.assert_close(fast[:, 0], plain[:, 0], rtol=1e-4, atol=0)
    torch.testing.assert_close(*minimised, rtol=1e-4, atol=0)


def test_bfloat16_stays_near_float32():
    values = {}
    for precision in ("float32", "bfloat16"):
        model, made = build(precision=precision)
        trainer = model.trainer(made, 0)
        trainer.weights.fill_(1)
        values[precision] = torch.stack([trainer.minibatch(*trainer.draws(1)) for _ in range(5)]).mean(0)
    # the discrepancy of two near equal classifiers is the square of a difference as small as the rounding
    kept = [i for i, name in enumerate(trainer.terms) if name != "discrepancy"]
    torch.testing.assert_close(values["bfloat16"][kept], values["float32"][kept], rtol=0.05, atol=0.05)


def test_switches_leave_out_what_they_name():
    first = {}
    for switch in ("sad", "wasserstein", "icoral"):
        model, made = build(**{switch: False})
        trainer = model.trainer(made, 0)
        tasks = model.tasks.first.clone()
        trainer.weights.fill_(1)
        first[switch] = dict(zip(trainer.terms, trainer.minibatch(*trainer.draws(1)).tolist(), strict=True))
        assert torch.equal(tasks, model.tasks.first) == (switch == "sad")
    assert not {"classification", "discrepancy"} & set(first["sad"])
    assert "wasserstein" not in first["wasserstein"]
    assert "coral" not in first["icoral"]
    assert set(first["icoral"]) == {
        "classification",
        "discrepancy",
        "reconstruction",
        "kl",
        "cross",
        "wasserstein",
    }


def test_mcd_measures_the_mean_difference(monkeypatch):
    model, made = build(discrepancy="mcd")
    trainer = model.trainer(made, 0)
    seen = []
    discrepancy = losses.discrepancy

    def watched(logits, directions):
        p, q = logits.softmax(-1)
        seen.append((discrepancy(logits, directions), (p - q).abs().mean((1, 2)).sum()))
        return seen[-1][0]

    monkeypatch.setattr(losses, "discrepancy", watched)
    trainer.minibatch(*trainer.draws(1))
    assert len(seen) == 3
    for value, expected in seen:
        torch.testing.assert_close(value, expected)


def test_the_discrepancy_grows_in_the_classifiers_step_and_falls_in_the_encoders(monkeypatch):
    model, made = build(lr=1e-3, task_lr=1e-2, adaptation_steps=5)
    trainer = model.trainer(made, 0)
    for _ in range(20):
        trainer.minibatch(*trainer.draws(1))
    trainer.weights[2] = 100.0
    values = []
    discrepancy = losses.discrepancy
    fixed = next(trainer.draws(1)).directions[0]

    def watched(logits, directions):
        values.append(discrepancy(logits, fixed))
        return values[-1]

    monkeypatch.setattr(losses, "discrepancy", watched)
    trainer.minibatch(*trainer.draws(1))
    before, after_classifiers, *_, after_encoders = [value.item() for value in values]
    assert after_classifiers > before
    assert after_encoders < after_classifiers


def test_unseen_semantics_are_drawn_uniformly_and_noise_is_of_the_kind_asked_for():
    model, made = build(reparameterization="released")
    trainer = model.trainer(made, 0)
    draws = list(trainer.draws(300))
    counts = torch.cat([d.unseen for d in draws]).bincount(minlength=3)
    assert (counts - 1000).abs().max() < 120
    assert draws[0].noise.shape == (3, 10, 1)
    torch.testing.assert_close(draws[0].directions.norm(dim=-2), torch.ones(3, 2, 16))
    assert next(build(reparameterization="standard")[0].trainer(made, 0).draws(1)).noise.shape == (3, 10, 8)


@pytest.mark.parametrize("images", [60, 7])
def test_a_minibatch_holds_no_image_twice(images):
    model, made = build(problem(images=images), batch=10)
    trainer = model.trainer(made, 0)
    rows = [draws.rows.tolist() for draws in trainer.draws(50)]
    assert {len(set(batch)) for batch in rows} == {min(10, images)}
    assert len({tuple(sorted(batch)) for batch in rows}) == (1 if images < 10 else 50)


def test_divergence_names_epoch_minibatch_term_and_value():
    model, made = build()
    trainer = model.trainer(made, 0)
    trainer.epoch()
    with torch.no_grad():
        model.visual_decoder.second.bias[0] = math.nan
    with pytest.raises(UserError, match=r"epoch 2, minibatch 1: reconstruction is nan"):
        trainer.epoch()
    model, made = build(lr=1e6)
    with pytest.raises(UserError, match=r"epoch 1, minibatch \d+: \w+ is"):
        model.trainer(made, 0).epoch()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_trainer_gets_by_with_the_memory_of_one_gradient_a_weight(precision):
    model, made = build(precision=precision)
    trainer = model.trainer(made, 0)
    trainer.minibatch(*trainer.draws(1))
    held = model.visual.first.weight.grad.data_ptr()
    trainer.minibatch(*trainer.draws(1))
    assert model.visual.first.weight.grad.data_ptr() == held
