"""HSVA: each loss against an independent formula, each sub-step's reach, training, resuming, odd sizes."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import nn
from torch.nn import functional as F

from pipeline import classifier
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
