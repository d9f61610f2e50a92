"""Each loss against an independent formula."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch.nn import functional as F

from pipeline.models.hsva import losses
from tests.models.hsva.small import normal


def test_sliced_wasserstein_is_scipys_distance_over_directions():
    p, q = normal(9, 4, seed=1), normal(9, 4, seed=2)
    directions = F.normalize(normal(4, 6, seed=3), dim=0)
    # in one dimension the squared 2-Wasserstein distance pairs sorted samples; W1 is checked by scipy on the same pairs
    projected = [(p @ d, q @ d) for d in directions.T]
    for left, right in projected:
        paired = np.abs(np.sort(left.numpy()) - np.sort(right.numpy())).mean()
        assert wasserstein_distance(left.numpy(), right.numpy()) == pytest.approx(paired, rel=1e-5)
    expected = np.mean([np.mean((np.sort(a.numpy()) - np.sort(b.numpy())) ** 2) for a, b in projected])
    assert losses.sliced_wasserstein(p, q, directions).item() == pytest.approx(expected, rel=1e-5)
    both = losses.sliced_wasserstein(torch.stack([p, q]), torch.stack([q, q]), torch.stack([directions] * 2))
    assert both[0].item() == pytest.approx(expected, rel=1e-5)
    assert both[1].item() == 0


def test_mean_difference_by_hand():
    p, q = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.25, 0.75], [0.0, 1.0]])
    assert losses.mean_difference(p, q).item() == pytest.approx((0.25 + 0.25 + 1 + 1) / 4)


def test_divergence_is_torchs():
    mean, log_variance = normal(5, 3), normal(5, 3, seed=1)
    gaussian = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(gaussian, torch.distributions.Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(losses.divergence(mean, log_variance), expected)


def test_wasserstein_is_the_closed_form_for_covariance_matrices():
    means, log_variances = normal(2, 4, 3), normal(2, 4, 3, seed=1)
    expected = 0.0
    for i in range(4):
        covariances = [np.diag(np.exp(log_variances[k, i].double().numpy())) for k in range(2)]
        roots = [np.sqrt(c) for c in covariances]
        cross = np.sqrt(roots[1] @ covariances[0] @ roots[1])
        squared = np.sum((means[0, i] - means[1, i]).numpy() ** 2) + np.trace(sum(covariances) - 2 * cross)
        expected += np.sqrt(squared)
    value = losses.wasserstein(means[0], log_variances[0], means[1], log_variances[1])
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_wasserstein_of_equal_gaussians_has_a_finite_gradient():
    mean = torch.zeros(2, 3, requires_grad=True)
    losses.wasserstein(mean, torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3)).backward()
    assert mean.grad.isfinite().all()


def test_coral_is_numpys_covariance():
    z_1, z_2 = normal(7, 3), normal(9, 3, seed=1)
    expected = np.mean((np.cov(z_1.numpy().T) - np.cov(z_2.numpy().T)) ** 2)
    assert losses.coral(z_1, z_2).item() == pytest.approx(expected, rel=1e-5)


def test_distance_by_hand():
    assert losses.distance(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])).item() == 5
