"""BSeGN, a VAE-GAN that synthesises features of unseen classes, kept in balance by an embedding it learns along with.

Xie, Zhang, Xiang, Zhao, Zhang, Shao, Li: "Leveraging Balanced Semantic Embedding for Generative Zero-Shot Learning",
IEEE TNNLS 34(11), 9575-9582, 2023, doi 10.1109/TNNLS.2022.3208525.

This is a reconstruction from the abstract: no more of the paper, and no code of its authors, was at hand. The abstract
fixes the parts: GAN and VAE; a feature-to-semantic embedding module (FEM) that learns online, together with the
generator, to tell real seen from fake unseen features; bidirectional contrastive and balance losses for it, whose
improved embedding improves the generator in turn; a multilevel feature integration module (mFIM) taken from the
cycle-consistency branch. How each is built is inferred from the methods it grows out of (f-VAEGAN-D2, CVPR 2019;
TF-VAEGAN, ECCV 2020), and an inferred choice is a field of `Config`, `Cycle`, `Embedding` or `Widths`:

- the layers' widths, the noise's width, how the VAE, GAN, cycle and FEM terms are weighted, all learning rates and
  betas, how many critic steps an iteration has (`critic_steps`), the weight of the gradient penalty;
- whether the critic sees seen-class fakes decoded from encoded images or from the prior (`seen_latents`);
- FEM as cosine scores at a temperature, its contrastive directions (`v2s`, `s2v`), both forms of its balance loss,
  online or trained once on real images and frozen, its own network or the cycle branch (`shared`), with or without
  the mean class vector subtracted (`centre`);
- mFIM as a concatenation of the image's features with the cycle branch's hidden layers and output (`levels`);
- the number of synthesised features per unseen class, the standardisation of what the final classifier reads
  (`length`), and all of that classifier.

Taken from those methods and fixed here: how many layers each network has, their activations and how weights begin, the
form of the cycle loss, and that unseen classes are drawn uniformly.

The semantics of unseen classes, not their images, take part in training.

An epoch is ceil(N / batch) iterations, each of `critic_steps` fresh random batches.
"""

import contextlib
import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import nn
from torch.nn import functional as F

from pipeline import classifier
from pipeline.errors import UserError
from pipeline.models.captured import Captured
from pipeline.models.scaling import MinMax
from pipeline.params import AtLeastOne, Positive, Range

SLOPE = 0.2
NotNegative = Range(least=0)
Beta = Range(least=0, below=1)


@dataclass(frozen=True)
class Widths:
    """Hidden units of each network; the cycle branch has two hidden layers."""

    encoder: Annotated[int, AtLeastOne]
    generator: Annotated[int, AtLeastOne]
    critic: Annotated[int, AtLeastOne]
    cycle1: Annotated[int, AtLeastOne]
    cycle2: Annotated[int, AtLeastOne]
    fem: Annotated[int, AtLeastOne]


@dataclass(frozen=True)
class Cycle:
    """The cycle branch R. `weight` is lambda_cyc; at 0 the generator does not learn from it (R still feeds mFIM)."""

    weight: Annotated[float, NotNegative]
    lr: Annotated[float, Positive]


@dataclass(frozen=True)
class Embedding:
    """FEM.

    training:       online | frozen (trained on real seen images for `frozen_epochs`, then left alone) | none
    weight:         lambda_fem in units of gamma; at 0 the generator learns nothing from FEM
    temperature:    tau, by which cosines are divided
    v2s, s2v:       the contrastive directions, visual to semantic and semantic to visual
    balance:        domain_mean | per_sample | none; with per_sample the contrastive denominators stay in one domain
    balance_weight: lambda_bal
    centre:         subtract the mean class vector from the semantics, inside FEM
    shared:         FEM is the cycle branch itself, with that one's lr and optimiser
    """

    training: Literal["online", "frozen", "none"]
    weight: Annotated[float, NotNegative]
    lr: Annotated[float, Positive]
    temperature: Annotated[float, Positive]
    v2s: bool
    s2v: bool
    balance: Literal["domain_mean", "per_sample", "none"]
    balance_weight: Annotated[float, NotNegative]
    centre: bool
    shared: bool
    frozen_epochs: Annotated[int, AtLeastOne]


@dataclass(frozen=True)
class Config:
    """The params of one data set.

    epochs:          at most
    batch:           images per step
    lr:              of encoder, generator and critic (Adam)
    beta1:           Adam's, of all networks but the encoder
    encoder_beta1:   Adam's, of the encoder
    gamma:           weight of the GAN
    penalty:         weight of the gradient penalty within it
    critic_steps:    steps of critic and cycle branch to one of generator and FEM
    latent:          width of the noise z; null is the width of the semantics
    seen_latents:    z of seen-class fakes: `encoded` from real images, or drawn from the `prior`
    levels:          hidden layers of the cycle branch that mFIM adds to the features: 0 is no mFIM at all, and 1 also
                     takes the second hidden layer out of the branch
    synthetic:       N_syn, features synthesised per unseen class for the final classifier
    length:          before the classifier each dimension of mFIM is standardised on real trainval images, and rows get
                     about this length; null leaves mFIM as it is, which a linear softmax learns from very slowly
    precision:       of the matrix products in training; weights and optimisers stay float32. bfloat16 is fast where the
                     processor has it, and several times slower than float32 where it has not
    """

    epochs: Annotated[int, AtLeastOne]
    batch: Annotated[int, AtLeastOne]
    lr: Annotated[float, Positive]
    beta1: Annotated[float, Beta]
    encoder_beta1: Annotated[float, Beta]
    gamma: Annotated[float, NotNegative]
    penalty: Annotated[float, NotNegative]
    critic_steps: Annotated[int, AtLeastOne]
    latent: Annotated[int, AtLeastOne] | None
    seen_latents: Literal["encoded", "prior"]
    levels: Literal[0, 1, 2]
    synthetic: Annotated[int, AtLeastOne]
    length: Annotated[float, Positive] | None
    widths: Widths
    cycle: Cycle
    fem: Embedding
    classifier: classifier.Config
    precision: Literal["float32", "bfloat16"]

    def __post_init__(self):
        if self.fem.shared and self.fem.training == "frozen":
            raise UserError("fem.shared: FEM cannot be the cycle branch and frozen; set fem.training to online or none")


def layers(*widths):
    """Linear layers of these widths with LeakyReLU(0.2) between them, and none after the last."""
    modules = []
    for before, after in itertools.pairwise(widths):
        modules += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*modules[:-1])


def initialise(net, generator):
    """Weights from N(0, 0.02) and zero biases, drawn on the CPU so that every device begins alike."""
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("bias"):
                value.zero_()
            else:
                value.copy_(torch.empty(value.shape).normal_(0, 0.02, generator=generator))


class Encoder(nn.Module):
    """E(x, a): the mean and log-variance of z."""

    def __init__(self, d_x, d_a, latent, width):
        super().__init__()
        self.body = layers(d_x + d_a, width, 2 * latent)
        self.heads = nn.Linear(2 * latent, 2 * latent)

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
        self.hidden = nn.Linear(d_x + d_a, width)
        self.out = nn.Linear(width, 1)

    def forward(self, x, a):
        """N x d_x, N x d_a -> N scores."""
        return self.out(F.leaky_relu(self.hidden(torch.cat([x, a], 1)), SLOPE)).float().squeeze(1)


class Embedder(nn.Module):
    """An embedding of features among the class semantics: the cycle branch R, and FEM f."""

    def __init__(self, d_x, d_a, *widths):
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise((d_x, *widths)))
        self.out = nn.Linear(widths[-1], d_a)

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


def kl_divergence(mean, log_variance):
    """Batch mean of KL(N(mean, exp(log_variance)) || N(0, I))."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


def reconstruction(logits, x):
    """Batch mean of the binary cross entropy of sigmoid(logits) with x in [0, 1], summed over dimensions."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)


def cycle_loss(embedded, a):
    """Batch mean of sum_k w_k |R(x)_k - a_k| with w_k = (R(x)_k - a_k)^2 / |R(x) - a|_2."""
    error = (embedded - a).abs()
    # the floor keeps the gradient finite where a row is met exactly
    length = error.square().sum(1).clamp_min(1e-12).sqrt()
    return (error.pow(3).sum(1) / length).mean()


def contrastive(scores, labels, seen, own_domain=False):
    """The two contrastive losses of FEM, visual to semantic and semantic to visual.

    scores: B x C, cosines over the temperature; labels: B classes, those below `seen` are seen ones
    own_domain: keep each denominator to classes, or images, of the same domain as the image, or class
    """
    classes = torch.arange(scores.shape[1], device=scores.device)
    if own_domain:
        same = (labels < seen)[:, None] == (classes < seen)
        scores = scores.masked_fill(~same, -1e4)
    v2s = F.cross_entropy(scores, labels)
    positive = labels[:, None] == classes
    count = positive.sum(0)
    of_class = torch.where(positive, F.log_softmax(scores, 0), 0).sum(0) / count.clamp_min(1)
    return v2s, -of_class.sum() / (count > 0).sum()


def domain_confidence(scores, labels, seen):
    """Mean own-domain confidence of the images of seen and of unseen classes, p(c|x) being the softmax over all C."""
    p = torch.softmax(scores, 1)
    is_seen = labels < seen
    best = torch.where(is_seen, p[:, :seen].amax(1), p[:, seen:].amax(1))
    return (best * is_seen).sum() / is_seen.sum(), (best * ~is_seen).sum() / (~is_seen).sum()


def balance_loss(form, scores, labels, seen, temperature):
    """FEM's balance loss: squared gap of the domains' mean confidences, or of each image's best cosines of both."""
    if form == "domain_mean":
        in_seen, in_unseen = domain_confidence(scores, labels, seen)
        return (in_seen - in_unseen).square()
    return ((scores[:, :seen].amax(1) - scores[:, seen:].amax(1)) * temperature).square().mean()


def critic_gradients(critic, real, fake, a, mix, gamma, penalty):
    """Gradients of gamma * (E[D(fake)] - E[D(real)] + penalty * E[(|grad D(x^)| - 1)^2]) for the critic's parameters.

    real, fake: n x d_x; a: n x d_a; mix: n x 1 in [0, 1]; x^ = mix * real + (1 - mix) * fake
    Returns the gradients of hidden.weight, hidden.bias, out.weight and out.bias, and three detached terms: the
    distance E[D(real)] - E[D(fake)], the mean penalty and the mean of |grad D(x^)|.

    With one hidden layer h = W x + V a + b and D = u . lrelu(h) + c, the gradient at x^ is g = W'(s * u), s being
    lrelu's slopes there. s is constant almost everywhere, so the penalty reaches only W and u, and what autograd does
    by differentiating twice is two products with W. h is linear in x, so that of x^ is mixed from the other two.
    """
    n, d_x = real.shape
    weight, u = critic.hidden.weight, critic.out.weight
    # autocast's products come back in bfloat16; all that is summed here is summed in the features' own type
    exact = real.dtype
    hidden = critic.hidden(torch.cat([torch.cat([real, fake]), torch.cat([a, a])], 1)).to(exact)
    slopes = _slopes(hidden)
    active = hidden * slopes
    middle = _slopes(torch.lerp(hidden[n:], hidden[:n], mix))
    through = middle * u
    g = (through @ weight[:, :d_x]).to(exact)
    length = g.norm(dim=1, keepdim=True)
    q = g * ((2 * gamma * penalty / n) * (length - 1) / length.clamp_min(1e-12))
    signs = torch.full((2 * n, 1), gamma / n, dtype=exact, device=real.device)
    signs[:n] *= -1
    outer = slopes * u * signs
    inputs = torch.cat([torch.cat([real, fake, q]), torch.cat([a, a, torch.zeros_like(a)])], 1)
    of_weight = (torch.cat([outer, through]).T @ inputs).to(exact)
    of_u = (active * signs).sum(0) + (middle * (q @ weight[:, :d_x].T)).sum(0)
    scores = active @ u[0]
    terms = (scores[:n].mean() - scores[n:].mean()).float(), (length - 1).square().mean(), length.mean()
    return (of_weight, outer.sum(0), of_u[None], torch.zeros_like(critic.out.bias)), terms


def _slopes(hidden):
    return torch.where(hidden > 0, 1, torch.full_like(hidden, SLOPE))


class Model(nn.Module):
    """What is needed after training: the scale of features, the generator, and the cycle branch that mFIM reads."""

    def __init__(self, d_x, d_a, seen, unseen, config):
        super().__init__()
        self.config, self.seen, self.unseen = config, seen, unseen
        self.latent = config.latent or d_a
        self.scale = MinMax(d_x)
        self.generator = Generator(d_x, d_a, self.latent, config.widths.generator)
        hidden = (config.widths.cycle1,) if config.levels == 1 else (config.widths.cycle1, config.widths.cycle2)
        self.cycle = Embedder(d_x, d_a, *hidden)
        width = d_x + sum(hidden) + d_a if config.levels else d_x
        # of mFIM, fitted by `classifier_set`
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def trainer(self, problem, seed):
        """Begin a training run on the problem's device (`pipeline.models.base`)."""
        return Trainer(self, problem, seed)

    @torch.no_grad()
    def encode(self, features):
        """N x d_x features -> the same, scaled; mFIM comes with `expand`, since it is wide."""
        return self.scale(features)

    @torch.no_grad()
    def classifier_set(self, problem, seed, unseen_only=False):
        """Real trainval features and `synthetic` per unseen class, scaled: M x d_x, and M labels.

        `unseen_only` leaves the real ones out.
        """
        device = problem.features.device
        generator = torch.Generator(device).manual_seed(seed)
        real, count = 0 if unseen_only else len(problem.features), self.config.synthetic
        inputs = problem.features.new_empty(real + self.unseen * count, problem.features.shape[1])
        inputs[:real] = self.scale(problem.features[:real])
        fakes = torch.arange(self.unseen, device=device).repeat_interleave(count)
        for rows, classes in zip(inputs[real:].split(4096), fakes.split(4096), strict=True):
            z = torch.randn(len(classes), self.latent, device=device, generator=generator)
            rows.copy_(self.generator(z, problem.unseen[classes]))
        if self.config.length:
            self._standardise(self.scale(problem.features))
        return inputs, torch.cat([problem.labels[:real], self.seen + fakes])

    @torch.no_grad()
    def expand(self, inputs):
        """mFIM(x) = [x; h1(x); h2(x); R(x)], as many hidden layers as `levels`, standardised: M x d_x -> M x K."""
        return (self._integrated(inputs) - self.centre) / self.spread

    def _integrated(self, inputs):
        return torch.cat([inputs, *self.cycle.levels(inputs)], 1) if self.config.levels else inputs

    def _standardise(self, inputs):
        """Take the mean and spread of mFIM over these inputs, block by block since it is wide."""
        blocks, n = inputs.split(classifier.BLOCK), len(inputs)
        mean = sum(self._integrated(block).sum(0) for block in blocks) / n
        deviation = (sum((self._integrated(block) - mean).square().sum(0) for block in blocks) / n).sqrt()
        # a dimension that hardly varies is not blown up
        floor = 1e-3 * deviation.mean().clamp_min(1e-6)
        self.centre.copy_(mean)
        self.spread.copy_(deviation.clamp_min(floor) * math.sqrt(len(mean)) / self.config.length)


@dataclass(frozen=True)
class Draws:
    """The random numbers of one iteration; k steps of n images, z of width d.

    rows:   k x n images of trainval
    mix:    k x n x 1, where on the segment from fake to real the penalty is taken
    noise:  (k + 4) x n x d normal: one for each critic step; then FEM's fakes; the VAE; the generator step's unseen
            fakes; and its seen ones where they come from the prior
    unseen: 2 x n classes, counted from 0, of FEM's fakes and of the generator step's
    """

    rows: torch.Tensor
    mix: torch.Tensor
    noise: torch.Tensor
    unseen: torch.Tensor


TERMS = (
    *("wasserstein", "penalty", "gradient_norm", "reconstruction", "kl", "adversarial", "cycle_real", "cycle_fake"),
    *("v2s", "s2v", "balance", "generator_v2s", "generator_s2v"),
    *("unseen_as_seen", "seen_confidence", "unseen_confidence"),
)


class Trainer:
    """One training run, all of its data resident on one device.

    Encoder, critic and FEM live here, since nothing needs them afterwards.
    """

    def __init__(self, model, problem, seed):
        config = model.config
        self.model, self.config = model, config
        self.device = problem.features.device
        self.epochs, self.done = config.epochs, 0
        self.seen, self.batch = model.seen, config.batch
        d_x, d_a = problem.features.shape[1], problem.seen.shape[1]

        self.encoder = Encoder(d_x, d_a, model.latent, config.widths.encoder)
        self.critic = Critic(d_x, d_a, config.widths.critic)
        self.fem = model.cycle if config.fem.shared else Embedder(d_x, d_a, config.widths.fem)
        start = torch.Generator().manual_seed(seed)
        for net in (
            model.generator,
            model.cycle,
            self.encoder,
            self.critic,
            *(() if config.fem.shared else [self.fem]),
        ):
            initialise(net, start)
        for net in (model, self.encoder, self.critic, self.fem):
            net.to(self.device)
        model.scale.fit(problem.features)

        self.features = model.scale(problem.features)
        self.labels = problem.labels
        self.semantics = torch.cat([problem.seen, problem.unseen])
        targets = self.semantics - self.semantics.mean(0) if config.fem.centre else self.semantics
        self.targets = F.normalize(targets, dim=1)
        self.random = torch.Generator(self.device).manual_seed(seed)

        self.optimisers = {
            "encoder": self._adam(self.encoder, config.lr, config.encoder_beta1),
            "generator": self._adam(model.generator, config.lr, config.beta1),
            "critic": self._adam(self.critic, config.lr, config.beta1),
            "cycle": self._adam(model.cycle, config.cycle.lr, config.beta1),
        }
        if not config.fem.shared:
            self.optimisers["fem"] = self._adam(self.fem, config.fem.lr, config.beta1)
        self.uses_cycle = config.cycle.weight > 0 or config.levels > 0 or config.fem.shared
        self.uses_fem = config.fem.training != "none"
        self._captured = Captured(lambda *draws: self.iteration(Draws(*draws)), self.device)
        self._length, self._warned = math.inf, False

    def _adam(self, net, lr, beta1):
        capturable = self.device.type == "cuda"
        return torch.optim.Adam(net.parameters(), lr=lr, betas=(beta1, 0.999), fused=True, capturable=capturable)

    def epoch(self):
        """Train one more epoch; the mean of each term over its iterations.

        Raises UserError where the critic's gradient explodes, and says so where it vanishes. Terms that are not finite
        are the caller's to notice.
        """
        if self.done == 0 and self.config.fem.training == "frozen":
            self._train_fem_once()
        iterations = math.ceil(len(self.features) / self.batch)
        total = sum(self.run(self.draw()) for _ in range(iterations))
        self.done += 1
        terms = dict(zip(TERMS, (total / iterations).tolist(), strict=True))
        self._check(terms)
        return {name: value for name, value in terms.items() if self._has(name)}

    def draw(self):
        """The random numbers of one iteration; unseen classes are drawn uniformly."""
        steps, n = self.config.critic_steps, self.batch
        where = {"device": self.device, "generator": self.random}
        return Draws(
            torch.randint(len(self.features), (steps, n), **where),
            torch.rand(steps, n, 1, **where),
            torch.randn(steps + 4, n, self.model.latent, **where),
            torch.randint(self.model.unseen, (2, n), **where),
        )

    def run(self, draws):
        """`iteration`, captured where the device can."""
        return self._captured(*vars(draws).values())

    def iteration(self, draws):
        """One iteration of the loop; its terms in the order of TERMS, those of switched-off parts 0."""
        steps = self.config.critic_steps
        x, y = self.features[draws.rows], self.labels[draws.rows]
        a = self.semantics[y]
        fake = self._critic_fakes(x, a, draws)
        critic, cycle = [], []
        for step in range(steps):
            cycle.append(self.cycle_step(x[step], a[step]))
            critic.append(self.critic_step(x[step], fake[step], a[step], draws.mix[step]))
        fem = self.fem_step(x[-1], y[-1], draws)
        generator = self.generator_step(x[-1], y[-1], draws)
        distance, penalty, length = torch.stack(critic).mean(0)
        bce, kl, adversarial, cycle_fake, v2s, s2v = generator
        terms = [distance, penalty, length, bce, kl, adversarial, torch.stack(cycle).mean(), cycle_fake]
        return torch.stack([*terms, *fem[:3], v2s, s2v, *fem[3:]])

    @torch.no_grad()
    def _critic_fakes(self, x, a, draws):
        """Fakes of all critic steps at once, since neither encoder nor generator moves between them."""
        steps, n, _ = x.shape
        flat_x, flat_a, noise = x.flatten(0, 1), a.flatten(0, 1), draws.noise[:steps].flatten(0, 1)
        with self._precision():
            z = self._sample(flat_x, flat_a, noise) if self.config.seen_latents == "encoded" else noise
            return self.model.generator(z, flat_a).view(steps, n, -1)

    def _sample(self, x, a, noise):
        mean, log_variance = self.encoder(x, a)
        return mean + torch.exp(0.5 * log_variance) * noise

    def cycle_step(self, x, a):
        """R learns to give back the semantics of real seen images."""
        if not self.uses_cycle:
            return self._zero()
        with self._precision():
            loss = cycle_loss(self.model.cycle(x), a)
        self._update(loss, "cycle")
        return loss.detach()

    @torch.no_grad()
    def critic_step(self, x, fake, a, mix):
        """The critic learns to tell real from fake seen images (WGAN-GP)."""
        with self._precision():
            gradients, terms = critic_gradients(self.critic, x, fake, a, mix, self.config.gamma, self.config.penalty)
        self._step("critic", gradients)
        return torch.stack(terms)

    def fem_step(self, x, y, draws):
        """FEM learns to tell real seen from fake unseen images; v2s, s2v, balance and the abstract's symptoms."""
        if not self.uses_fem:
            return self._zero().expand(6)
        config = self.config.fem
        unseen = self.seen + draws.unseen[0]
        labels = torch.cat([y, unseen])
        with self._precision():
            with torch.no_grad():
                fake = self.model.generator(draws.noise[-4], self.semantics[unseen])
            scores = self._scores(torch.cat([x, fake]), self.targets)
            v2s, s2v = contrastive(scores, labels, self.seen, config.balance == "per_sample")
            balance = self._zero()
            if config.balance != "none":
                balance = balance_loss(config.balance, scores, labels, self.seen, config.temperature)
        if config.training == "online":
            self._update(config.v2s * v2s + config.s2v * s2v + config.balance_weight * balance, self._fem_optimiser)
        scores = scores.detach()
        as_seen = (scores[len(x) :].argmax(1) < self.seen).float().mean()
        confidence = domain_confidence(scores, labels, self.seen)
        return torch.stack([v2s.detach(), s2v.detach(), balance.detach(), as_seen, *confidence])

    def generator_step(self, x, y, draws):
        """Encoder and generator learn from all the others, which stand still."""
        config = self.config
        unseen = self.seen + draws.unseen[1]
        a, a_unseen = self.semantics[y], self.semantics[unseen]
        labels = torch.cat([y, unseen])
        with self._precision():
            mean, log_variance = self.encoder(x, a)
            z = mean + torch.exp(0.5 * log_variance) * draws.noise[-3]
            noise, classes = [z, draws.noise[-2]], [a, a_unseen]
            if config.seen_latents == "prior":
                noise, classes = [*noise, draws.noise[-1]], [*classes, a]
            logits = self.model.generator.logits(torch.cat(noise), torch.cat(classes)).split(len(x))
            # decoded, unseen and, where there are any, seen from the prior
            fakes = [torch.sigmoid(part) for part in logits]
            seen_fake = fakes[0] if config.seen_latents == "encoded" else fakes[2]
            both = torch.cat([seen_fake, fakes[1]])
            bce, kl = reconstruction(logits[0], x), kl_divergence(mean, log_variance)
            adversarial = -self.critic(seen_fake, a).mean()
            loss = bce + kl + config.gamma * adversarial
            cycle = v2s = s2v = self._zero()
            if config.cycle.weight:
                cycle = cycle_loss(self.model.cycle(both), torch.cat([a, a_unseen]))
                loss = loss + config.cycle.weight * cycle
            if self.uses_fem and config.fem.weight:
                scores = self._scores(both, self.targets)
                v2s, s2v = contrastive(scores, labels, self.seen, config.fem.balance == "per_sample")
                loss = loss + config.fem.weight * config.gamma * (config.fem.v2s * v2s + config.fem.s2v * s2v)
        self._update(loss, "encoder", "generator")
        return [term.detach() for term in (bce, kl, adversarial, cycle, v2s, s2v)]

    def _train_fem_once(self):
        """FEM on real seen images and seen classes alone, before all else."""
        config = self.config.fem
        print(f"bsegn: FEM learns from real images for {config.frozen_epochs} epochs, then is frozen", flush=True)
        for _ in range(config.frozen_epochs * math.ceil(len(self.features) / self.batch)):
            rows = torch.randint(len(self.features), (self.batch,), device=self.device, generator=self.random)
            with self._precision():
                scores = self._scores(self.features[rows], self.targets[: self.seen])
                v2s, s2v = contrastive(scores, self.labels[rows], self.seen)
            self._update(config.v2s * v2s + config.s2v * s2v, "fem")

    def _scores(self, x, targets):
        return self.fem(x) @ targets.T / self.config.fem.temperature

    def _update(self, loss, *names):
        """One step of the named optimisers; no gradient is computed for any other network's parameters."""
        if not loss.requires_grad:
            return
        parameters = [value for name in names for value in self._parameters(name)]
        gradients = iter(torch.autograd.grad(loss, parameters))
        for name in names:
            self._step(name, [next(gradients) for _ in self._parameters(name)])

    def _step(self, name, gradients):
        for value, gradient in zip(self._parameters(name), gradients, strict=True):
            value.grad = gradient
        self.optimisers[name].step()

    def _parameters(self, name):
        return self.optimisers[name].param_groups[0]["params"]

    @property
    def _fem_optimiser(self):
        return "cycle" if self.config.fem.shared else "fem"

    def _precision(self):
        """Autocast, entered anew in each step because it keeps copies of the weights as they were."""
        if self.config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _zero(self):
        return torch.zeros((), device=self.device)

    def _has(self, term):
        """Whether the term belongs to a part that is switched on."""
        if term == "cycle_real":
            return self.uses_cycle
        if term == "cycle_fake":
            return self.config.cycle.weight > 0
        if term.startswith("generator_"):
            return self.uses_fem and self.config.fem.weight > 0
        fem = ("v2s", "s2v", "balance", "unseen_as_seen", "seen_confidence", "unseen_confidence")
        return self.uses_fem or term not in fem

    def _check(self, terms):
        """The penalty holds the critic's gradient near length 1, or has failed to."""
        length = terms["gradient_norm"]
        if length > 100:
            raise UserError(
                f"bsegn: epoch {self.done}: the critic exploded, its gradient is {length:.3g} long where about 1 "
                "would be right; lower lr, or raise penalty"
            )
        # it starts below 0.1 where layers are narrow, and then rises
        stuck = length < 0.1 and length < 1.01 * self._length
        self._length = length
        if stuck and self.config.gamma and self.config.penalty and not self._warned and self.done > 1:
            self._warned = True
            print(
                f"bsegn: epoch {self.done}: the critic collapsed, its gradient is {length:.3g} long where about 1 "
                "would be right: the generator learns next to nothing from it",
                flush=True,
            )

    def state_dict(self):
        """What going on needs beside the model's weights."""
        nets = {"encoder": self.encoder, "critic": self.critic}
        if not self.config.fem.shared:
            nets["fem"] = self.fem
        return {
            "epoch": self.done,
            "random": self.random.get_state(),
            "nets": {name: net.state_dict() for name, net in nets.items()},
            "optimisers": {name: adam.state_dict() for name, adam in self.optimisers.items()},
        }

    def load_state_dict(self, state):
        """Go on where `state_dict` was taken; the model's own weights are loaded apart."""
        self.done = state["epoch"]
        self.random.set_state(state["random"].cpu())
        for name, value in state["nets"].items():
            getattr(self, name).load_state_dict(value)
        for name, value in state["optimisers"].items():
            self.optimisers[name].load_state_dict(value)
        self._captured.forget()
