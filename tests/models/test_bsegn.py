"""BSeGN: every loss by hand, what each step moves, the trainer against a plain loop, resuming, and odd sizes."""

import dataclasses
import math
import typing

import pytest
import torch
import yaml
from torch.nn import functional as F

from benchmarks.bsegn import PlainLoop
from pipeline import classifier
from pipeline.errors import UserError
from pipeline.models import bsegn
from pipeline.models.base import Problem


def config(**changes):
    """A small Config; `fem__weight=0` changes a nested field."""
    small = bsegn.Config(
        epochs=3,
        batch=8,
        lr=1e-3,
        beta1=0.5,
        encoder_beta1=0.9,
        gamma=10.0,
        penalty=10.0,
        critic_steps=5,
        latent=None,
        seen_latents="encoded",
        levels=2,
        synthetic=6,
        length=None,
        widths=bsegn.Widths(encoder=20, generator=24, critic=28, cycle1=16, cycle2=12, fem=18),
        cycle=bsegn.Cycle(weight=0.01, lr=1e-3),
        fem=bsegn.Embedding(
            training="online",
            weight=0.01,
            lr=1e-3,
            temperature=0.05,
            v2s=True,
            s2v=True,
            balance="domain_mean",
            balance_weight=0.1,
            centre=False,
            shared=False,
            frozen_epochs=2,
        ),
        classifier=classifier.Config(gzsl_epochs=2, czsl_epochs=2, lr=1e-3, beta1=0.5, batch=8),
        precision="float32",
    )
    for name, value in changes.items():
        outer, _, inner = name.partition("__")
        value = dataclasses.replace(getattr(small, outer), **{inner: value}) if inner else value
        small = dataclasses.replace(small, **{outer: value})
    return small


def problem(d_x=10, d_a=5, seen=6, unseen=3, images=40, seed=0):
    """Features that depend linearly on their class's semantics, with noise."""
    generator = torch.Generator().manual_seed(seed)
    semantics = F.normalize(torch.rand(seen + unseen, d_a, generator=generator), dim=1)
    labels = torch.arange(images) % seen
    mixing = torch.randn(d_a, d_x, generator=generator)
    features = semantics[labels] @ mixing + 0.1 * torch.randn(images, d_x, generator=generator)
    return Problem(features, labels, semantics[:seen], semantics[seen:])


def begin(given, options, seed=0):
    """A model and its trainer."""
    sizes = given.features.shape[1], given.seen.shape[1], len(given.seen), len(given.unseen)
    model = bsegn.Model(*sizes, options)
    return model, model.trainer(given, seed)


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


def test_every_choice_reads_from_yaml_as_it_is_written():
    """YAML takes some words, such as off, for something else."""
    hints = [hint for schema in (bsegn.Config, bsegn.Embedding) for hint in typing.get_type_hints(schema).values()]
    choices = [word for hint in hints if typing.get_origin(hint) is typing.Literal for word in typing.get_args(hint)]
    assert len(choices) > 10
    assert [yaml.safe_load(str(word)) for word in choices] == choices


def test_kl_divergence_by_hand():
    mean, log_variance = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, math.log(4)], [0.0, 0.0]])
    # 1/2 (1) + 1/2 (4 - 1 - log 4), and 1/2 (4)
    expected = (0.5 + 0.5 * (3 - math.log(4)) + 2) / 2
    assert bsegn.kl_divergence(mean, log_variance).item() == pytest.approx(expected)


def test_reconstruction_by_hand():
    logits = torch.tensor([[0.0, math.log(3)]])
    # sigmoids 1/2 and 3/4
    expected = -math.log(0.5) - (0.2 * math.log(0.75) + 0.8 * math.log(0.25))
    assert bsegn.reconstruction(logits, torch.tensor([[1.0, 0.2]])).item() == pytest.approx(expected)
    twice = bsegn.reconstruction(logits.repeat(2, 1), torch.tensor([[1.0, 0.2]]).repeat(2, 1))
    assert twice.item() == pytest.approx(expected)


def test_cycle_loss_by_hand():
    embedded, a = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 4.0], [1.0, 0.0]])
    # errors (3, -4) of length 5: (27 + 64) / 5; error (0, 1) of length 1: 1
    assert bsegn.cycle_loss(embedded, a).item() == pytest.approx((91 / 5 + 1) / 2)


def test_cycle_loss_where_a_row_is_met_exactly():
    embedded = torch.zeros(2, 3, requires_grad=True)
    loss = bsegn.cycle_loss(embedded, torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(embedded.grad).all()


# three images of seen class 0, one of seen class 1, two of unseen class 2; class 3, unseen, has none
SCORES = torch.tensor(
    [
        [2.0, 1.0, 0.5, 0.0],
        [1.5, 0.0, 0.3, 0.2],
        [0.1, 0.4, 1.0, 0.9],
        [0.0, 3.0, 0.2, 1.0],
        [0.7, 0.1, 1.2, 0.3],
        [1.1, 0.2, 0.6, 0.8],
    ]
)
LABELS = torch.tensor([0, 0, 0, 1, 2, 2])


@pytest.mark.parametrize("own_domain", [False, True])
def test_contrastive_by_hand(own_domain):
    s, y = SCORES.tolist(), LABELS.tolist()
    classes = [[0, 1] if label < 2 else [2, 3] for label in y] if own_domain else [range(4)] * 6
    v2s = -sum(s[i][y[i]] - math.log(sum(math.exp(s[i][c]) for c in classes[i])) for i in range(6)) / 6
    s2v = 0
    for c, positives in {0: [0, 1, 2], 1: [3], 2: [4, 5]}.items():
        images = ([0, 1, 2, 3] if c < 2 else [4, 5]) if own_domain else range(6)
        total = math.log(sum(math.exp(s[j][c]) for j in images))
        s2v -= sum(s[i][c] - total for i in positives) / len(positives) / 3
    got = bsegn.contrastive(SCORES, LABELS, 2, own_domain)
    assert [value.item() for value in got] == pytest.approx([v2s, s2v], rel=1e-5)


def test_contrastive_of_one_domain_alone_is_finite():
    scores = SCORES[:4].clone().requires_grad_()
    sum(bsegn.contrastive(scores, LABELS[:4], 2, own_domain=True)).backward()
    assert torch.isfinite(scores.grad).all()


def test_domain_mean_balance_by_hand():
    p = [[math.exp(v) / sum(map(math.exp, row)) for v in row] for row in SCORES.tolist()]
    real, fake = sum(max(row[:2]) for row in p[:4]) / 4, sum(max(row[2:]) for row in p[4:]) / 2
    got = bsegn.balance_loss("domain_mean", SCORES, LABELS, 2, 0.05)
    assert got.item() == pytest.approx((real - fake) ** 2, rel=1e-5)


def test_per_sample_balance_by_hand():
    gaps = [2 - 0.5, 1.5 - 0.3, 0.4 - 1.0, 3 - 1, 0.7 - 1.2, 1.1 - 0.8]
    expected = sum((0.05 * gap) ** 2 for gap in gaps) / 6
    assert bsegn.balance_loss("per_sample", SCORES, LABELS, 2, 0.05).item() == pytest.approx(expected, rel=1e-5)


def critic_case(seed=0, d_x=7, d_a=3, width=11, n=5):
    generator = torch.Generator().manual_seed(seed)
    critic = bsegn.Critic(d_x, d_a, width).double()
    for value in critic.parameters():
        value.data = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    real, fake = torch.rand(2, n, d_x, generator=generator, dtype=torch.float64)
    a, mix = torch.rand(n, d_a, generator=generator).double(), torch.rand(n, 1, generator=generator).double()
    # Critic.forward rounds scores to float32, these doubles shall not be
    critic.forward = lambda x, a: critic.out(F.leaky_relu(critic.hidden(torch.cat([x, a], 1)), 0.2)).squeeze(1)
    return critic, real, fake, a, mix


def test_penalty_of_a_critic_whose_gradient_is_known():
    critic = bsegn.Critic(2, 1, 2)
    with torch.no_grad():
        # h = (3 x1, 4 x2), positive for the images below; D = h1 + h2, so its gradient is (3, 4), of length 5
        critic.hidden.weight.copy_(torch.tensor([[3.0, 0, 0], [0, 4, 0]]))
        critic.hidden.bias.zero_()
        critic.out.weight.fill_(1)
        critic.out.bias.fill_(7)
    real, fake = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.5, 0.25]])
    gradients, terms = bsegn.critic_gradients(critic, real, fake, torch.zeros(1, 1), torch.tensor([[0.5]]), 2, 10)
    assert [value.item() for value in terms] == pytest.approx([7 - 2.5, 16, 5])
    # of 2 (D(fake) - D(real)), a row's gradient is 2 (fake - real); of 2 * 10 (|g| - 1)^2 it is 2 * 20 * 4 * g / 5
    assert gradients[0][0].tolist() == pytest.approx([2 * -0.5 + 96, 2 * -0.75 + 128, 0])
    assert gradients[0][1].tolist() == pytest.approx([2 * -0.5 + 96, 2 * -0.75 + 128, 0])
    assert gradients[1].tolist() == [0, 0]
    assert gradients[2][0].tolist() == pytest.approx([2 * -1.5 + 160 * 9 / 5, 2 * -3 + 160 * 16 / 5])
    assert gradients[3].tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_closed_form_of_the_penalty_equals_double_backward(seed):
    critic, real, fake, a, mix = critic_case(seed)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    gradient = torch.autograd.grad(critic(between, a).sum(), between, create_graph=True)[0]
    penalty = (gradient.norm(dim=1) - 1).square().mean()
    loss = 3 * (critic(fake, a).mean() - critic(real, a).mean() + 10 * penalty)
    expected = torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)
    got, terms = bsegn.critic_gradients(critic, real, fake, a, mix, 3, 10)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert terms[1].item() == pytest.approx(penalty.item(), rel=1e-12)


def test_each_step_moves_its_own_networks_and_no_other():
    model, trainer = begin(problem(), config())
    draws = trainer.draw()
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
        ({"cycle__weight": 0.0, "levels": 0}, {"cycle"}, {"cycle_real", "cycle_fake"}),
        ({"fem__training": "none"}, {"fem"}, {"v2s", "s2v", "balance", "generator_v2s", "unseen_as_seen"}),
        ({"fem__weight": 0.0}, set(), {"generator_v2s", "generator_s2v"}),
    ],
)
def test_what_is_switched_off_neither_moves_nor_is_reported(changes, still, absent):
    model, trainer = begin(problem(), config(**changes))
    before = weights(model, trainer)
    terms = trainer.epoch()
    assert set(before) - moved(before, weights(model, trainer)) == still
    assert not absent & set(terms)


def generator_after(**changes):
    """The generator's weights after two epochs under these switches."""
    model, trainer = begin(problem(), config(**changes))
    trainer.epoch()
    trainer.epoch()
    return torch.cat([value.detach().flatten() for value in model.generator.parameters()])


@pytest.mark.parametrize(
    "changes",
    [
        {"cycle__weight": 0.0},
        {"fem__weight": 0.0},
        {"fem__s2v": False},
        {"fem__v2s": False},
        {"fem__balance": "none"},
        {"fem__balance": "per_sample"},
        {"fem__training": "frozen"},
        {"fem__training": "none"},
        {"fem__centre": True},
        {"fem__shared": True},
        {"seen_latents": "prior"},
        {"levels": 1},
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
    model, trainer = begin(problem(), config(fem__training="frozen"))
    start = weights(model, trainer)
    trainer.epoch()
    after = weights(model, trainer)
    trainer.epoch()
    assert "fem" in moved(start, after)
    assert "fem" not in moved(after, weights(model, trainer))


def test_a_shared_fem_is_the_cycle_branch():
    model, trainer = begin(problem(), config(fem__shared=True))
    assert trainer.fem is model.cycle
    assert set(trainer.state_dict()["nets"]) == {"encoder", "critic"}
    with pytest.raises(UserError, match="shared"):
        config(fem__shared=True, fem__training="frozen")


def test_centring_removes_the_mean_class_vector():
    given = problem()
    centred, plain = (begin(given, config(fem__centre=centre))[1] for centre in (True, False))
    torch.testing.assert_close(plain.targets, torch.cat([given.seen, given.unseen]))
    away = plain.targets - plain.targets.mean(0)
    torch.testing.assert_close(centred.targets, away / away.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("latents", ["encoded", "prior"])
def test_the_trainer_gives_the_losses_of_a_plain_loop(latents):
    options = config(seen_latents=latents, batch=32)
    (model, trainer), (_, twin) = begin(problem(), options), begin(problem(), options)
    # Where all of a batch lies on one side of a unit's hinge, the gradient of its bias and of its weights of the
    # semantics is zero, and Adam walks by the sign of the rounding. Larger weights leave few such units, and what they
    # add to the scores falls out of the difference between an image and a fake of the same class.
    for each in (trainer, twin):
        each.critic.hidden.weight.data.mul_(30)
    plain = PlainLoop(twin)
    for _ in range(4):
        draws = trainer.draw()
        got = dict(zip(bsegn.TERMS, trainer.iteration(draws).tolist(), strict=True))
        expected = {name: value.item() for name, value in plain.iteration(draws).items()}
        x, y = trainer.features[draws.rows[-1]], trainer.labels[draws.rows[-1]]
        for terms, each in ((got, trainer), (expected, twin)):
            terms["adversarial"] += each.critic(x, trainer.semantics[y]).mean().item()
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for mine, theirs in zip(model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_captured_iteration_gives_the_losses_of_the_eager_one():
    given = problem()
    given = Problem(*(value.cuda() for value in vars(given).values()))
    (_, trainer), (_, twin) = begin(given, config()), begin(given, config())
    for _ in range(8):
        draws = trainer.draw()
        torch.testing.assert_close(trainer.run(draws), twin.iteration(draws), rtol=1e-3, atol=1e-4)
    assert trainer._captured.graph is not None


def test_bfloat16_stays_near_float32():
    _, exact = begin(problem(), config())
    _, rounded = begin(problem(), config(precision="bfloat16"))
    expected, got = exact.epoch(), rounded.epoch()
    for name in ("reconstruction", "v2s", "s2v", "cycle_real"):
        assert got[name] == pytest.approx(expected[name], rel=0.05)
    assert all(value.dtype == torch.float32 for value in rounded.encoder.parameters())


def test_unseen_classes_are_drawn_uniformly():
    _, trainer = begin(problem(unseen=4), config(batch=500))
    drawn = torch.cat([trainer.draw().unseen.flatten() for _ in range(20)])
    counts = torch.bincount(drawn, minlength=4).double()
    assert (counts / counts.sum() - 0.25).abs().max() < 0.02


def test_learning_learns():
    """Images synthesised for an unseen class lie nearest to where its real images would be, which no one showed."""
    given = problem(d_x=24, d_a=8, seen=12, unseen=4, images=240)
    options = config(lr=2e-3, gamma=1.0, batch=32, synthetic=50)
    model, trainer = begin(given, options)
    first, *_, last = [trainer.epoch() for _ in range(25)]
    assert last["reconstruction"] < first["reconstruction"]
    assert last["v2s"] < first["v2s"] - 1
    generator = torch.Generator().manual_seed(0)
    torch.rand(16, 8, generator=generator)
    mixing = torch.randn(8, 24, generator=generator)
    centres = model.scale(given.unseen @ mixing)
    inputs, labels = model.classifier_set(given, 0)
    fakes = torch.stack([inputs[labels == 12 + c].mean(0) for c in range(4)])
    assert (torch.cdist(fakes, centres).argmin(1) == torch.arange(4)).sum() >= 3


@pytest.mark.parametrize(("levels", "width"), [(0, 10), (1, 10 + 16 + 5), (2, 10 + 16 + 12 + 5)])
def test_expand_concatenates_the_levels(levels, width):
    given = problem()
    model, _ = begin(given, config(levels=levels))
    inputs = model.encode(given.features)
    wide = model.expand(inputs)
    assert wide.shape == (40, width)
    torch.testing.assert_close(wide[:, :10], inputs)
    if levels:
        torch.testing.assert_close(wide[:, -5:], model.cycle(inputs))
        first = F.leaky_relu(model.cycle.hidden[0](inputs), 0.2)
        torch.testing.assert_close(wide[:, 10:26], first)
        assert len(model.cycle.hidden) == levels


@pytest.mark.parametrize("levels", [0, 2])
def test_what_the_classifier_reads_is_standardised(levels):
    given = problem()
    given.features[:, 3] = 7
    model, trainer = begin(given, config(levels=levels, length=10.0))
    trainer.epoch()
    inputs, _ = model.classifier_set(given, 0)
    wide = model.expand(inputs[:40])
    model.classifier_set(given, 0, unseen_only=True)
    assert torch.equal(model.expand(inputs[:40]), wide)
    assert torch.isfinite(model.expand(inputs)).all()
    torch.testing.assert_close(wide.mean(0), torch.zeros(wide.shape[1]), atol=1e-3, rtol=0)
    # one dimension is constant; the others share the length
    varied = wide[:, wide.std(0) > 0.5]
    deviation = varied.std(0, correction=0)
    torch.testing.assert_close(deviation, torch.full_like(deviation, 10 / wide.shape[1] ** 0.5), rtol=1e-3, atol=1e-3)
    assert wide[:, 3].abs().max() < 1e-3
    fresh = bsegn.Model(10, 5, 6, 3, model.config)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.expand(inputs), model.expand(inputs))


def test_classifier_set_has_real_seen_and_synthetic_unseen_features():
    given = problem()
    model, trainer = begin(given, config())
    trainer.epoch()
    inputs, labels = model.classifier_set(given, 3)
    assert inputs.shape == (40 + 3 * 6, 10)
    torch.testing.assert_close(inputs[:40], model.encode(given.features))
    assert torch.equal(labels[:40], given.labels)
    assert labels[40:].tolist() == [6] * 6 + [7] * 6 + [8] * 6
    assert ((inputs[40:] > 0) & (inputs[40:] < 1)).all()
    assert torch.equal(inputs, model.classifier_set(given, 3)[0])
    assert not torch.equal(inputs, model.classifier_set(given, 4)[0])


def test_a_model_is_restored_from_sizes_and_weights_alone():
    given = problem()
    model, trainer = begin(given, config())
    trainer.epoch()
    fresh = bsegn.Model(10, 5, 6, 3, config())
    fresh.load_state_dict(model.state_dict())
    for mine, theirs in zip(fresh.classifier_set(given, 0), model.classifier_set(given, 0), strict=True):
        assert torch.equal(mine, theirs)
    inputs = model.encode(given.features)
    assert torch.equal(fresh.expand(inputs), model.expand(inputs))


@pytest.mark.parametrize("changes", [{}, {"fem__shared": True}, {"fem__training": "frozen"}], ids=str)
def test_going_on_from_a_checkpoint_is_bit_for_bit(changes, tmp_path):
    given = problem()
    model, trainer = begin(given, config(**changes))
    trainer.epoch()
    torch.save({"model": model.state_dict(), "trainer": trainer.state_dict()}, tmp_path / "state.pt")
    expected = [trainer.epoch(), trainer.epoch()]
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other, again = begin(given, config(**changes), seed=7)
    other.load_state_dict(state["model"])
    again.load_state_dict(state["trainer"])
    assert [again.epoch(), again.epoch()] == expected
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_global_random_state_neither_matters_nor_moves():
    one = generator_after()
    torch.manual_seed(5)
    model, trainer = begin(problem(), config())
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
    model, trainer = begin(given, config(**changes))
    assert all(math.isfinite(value) for value in trainer.epoch().values())
    inputs, labels = model.classifier_set(given, 0)
    heads = list(
        classifier.epochs(
            inputs, labels, len(given.seen) + len(given.unseen), trainer.config.classifier, 0, 1, model.expand
        )
    )
    assert torch.isfinite(classifier.scores(heads[-1], inputs, model.expand)).all()


def test_a_critic_that_explodes_stops_the_training():
    _, trainer = begin(problem(), config(penalty=0.0))
    with torch.no_grad():
        for value in trainer.critic.parameters():
            value.mul_(1e3)
    with pytest.raises(UserError, match="critic exploded"):
        trainer.epoch()


def test_a_critic_that_collapses_is_said_once(capsys):
    _, trainer = begin(problem(), config(lr=1e-12))
    for _ in range(3):
        trainer.epoch()
    assert capsys.readouterr().out.count("critic collapsed") == 1


def test_a_critic_that_begins_low_and_rises_is_passed_over(capsys):
    _, trainer = begin(problem(), config())
    lengths = [trainer.epoch()["gradient_norm"] for _ in range(4)]
    assert lengths[0] < 0.1 < lengths[-1]
    assert "critic" not in capsys.readouterr().out


def test_no_unseen_image_or_test_label_can_reach_training():
    """A Problem has no place for them, and all that a Trainer holds of the data is the Problem's."""
    given = problem()
    model, trainer = begin(given, config())
    assert [field.name for field in dataclasses.fields(Problem)] == ["features", "labels", "seen", "unseen"]
    held = {name: value for name, value in vars(trainer).items() if isinstance(value, torch.Tensor)}
    assert set(held) == {"features", "labels", "semantics", "targets"}
    assert torch.equal(trainer.features, model.scale(given.features))
    assert torch.equal(trainer.labels, given.labels)
    assert trainer.labels.max() < len(given.seen)
    assert torch.equal(trainer.semantics, torch.cat([given.seen, given.unseen]))
