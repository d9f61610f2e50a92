"""A made-up problem of CUB's sizes, on which the models' training steps are timed."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from pipeline.models.base import Problem


@dataclass(frozen=True)
class Sizes:
    """Images; widths of features and of semantics; seen and unseen classes."""

    images: int = 7057
    features: int = 2048
    semantics: int = 312
    seen: int = 150
    unseen: int = 50

    @property
    def model(self):
        """What a model's `Model` is made for: widths, then numbers of classes."""
        return self.features, self.semantics, self.seen, self.unseen


CUB = Sizes()


def problem(sizes=CUB, device="cpu"):
    """A `Problem` with features in 0..1 and semantics of length one, both random, the same on every device."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(sizes.images) % sizes.seen
    semantics = F.normalize(torch.rand(sizes.seen + sizes.unseen, sizes.semantics, generator=generator))
    features = torch.rand(sizes.images, sizes.features, generator=generator)
    parts = features, labels, semantics[: sizes.seen], semantics[sizes.seen :]
    return Problem(*(tensor.to(device) for tensor in parts))
