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

from benchmarks import configs, made_up, roofline
from pipeline.models import bsegn
from pipeline.models.base import classifier
from pipeline.models.bsegn import losses
from pipeline.models.bsegn.trainer import TERMS


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
        """Both directions, class by class; where balance is per sample, each domain by itself."""
        seen = self.trainer.seen
        domains = [(scores, labels)]
        if self.config.fem.balance == "per_sample":
            real = labels < seen
            domains = [(scores[real][:, :seen], labels[real]), (scores[~real][:, seen:], labels[~real] - seen)]
        v2s = sum(F.cross_entropy(*domain, reduction="sum") for domain in domains) / len(labels)
        per_class = [F.log_softmax(s[:, c], 0)[y == c].mean() for s, y in domains for c in y.unique().tolist()]
        return v2s, -torch.stack(per_class).mean()

    def balance(self, scores, in_seen, in_unseen):
        """By the cosines of each image, or by the mean confidence of each domain."""
        seen, options = self.trainer.seen, self.config.fem
        if options.balance == "per_sample":
            gap = scores[:, :seen].amax(1) - scores[:, seen:].amax(1)
            return (options.temperature * gap).square().mean()
        return (in_seen - in_unseen) ** 2

    def fem_step(self, x, y, draws):
        """FEM on real seen and fake unseen images."""
        seen, options = self.trainer.seen, self.config.fem
        unseen = seen + draws.unseen[0]
        fake = self.generator(draws.noise[-4], self.trainer.semantics[unseen]).detach()
        scores = self.scores(torch.cat([x, fake]))
        v2s, s2v = self.contrastive(scores, torch.cat([y, unseen]))
        p = torch.softmax(scores, 1)
        in_seen, in_unseen = p[: len(x), :seen].amax(1).mean(), p[len(x) :, seen:].amax(1).mean()
        balance = self.balance(scores, in_seen, in_unseen)
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
        cycle = self.cycle_loss(fake, a)
        if config.cycle.unseen:
            cycle = (cycle + self.cycle_loss(fake_unseen, a_unseen)) / 2
        v2s, s2v = self.contrastive(self.scores(both), torch.cat([y, unseen]))
        loss = bce + kl + config.gamma * (adversarial + config.fem.weight * (v2s + s2v)) + config.cycle.weight * cycle
        before = fake.detach()
        self.step(loss, "encoder", "generator")
        if config.cycle.fakes:
            self.step(self.cycle_loss(before, a), "cycle")
        terms = {"reconstruction": bce, "kl": kl, "adversarial": adversarial, "cycle_fake": cycle}
        return terms | {"generator_v2s": v2s, "generator_s2v": s2v}


def parameters(net):
    """How many numbers a network holds."""
    return sum(value.numel() for value in net.parameters())


# bytes that Adam moves for a parameter: it, its gradient and both moments read; it and both moments written
ADAM = 4 * (4 + 3)


def costs(trainer):
    """What each part of an iteration cannot do without: weights and gradients moved, products multiplied out.

    Activations, a hundredth of the weights, are left out, and so is all that a cache could keep within one product.
    """
    n, k = trainer.batch, trainer.config.critic_steps
    generator, cycle = trainer.model.generator, trainer.model.cycle
    encoder, critic, fem = trainer.encoder, trainer.critic, trainer.fem
    d_x = trainer.features.shape[1]
    of_features = critic.hidden.out_features * d_x

    def product(weights, rows):
        return roofline.Cost(4 * weights, 2 * rows * weights)

    def stepped(p):
        return roofline.Cost(ADAM * p, optimiser=ADAM * p)

    def learning(net, rows, first):
        """Forward, gradients of all layers' weights and of the inputs of all but the first, Adam."""
        p = parameters(net)
        return product(p, rows) * 2 + product(p - parameters(first), rows) + stepped(p)

    def frozen(net, rows):
        """Forward, and the gradient of the input."""
        return product(parameters(net), rows) * 2

    p = parameters(critic)
    penalised = product(p, 2 * n) + product(of_features, n) * 2 + product(p, 3 * n) + stepped(p)
    prior = trainer.config.seen_latents == "prior"
    return {
        "fakes for the critic": product(parameters(generator) + (0 if prior else parameters(encoder)), k * n),
        "cycle steps": learning(cycle, n, cycle.hidden[0]) * k,
        "critic steps": penalised * k,
        "FEM step": product(parameters(generator), n) + learning(fem, 2 * n, fem.hidden[0]),
        "generator step": learning(encoder, n, encoder.body[0])
        + learning(generator, (3 if prior else 2) * n, generator.body[0])
        + frozen(critic, n)
        + frozen(cycle, 2 * n)
        + frozen(fem, 2 * n),
    }


def parts(trainer):
    """The same parts as functions to be timed, on the random numbers of one iteration."""
    draws = next(trainer.draws(1))
    x, y = trainer.features[draws.rows], trainer.labels[draws.rows]
    a = trainer.semantics[y]
    fake = trainer._critic_fakes(x, a, draws)
    steps = range(trainer.config.critic_steps)
    return {
        "fakes for the critic": lambda: trainer._critic_fakes(x, a, draws),
        "cycle steps": lambda: [trainer.cycle_step(x[i], a[i]) for i in steps],
        "critic steps": lambda: [trainer.critic_step(x[i], fake[i], a[i], draws.mix[i]) for i in steps],
        "FEM step": lambda: trainer.fem_step(x[-1], y[-1], draws),
        "generator step": lambda: trainer.generator_step(x[-1], y[-1], draws),
    }


def begin(precision, device, sizes=made_up.CUB, *changes):
    """A trainer on a made-up problem, with the networks of params.yaml for CUB under some changes: (problem, model,
    trainer)."""
    # the cycle branch with both of its hidden layers
    deep = {"levels": 2, "cycle": {"depth": 2}, "precision": precision}
    config = configs.config("bsegn", "cub", deep, *changes)
    problem = made_up.problem(sizes, device)
    model = bsegn.Model(*sizes.model, config)
    return problem, model, model.trainer(problem, 0)


def minimised(values, config):
    """Of the loss terms of an iteration, in the order of TERMS, the four losses that are minimised."""
    terms = dict(zip(TERMS, values, strict=True))
    critic = config.gamma * (config.penalty * terms["penalty"] - terms["wasserstein"])
    names = "reconstruction", "kl", "adversarial", "cycle_fake", "generator_v2s", "generator_s2v"
    return {
        "critic": critic,
        "cycle": terms["cycle_real"],
        "FEM": losses.fem_loss(config.fem, terms["v2s"], terms["s2v"], terms["balance"]),
        "encoder and generator": losses.generator_loss(config, *(terms[name] for name in names)),
    }


def final_share(problem, model, iteration_seconds, device):
    """Seconds of the final set and classifier over seconds of the whole training, from one classifier epoch."""
    config = model.config

    def one_epoch():
        inputs, labels = model.classifier_set(problem, 0)
        semantics = torch.cat([problem.seen, problem.unseen])
        for _ in classifier.epochs(inputs, labels, semantics, config.classifier, 0, 1, model):
            pass

    last = roofline.seconds(one_epoch, device, repeats=1, warm=0) * config.classifier.gzsl_epochs
    training = config.epochs * -(-len(problem.features) // config.batch) * iteration_seconds
    return last / (last + training)


def main():
    """Time the plain loop and the trainer in turns, in each precision; print the parts, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5, help="how often each loop is timed")
    parser.add_argument("--bfloat16", action="store_true", help="also where the device is slow at it")
    for field in dataclasses.fields(made_up.Sizes):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    sizes = made_up.Sizes(*(getattr(chosen, field.name) for field in dataclasses.fields(made_up.Sizes)))
    ratio = {}
    for precision in roofline.precisions(device, chosen.bfloat16):
        problem, model, trainer = begin(precision, device, sizes)
        plain = PlainLoop(begin("float32", device, sizes)[2])
        loops = {
            "plain": lambda plain=plain, trainer=trainer: plain.iteration(*trainer.draws(1)),
            "trainer": lambda trainer=trainer: trainer.run(*trainer.draws(1)),
        }
        # the capture of a GPU's graph happens in the calls that do not count
        took = roofline.interleaved(loops, device, chosen.rounds, warm=5 if device.type == "cuda" else 1)
        ratio[precision] = round(took["plain"] / took["trainer"], 2)
        machine = roofline.machine(device, getattr(torch, precision))
        print(
            f"{device} {precision}: plain float32 {1e3 * took['plain']:.1f} ms, trainer {1e3 * took['trainer']:.1f} ms"
        )
        print(f"  copy {machine.bandwidth / 1e9:.1f} GB/s, products {machine.throughput / 1e9:.0f} G operations/s")
        cost = costs(trainer)
        print("  " + roofline.line("iteration", sum(cost.values(), roofline.Cost()), took["trainer"], machine))
        if device.type == "cpu":
            for name, seconds in roofline.interleaved(parts(trainer), device, 2, warm=0).items():
                print("  " + roofline.line(name, cost[name], seconds, machine))
        share = final_share(problem, model, took["trainer"], device)
        print(f"  synthesis and classifier: {share:.1%} of a full training", flush=True)
    print(json.dumps({"ratio": {device.type: ratio}}))


if __name__ == "__main__":
    main()
