"""HSVA: each loss against an independent formula, each sub-step's reach, training, resuming, odd sizes."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import nn
from torch.nn import functional as F

from benchmarks.hsva import PlainLoop
from pipeline import classifier, params
from pipeline.errors import UserError
from pipeline.models import hsva
from pipeline.models.base import Problem

NETWORKS = hsva.Networks(
    hidden=32, aligned=16, common=16, latent=8, decoder=32, task=12, slope=0.2, gain=0.5, norm_deviation=0.02
)
CONFIG = hsva.Config(
    epochs=10,
    batch=10,
    precision="float32",
    networks=NETWORKS,
    lr=1e-3,
    task_lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    amsgrad=True,
    sad=True,
    wasserstein=True,
    icoral=True,
    discrepancy="swd",
    projections=16,
    adaptation_steps=2,
    beta=hsva.Ramp(0, 4, 0.25),
    gamma_c=hsva.Ramp(1, 3, 2.0),
    lambda_d=hsva.Ramp(0, 2, 1.0),
    reparameterization="standard",
    latents="standardised",
    seen_samples=20,
    unseen_samples=30,
    czsl_samples=15,
    classifier=classifier.Config(gzsl_epochs=10, czsl_epochs=10, lr=0.01, beta1=0.5, batch=32),
)


def problem(seen=5, unseen=3, images=60, d_x=24, d_a=7, seed=0):
    """Images as a noisy linear function of their class's semantics."""
    generator = torch.Generator().manual_seed(seed)
    semantics = F.normalize(torch.rand(seen + unseen, d_a, generator=generator))
    labels = torch.arange(images) % seen
    mixing = torch.randn(d_a, d_x, generator=generator)
    features = semantics[labels] @ mixing + 0.05 * torch.randn(images, d_x, generator=generator)
    return Problem(features, labels, semantics[:seen], semantics[seen:])


def build(made=None, **changes):
    made = made or problem()
    config = dataclasses.replace(CONFIG, **changes)
    d_x, d_a = made.features.shape[1], made.seen.shape[1]
    return hsva.Model(d_x, d_a, len(made.seen), len(made.unseen), config), made


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_sliced_wasserstein_is_scipys_distance_over_directions():
    p, q = normal(9, 4, seed=1), normal(9, 4, seed=2)
    directions = F.normalize(normal(4, 6, seed=3), dim=0)
    # in one dimension the squared 2-Wasserstein distance pairs sorted samples; W1 is checked by scipy on the same pairs
    projected = [(p @ d, q @ d) for d in directions.T]
    for left, right in projected:
        paired = np.abs(np.sort(left.numpy()) - np.sort(right.numpy())).mean()
        assert wasserstein_distance(left.numpy(), right.numpy()) == pytest.approx(paired, rel=1e-5)
    expected = np.mean([np.mean((np.sort(a.numpy()) - np.sort(b.numpy())) ** 2) for a, b in projected])
    assert hsva.sliced_wasserstein(p, q, directions).item() == pytest.approx(expected, rel=1e-5)
    both = hsva.sliced_wasserstein(torch.stack([p, q]), torch.stack([q, q]), torch.stack([directions] * 2))
    assert both[0].item() == pytest.approx(expected, rel=1e-5)
    assert both[1].item() == 0


def test_mean_difference_by_hand():
    p, q = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.25, 0.75], [0.0, 1.0]])
    assert hsva.mean_difference(p, q).item() == pytest.approx((0.25 + 0.25 + 1 + 1) / 4)


def test_divergence_is_torchs():
    mean, log_variance = normal(5, 3), normal(5, 3, seed=1)
    gaussian = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(gaussian, torch.distributions.Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(hsva.divergence(mean, log_variance), expected)


def test_wasserstein_is_the_closed_form_for_covariance_matrices():
    means, log_variances = normal(2, 4, 3), normal(2, 4, 3, seed=1)
    expected = 0.0
    for i in range(4):
        covariances = [np.diag(np.exp(log_variances[k, i].double().numpy())) for k in range(2)]
        roots = [np.sqrt(c) for c in covariances]
        cross = np.sqrt(roots[1] @ covariances[0] @ roots[1])
        squared = np.sum((means[0, i] - means[1, i]).numpy() ** 2) + np.trace(sum(covariances) - 2 * cross)
        expected += np.sqrt(squared)
    value = hsva.wasserstein(means[0], log_variances[0], means[1], log_variances[1])
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_wasserstein_of_equal_gaussians_has_a_finite_gradient():
    mean = torch.zeros(2, 3, requires_grad=True)
    hsva.wasserstein(mean, torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3)).backward()
    assert mean.grad.isfinite().all()


def test_coral_is_numpys_covariance():
    z_1, z_2 = normal(7, 3), normal(9, 3, seed=1)
    expected = np.mean((np.cov(z_1.numpy().T) - np.cov(z_2.numpy().T)) ** 2)
    assert hsva.coral(z_1, z_2).item() == pytest.approx(expected, rel=1e-5)


def test_distance_by_hand():
    assert hsva.distance(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])).item() == 5


def test_draw_by_hand():
    mean, log_variance = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 2.0]])
    released = hsva.draw(mean, log_variance, torch.tensor([[2.0]]), "released")
    torch.testing.assert_close(released, torch.tensor([[3.0, 2 + 2 * math.exp(0.2)]]))
    standard = hsva.draw(mean, log_variance, torch.tensor([[2.0, -1.0]]), "standard")
    torch.testing.assert_close(standard, torch.tensor([[3.0, 2 - math.e]]))


def test_ramp_at_its_corners():
    ramp = hsva.Ramp(21, 75, 2.37)
    assert [ramp.at(epoch) for epoch in (0, 21, 75, 500)] == [0, 0, 2.37, 2.37]
    assert ramp.at(48) == pytest.approx(2.37 / 2)
    assert hsva.Ramp(0, 0, 8).at(0) == 8
    assert [hsva.Ramp(5, 5, 8).at(epoch) for epoch in (0, 4, 5)] == [0, 0, 8]


def test_a_ramp_that_ends_before_it_starts_is_refused_with_its_place():
    with pytest.raises(UserError, match=r"hsva\.cub\.gamma_c\.end: 10 is before start, 21"):
        params.build(hsva.Ramp, {"start": 21, "end": 10, "most": 2}, "hsva.cub.gamma_c")


def test_task_classifiers_are_two_networks_with_batch_normalisation_per_batch():
    tasks = hsva.TaskClassifiers(6, 5, 4)
    tasks.initialise(0.5, 0.02, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for bias in (tasks.first_bias, tasks.shift, tasks.second_bias):
            bias.copy_(normal(*bias.shape, seed=4))
    aligned = normal(3, 8, 6)
    logits = tasks(aligned)
    assert logits.shape == (2, 3, 8, 4)
    for k in range(2):
        part = slice(5 * k, 5 * k + 5)
        first, norm, second = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)
        first.weight.data, first.bias.data = tasks.first[part].data, tasks.first_bias[part].data
        norm.weight.data, norm.bias.data = tasks.scale[part].data, tasks.shift[part].data
        second.weight.data, second.bias.data = tasks.second[k].T.data, tasks.second_bias[k, 0].data
        for b in range(3):
            torch.testing.assert_close(logits[k, b], second(norm(first(aligned[b])).relu()))


def test_training_separates_classes_and_resumes_bit_for_bit():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    model, made = build()
    trainer = model.trainer(made, 1)
    history = [trainer.epoch() for _ in range(3)]
    state = {"model": {k: v.clone() for k, v in model.state_dict().items()}, "trainer": _copied(trainer.state_dict())}
    history += [trainer.epoch() for _ in range(3)]
    assert history[-1]["reconstruction"] < history[0]["reconstruction"]
    assert set(history[0]) == set(trainer.terms)

    again, _ = build()
    resumed = again.trainer(made, 1)
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
    trainer.minibatch(trainer.draws())
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
        draws = [trainer.draws() for _ in range(minibatches)]
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
    fast, plain, *losses = both_loops(torch.float32, 8, lr=1e-4, task_lr=1e-4)
    # Biases before a batch normalisation have no gradient but rounding, which Adam scales up to whole steps: the small
    # terms part company, though what is minimised does not.
    torch.testing.assert_close(fast[:, 0], plain[:, 0], rtol=1e-4, atol=0)
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)


def test_bfloat16_stays_near_float32():
    values = {}
    for precision in ("float32", "bfloat16"):
        model, made = build(precision=precision)
        trainer = model.trainer(made, 0)
        trainer.weights.fill_(1)
        values[precision] = torch.stack([trainer.minibatch(trainer.draws()) for _ in range(5)]).mean(0)
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
        first[switch] = dict(zip(trainer.terms, trainer.minibatch(trainer.draws()).tolist(), strict=True))
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


def test_mcd_measures_the_mean_difference():
    model, made = build(discrepancy="mcd")
    trainer = model.trainer(made, 0)
    seen = []
    discrepancy = trainer._discrepancy

    def watched(logits, directions):
        p, q = logits.softmax(-1)
        seen.append((discrepancy(logits, directions), (p - q).abs().mean((1, 2)).sum()))
        return seen[-1][0]

    trainer._discrepancy = watched
    trainer.minibatch(trainer.draws())
    assert len(seen) == 3
    for value, expected in seen:
        torch.testing.assert_close(value, expected)


def test_the_discrepancy_grows_in_the_classifiers_step_and_falls_in_the_encoders():
    model, made = build(lr=1e-3, task_lr=1e-2, adaptation_steps=5)
    trainer = model.trainer(made, 0)
    for _ in range(20):
        trainer.minibatch(trainer.draws())
    trainer.weights[2] = 100.0
    values = []
    discrepancy = trainer._discrepancy
    fixed = trainer.draws().directions[:1]

    def watched(logits, directions):
        values.append(discrepancy(logits, fixed))
        return values[-1]

    trainer._discrepancy = watched
    trainer.minibatch(trainer.draws())
    before, after_classifiers, *_, after_encoders = [value.item() for value in values]
    assert after_classifiers > before
    assert after_encoders < after_classifiers


def test_unseen_semantics_are_drawn_uniformly_and_noise_is_of_the_kind_asked_for():
    model, made = build(reparameterization="released")
    trainer = model.trainer(made, 0)
    draws = [trainer.draws() for _ in range(300)]
    counts = torch.cat([d.unseen for d in draws]).bincount(minlength=3)
    assert (counts - 1000).abs().max() < 120
    assert draws[0].noise.shape == (3, 10, 1)
    torch.testing.assert_close(draws[0].directions.norm(dim=-2), torch.ones(3, 2, 16))
    assert build(reparameterization="standard")[0].trainer(made, 0).draws().noise.shape == (3, 10, 8)


def test_rows_of_classes_uses_each_row_before_one_twice():
    labels = torch.tensor([1, 0, 1, 3, 1])
    rows = hsva.rows_of_classes(labels, 4, 4, torch.Generator().manual_seed(0))
    picked = labels[rows]
    # class 2 has no images
    assert picked.bincount(minlength=4).tolist() == [4, 4, 0, 4]
    assert set(rows[picked == 1].tolist()) == {0, 2, 4}
    assert rows[picked == 3].tolist() == [3] * 4


def test_classifier_set_and_encode_share_a_scale():
    model, made = build()
    trainer = model.trainer(made, 0)
    for _ in range(2):
        trainer.epoch()
    encoded = model.encode(made.features)
    torch.testing.assert_close(encoded.mean(0), torch.zeros(8), atol=1e-3, rtol=0)
    inputs, labels = model.classifier_set(made, 0)
    assert labels.bincount().tolist() == [20] * 5 + [30] * 3
    assert inputs.shape == (190, 8)
    _, unseen = model.classifier_set(made, 0, unseen_only=True)
    assert unseen.bincount().tolist() == [0] * 5 + [15] * 3
    again, _ = model.classifier_set(made, 0)
    assert torch.equal(inputs, again)
    assert not torch.equal(inputs, model.classifier_set(made, 1)[0])


def test_latents_are_scaled_as_asked():
    made = problem()
    stretched = {}
    for latents in ("raw", "standardised"):
        model, _ = build(latents=latents)
        trainer = model.trainer(made, 0)
        trainer.epoch()
        stretched[latents] = model.encode(made.features)
    torch.testing.assert_close(stretched["standardised"].std(0, correction=0), torch.ones(8), atol=1e-3, rtol=0)
    raw = stretched["raw"]
    expected = (raw - raw.mean(0)) / raw.std(0, correction=0)
    torch.testing.assert_close(stretched["standardised"], expected, atol=1e-3, rtol=1e-3)


def test_weights_alone_restore_a_model():
    model, made = build()
    model.trainer(made, 0).epoch()
    again, _ = build()
    again.load_state_dict(model.state_dict())
    assert torch.equal(model.encode(made.features), again.encode(made.features))


def test_it_learns_to_tell_classes_apart_seen_and_unseen():
    made = problem(seen=24, unseen=4, images=240, d_x=40, d_a=6, seed=2)
    unseen_images = problem(seen=28, unseen=0, images=280, d_x=40, d_a=6, seed=2)
    judged = unseen_images.features[unseen_images.labels >= 24], unseen_images.labels[unseen_images.labels >= 24]
    networks = dataclasses.replace(NETWORKS, hidden=64, aligned=32, common=32, decoder=64)
    model, _ = build(
        made, networks=networks, batch=24, lr=1e-3, gamma_c=hsva.Ramp(2, 8, 2.0), beta=hsva.Ramp(0, 20, 0.05)
    )
    trainer = model.trainer(made, 0)
    for _ in range(40):
        trainer.epoch()
    inputs, labels = model.classifier_set(made, 0)
    *_, head = classifier.epochs(inputs, labels, 28, CONFIG.classifier, 0, 10)
    seen = (classifier.scores(head, model.encode(made.features)).argmax(1) == made.labels).float().mean()
    scores = classifier.scores(head, model.encode(judged[0]))[:, 24:]
    unseen = (scores.argmax(1) + 24 == judged[1]).float().mean()
    # chance is 1 / 28 and 1 / 4
    assert seen > 0.5
    assert unseen > 0.6


@pytest.mark.parametrize(
    "sizes",
    [
        {"d_x": 1},
        {"d_x": 300, "d_a": 2},
        {"unseen": 1},
        {"seen": 60, "images": 60},
        {"seen": 2, "images": 3},
    ],
    ids=[
        "one feature",
        "wide",
        "one unseen class",
        "classes of one image, more than a batch",
        "fewer images than a batch",
    ],
)
def test_odd_sizes(sizes):
    made = problem(**sizes)
    model, _ = build(made)
    trainer = model.trainer(made, 0)
    terms = trainer.epoch()
    assert all(math.isfinite(value) for value in terms.values())
    inputs, labels = model.classifier_set(made, 0)
    assert inputs.isfinite().all()
    assert len(labels.unique()) == len(made.seen) + len(made.unseen)
    assert model.encode(made.features).shape == (len(made.features), 8)


def test_one_latent_dimension():
    model, made = build(networks=dataclasses.replace(NETWORKS, latent=1))
    assert all(math.isfinite(value) for value in model.trainer(made, 0).epoch().values())
    assert model.encode(made.features).isfinite().all()


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


def test_the_trainer_gets_by_with_the_memory_of_one_gradient_a_weight():
    model, made = build()
    trainer = model.trainer(made, 0)
    trainer.minibatch(trainer.draws())
    held = model.visual.first.weight.grad.data_ptr()
    trainer.minibatch(trainer.draws())
    assert model.visual.first.weight.grad.data_ptr() == held
