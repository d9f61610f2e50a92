"""The linear classifier against torch's own layers, losses and optimiser."""

import pytest
import torch
from torch.nn import functional as F

from pipeline.models.base import classifier

_expanded = classifier.expanded
CONFIG = classifier.Config(gzsl_epochs=5, czsl_epochs=5, lr=0.01, beta1=0.5, batch=16)


class Reader:
    """What a model says of its classifier: what it reads of an input, and how it begins."""

    def expand(self, inputs):
        return inputs

    def head(self, semantics, width, generator):
        return classifier.begin(len(semantics), width, lambda weight: weight.normal_(0, 0.5, generator=generator))


class Squares(Reader):
    def expand(self, inputs):
        return torch.cat([inputs, inputs.square()], 1)


READER = Reader()
SEMANTICS = torch.eye(4)


def data(rows=50, width=6, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    centres = torch.randn(classes, width, generator=generator)
    return centres[labels] + 0.3 * torch.randn(rows, width, generator=generator), labels


def test_gradient_steps_are_autograds():
    inputs, labels = data()
    # the same draws: weights first, then an order for each epoch
    generator = torch.Generator().manual_seed(7)
    weight = torch.cat([torch.empty(4, 6).normal_(0, 0.5, generator=generator), torch.zeros(4, 1)], 1).requires_grad_()
    adam = torch.optim.Adam([weight], lr=0.01, betas=(0.5, 0.999))
    for head in classifier.epochs(inputs, labels, SEMANTICS, CONFIG, 7, 3, READER):
        for rows in torch.randperm(50, generator=generator).split(16):
            adam.zero_grad()
            F.cross_entropy(inputs[rows] @ weight[:, :-1].T + weight[:, -1], labels[rows]).backward()
            adam.step()
        torch.testing.assert_close(head.weight, weight[:, :-1].detach(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(head.bias, weight[:, -1].detach(), atol=1e-5, rtol=1e-4)


def test_it_learns_repeats_itself_and_keeps_earlier_heads():
    inputs, labels = data(rows=200)
    heads = list(classifier.epochs(inputs, labels, SEMANTICS, CONFIG, 0, 20, READER))
    assert len(heads) == 20
    assert (classifier.scores(heads[-1], inputs).argmax(1) == labels).float().mean() > 0.95
    again = list(classifier.epochs(inputs, labels, SEMANTICS, CONFIG, 0, 20, READER))
    assert all(torch.equal(one.weight, two.weight) for one, two in zip(heads, again, strict=True))
    assert not torch.equal(heads[0].weight, heads[-1].weight)


@pytest.mark.parametrize("held", [0, 1 << 30], ids=["batch by batch", "at once"])
def test_expand_gives_what_the_head_reads(held, monkeypatch):
    monkeypatch.setattr(classifier, "expanded", lambda *given: _expanded(*given, held=held))
    inputs, labels = data()
    expand = Squares().expand
    *_, head = classifier.epochs(inputs, labels, SEMANTICS, CONFIG, 0, 2, Squares())
    assert head.weight.shape == (4, 12)
    *_, plain = classifier.epochs(expand(inputs), labels, SEMANTICS, CONFIG, 0, 2, READER)
    torch.testing.assert_close(head.weight, plain.weight)
    scores = classifier.scores(head, inputs, expand, batch=7)
    torch.testing.assert_close(scores, head(expand(inputs)))


@pytest.mark.parametrize("rows", [1, 15, 17])
def test_numbers_of_rows_that_no_batch_divides(rows):
    inputs, labels = data(rows=rows)
    *_, head = classifier.epochs(inputs, labels, SEMANTICS, CONFIG, 0, 2, READER)
    assert head.weight.isfinite().all()
