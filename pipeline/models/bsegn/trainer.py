"""BSeGN's training: an iteration is `critic_steps` times the cycle branch and the critic, then FEM, then E and G.

An epoch is ceil(N / batch) iterations, each of `critic_steps` fresh random batches. (TF-VAEGAN's program calls two such
passes an epoch, the second with its feedback.)
"""

import contextlib
import math
from dataclasses import dataclass

import torch
from torch import nn

from pipeline.common import training
from pipeline.common.errors import UserError
from pipeline.models.base import minibatches, precision
from pipeline.models.base.captured import Captured
from pipeline.models.base.rows import Scaled
from pipeline.models.base.working import Working
from pipeline.models.bsegn import losses
from pipeline.models.bsegn.networks import Critic, Embedder, Encoder, initialise


@dataclass(frozen=True)
class Draws:
    """The random numbers of one iteration; k steps of n images, z of width d.

    rows:   k x n images of trainval, none twice within a step
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
    """One training run; of the features, which need not lie on the device, each iteration takes its rows.

    Encoder and critic live here, since nothing needs them afterwards; so does FEM, unless it has a part in the
    prediction.
    """

    def __init__(self, model, problem, seed):
        config = model.config
        self.model, self.config = model, config
        self.device = problem.features.device
        self.precision = precision.taken(config.precision, self.device, "bsegn")
        self.epochs, self.done = config.epochs, 0
        self.seen, self.batch = model.seen, min(config.batch, len(problem.features))
        d_x, d_a = problem.features.shape[1], problem.seen.shape[1]

        self.encoder = Encoder(d_x, d_a, model.latent, config.widths.encoder)
        self.critic = Critic(d_x, d_a, config.widths.critic)
        self.fem = model.embedding or Embedder(d_x, d_a, config.widths.fem)
        start = torch.Generator().manual_seed(seed)
        own_fem = () if config.fem.shared else (self.fem,)
        for net in (model.generator, model.cycle, self.encoder, self.critic, *own_fem):
            initialise(net, start)
        for net in (model, self.encoder, self.critic, self.fem):
            net.to(self.device)
        model.scale.fit(problem.features)
        model.count(problem)

        self.features = Scaled(problem.features, model.scale)
        self.labels = problem.labels
        self.semantics = torch.cat([problem.seen, problem.unseen])
        if config.fem.centre:
            model.middle.copy_(self.semantics.mean(0))
        self.targets = model.targets(self.semantics)
        self.random = torch.Generator(self.device).manual_seed(seed)

        nets = {"encoder": self.encoder, "generator": model.generator, "critic": self.critic}
        nets |= {"cycle": model.cycle, "fem": self.fem}
        self.working = Working(nn.ModuleDict(nets), self.precision)
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
        self._captured = Captured(lambda x, *draws: self._iteration(x, Draws(*draws)), self.device)
        self.penalty = torch.tensor(config.penalty, device=self.device)
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
        total = sum(self.run(draws) for draws in self.draws(iterations))
        self.done += 1
        terms = dict(zip(TERMS, (total / iterations).tolist(), strict=True))
        self._check(terms)
        self.model.fit_mfim(self.features)
        return {name: value for name, value in terms.items() if self._has(name)}

    def draws(self, iterations):
        """Yield the random numbers of the next iterations; unseen classes are drawn uniformly."""
        steps, n = self.config.critic_steps, self.batch
        where = {"device": self.device, "generator": self.random}
        for rows in self._rows(iterations * steps).split(steps):
            yield Draws(
                rows,
                torch.rand(steps, n, 1, **where),
                torch.randn(steps + 4, n, self.model.latent, **where),
                torch.randint(self.model.unseen, (2, n), **where),
            )

    def _rows(self, batches):
        return minibatches.rows(batches, self.batch, len(self.features), self.random)

    def run(self, draws):
        """`iteration`, captured where the device can; its images, which may lie outside of the device, come before."""
        return self._captured(self.features[draws.rows], *vars(draws).values())

    def iteration(self, draws):
        """One iteration of the loop; its terms in the order of TERMS, those of switched-off parts 0."""
        return self._iteration(self.features[draws.rows], draws)

    def _iteration(self, x, draws):
        steps, y = self.config.critic_steps, self.labels[draws.rows]
        a = self.semantics[y]
        fake = self._critic_fakes(x, a, draws)
        critic, cycle = [], []
        for step in range(steps):
            cycle.append(self.cycle_step(x[step], a[step]))
            critic.append(self.critic_step(x[step], fake[step], a[step], draws.mix[step]))
        fem = self.fem_step(x[-1], y[-1], draws)
        generator = self.generator_step(x[-1], y[-1], draws)
        distance, penalty, length = torch.stack(critic).mean(0)
        if self.config.penalty_adapts:
            self.penalty.mul_(losses.penalty_factor(penalty))
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
            return self.working.net["generator"](z, flat_a).view(steps, n, -1)

    def _sample(self, x, a, noise):
        mean, log_variance = self.working.net["encoder"](x, a)
        return mean + torch.exp(0.5 * log_variance) * noise

    def cycle_step(self, x, a):
        """R learns to give back the semantics of n x d_x seen images."""
        if not self.uses_cycle:
            return self._zero()
        with self._precision():
            loss = losses.cycle_loss(self.working.net["cycle"](x), a)
        self._update(loss, "cycle")
        return loss.detach()

    @torch.no_grad()
    def critic_step(self, x, fake, a, mix):
        """The critic learns to tell real from fake seen images (WGAN-GP)."""
        with self._precision():
            weights = self.config.gamma, self.penalty
            gradients, terms = losses.critic_gradients(self.working.net["critic"], x, fake, a, mix, *weights)
        self.working.step(self.optimisers["critic"], gradients)
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
                fake = self.working.net["generator"](draws.noise[-4], self.semantics[unseen])
            scores = self._scores(self.working.net, torch.cat([x, fake]), self.targets)
            v2s, s2v = losses.contrastive(scores, labels, self.seen, config.balance == "per_sample")
            balance = self._zero()
            if config.balance != "none":
                balance = losses.balance_loss(config.balance, scores, labels, self.seen, config.temperature)
        if config.training == "online":
            self._update(losses.fem_loss(config, v2s, s2v, balance), self._fem_optimiser)
        scores = scores.detach()
        as_seen = (scores[len(x) :].argmax(1) < self.seen).float().mean()
        confidence = losses.domain_confidence(scores, labels, self.seen)
        return torch.stack([v2s.detach(), s2v.detach(), balance.detach(), as_seen, *confidence])

    def generator_step(self, x, y, draws):
        """Encoder and generator learn from all the others, which stand still; R then from the fakes, where it is to."""
        config, net, still = self.config, self.working.net, self.working.still
        unseen = self.seen + draws.unseen[1]
        a, a_unseen = self.semantics[y], self.semantics[unseen]
        labels = torch.cat([y, unseen])
        with self._precision():
            mean, log_variance = net["encoder"](x, a)
            z = mean + torch.exp(0.5 * log_variance) * draws.noise[-3]
            noise, classes = [z, draws.noise[-2]], [a, a_unseen]
            if config.seen_latents == "prior":
                noise, classes = [*noise, draws.noise[-1]], [*classes, a]
            logits = net["generator"].logits(torch.cat(noise), torch.cat(classes)).split(len(x))
            # decoded, unseen and, where there are any, seen from the prior
            fakes = [torch.sigmoid(part) for part in logits]
            seen_fake = fakes[0] if config.seen_latents == "encoded" else fakes[2]
            both = torch.cat([seen_fake, fakes[1]])
            bce, kl = losses.reconstruction(logits[0], x), losses.kl_divergence(mean, log_variance)
            adversarial = -still["critic"](seen_fake, a).mean()
            cycle = v2s = s2v = self._zero()
            if config.cycle.weight:
                of, targets = (both, torch.cat([a, a_unseen])) if config.cycle.unseen else (seen_fake, a)
                cycle = losses.cycle_loss(still["cycle"](of), targets)
            if self.uses_fem and config.fem.weight:
                scores = self._scores(still, both, self.targets)
                v2s, s2v = losses.contrastive(scores, labels, self.seen, config.fem.balance == "per_sample")
            terms = bce, kl, adversarial, cycle, v2s, s2v
            loss = losses.generator_loss(config, *terms)
        self._update(loss, "encoder", "generator")
        if config.cycle.fakes:
            # from the fakes as the generator has just made them, before its step
            self.cycle_step(seen_fake.detach(), a)
        return [term.detach() for term in terms]

    def _train_fem_once(self):
        """FEM on real seen images and seen classes alone, before all else."""
        config = self.config.fem
        print(f"bsegn: FEM learns from real images for {config.frozen_epochs} epochs, then is frozen", flush=True)
        for rows in self._rows(config.frozen_epochs * math.ceil(len(self.features) / self.batch)):
            with self._precision():
                scores = self._scores(self.working.net, self.features[rows], self.targets[: self.seen])
                v2s, s2v = losses.contrastive(scores, self.labels[rows], self.seen)
            self._update(losses.bidirectional(config, v2s, s2v), "fem")

    def _scores(self, nets, x, targets):
        return losses.cosines(nets["fem"](x), targets, self.config.fem.temperature)

    def _update(self, loss, *names):
        """One step of the named optimisers; no gradient is computed for any other network's parameters."""
        if not loss.requires_grad:
            return
        self.working.minimise(loss, *(self.optimisers[name] for name in names))

    @property
    def _fem_optimiser(self):
        return "cycle" if self.config.fem.shared else "fem"

    def _precision(self):
        """Autocast, entered anew in each step because it keeps copies of the biases as they were."""
        if self.precision == "float32":
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
        if self.model.embedding is None:
            nets["fem"] = self.fem
        return {
            "epoch": self.done,
            "random": self.random.get_state(),
            "penalty": self.penalty.clone(),
            "nets": {name: net.state_dict() for name, net in nets.items()},
            "optimisers": {name: adam.state_dict() for name, adam in self.optimisers.items()},
        }

    def load_state_dict(self, state):
        """Go on where `state_dict` was taken; the model's own weights are loaded apart."""
        self.done = int(state["epoch"])
        self.random.set_state(state["random"].cpu())
        self.penalty.copy_(state["penalty"])
        for name, value in state["nets"].items():
            getattr(self, name).load_state_dict(value)
        for name, adam in self.optimisers.items():
            training.restore(adam, state["optimisers"][name])
        self.working.reload()
        self._captured.forget()
