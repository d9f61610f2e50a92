"""BSeGN's networks: encoder E and generator G of the VAE, critic D of the GAN, and the embedders R and f.

x are features scaled to [0, 1]^d_x, a the L2-normalised semantics of their classes, z the noise. Layers, activations
and how weights begin are f-VAEGAN-D2's and TF-VAEGAN's; R may have a second hidden layer, FEM is this package's own.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.models.base.working import Linear

SLOPE = 0.2

DEVIATION = 0.02
"""Of the normal distribution that weights begin with."""


def layers(*widths):
    """Linear layers of these widths with LeakyReLU(0.2) between them, and none after the last."""
    modules = []
    for before, after in itertools.pairwise(widths):
        modules += [Linear(before, after), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*modules[:-1])


def initialise(net, generator):
    """Weights from N(0, `DEVIATION`) and zero biases, drawn on the CPU so that every device begins alike."""
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("bias"):
                value.zero_()
            else:
                value.copy_(torch.empty(value.shape).normal_(0, DEVIATION, generator=generator))


class Encoder(nn.Module):
    """E(x, a): the mean and log-variance of z."""

    def __init__(self, d_x, d_a, latent, width):
        super().__init__()
        self.body = layers(d_x + d_a, width, 2 * latent)
        self.heads = Linear(2 * latent, 2 * latent)

    def forward(self, x, a):
        """N x d_x, N x d_a -> two N x latent tensors."""
        return self.heads(F.leaky_relu(self.body(torch.cat([x, a], 1)), SLOPE)).float().chunk(2, 1)


class Generator(nn.Module):
    """G(z, a): a feature in (0, 1)^d_x."""

    def __init__(self, d_x, d_a, latent, width):
        super().__init__()
        self.body = layers(latent + d_a, width, d_x)

    def logits(self, z, a):
        """N x latent, N x d_a -> N x d_x, before the sigmoid."""
        return self.body(torch.cat([z, a], 1)).float()

    def forward(self, z, a):
        """N x latent, N x d_a -> N x d_x features, scaled."""
        return torch.sigmoid(self.logits(z, a))


class Critic(nn.Module):
    """D(x, a), one hidden layer: the closed form of its penalty's gradient in `critic_gradients` rests on that."""

    def __init__(self, d_x, d_a, width):
        super().__init__()
        self.hidden = Linear(d_x + d_a, width)
        self.out = Linear(width, 1)

    def forward(self, x, a):
        """N x d_x, N x d_a -> N scores."""
        return self.out(F.leaky_relu(self.hidden(torch.cat([x, a], 1)), SLOPE)).float().squeeze(1)


class Embedder(nn.Module):
    """An embedding of features among the class semantics: the cycle branch R, and FEM f."""

    def __init__(self, d_x, d_a, *widths):
        super().__init__()
        self.hidden = nn.ModuleList(Linear(*pair) for pair in itertools.pairwise((d_x, *widths)))
        self.out = Linear(widths[-1], d_a)

    def levels(self, x):
        """N x d_x -> the list of its hidden layers and its output, whose rows have length one."""
        found = []
        for layer in self.hidden:
            x = F.leaky_relu(layer(x), SLOPE)
            found.append(x)
        return [*found, F.normalize(self.out(x).float(), dim=1)]

    def forward(self, x):
        """N x d_x -> N x d_a."""
        return self.levels(x)[-1]
