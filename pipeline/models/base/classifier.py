"""The linear softmax classifier that both generative models end with, trained without a Python loop over samples."""

from dataclasses import dataclass
from typing import Annotated

import torch

from pipeline.common.params import AtLeastOne, Positive, Range
from pipeline.models.base.rows import BLOCK

HELD = 2 << 30
"""Bytes of expanded inputs that are held at once, so that each is expanded once and not in every epoch."""


@dataclass(frozen=True)
class Config:
    """Its params: the most epochs for all classes (GZSL) and for unseen ones alone (CZSL), Adam's settings, batch."""

    gzsl_epochs: Annotated[int, AtLeastOne]
    czsl_epochs: Annotated[int, AtLeastOne]
    lr: Annotated[float, Positive]
    beta1: Annotated[float, Range(least=0, below=1)]
    batch: Annotated[int, AtLeastOne]


@dataclass(frozen=True)
class Head:
    """Weight classes x K and bias of a linear classifier."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, inputs):
        """M x K -> M x classes scores (logits)."""
        return torch.addmm(self.bias, inputs, self.weight.T)


def begin(classes, width, draw):
    """classes x (width + 1), a head's first weights, which `draw` fills, and its biases last, which are zero."""
    held = torch.zeros(classes, width + 1)
    held[:, :-1] = draw(torch.empty(classes, width))
    return held


def epochs(inputs, labels, semantics, config, seed, most, model):
    """Train on M x k inputs with labels that are rows of classes x d_a semantics; yield the `Head` after each of `most`
    epochs.

    The `model`'s `expand` widens the inputs, its `head` says how the weights begin. The last batch of an epoch holds
    what is left, where HSVA's program drops it or fills it up; and there are `most` epochs, where that has one more.

    Plain Adam on the cross entropy, whose gradient (softmax - one-hot) is written out: autograd's bookkeeping would
    take most of the time of steps this small. `model.expand` is applied once where all of M x K fits into `HELD` bytes,
    and otherwise to each minibatch.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, expand = expanded(inputs, model.expand)
    width = expand(inputs[:1]).shape[1]
    weight = model.head(semantics, width, generator).to(inputs.device)
    weight.grad = torch.zeros_like(weight)
    adam = torch.optim.Adam([weight], lr=config.lr, betas=(config.beta1, 0.999), fused=True)
    for _ in range(most):
        order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        for rows in order.split(config.batch):
            batch = expand(inputs[rows]).float()
            error = torch.softmax(torch.addmm(weight[:, -1], batch, weight[:, :-1].T), 1)
            error[torch.arange(len(rows), device=rows.device), labels[rows]] -= 1
            error /= len(rows)
            weight.grad[:, :-1] = error.T @ batch
            weight.grad[:, -1] = error.sum(0)
            adam.step()
        yield Head(weight[:, :-1].clone(), weight[:, -1].clone())


def expanded(inputs, expand=None, held=HELD):
    """Inputs and what remains to be done to each batch of them: M x K and nothing, if M x K takes no more than `held`
    bytes of float32, otherwise M x k and `expand`."""
    if expand is None:
        return inputs, _unchanged
    width = expand(inputs[:1]).shape[1]
    if width == inputs.shape[1] or 4 * width * len(inputs) > held:
        return inputs, expand
    wide = torch.empty(len(inputs), width, device=inputs.device)
    for rows, block in zip(wide.split(BLOCK), inputs.split(BLOCK), strict=True):
        rows.copy_(expand(block))
    return wide, _unchanged


def _unchanged(batch):
    return batch


def scores(head, inputs, expand=None, batch=BLOCK):
    """M x classes scores of M x k inputs, in blocks so that a wide `expand` does not fill the memory."""
    expand = expand or _unchanged
    return torch.cat([head(expand(block).float()) for block in inputs.split(batch)])
