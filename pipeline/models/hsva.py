"""HSVA: hierarchical semantic-visual adaptation (Chen et al., NeurIPS 2021, arXiv 2109.15163).

Two encoders map features and semantics into one structure-aligned space, where two task classifiers and the encoders
play a discrepancy game (structure adaptation, SAD). A common encoder maps that space to Gaussians whose two kinds,
visual and semantic, are drawn together by two VAEs with cross reconstruction (distribution adaptation). A linear
classifier on the latents is trained on encoded images of seen classes and on latents drawn from unseen semantics.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from pipeline import classifier
from pipeline.errors import UserError
from pipeline.models.captured import Captured
from pipeline.models.scaling import MinMax
from pipeline.params import AtLeastOne, Positive, Range

NotNegative = Range(least=0)
Momentum = Range(least=0, below=1)


@dataclass(frozen=True)
class Networks:
    """Widths of the hidden layers and spaces, and how the weights begin."""

    hidden: Annotated[int, AtLeastOne]
    """hidden layer of both encoders, E_v and E_a"""
    aligned: Annotated[int, AtLeastOne]
    """the structure-aligned space"""
    common: Annotated[int, AtLeastOne]
    """hidden layer of the common encoder, E_z"""
    latent: Annotated[int, AtLeastOne]
    """the latent space, k"""
    decoder: Annotated[int, AtLeastOne]
    """hidden layer of both decoders, D_v and D_a"""
    task: Annotated[int, AtLeastOne]
    """hidden layer of both task classifiers, C_1 and C_2"""
    slope: Annotated[float, NotNegative]
    """of the leaky rectifiers below zero"""
    gain: Annotated[float, Positive]
    """of the Xavier-uniform initialisation"""
    norm_deviation: Annotated[float, NotNegative]
    """standard deviation around 1 of the first scales of the batch normalisation"""


@dataclass(frozen=True)
class Ramp:
    """A loss weight that rises linearly from 0 at epoch `start` to `most` at epoch `end`, and stays there."""

    start: Annotated[int, NotNegative]
    end: Annotated[int, NotNegative]
    most: Annotated[float, NotNegative]

    def __post_init__(self):
        if self.end < self.start:
            raise UserError(f"end: {self.end} is before start, {self.start}; set both, the end at or after the start")

    def at(self, epoch):
        """The weight in an epoch, counted from 0."""
        if epoch >= self.end:
            return self.most
        if epoch <= self.start:
            return 0.0
        return self.most * (epoch - self.start) / (self.end - self.start)


@dataclass(frozen=True)
class Config:
    """The params section of HSVA for one data set."""

    epochs: Annotated[int, AtLeastOne]
    batch: Annotated[int, Range(least=2)]
    """triples of a minibatch; two at least, for the batch normalisation and the covariances"""
    precision: Literal["float32", "bfloat16"]
    """of the matrix products of training; weights and losses stay float32"""
    networks: Networks
    lr: Annotated[float, Positive]
    """Adam's, for encoders and decoders"""
    task_lr: Annotated[float, Positive]
    """Adam's, for C_1 and C_2"""
    beta1: Annotated[float, Momentum]
    beta2: Annotated[float, Momentum]
    amsgrad: bool
    """for encoders and decoders"""
    sad: bool
    """structure adaptation on or off"""
    wasserstein: bool
    """the distance W of the two kinds of Gaussians on or off"""
    icoral: bool
    """inverse CORAL on or off"""
    discrepancy: Literal["swd", "mcd"]
    """of the task classifiers: sliced Wasserstein or mean absolute difference"""
    projections: Annotated[int, AtLeastOne]
    """directions of the sliced Wasserstein discrepancy"""
    adaptation_steps: Annotated[int, AtLeastOne]
    """steps of the encoders against the discrepancy in each minibatch"""
    beta: Ramp
    """weight of the KL divergences"""
    gamma_c: Ramp
    """weight of the cross reconstruction"""
    lambda_d: Ramp
    """weight of the discrepancy, of W and of inverse CORAL"""
    reparameterization: Literal["released", "standard"]
    """how a latent is drawn: see `draw`"""
    latents: Literal["raw", "standardised"]
    """scale of the latents that the classifier reads: see `Model.fit_latents`"""
    seen_samples: Annotated[int, AtLeastOne]
    """latents of each seen class for the classifier"""
    unseen_samples: Annotated[int, AtLeastOne]
    """latents of each unseen class, beside those of the seen ones"""
    czsl_samples: Annotated[int, AtLeastOne]
    """latents of each unseen class where unseen classes are all there is"""
    classifier: classifier.Config


class _Linear(torch.autograd.Function):
    """`F.linear` of a matrix, with the weight's gradient written into memory that is kept from step to step.

    New memory for a gradient of 32 MiB costs twice the product that fills it, for every page is fetched and zeroed.
    Such a layer may be applied once between two steps of the optimiser, for a second gradient overwrites the first.
    """

    @staticmethod
    def forward(ctx, inputs, weight, bias, memory):
        ctx.save_for_backward(inputs, weight)
        ctx.memory = memory
        return F.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx, gradient):
        inputs, weight = ctx.saved_tensors
        to_inputs = gradient @ weight if ctx.needs_input_grad[0] else None
        return to_inputs, torch.mm(gradient.T, inputs, out=ctx.memory), gradient.sum(0), None


class Perceptron(nn.Module):
    """Linear, leaky rectifier, linear."""

    def __init__(self, d_in, hidden, d_out, slope):
        super().__init__()
        self.slope = slope
        # skip_init: a layer would else draw its first weights from the random numbers that the user seeds
        self.first = nn.utils.skip_init(nn.Linear, d_in, hidden)
        self.second = nn.utils.skip_init(nn.Linear, hidden, d_out)
        self.memory = None

    def forward(self, inputs):
        """n x d_in -> n x d_out."""
        hidden = F.leaky_relu(self._linear(self.first, inputs, 0), self.slope)
        return self._linear(self.second, hidden, 1)

    def keep_gradients(self):
        """Write weights' gradients to the same memory in every step; see `_Linear` for what that asks of its use."""
        self.memory = [torch.empty_like(layer.weight) for layer in (self.first, self.second)]

    def initialise(self, gain, generator, heads=1):
        """Xavier-uniform weights, each of `heads` equal parts of the outputs as a layer of its own; zero biases."""
        for weight in (self.first.weight, *self.second.weight.detach().chunk(heads)):
            nn.init.xavier_uniform_(weight, gain, generator)
        for layer in (self.first, self.second):
            nn.init.zeros_(layer.bias)

    def _linear(self, layer, inputs, place):
        if self.memory is None:
            return layer(inputs)
        return _Linear.apply(inputs, layer.weight, layer.bias, self.memory[place])


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
        hidden = _widen(F.linear(aligned, self.first, self.first_bias))
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


def _widen(tensor):
    """What autocast made narrow as float32: losses and statistics are not taken in bfloat16."""
    return tensor.float() if tensor.dtype is torch.bfloat16 else tensor


def sliced_wasserstein(p, q, directions):
    """Sliced Wasserstein discrepancy of ... x n x c samples `p` and `q` along ... x c x L unit columns -> ... .

    The mean over directions of the squared 2-Wasserstein distance of the two projected samples, which in one
    dimension pairs them in order.
    """
    # a direction a row, so that sorting reads memory in order
    lines = directions.mT
    return ((lines @ p.mT).sort(-1).values - (lines @ q.mT).sort(-1).values).square().mean((-2, -1))


def mean_difference(p, q):
    """The discrepancy of MCD: the mean absolute difference of ... x n x c `p` and `q` -> ... ."""
    return (p - q).abs().mean((-2, -1))


def divergence(mean, log_variance):
    """KL( N(mean, exp(log_variance)) || N(0, I) ), summed over rows and dimensions."""
    return 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum()


def wasserstein(mean_1, log_variance_1, mean_2, log_variance_2):
    """2-Wasserstein distances of the diagonal Gaussians in the rows of n x k arguments, summed over rows."""
    deviations = (0.5 * log_variance_1).exp() - (0.5 * log_variance_2).exp()
    # the norm of both differences at once has a gradient of zero, not NaN, where Gaussians coincide
    return torch.linalg.vector_norm(torch.cat([mean_1 - mean_2, deviations], -1), dim=-1).sum()


def coral(z_1, z_2):
    """Mean squared difference of the k x k covariances of n x k and m x k latents."""
    return (_covariance(z_1) - _covariance(z_2)).square().mean()


def _covariance(z):
    centred = z - z.mean(0)
    return centred.T @ centred / (len(z) - 1)


def distance(x, y):
    """L1 distance, summed over rows and dimensions."""
    return (x - y).abs().sum()


def draw(mean, log_variance, noise, reparameterization):
    """A latent from each of n x k Gaussians and standard normal noise, n x 1 (released) or n x k (standard).

    The released program scales by exp(0.1 log-variance), and one number shifts all dimensions of a sample.
    """
    return mean + (log_variance * (0.1 if reparameterization == "released" else 0.5)).exp() * noise


class Model(nn.Module):
    """All networks of HSVA. C_1, C_2 and the decoders serve training alone."""

    def __init__(self, d_x, d_a, seen, unseen, config):
        super().__init__()
        self.config = config
        widths = config.networks
        self.scale = MinMax(d_x)
        self.visual = Perceptron(d_x, widths.hidden, widths.aligned, widths.slope)
        self.semantic = Perceptron(d_a, widths.hidden, widths.aligned, widths.slope)
        self.common = Perceptron(widths.aligned, widths.common, 2 * widths.latent, widths.slope)
        self.visual_decoder = Perceptron(widths.latent, widths.decoder, d_x, widths.slope)
        self.semantic_decoder = Perceptron(widths.latent, widths.decoder, d_a, widths.slope)
        self.tasks = TaskClassifiers(widths.aligned, widths.task, seen)
        self.register_buffer("centre", torch.zeros(widths.latent))
        self.register_buffer("spread", torch.ones(widths.latent))

    def initialise(self, seed):
        """Begin all weights anew from `seed`."""
        generator = torch.Generator().manual_seed(seed)
        widths = self.config.networks
        for net in (self.visual, self.semantic, self.visual_decoder, self.semantic_decoder):
            net.initialise(widths.gain, generator)
        self.common.initialise(widths.gain, generator, heads=2)
        self.tasks.initialise(widths.gain, widths.norm_deviation, generator)

    def trainer(self, problem, seed):
        """Begin a training run on the problem's device: initialise from `seed`, fit the scale of the features."""
        return Trainer(self, problem, seed)

    def gaussians(self, aligned):
        """n x aligned -> the mean and log-variance, n x k each, of the latents."""
        return _widen(self.common(aligned)).chunk(2, -1)

    @torch.no_grad()
    def fit_latents(self, features):
        """Fit the scale of the latents that the classifier reads to the means of N x d_x scaled features.

        Trained latents are small, and a linear classifier's learning rate would have to be found anew for every data
        set. `standardised` divides each dimension by its standard deviation, `raw`, the paper's way, leaves it alone.
        """
        if self.config.latents == "raw":
            return
        means = torch.cat([self.gaussians(self.visual(block))[0] for block in features.split(4096)])
        self.centre.copy_(means.mean(0))
        self.spread.copy_(means.std(0, correction=0).clamp_min(1e-6))

    @torch.no_grad()
    def encode(self, features):
        """N x d_x features as extracted -> N x k latent means, on the classifier's scale."""
        blocks = features.split(4096)
        return torch.cat([self._rescale(self.gaussians(self.visual(self.scale(block)))[0]) for block in blocks])

    @torch.no_grad()
    def classifier_set(self, problem, seed, unseen_only=False):
        """Latents and labels for the linear classifier, on its scale: M x k and M.

        Of a seen class `seen_samples`, drawn from Gaussians of its images, each used once before one is used twice.
        Of an unseen class `unseen_samples`, drawn from the Gaussian of its semantics; `czsl_samples` if `unseen_only`.
        """
        generator = torch.Generator(problem.features.device).manual_seed(seed)
        seen, unseen = len(problem.seen), len(problem.unseen)
        samples = self.config.czsl_samples if unseen_only else self.config.unseen_samples
        labels = torch.arange(unseen, device=problem.features.device).repeat_interleave(samples)
        means, log_variances = self.gaussians(self.semantic(problem.unseen))
        latents = [self._sample(means[labels], log_variances[labels], generator)]
        labels = [labels + seen]
        if not unseen_only:
            rows = rows_of_classes(problem.labels, seen, self.config.seen_samples, generator)
            for block in rows.split(4096):
                gaussians = self.gaussians(self.visual(self.scale(problem.features[block])))
                latents.append(self._sample(*gaussians, generator))
            labels.append(problem.labels[rows])
        return self._rescale(torch.cat(latents)), torch.cat(labels)

    def expand(self, inputs):
        """Latents are what the classifier reads."""
        return inputs

    def _rescale(self, latents):
        return (latents - self.centre) / self.spread

    def _sample(self, means, log_variances, generator):
        width = 1 if self.config.reparameterization == "released" else means.shape[1]
        noise = torch.randn(len(means), width, generator=generator, device=means.device)
        return draw(means, log_variances, noise, self.config.reparameterization)


def rows_of_classes(labels, classes, samples, generator):
    """`samples` rows of each class that N `labels` name, in random order; a class with fewer rows repeats them."""
    shuffled = torch.randperm(len(labels), generator=generator, device=labels.device)
    grouped = shuffled[labels[shuffled].argsort(stable=True)]
    counts = labels.bincount(minlength=classes)
    starts = counts.cumsum(0) - counts
    present = counts > 0
    places = torch.arange(samples, device=labels.device) % counts[present, None] + starts[present, None]
    return grouped[places.flatten()]


class Draws(NamedTuple):
    """The random numbers of one minibatch of n triples.

    rows:       n rows of the images
    unseen:     n unseen classes
    directions: (1 + adaptation steps) x 2 x seen classes x L unit columns, for images and semantics of each step that
                measures the discrepancy; empty where it is not sliced
    noise:      3 x n x (1 or k), for latents of images, their semantics, and unseen semantics
    """

    rows: torch.Tensor
    unseen: torch.Tensor
    directions: torch.Tensor
    noise: torch.Tensor


class Trainer:
    """One training run: in each minibatch the five sub-steps of the method, each moving its own networks alone."""

    def __init__(self, model, problem, seed):
        config, device = model.config, problem.features.device
        self.model, self.config, self.epochs = model, config, config.epochs
        # drawn on the processor, so that a seed begins with the same weights on every device
        model.cpu().initialise(seed)
        model.to(device)
        model.scale.fit(problem.features)
        self.features, self.labels = model.scale(problem.features), problem.labels
        self.seen, self.unseen = problem.seen, problem.unseen
        self.done = 0
        self.generator = torch.Generator(device).manual_seed(seed)
        self.weights = torch.zeros(3, device=device)

        if device.type == "cpu" and config.precision == "float32":
            for net in (model.visual, model.semantic, model.common, model.visual_decoder, model.semantic_decoder):
                net.keep_gradients()
        self.encoders = self._part([model.visual, model.semantic], config.lr, config.amsgrad)
        latent_nets = [model.common, model.visual_decoder, model.semantic_decoder]
        self.latent_nets = self._part(latent_nets, config.lr, config.amsgrad)
        self.tasks = self._part([model.tasks], config.task_lr, False)
        self.replayed = Captured(lambda *draws: self.minibatch(Draws(*draws)), device)

    def _part(self, nets, lr, amsgrad):
        """Networks that always move together: their Adam, which holds their parameters."""
        return torch.optim.Adam(
            [parameter for net in nets for parameter in net.parameters()],
            lr=lr,
            betas=(self.config.beta1, self.config.beta2),
            amsgrad=amsgrad,
            fused=True,
            capturable=self.features.device.type == "cuda",
        )

    @property
    def terms(self):
        """Names of the loss terms that `epoch` reports, before their weights."""
        config = self.config
        return [
            *(["classification", "discrepancy"] if config.sad else []),
            "reconstruction",
            "kl",
            "cross",
            *(["wasserstein"] if config.wasserstein else []),
            *(["coral"] if config.icoral else []),
        ]

    def epoch(self):
        """Train one more epoch; the mean of each loss term over its minibatches."""
        ramps = (self.config.beta, self.config.gamma_c, self.config.lambda_d)
        self.weights.copy_(torch.tensor([ramp.at(self.done) for ramp in ramps]))
        batches = math.ceil(len(self.features) / self.config.batch)
        values = torch.stack([self.replayed(*self.draws()) for _ in range(batches)])
        self._check(values.cpu())
        self.model.fit_latents(self.features)
        self.done += 1
        return dict(zip(self.terms, values.mean(0).tolist(), strict=True))

    def draws(self):
        """The random numbers of the next minibatch."""
        config, device, generator = self.config, self.features.device, self.generator
        n, seen = config.batch, len(self.seen)
        measured = 1 + config.adaptation_steps if config.sad and config.discrepancy == "swd" else 0
        directions = torch.randn(measured, 2, seen, config.projections, generator=generator, device=device)
        width = 1 if config.reparameterization == "released" else config.networks.latent
        return Draws(
            torch.randint(len(self.features), (n,), generator=generator, device=device),
            torch.randint(len(self.unseen), (n,), generator=generator, device=device),
            directions / torch.linalg.vector_norm(directions, dim=-2, keepdim=True),
            torch.randn(3, n, width, generator=generator, device=device),
        )

    def minibatch(self, draws):
        """All sub-steps on one minibatch; the values of its loss terms, detached, in the order of `terms`."""
        labels = self.labels[draws.rows]
        x, a, unseen = self.features[draws.rows], self.seen[labels], self.unseen[draws.unseen]
        values = []
        if self.config.sad:
            values += self._adapt_structure(x, a, labels, draws.directions)
        values += self._adapt_distribution(x, a, unseen, draws.noise)
        return torch.stack(values)

    def _adapt_structure(self, x, a, labels, directions):
        lambda_d = self.weights[2]
        with self._autocast():
            logits = self.model.tasks(self._align(x, a))
        classification = self._classification(logits, labels)
        self._step(classification, self.encoders, self.tasks)

        with self._autocast():
            aligned = self._align(x, a)
            logits = self.model.tasks(aligned.detach())
        discrepancy = self._discrepancy(logits, directions[:1])
        self._step(self._classification(logits, labels) - lambda_d * discrepancy, self.tasks)

        for step in range(1, self.config.adaptation_steps + 1):
            with self._autocast():
                # the first of these steps finds the encoders as the classifiers' step did
                aligned = aligned if step == 1 else self._align(x, a)
                logits = self.model.tasks(aligned)
            self._step(lambda_d * self._discrepancy(logits, directions[step : step + 1]), self.encoders)
        return classification.detach(), discrepancy.detach()

    def _adapt_distribution(self, x, a, unseen, noise):
        config, model = self.config, self.model
        beta, gamma_c, lambda_d = self.weights
        n = len(x)
        with self._autocast():
            semantics = torch.cat([a, unseen]) if config.icoral else a
            mean, log_variance = model.gaussians(torch.cat([model.visual(x), model.semantic(semantics)]))
            z = draw(mean, log_variance, noise.flatten(0, 1)[: len(mean)], config.reparameterization)
            # decoders read latents of images first, then those of their semantics
            x_images, x_semantics = _widen(model.visual_decoder(z[: 2 * n])).chunk(2)
            a_images, a_semantics = _widen(model.semantic_decoder(z[: 2 * n])).chunk(2)
        reconstruction = distance(x, x_images) + distance(a, a_semantics)
        kl = divergence(mean[: 2 * n], log_variance[: 2 * n])
        cross = distance(x, x_semantics) + distance(a, a_images)
        loss = reconstruction + beta * kl + gamma_c * cross
        values = [reconstruction, kl, cross]
        if config.wasserstein:
            values.append(wasserstein(mean[:n], log_variance[:n], mean[n : 2 * n], log_variance[n : 2 * n]))
            loss = loss + lambda_d * values[-1]
        if config.icoral:
            values.append(coral(z[:n], z[2 * n :]))
            loss = loss - lambda_d * values[-1]
        self._step(loss, self.encoders, self.latent_nets)
        return [value.detach() for value in values]

    def _align(self, x, a):
        return torch.stack([self.model.visual(x), self.model.semantic(a)])

    def _classification(self, logits, labels):
        """L_cls: the sum of four mean cross entropies, of two classifiers on images and on semantics."""
        return 4 * F.cross_entropy(_widen(logits).flatten(0, 2), labels.repeat(4))

    def _discrepancy(self, logits, directions):
        first, second = _widen(logits).softmax(-1)
        if self.config.discrepancy == "mcd":
            return mean_difference(first, second).sum()
        return sliced_wasserstein(first, second, directions[0]).sum()

    def _step(self, loss, *parts):
        """One optimiser step on `loss` for these parts and no others."""
        moved = [parameter for part in parts for parameter in part.param_groups[0]["params"]]
        for parameter, gradient in zip(moved, torch.autograd.grad(loss, moved), strict=True):
            parameter.grad = gradient
        for part in parts:
            part.step()

    def _autocast(self):
        """A new context for every sub-step: it keeps casts of weights that the optimiser is about to change."""
        return torch.autocast(self.features.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _check(self, values):
        """Stop at the first minibatch whose terms are no numbers or beyond any sensible reconstruction."""
        # features and semantics lie within one of zero: an error of one each is that of a network that knows nothing
        limit = 100 * self.config.batch * (self.features.shape[1] + self.seen.shape[1])
        wrong = ~(values.abs() <= limit)
        if wrong.any():
            batch, term = wrong.nonzero()[0].tolist()
            raise UserError(
                f"hsva: training diverged in epoch {self.done + 1}, minibatch {batch + 1}: {self.terms[term]} is "
                f"{values[batch, term]:g}; a smaller lr or smaller loss weights would be right"
            )

    def state_dict(self):
        """What going on needs beside the model: the optimisers, the generator, the epochs done."""
        parts = (self.encoders, self.latent_nets, self.tasks)
        return {
            "adams": [part.state_dict() for part in parts],
            "generator": self.generator.get_state(),
            "done": self.done,
        }

    def load_state_dict(self, state):
        """Go on from a `state_dict`; the model's own weights are loaded into the model."""
        for part, kept in zip((self.encoders, self.latent_nets, self.tasks), state["adams"], strict=True):
            part.load_state_dict(kept)
        self.generator.set_state(state["generator"])
        self.done = state["done"]
        self.replayed.forget()
