"""What each step of BSeGN moves, the trainer against a plain loop, resuming, and odd sizes."""

import dataclasses
import math

import pytest
import torch

from benchmarks.bsegn import PlainLoop
from pipeline.common.errors import UserError
from pipeline.models.base import Problem, classifier
from pipeline.models.base.rows import Scaled
from pipeline.models.bsegn.trainer import TERMS
from tests import configs
from tests.models.bsegn.small import begin, problem


def weights(model, trainer):
    """Copies of the parameters of all networks."""
    nets = {"generator": model.generator, "cycle": model.cycle, "fem": trainer.fem}
    nets |= {"encoder": trainer.encoder, "critic": trainer.critic}
    return {name: [value.detach().clone() for value in net.parameters()] for name, net in nets.items()}


def moved(before, after):
    """Names of the networks of which every parameter but possibly the critic's last bias changed."""
    return {
        name for name in before if any(not torch.equal(*pair) for pair in zip(before[name], after[name], strict=True))
    }


def test_each_step_moves_its_own_networks_and_no_other():
    model, trainer = begin(problem(), configs.bsegn())
    draws = next(trainer.draws(1))
    x, y = trainer.features[draws.rows[0]], trainer.labels[draws.rows[0]]
    a = trainer.semantics[y]
    steps = {
        ("cycle",): lambda: trainer.cycle_step(x, a),
        ("critic",): lambda: trainer.critic_step(x, x.flip(0), a, draws.mix[0]),
        ("fem",): lambda: trainer.fem_step(x, y, draws),
        ("encoder", "generator"): lambda: trainer.generator_step(x, y, draws),
    }
    for names, step in steps.items():
        others = [net for net in (trainer.fem, model.cycle, trainer.critic) if net is not getattr(trainer, names[0], 0)]
        before = weights(model, trainer)
        for net in others:
            net.zero_grad()
        step()
        assert moved(before, weights(model, trainer)) == set(names)
    # what stands still gets no gradients either
    for net in (model.cycle, trainer.critic, trainer.fem):
        net.zero_grad()
    trainer.generator_step(x, y, draws)
    assert all(value.grad is None for net in (model.cycle, trainer.critic, trainer.fem) for value in net.parameters())


@pytest.mark.parametrize(
    ("changes", "still", "absent"),
    [
        ({"cycle": {"weight": 0.0}, "levels": 0}, {"cycle"}, {"cycle_real", "cycle_fake"}),
        ({"fem": {"training": "none"}}, {"fem"}, {"v2s", "s2v", "balance", "generator_v2s", "unseen_as_seen"}),
        ({"fem": {"weight": 0.0}}, set(), {"generator_v2s", "generator_s2v"}),
    ],
)
def test_what_is_switched_off_neither_moves_nor_is_reported(changes, still, absent):
    model, trainer = begin(problem(), configs.bsegn(**changes))
    before = weights(model, trainer)
    terms = trainer.epoch()
    assert set(before) - moved(before, weights(model, trainer)) == still
    assert not absent & set(terms)


def generator_after(**changes):
    """The generator's weights after two epochs under these switches."""
    model, trainer = begin(problem(), configs.bsegn(**changes))
    trainer.epoch()
    trainer.epoch()
    return torch.cat([value.detach().flatten() for value in model.generator.parameters()])


@pytest.mark.parametrize(
    "changes",
    [
        {"cycle": {"weight": 0.0}},
        {"fem": {"weight": 0.0}},
        {"fem": {"s2v": False}},
        {"fem": {"v2s": False}},
        {"fem": {"balance": "none"}},
        {"fem": {"balance": "domain_mean"}},
        {"fem": {"training": "frozen"}},
        {"fem": {"training": "none"}},
        {"fem": {"centre": True}},
        {"fem": {"shared": True}},
        {"seen_latents": "prior"},
        {"cycle": {"depth": 1}, "levels": 1},
        {"cycle": {"fakes": True}},
        {"cycle": {"unseen": False}},
        {"penalty_adapts": True},
    ],
    ids=str,
)
def test_every_switch_changes_the_training(changes):
    plain = generator_after()
    assert torch.equal(plain, generator_after())
    other = generator_after(**changes)
    assert torch.isfinite(other).all()
    assert not torch.equal(plain, other)


def test_frozen_fem_learns_once_and_then_stands_still():
    model, trainer = begin(problem(), configs.bsegn(fem={"training": "frozen"}))
    start = weights(model, trainer)
    trainer.epoch()
    after = weights(model, trainer)
    trainer.epoch()
    assert "fem" in moved(start, after)
    assert "fem" not in moved(after, weights(model, trainer))


def test_a_shared_fem_is_the_cycle_branch():
    model, trainer = begin(problem(), configs.bsegn(fem={"shared": True}))
    assert trainer.fem is model.cycle
    assert set(trainer.state_dict()["nets"]) == {"encoder", "critic"}


def test_centring_removes_the_mean_class_vector():
    given = problem()
    centred, plain = (begin(given, configs.bsegn(fem={"centre": centre}))[1] for centre in (True, False))
    torch.testing.assert_close(plain.targets, torch.cat([given.seen, given.unseen]))
    away = plain.targets - plain.targets.mean(0)
    torch.testing.assert_close(centred.targets, away / away.norm(dim=1, keepdim=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"seen_latents": "encoded"},
        {"seen_latents": "prior"},
        {"cycle": {"fakes": True, "unseen": False}},
        {"cycle": {"depth": 1}, "levels": 1},
        {"fem": {"balance": "domain_mean"}},
    ],
    ids=str,
)
def test_the_trainer_gives_the_losses_of_a_plain_loop(changes):
    options = configs.bsegn(batch=32, **changes)
    (model, trainer), (_, twin) = begin(problem(), options), begin(problem(), options)
    # Where all of a batch lies on one side of a unit's hinge, the gradient of its bias and of its weights of the
    # semantics is zero, and Adam walks by the sign of the rounding. Larger weights leave few such units, and what they
    # add to the scores falls out of the difference between an image and a fake of the same class.
    for each in (trainer, twin):
        each.critic.hidden.weight.data.mul_(30)
    plain = PlainLoop(twin)
    for _ in range(4):
        draws = next(trainer.draws(1))
        got = dict(zip(TERMS, trainer.iteration(draws).tolist(), strict=True))
        expected = {name: value.item() for name, value in plain.iteration(draws).items()}
        x, y = trainer.features[draws.rows[-1]], trainer.labels[draws.rows[-1]]
        for terms, each in ((got, trainer), (expected, twin)):
            terms["adversarial"] += each.critic(x, trainer.semantics[y]).mean().item()
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for mine, theirs in zip(model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_captured_iteration_gives_the_losses_of_the_eager_one(precision):
    given = problem()
    given = Problem(*(value.cuda() for value in vars(given).values()))
    (_, trainer), (_, twin) = (begin(given, configs.bsegn(precision=precision)) for _ in range(2))
    for _ in range(8):
        draws = next(trainer.draws(1))
        torch.testing.assert_close(trainer.run(draws), twin.iteration(draws), rtol=1e-3, atol=1e-4)
    assert trainer._captured.graph is not None


def test_bfloat16_stays_near_float32():
    _, exact = begin(problem(), configs.bsegn())
    _, rounded = begin(problem(), configs.bsegn(precision="bfloat16"))
    expected, got = exact.epoch(), rounded.epoch()
    for name in ("reconstruction", "v2s", "s2v", "cycle_real"):
        assert got[name] == pytest.approx(expected[name], rel=0.05)
    assert all(value.dtype == torch.float32 for value in rounded.encoder.parameters())


@pytest.mark.parametrize("images", [40, 6])
def test_a_minibatch_holds_no_image_twice(images):
    _, trainer = begin(problem(images=images), configs.bsegn(batch=8))
    rows = torch.cat([draws.rows for draws in trainer.draws(20)])
    assert len(rows) == 20 * trainer.config.critic_steps
    assert {len(set(batch)) for batch in rows.tolist()} == {min(8, images)}


def test_r_learns_from_fakes_where_it_is_to():
    model, trainer = begin(problem(), configs.bsegn(cycle={"fakes": True}))
    draws = next(trainer.draws(1))
    x, y = trainer.features[draws.rows[0]], trainer.labels[draws.rows[0]]
    before = weights(model, trainer)
    trainer.generator_step(x, y, draws)
    assert moved(before, weights(model, trainer)) == {"encoder", "generator", "cycle"}


def test_unseen_classes_are_drawn_uniformly():
    _, trainer = begin(problem(unseen=4), configs.bsegn(batch=500))
    drawn = torch.cat([draws.unseen.flatten() for draws in trainer.draws(200)])
    counts = torch.bincount(drawn, minlength=4).double()
    assert (counts / counts.sum() - 0.25).abs().max() < 0.02


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bfloat16"},
        {"fem": {"shared": True}},
        {"fem": {"training": "frozen"}},
        {"fem": {"joint": 1.0}},
        {"penalty_adapts": True},
    ],
    ids=str,
)
def test_going_on_from_a_checkpoint_is_bit_for_bit(changes, tmp_path):
    given = problem()
    model, trainer = begin(given, configs.bsegn(**changes))
    trainer.epoch()
    torch.save({"model": model.state_dict(), "trainer": trainer.state_dict()}, tmp_path / "state.pt")
    expected = [trainer.epoch(), trainer.epoch()]
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other, again = begin(given, configs.bsegn(**changes), seed=7)
    other.load_state_dict(state["model"])
    again.load_state_dict(state["trainer"])
    assert [again.epoch(), again.epoch()] == expected
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_global_random_state_neither_matters_nor_moves():
    one = generator_after()
    torch.manual_seed(5)
    model, trainer = begin(problem(), configs.bsegn())
    state = torch.get_rng_state()
    trainer.epoch()
    trainer.epoch()
    model.classifier_set(problem(), 0)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one, torch.cat([value.detach().flatten() for value in model.generator.parameters()]))


@pytest.mark.parametrize(
    ("sizes", "changes"),
    [
        ({"unseen": 1}, {}),
        ({"images": 6}, {}),
        ({"seen": 2, "unseen": 1, "images": 3}, {"batch": 64}),
        ({"d_x": 3, "d_a": 17}, {"batch": 1}),
        ({}, {"latent": 2, "critic_steps": 1}),
        ({"seen": 30, "images": 60}, {"batch": 4}),
    ],
    ids=str,
)
def test_odd_sizes(sizes, changes):
    given = problem(**sizes)
    model, trainer = begin(given, configs.bsegn(**changes))
    assert all(math.isfinite(value) for value in trainer.epoch().values())
    inputs, labels = model.classifier_set(given, 0)
    heads = list(
        classifier.epochs(inputs, labels, torch.cat([given.seen, given.unseen]), trainer.config.classifier, 0, 1, model)
    )
    assert torch.isfinite(classifier.scores(heads[-1], inputs, model.expand)).all()


def test_the_weight_of_the_penalty_follows_the_mean_squared_penalty():
    _, trainer = begin(problem(), configs.bsegn(penalty_adapts=True))
    weight = trainer.config.penalty
    below = above = 0
    for _ in range(60):
        if trainer.penalty < 1.0:
            # a critic that is steeper than it would become in so few iterations
            trainer.critic.hidden.weight.data.mul_(1.5)
        squared = trainer.iteration(next(trainer.draws(1)))[TERMS.index("penalty")].item()
        below, above = below + (squared < 1.001), above + (squared > 1.05)
        weight *= 1.1 if squared > 1.05 else 1 / 1.1 if squared < 1.001 else 1
        assert trainer.penalty.item() == pytest.approx(weight, rel=1e-5)
    assert below
    assert above


def test_a_critic_that_explodes_stops_the_training():
    _, trainer = begin(problem(), configs.bsegn(penalty=0.0))
    with torch.no_grad():
        for value in trainer.critic.parameters():
            value.mul_(1e3)
    with pytest.raises(UserError, match="critic exploded"):
        trainer.epoch()


def test_a_critic_that_collapses_is_said_once(capsys):
    _, trainer = begin(problem(), configs.bsegn(lr=1e-12))
    for _ in range(3):
        trainer.epoch()
    assert capsys.readouterr().out.count("critic collapsed") == 1


def test_a_critic_that_begins_low_and_rises_is_passed_over(capsys):
    _, trainer = begin(problem(), configs.bsegn())
    lengths = [trainer.epoch()["gradient_norm"] for _ in range(4)]
    assert lengths[0] < 0.1 < lengths[-1]
    assert "critic" not in capsys.readouterr().out


def test_no_unseen_image_or_test_label_can_reach_training():
    """A Problem has no place for them, and all that a Trainer holds of the data is the Problem's."""
    given = problem()
    model, trainer = begin(given, configs.bsegn())
    assert [field.name for field in dataclasses.fields(Problem)] == ["features", "labels", "seen", "unseen"]
    held = {name: value for name, value in vars(trainer).items() if isinstance(value, (torch.Tensor, Scaled))}
    assert set(held) == {"features", "labels", "semantics", "targets", "penalty"}
    assert torch.equal(trainer.features[:], model.scale(given.features))
    assert torch.equal(trainer.labels, given.labels)
    assert trainer.labels.max() < len(given.seen)
    assert torch.equal(trainer.semantics, torch.cat([given.seen, given.unseen]))
