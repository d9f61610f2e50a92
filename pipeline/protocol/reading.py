"""Attributes as a trained model reads them off photographs, and what it means that one speaks for a class."""

import math
from dataclasses import dataclass

import torch

from pipeline.models.base import classifier
from pipeline.models.base.rows import encoded


@dataclass(frozen=True)
class Reading:
    """weight d_a x k, centre k: weight (e - centre) estimates by how much the attributes of a photograph, whose input
    of the linear classifier is e, differ from those of the average photograph. average d_a: the average class, over all
    seen and unseen classes of the data set.

    An attribute speaks for a class on a photograph when the class has more of it than the average class has, and the
    photograph shows more of it than the average photograph; its number is the product of both differences. Summed over
    all attributes, those that speak neither way included, the products are the part of the class's score that
    attributes explain: <reading, class - average class>.
    """

    weight: torch.Tensor
    centre: torch.Tensor
    average: torch.Tensor

    def __call__(self, inputs):
        """M x k inputs -> M x d_a."""
        return (inputs - self.centre) @ self.weight.T

    def shares(self, read, semantics):
        """M x d_a readings and M x ... x d_a semantics of classes -> M x ... x d_a products, of either sign."""
        read = read.view(len(read), *[1] * (semantics.ndim - 2), -1)
        return read * (semantics - self.average)

    def speaking(self, read, semantics):
        """`shares`, zero where the class has less of the attribute than the average, or the photograph shows less."""
        read = read.view(len(read), *[1] * (semantics.ndim - 2), -1)
        return read.clamp_min(0) * (semantics - self.average).clamp_min(0)


@torch.no_grad()
def of_model(model, problem, made):
    """The weight and centre of a `Reading`, and a temperature by which scores are divided before a softmax.

    made: the model's `classifier_set` of the problem, by which it is fitted; None of a model that encodes attributes
    """
    if made is not None:
        inputs, labels = made
        return *fit(inputs[:], torch.cat([problem.seen, problem.unseen])[labels]), torch.ones(())
    size = problem.seen.shape[1]
    # of evenly spaced images where the scores of all would be too many to hold
    step = math.ceil(4 * len(problem.features) * len(problem.seen) / classifier.HELD)
    inputs = encoded(model, problem.features[::step])
    fitted = temperature(inputs @ problem.seen.T, problem.labels[::step])
    return torch.eye(size, device=inputs.device), inputs.mean(0), fitted


def fit(inputs, semantics):
    """Ridge regression of M x d_a semantics on M x k inputs: (d_a x k weight, k centre)."""
    centre = inputs.mean(0)
    x, a = (inputs - centre).double(), (semantics - semantics.mean(0)).double()
    gram = x.T @ x
    gram.diagonal().add_(0.01 * gram.diagonal().mean() + 1e-12)
    return torch.linalg.solve(gram, x.T @ a).T.float().contiguous(), centre


def temperature(scores, labels):
    """The one of some temperatures that makes N x C scores likeliest to name N labels: scores that were not trained as
    logits tell classes apart without being far apart."""
    tried = torch.logspace(-4, 1, 101)
    return min(tried, key=lambda one: torch.nn.functional.cross_entropy(scores / one, labels).item())
