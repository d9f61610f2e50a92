"""BSeGN after training: the synthesis of unseen features, and mFIM and FEM, which the final classifier reads."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.models.base import classifier
from pipeline.models.base.gradient import of_input_alone
from pipeline.models.base.rows import Joined, Scaled
from pipeline.models.base.scaling import MinMax
from pipeline.models.bsegn.networks import DEVIATION, Embedder, Generator
from pipeline.models.bsegn.trainer import Trainer


class Model(nn.Module):
    """What is needed after training: the scale of features, the generator, the cycle branch that mFIM reads, and FEM
    where it has a part in the prediction."""

    def __init__(self, d_x, d_a, seen, unseen, config):
        super().__init__()
        self.config, self.seen, self.unseen = config, seen, unseen
        self.latent = config.latent or d_a
        self.scale = MinMax(d_x)
        self.generator = Generator(d_x, d_a, self.latent, config.widths.generator)
        hidden = (config.widths.cycle1, config.widths.cycle2)[: config.cycle.depth]
        self.cycle = Embedder(d_x, d_a, *hidden)
        self.fem = Embedder(d_x, d_a, config.widths.fem) if config.fem.joint and not config.fem.shared else None
        # what FEM subtracts from the semantics
        self.register_buffer("middle", torch.zeros(d_a))
        width = d_x + sum(hidden[: config.levels]) + d_a if config.levels else d_x
        # of mFIM, fitted by `fit_mfim`
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        # features synthesised a class, where the number of real ones decides it: see `count`
        self.register_buffer("synthetic", torch.tensor(1) if config.proportion else None)

    def trainer(self, problem, seed):
        """Begin a training run on the problem's device (`pipeline.models.base`)."""
        return Trainer(self, problem, seed)

    def count(self, problem):
        """Settle how many features are synthesised a class where it is a `proportion` that says so: by the problem the
        model learns from, for later ones may hold some of its images alone."""
        if self.config.proportion:
            each = self.config.proportion * len(problem.features) / len(problem.unseen)
            self.synthetic.fill_(max(1, round(each)))

    @torch.no_grad()
    def fit_mfim(self, features):
        """Fit the mean and spread of mFIM, by which `expand` standardises, to N x d_x scaled features.

        The cycle branch moves in training, so this is due after each epoch.
        """
        if not self.config.length:
            return
        # wide, so block by block
        inputs, integrated = classifier.expanded(features, self._integrated)
        n = len(inputs)
        mean = sum(integrated(block).sum(0) for block in inputs.split(classifier.BLOCK)) / n
        squares = ((integrated(block) - mean).square() for block in inputs.split(classifier.BLOCK))
        deviation = (sum(block.sum(0) for block in squares) / n).sqrt()
        # a dimension that hardly varies is not blown up
        floor = 1e-3 * deviation.mean().clamp_min(1e-6)
        self.centre.copy_(mean)
        self.spread.copy_(deviation.clamp_min(floor) * math.sqrt(len(mean)) / self.config.length)

    @of_input_alone
    def encode(self, features):
        """N x d_x features -> the same, scaled; mFIM comes with `expand`, since it is wide."""
        return self.scale(features)

    @torch.no_grad()
    def classifier_set(self, problem, seed, unseen_only=False):
        """Real trainval features and as many synthetic ones for each unseen class, scaled: M x d_x, and M labels.

        `unseen_only` leaves the real ones out. Real ones that would take more than `classifier.HELD` bytes are scaled
        when they are asked for: the inputs then are no tensor but `rows`.
        """
        device, width = problem.features.device, problem.features.shape[1]
        generator = torch.Generator(device).manual_seed(seed)
        seen, real = len(problem.seen), 0 if unseen_only else len(problem.features)
        held = real if 4 * real * width <= classifier.HELD else 0
        each = self.config.synthetic or int(self.synthetic)
        fakes = torch.arange(len(problem.unseen), device=device).repeat_interleave(each)
        inputs = torch.empty(held + len(fakes), width, device=device)
        inputs[:held] = self.scale(problem.features[:held])
        for rows, classes in zip(inputs[held:].split(4096), fakes.split(4096), strict=True):
            z = torch.randn(len(classes), self.latent, device=device, generator=generator)
            rows.copy_(self.generator(z, problem.unseen[classes]))
        if held < real:
            inputs = Joined(Scaled(problem.features, self.scale), inputs)
        return inputs, torch.cat([problem.labels[:real], seen + fakes])

    @of_input_alone
    def expand(self, inputs):
        """mFIM(x) = [x; h1(x); h2(x); R(x)], as many hidden layers as `levels`, standardised, and f(x) where FEM has a
        part in the prediction: M x d_x -> M x K."""
        integrated = (self._integrated(inputs) - self.centre) / self.spread
        if not self.config.fem.joint:
            return integrated
        return torch.cat([integrated, self.embedding(inputs)], 1)

    @property
    def embedding(self):
        """FEM, which may be the cycle branch."""
        return self.cycle if self.config.fem.shared else self.fem

    def targets(self, semantics):
        """C x d_a semantics -> what FEM compares f(x) with, rows of length one."""
        return F.normalize(semantics - self.middle, dim=1)

    def head(self, semantics, width, generator):
        """How the linear classifier begins: as the networks do, and as TF-VAEGAN's; on f(x), as FEM's scores."""
        held = classifier.begin(len(semantics), width, lambda weight: weight.normal_(0, DEVIATION, generator=generator))
        if self.config.fem.joint:
            targets = self.targets(semantics).cpu()
            held[:, -1 - targets.shape[1] : -1] = targets * (self.config.fem.joint / self.config.fem.temperature)
        return held

    def _integrated(self, inputs):
        if not self.config.levels:
            return inputs
        *hidden, output = self.cycle.levels(inputs)
        return torch.cat([inputs, *hidden[: self.config.levels], output], 1)
