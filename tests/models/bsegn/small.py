"""A small problem, and BSeGN small enough for it (`tests.configs.bsegn`)."""

import torch
from torch.nn import functional as F

from pipeline.models import bsegn
from pipeline.models.base import Problem


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
