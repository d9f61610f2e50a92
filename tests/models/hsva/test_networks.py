"""The task classifiers against separate networks, and drawing by hand."""

import math

import torch
from torch import nn

from pipeline.models.hsva import networks
from tests.models.hsva.small import normal


def test_draw_by_hand():
    mean, log_variance = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 2.0]])
    released = networks.draw(mean, log_variance, torch.tensor([[2.0]]), "released")
    torch.testing.assert_close(released, torch.tensor([[3.0, 2 + 2 * math.exp(0.2)]]))
    standard = networks.draw(mean, log_variance, torch.tensor([[2.0, -1.0]]), "standard")
    torch.testing.assert_close(standard, torch.tensor([[3.0, 2 - math.e]]))


def test_task_classifiers_are_two_networks_with_batch_normalisation_per_batch():
    tasks = networks.TaskClassifiers(6, 5, 4)
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
