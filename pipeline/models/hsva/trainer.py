"""The training of HSVA, minibatch by minibatch; what each step minimises is in `losses`."""

import math
from typing import NamedTuple

import torch

from pipeline.common import training
from pipeline.common.errors import UserError
from pipeline.models.base import minibatches, precision
from pipeline.models.base.captured import Captured
from pipeline.models.base.rows import Scaled
from pipeline.models.base.working import Working
from pipeline.models.hsva import losses
from pipeline.models.hsva.networks import draw, widen


class Draws(NamedTuple):
    """The random numbers of one minibatch of n triples.

    rows:       n rows of the images, none twice
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
    """One training run: in each minibatch the four steps of `losses`, each moving its own networks alone."""

    def __init__(self, model, problem, seed):
        config, device = model.config, problem.features.device
        self.model, self.config, self.epochs = model, config, config.epochs
        self.precision = precision.taken(config.precision, device, "hsva")
        # drawn on the processor, so that a seed begins with the same weights on every device
        model.cpu().initialise(seed)
        model.to(device)
        model.scale.fit(problem.features)
        self.features, self.labels = Scaled(problem.features, model.scale), problem.labels
        self.seen, self.unseen = problem.seen, problem.unseen
        self.batch = min(config.batch, len(self.features))
        self.done = 0
        self.generator = torch.Generator(device).manual_seed(seed)
        self.weights = torch.zeros(3, device=device)

        self.working = Working(model, self.precision)
        self.encoders = self._part([model.visual, model.semantic], config.lr, config.amsgrad)
        latent_nets = [model.common, model.visual_decoder, model.semantic_decoder]
        self.latent_nets = self._part(latent_nets, config.lr, config.amsgrad)
        self.tasks = self._part([model.tasks], config.task_lr, False)
        self.replayed = Captured(lambda x, *draws: self._minibatch(x, Draws(*draws)), device)

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
        batches = math.ceil(len(self.features) / self.batch)
        values = torch.stack([self.run(draws) for draws in self.draws(batches)])
        self._check(values.cpu())
        self.model.fit_latents(self.features)
        self.done += 1
        return dict(zip(self.terms, values.mean(0).tolist(), strict=True))

    def draws(self, batches):
        """Yield the random numbers of the next minibatches."""
        config, n = self.config, self.batch
        where = {"generator": self.generator, "device": self.features.device}
        measured = 1 + config.adaptation_steps if config.sad and config.discrepancy == "swd" else 0
        width = 1 if config.reparameterization == "released" else config.networks.latent
        for rows in minibatches.rows(batches, n, len(self.features), self.generator):
            directions = torch.randn(measured, 2, len(self.seen), config.projections, **where)
            yield Draws(
                rows,
                torch.randint(len(self.unseen), (n,), **where),
                directions / torch.linalg.vector_norm(directions, dim=-2, keepdim=True),
                torch.randn(3, n, width, **where),
            )

    def run(self, draws):
        """`minibatch`, captured where the device can; its images, which may lie outside of the device, come before."""
        return self.replayed(self.features[draws.rows], *draws)

    def minibatch(self, draws):
        """All sub-steps on one minibatch; the values of its loss terms, detached, in the order of `terms`."""
        return self._minibatch(self.features[draws.rows], draws)

    def _minibatch(self, x, draws):
        labels = self.labels[draws.rows]
        a, unseen = self.seen[labels], self.unseen[draws.unseen]
        values = []
        if self.config.sad:
            values += self._adapt_structure(x, a, labels, draws.directions)
        values += self._adapt_distribution(x, a, unseen, draws.noise)
        return torch.stack(values)

    def _adapt_structure(self, x, a, labels, directions):
        """Steps 1 to 3 of `losses`; the values of L_cls and of the discrepancy, as the first finds them."""
        lambda_d = self.weights[2]
        with self._autocast():
            logits = self.working.net.tasks(self._align(x, a))
        classification = losses.classification(logits, labels)
        self._step(classification, self.encoders, self.tasks)

        with self._autocast():
            aligned = self._align(x, a)
            logits = self.working.net.tasks(aligned.detach())
        discrepancy = self._discrepancy(logits, directions, 0)
        self._step(losses.classification(logits, labels) - lambda_d * discrepancy, self.tasks)

        for step in range(1, self.config.adaptation_steps + 1):
            with self._autocast():
                # the first of these steps finds the encoders as the classifiers' step did
                aligned = aligned if step == 1 else self._align(x, a)
                logits = self.working.net.tasks(aligned)
            self._step(lambda_d * self._discrepancy(logits, directions, step), self.encoders)
        return classification.detach(), discrepancy.detach()

    def _adapt_distribution(self, x, a, unseen, noise):
        """Step 4 of `losses`; the values of its terms."""
        with self._autocast():
            passed = self._pass(x, a, unseen, noise)
        terms = losses.distribution_terms(x, a, passed, self.config)
        self._step(losses.distribution(terms, *self.weights), self.encoders, self.latent_nets)
        return [value.detach() for value in terms.values()]

    def _pass(self, x, a, unseen, noise):
        """The minibatch through encoders and decoders, a `losses.Passed`."""
        config, model, n = self.config, self.working.net, len(x)
        semantics = torch.cat([a, unseen]) if config.icoral else a
        mean, log_variance = model.gaussians(torch.cat([model.visual(x), model.semantic(semantics)]))
        z = draw(mean, log_variance, noise.flatten(0, 1)[: len(mean)], config.reparameterization)
        # decoders read latents of images first, then those of their semantics
        x_rec, x_cross = widen(model.visual_decoder(z[: 2 * n])).chunk(2)
        a_cross, a_rec = widen(model.semantic_decoder(z[: 2 * n])).chunk(2)
        return losses.Passed(mean, log_variance, z, x_rec, x_cross, a_rec, a_cross)

    def _align(self, x, a):
        return torch.stack([self.working.net.visual(x), self.working.net.semantic(a)])

    def _discrepancy(self, logits, directions, step):
        return losses.discrepancy(logits, directions[step] if self.config.discrepancy == "swd" else None)

    def _step(self, loss, *parts):
        """One optimiser step on `loss` for these parts and no others."""
        self.working.minimise(loss, *parts)

    def _autocast(self):
        """A new context for every sub-step: it keeps casts of biases that the optimiser is about to change."""
        return torch.autocast(self.features.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _check(self, values):
        """Stop at the first minibatch whose terms are no numbers or beyond any sensible reconstruction."""
        # features and semantics lie within one of zero: an error of one each is that of a network that knows nothing
        limit = 100 * self.batch * (self.features.shape[1] + self.seen.shape[1])
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
            training.restore(part, kept)
        self.generator.set_state(state["generator"])
        self.done = int(state["done"])
        self.working.reload()
        self.replayed.forget()
