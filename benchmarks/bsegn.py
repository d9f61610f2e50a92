"""BSeGN's training iteration against a plain loop of the same steps: `python -m benchmarks.bsegn [--device cuda]`.

The plain loop is the usual research code: eager float32, autograd throughout, the gradient penalty differentiated
twice, fakes generated anew in each critic step, gradients computed for every network that a loss passes through, and
unfused Adam. It takes the same random numbers as the trainer and gives the same losses.
"""

import argparse
import dataclasses
import json

import torch
from torch.nn import functional as F

from benchmarks import roofline
from pipeline import classifier
from pipeline.models import bsegn
from pipeline.models.base import Problem


class PlainLoop:
    """The loop of the method, step by step, on the networks of a fresh `Trainer`."""

    def __init__(self, trainer):
        self.trainer, self.config = trainer, trainer.config
        self.encoder, self.critic, self.fem = trainer.encoder, trainer.critic, trainer.fem
        self.generator, self.cycle = trainer.model.generator, trainer.model.cycle
        self.optimisers = {
            name: torch.optim.Adam(
                adam.param_groups[0]["params"], adam.param_groups[0]["lr"], adam.param_groups[0]["betas"], fused=False
            )
            for name, adam in trainer.optimisers.items()
        }

    def iteration(self, draws):
        """One iteration; the same terms as `Trainer.iteration`, as a dictionary."""
        config, trainer = self.config, self.trainer
        critic, cycle = [], []
        for step in range(config.critic_steps):
            x, y = trainer.features[draws.rows[step]], trainer.labels[draws.rows[step]]
            a = trainer.semantics[y]
            cycle.append(self.step(self.cycle_loss(x, a), "cycle"))
            z = draws.noise[step]
            if config.seen_latents == "encoded":
                mean, log_variance = self.encoder(x, a)
                z = mean + torch.exp(0.5 * log_variance) * z
            fake = self.generator(z, a).detach()
            loss, terms = self.critic_loss(x, fake, a, draws.mix[step])
            self.step(loss, "critic")
            critic.append(terms)
        fem = self.fem_step(x, y, draws)
        generator = self.generator_step(x, y, a, draws)
        mean_of = dict(zip(("wasserstein", "penalty", "gradient_norm"), torch.tensor(critic).mean(0), strict=True))
        terms = mean_of | {"cycle_real": torch.stack(cycle).mean()} | fem | generator
        return {name: value.detach() for name, value in terms.items()}

    def step(self, loss, *names):
        """Backward through everything, and a step of the named networks."""
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        loss.backward()
        for name in names:
            self.optimisers[name].step()
        return loss.detach()

    def cycle_loss(self, x, a):
        """Batch mean of the weighted absolute error."""
        error = self.cycle(x) - a
        weight = error**2 / (error**2).sum(1, keepdim=True).sqrt()
        return (weight * error.abs()).sum(1).mean()

    def critic_loss(self, x, fake, a, mix):
        """WGAN-GP with autograd's second derivative."""
        real_score, fake_score = self.critic(x, a).mean(), self.critic(fake, a).mean()
        between = (mix * x + (1 - mix) * fake).requires_grad_()
        gradient = torch.autograd.grad(self.critic(between, a).sum(), between, create_graph=True)[0]
        length = gradient.norm(dim=1)
        penalty = ((length - 1) ** 2).mean()
        loss = self.config.gamma * (fake_score - real_score + self.config.penalty * penalty)
        return loss, [(real_score - fake_score).item(), penalty.item(), length.mean().item()]

    def scores(self, x):
        """Cosines over the temperature."""
        return self.fem(x) @ self.trainer.targets.T / self.config.fem.temperature

    def contrastive(self, scores, labels):
        """Both directions, class by class."""
        v2s = F.cross_entropy(scores, labels)
        per_class = [F.log_softmax(scores[:, c], 0)[labels == c].mean() for c in labels.unique().tolist()]
        return v2s, -torch.stack(per_class).mean()

    def fem_step(self, x, y, draws):
        """FEM on real seen and fake unseen images."""
        seen, options = self.trainer.seen, self.config.fem
        unseen = seen + draws.unseen[0]
        fake = self.generator(draws.noise[-4], self.trainer.semantics[unseen]).detach()
        scores = self.scores(torch.cat([x, fake]))
        v2s, s2v = self.contrastive(scores, torch.cat([y, unseen]))
        p = torch.softmax(scores, 1)
        in_seen, in_unseen = p[: len(x), :seen].amax(1).mean(), p[len(x) :, seen:].amax(1).mean()
        balance = (in_seen - in_unseen) ** 2
        self.step(v2s + s2v + options.balance_weight * balance, "fem")
        as_seen = (scores[len(x) :].argmax(1) < seen).float().mean()
        terms = {"v2s": v2s, "s2v": s2v, "balance": balance, "unseen_as_seen": as_seen}
        return terms | {"seen_confidence": in_seen, "unseen_confidence": in_unseen}

    def generator_step(self, x, y, a, draws):
        """Encoder and generator against the others."""
        config, trainer = self.config, self.trainer
        unseen = trainer.seen + draws.unseen[1]
        a_unseen = trainer.semantics[unseen]
        mean, log_variance = self.encoder(x, a)
        fake = self.generator(mean + torch.exp(0.5 * log_variance) * draws.noise[-3], a)
        bce = F.binary_cross_entropy(fake, x, reduction="sum") / len(x)
        kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / len(x)
        if config.seen_latents == "prior":
            fake = self.generator(draws.noise[-1], a)
        fake_unseen = self.generator(draws.noise[-2], a_unseen)
        adversarial = -self.critic(fake, a).mean()
        both = torch.cat([fake, fake_unseen])
        cycle = self.cycle_loss(both, torch.cat([a, a_unseen]))
        v2s, s2v = self.contrastive(self.scores(both), torch.cat([y, unseen]))
        loss = bce + kl + config.gamma * (adversarial + config.fem.weight * (v2s + s2v)) + config.cycle.weight * cycle
        self.step(loss, "encoder", "generator")
        terms = {"reconstruction": bce, "kl": kl, "adversarial": adversarial, "cycle_fake": cycle}
        return terms | {"generator_v2s": v2s, "generator_s2v": s2v}
