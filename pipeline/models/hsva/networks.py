"""The networks of HSVA, and how a latent is drawn from what they say."""

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.models.base.working import Linear


class Perceptron(nn.Module):
    """Linear, leaky rectifier, linear."""

    def __init__(self, d_in, hidden, d_out, slope):
        super().__init__()
        self.slope = slope
        # skip_init: a layer would else draw its first weights from the random numbers that the user seeds
        self.first = nn.utils.skip_init(Linear, d_in, hidden)
        self.second = nn.utils.skip_init(Linear, hidden, d_out)

    def forward(self, inputs):
        """n x d_in -> n x d_out."""
        return self.second(F.leaky_relu(self.first(inputs), self.slope))

    def initialise(self, gain, generator, heads=1):
        """Xavier-uniform weights, each of `heads` equal parts of the outputs as a layer of its own; zero biases."""
        for weight in (self.first.weight, *self.second.weight.detach().chunk(heads)):
            nn.init.xavier_uniform_(weight, gain, generator)
        for layer in (self.first, self.second):
            nn.init.zeros_(layer.bias)


class TaskClassifiers(nn.Module):
    """C_1 and C_2 side by side: linear, batch normalisation, rectifier, linear.

    They serve training alone, where the normalisation takes each batch's own statistics, so none are kept.
    """

    def __init__(self, aligned, hidden, seen):
        super().__init__()
        self.first = nn.Parameter(torch.empty(2 * hidden, aligned))
        self.first_bias = nn.Parameter(torch.empty(2 * hidden))
        self.scale = nn.Parameter(torch.empty(2 * hidden))
        self.shift = nn.Parameter(torch.empty(2 * hidden))
        self.second = nn.Parameter(torch.empty(2, hidden, seen))
        self.second_bias = nn.Parameter(torch.empty(2, 1, seen))

    def forward(self, aligned):
        """B x n x d, B batches that are normalised apart -> 2 x B x n x seen classes, the logits of C_1 and C_2."""
        hidden = widen(F.linear(aligned, self.first, self.first_bias))
        variance, mean = torch.var_mean(hidden, 1, correction=0, keepdim=True)
        hidden = (hidden - mean) * (self.scale * torch.rsqrt(variance + 1e-5)) + self.shift
        hidden = F.relu(hidden).flatten(0, 1).unflatten(1, (2, -1)).transpose(0, 1)
        return torch.baddbmm(self.second_bias, hidden, self.second).unflatten(1, aligned.shape[:2])

    def initialise(self, gain, deviation, generator):
        """Xavier-uniform weights, zero biases, scales from N(1, deviation)."""
        for weight in (*self.first.detach().chunk(2), *self.second.detach()):
            nn.init.xavier_uniform_(weight, gain, generator)
        nn.init.normal_(self.scale, 1, deviation, generator)
        for bias in (self.first_bias, self.shift, self.second_bias):
            nn.init.zeros_(bias)


def widen(tensor):
    """What autocast made narrow as float32: losses and statistics are not taken in bfloat16."""
    return tensor.float() if tensor.dtype is torch.bfloat16 else tensor


def draw(mean, log_variance, noise, reparameterization):
    """A latent from each of n x k Gaussians and standard normal noise, n x 1 (released) or n x k (standard).

    The released program scales by exp(0.1 log-variance), and one number shifts all dimensions of a sample.
    """
    return mean + (log_variance * (0.1 if reparameterization == "released" else 0.5)).exp() * noise
