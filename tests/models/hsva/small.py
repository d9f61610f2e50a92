"""A small problem, and HSVA small enough for it."""

import torch
from torch.nn import functional as F

from pipeline.models import hsva
from pipeline.models.base import Problem
from tests import configs


def problem(seen=5, unseen=3, images=60, d_x=24, d_a=7, seed=0):
    """Images as a noisy linear function of their class's semantics."""
    generator = torch.Generator().manual_seed(seed)
    semantics = F.normalize(torch.rand(seen + unseen, d_a, generator=generator))
    labels = torch.arange(images) % seen
    mixing = torch.randn(d_a, d_x, generator=generator)
    features = semantics[labels] @ mixing + 0.05 * torch.randn(images, d_x, generator=generator)
    return Problem(features, labels, semantics[:seen], semantics[seen:])


def build(made=None, **changes):
    """A model of `tests.configs.hsva` with these changes, and the problem it is for."""
    made = made or problem()
    d_x, d_a = made.features.shape[1], made.seen.shape[1]
    return hsva.Model(d_x, d_a, len(made.seen), len(made.unseen), configs.hsva(**changes)), made


def normal(*shape, seed=0):
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
