"""The losses of HSVA, from top to bottom as a minibatch takes them (Chen et al., NeurIPS 2021, the method's sections).

The minibatch: images x with semantics a of their seen classes y, and semantics a_u of unseen classes.

Structure adaptation by supervised adversarial discrepancy (SAD), p_k = softmax C_k on E_v(x) and on E_a(a):

    1. min over E_v, E_a, C_1, C_2    L_cls
    2. min over C_1, C_2              L_cls - lambda_d L_dis
    3. min over E_v, E_a              lambda_d L_dis            several times

Distribution adaptation under two partially aligned VAEs, z drawn from E_z on E_v(x), on E_a(a) and on E_a(a_u):

    4. min over E_v, E_a, E_z, D_v, D_a    L_rec + beta L_kl + gamma_c L_cross + lambda_d (W - L_coral)
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from pipeline.models.hsva.networks import widen

# -- structure adaptation ----------------------------------------------------------------------------------------------


def classification(logits, labels):
    """L_cls of steps 1 and 2: cross entropies of C_1 and C_2 on images and on semantics, four means, summed.

    logits: 2 classifiers x 2 kinds x n x seen classes; labels: n.
    """
    return 4 * F.cross_entropy(widen(logits).flatten(0, 2), labels.repeat(4))


def discrepancy(logits, directions=None):
    """L_dis of steps 2 and 3: how far the softmax of C_1 is from that of C_2, on images and on semantics, summed.

    logits: 2 classifiers x 2 kinds x n x seen classes; directions: 2 kinds x seen classes x L unit columns, for the
    sliced Wasserstein discrepancy. Without any it is the mean difference.
    """
    first, second = widen(logits).softmax(-1)
    if directions is None:
        return mean_difference(first, second).sum()
    return sliced_wasserstein(first, second, directions).sum()


def sliced_wasserstein(p, q, directions):
    """SWD, the discrepancy of SAD: of ... x n x c samples `p` and `q` along ... x c x L unit columns -> ... .

    The mean over directions of the squared 2-Wasserstein distance of the two projected samples, which in one
    dimension pairs them in order.
    """
    # a direction a row, so that sorting reads memory in order
    lines = directions.mT
    return ((lines @ p.mT).sort(-1).values - (lines @ q.mT).sort(-1).values).square().mean((-2, -1))


def mean_difference(p, q):
    """The discrepancy of MCD in SWD's place: the mean absolute difference of ... x n x c `p` and `q` -> ... ."""
    return (p - q).abs().mean((-2, -1))


# -- distribution adaptation -------------------------------------------------------------------------------------------


class Passed(NamedTuple):
    """What the networks make of n triples in step 4. Rows: images, their semantics and, for iCORAL, unseen semantics.

    mean, log_variance, z: (2n or 3n) x k, the Gaussians of E_z and a latent of each
    x_rec, x_cross:        n x d_x, D_v of the latents of images, and of those of their semantics
    a_rec, a_cross:        n x d_a, D_a of the latents of semantics, and of those of their images
    """

    mean: torch.Tensor
    log_variance: torch.Tensor
    z: torch.Tensor
    x_rec: torch.Tensor
    x_cross: torch.Tensor
    a_rec: torch.Tensor
    a_cross: torch.Tensor


def distribution_terms(x, a, passed, config):
    """The terms of step 4 before their weights, by name; W and L_coral where they are switched on.

    x, a: n x d_x and n x d_a, what the decoders should give.
    """
    n, (mean, log_variance, z, *_) = len(x), passed
    terms = {
        "reconstruction": distance(x, passed.x_rec) + distance(a, passed.a_rec),
        "kl": divergence(mean[: 2 * n], log_variance[: 2 * n]),
        "cross": distance(x, passed.x_cross) + distance(a, passed.a_cross),
    }
    if config.wasserstein:
        terms["wasserstein"] = wasserstein(mean[:n], log_variance[:n], mean[n : 2 * n], log_variance[n : 2 * n])
    if config.icoral:
        terms["coral"] = coral(z[:n], z[2 * n :])
    return terms


def distribution(terms, beta, gamma_c, lambda_d):
    """The loss of step 4: two VAEs, their cross reconstruction, W, and inverse CORAL.

    CORAL would draw covariances together; with a minus it pushes latents of seen images from those of unseen classes.
    """
    loss = terms["reconstruction"] + beta * terms["kl"] + gamma_c * terms["cross"]
    if "wasserstein" in terms:
        loss = loss + lambda_d * terms["wasserstein"]
    if "coral" in terms:
        loss = loss - lambda_d * terms["coral"]
    return loss


def distance(x, y):
    """L_rec and L_cross are sums of this: the L1 distance, summed over rows and dimensions."""
    return (x - y).abs().sum()


def divergence(mean, log_variance):
    """L_kl: KL( N(mean, exp(log_variance)) || N(0, I) ), summed over rows and dimensions."""
    return 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum()


def wasserstein(mean_1, log_variance_1, mean_2, log_variance_2):
    """W: 2-Wasserstein distances of the diagonal Gaussians in the rows of n x k arguments, summed over rows."""
    deviations = (0.5 * log_variance_1).exp() - (0.5 * log_variance_2).exp()
    # the norm of both differences at once has a gradient of zero, not NaN, where Gaussians coincide
    return torch.linalg.vector_norm(torch.cat([mean_1 - mean_2, deviations], -1), dim=-1).sum()


def coral(z_1, z_2):
    """L_coral: the mean squared difference of the k x k covariances of n x k and m x k latents."""
    return (_covariance(z_1) - _covariance(z_2)).square().mean()


def _covariance(z):
    centred = z - z.mean(0)
    return centred.T @ centred / (len(z) - 1)
