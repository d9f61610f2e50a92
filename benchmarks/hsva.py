"""How much faster HSVA trains here than as a plain loop of its steps: `python -m benchmarks.hsva`.

The plain loop is the usual research code: a module for every network, five forward and backward passes through all
that a loss touches, Adam as it comes, labels mapped in Python, a DataLoader for the classifier. Both run in turns in
one process on made-up features of CUB's sizes and must give the same losses on the same random numbers. The last line
is one JSON object; `ratio` holds a number for each device and dtype.
"""

import argparse
import json

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import configs, made_up, roofline
from pipeline.models import hsva
from pipeline.models.base import classifier

WEIGHTS = (0.1, 1.0, 4.0)
"""beta, gamma_c and lambda_d, as they are on the way of a training."""


class PlainLoop:
    """The steps of the method one by one, beginning with the weights of a `hsva.trainer.Trainer`.

    It takes the trainer's random numbers, so that both can be compared; everything else is its own. It knows the
    method's default switches alone.
    """

    def __init__(self, trainer):
        model, config, device = trainer.model, trainer.config, trainer.features.device
        assert (config.sad, config.wasserstein, config.icoral, config.discrepancy) == (True, True, True, "swd")
        self.config = config
        self.features, self.labels = trainer.features, trainer.labels.tolist()
        self.semantics, self.unseen = trainer.seen, trainer.unseen
        # research code keeps the data set's class ids and maps them to 0..S-1 in every minibatch
        self.positions = {label: i for i, label in enumerate(range(len(trainer.seen)))}
        self.E_v, self.E_a = _copy(model.visual), _copy(model.semantic)
        self.D_v, self.D_a = _copy(model.visual_decoder), _copy(model.semantic_decoder)
        self.trunk, self.to_mean, self.to_log_variance = _copy_common(model.common)
        self.C_1, self.C_2 = (_copy_task(model.tasks, k) for k in range(2))
        self.to(device)
        shared = {"lr": config.lr, "betas": (config.beta1, config.beta2), "amsgrad": config.amsgrad}
        encoders = [*self.E_v.parameters(), *self.E_a.parameters()]
        rest = (self.D_v, self.D_a, self.trunk, self.to_mean, self.to_log_variance)
        self.encoder_adam = torch.optim.Adam(encoders, **shared)
        self.rest_adam = torch.optim.Adam([p for net in rest for p in net.parameters()], **shared)
        tasks = [*self.C_1.parameters(), *self.C_2.parameters()]
        self.task_adam = torch.optim.Adam(tasks, lr=config.task_lr, betas=(config.beta1, config.beta2))

    def to(self, device):
        """Move every network."""
        for net in vars(self).copy().values():
            if isinstance(net, nn.Module):
                net.to(device)

    def minibatch(self, draws, weights):
        """One minibatch with loss weights (beta, gamma_c, lambda_d); its loss terms in the order of the trainer's."""
        beta, gamma_c, lambda_d = weights
        labels = torch.tensor([self.positions[self.labels[row]] for row in draws.rows.tolist()])
        labels = labels.to(self.features.device)
        x, a, a_u = self.features[draws.rows], self.semantics[labels], self.unseen[draws.unseen]

        classification = self.classification(x, a, labels)
        self.step(classification, self.encoder_adam, self.task_adam)
        discrepancy = self.discrepancy(x, a, draws.directions[0])
        self.step(self.classification(x, a, labels) - lambda_d * discrepancy, self.task_adam)
        for directions in draws.directions[1:]:
            self.step(lambda_d * self.discrepancy(x, a, directions), self.encoder_adam)

        (mean_v, log_v), (mean_a, log_a) = self.gaussian(self.E_v(x)), self.gaussian(self.E_a(a))
        mean_u, log_u = self.gaussian(self.E_a(a_u))
        z_v, z_a, z_u = (
            self.draw(mean, log_variance, noise)
            for mean, log_variance, noise in zip(
                (mean_v, mean_a, mean_u), (log_v, log_a, log_u), draws.noise, strict=True
            )
        )
        reconstruction = F.l1_loss(self.D_v(z_v), x, reduction="sum") + F.l1_loss(self.D_a(z_a), a, reduction="sum")
        cross = F.l1_loss(self.D_v(z_a), x, reduction="sum") + F.l1_loss(self.D_a(z_v), a, reduction="sum")
        kl = -0.5 * (1 + log_v - mean_v**2 - log_v.exp()).sum() - 0.5 * (1 + log_a - mean_a**2 - log_a.exp()).sum()
        deviations = (torch.exp(0.5 * log_v) - torch.exp(0.5 * log_a)) ** 2
        w = torch.sqrt(((mean_v - mean_a) ** 2).sum(1) + deviations.sum(1)).sum()
        coral = ((torch.cov(z_v.T) - torch.cov(z_u.T)) ** 2).mean()
        loss = reconstruction + beta * kl + gamma_c * cross + lambda_d * (w - coral)
        self.step(loss, self.encoder_adam, self.rest_adam)
        return torch.stack([classification, discrepancy, reconstruction, kl, cross, w, coral]).detach()

    def classification(self, x, a, labels):
        """L_cls: four cross entropies."""
        c_v, c_a = self.E_v(x), self.E_a(a)
        return sum(F.cross_entropy(net(c), labels) for net in (self.C_1, self.C_2) for c in (c_v, c_a))

    def discrepancy(self, x, a, directions):
        """The sliced Wasserstein discrepancy of the two classifiers, on images and on semantics."""
        total = 0
        for c, lines in zip((self.E_v(x), self.E_a(a)), directions, strict=True):
            p, q = F.softmax(self.C_1(c), 1), F.softmax(self.C_2(c), 1)
            total = total + ((torch.sort(p @ lines, 0)[0] - torch.sort(q @ lines, 0)[0]) ** 2).mean()
        return total

    def gaussian(self, aligned):
        """Mean and log-variance of the latents."""
        hidden = self.trunk(aligned)
        return self.to_mean(hidden), self.to_log_variance(hidden)

    def draw(self, mean, log_variance, noise):
        """A latent, in the released manner or the standard one."""
        power = 0.1 if self.config.reparameterization == "released" else 0.5
        return mean + torch.exp(power * log_variance) * noise

    def step(self, loss, *optimisers):
        """Gradients of everything the loss touches, then a step of some."""
        for optimiser in (self.encoder_adam, self.rest_adam, self.task_adam):
            optimiser.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()


def _linear(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _copy(net):
    layers = [_linear(layer.weight, layer.bias) for layer in (net.first, net.second)]
    return nn.Sequential(layers[0], nn.LeakyReLU(net.slope), layers[1])


def _copy_common(net):
    heads = (
        _linear(weight, bias) for weight, bias in zip(net.second.weight.chunk(2), net.second.bias.chunk(2), strict=True)
    )
    return nn.Sequential(_linear(net.first.weight, net.first.bias), nn.LeakyReLU(net.slope)), *heads


def _copy_task(tasks, k):
    parts = [value.chunk(2)[k] for value in (tasks.first, tasks.first_bias, tasks.scale, tasks.shift)]
    norm = nn.BatchNorm1d(len(parts[1]))
    with torch.no_grad():
        norm.weight.copy_(parts[2])
        norm.bias.copy_(parts[3])
    return nn.Sequential(_linear(*parts[:2]), norm, nn.ReLU(), _linear(tasks.second[k].T, tasks.second_bias[k, 0]))


def plain_classifier_epoch(inputs, labels, classes, config):
    """One epoch of the linear classifier as research code trains it."""
    net = nn.Sequential(nn.Linear(inputs.shape[1], classes), nn.LogSoftmax(1)).to(inputs.device)
    adam = torch.optim.Adam(net.parameters(), lr=config.lr, betas=(config.beta1, 0.999))
    data = torch.utils.data.TensorDataset(inputs.cpu(), labels.cpu())
    for batch, target in torch.utils.data.DataLoader(data, batch_size=config.batch, shuffle=True):
        adam.zero_grad()
        F.nll_loss(net(batch.to(inputs.device)), target.to(inputs.device)).backward()
        adam.step()


def begin(precision, device, sizes=made_up.CUB, *changes):
    """A trainer on a made-up problem, with the networks of params.yaml for CUB under some changes, its loss weights
    those of `WEIGHTS`: (problem, trainer)."""
    config = configs.config("hsva", "cub", {"precision": precision}, *changes)
    problem = made_up.problem(sizes, device)
    trainer = hsva.Model(*sizes.model, config).trainer(problem, 0)
    trainer.weights.copy_(torch.tensor(WEIGHTS))
    return problem, trainer


def iteration_cost(trainer):
    """What a minibatch of the fast path must move and compute, weights and their gradients and moments alone.

    Of each weight: 4 bytes read forward, 4 read backward where the gradient goes on to the inputs, 4 written as
    gradient, and Adam reads weight, gradient and moments and writes weight and moments (36 bytes with amsgrad, 28
    without). A product with n rows is 2 n operations a weight, forward, for the gradient, and backward.
    """
    config, model, n = trainer.config, trainer.model, trainer.config.batch
    adam = 36 if config.amsgrad else 28

    def stepped(nets, bytes_each):
        moved = bytes_each * sum(p.numel() for net in nets for p in net.parameters())
        return roofline.Cost(moved, optimiser=moved)

    def product(layer, rows, moved=True, onward=True, forward=True):
        size = layer.numel()
        moving = 4 * forward + 4 * onward + (4 * moved)
        return roofline.Cost(size * moving, 2 * size * rows * (forward + onward + moved))

    def encoders(rows_of_semantics):
        cost = stepped((model.visual, model.semantic), adam)
        for net, rows in ((model.visual, n), (model.semantic, rows_of_semantics)):
            cost += product(net.first.weight, rows, onward=False) + product(net.second.weight, rows)
        return cost

    def tasks(moved, onward):
        cost = stepped([model.tasks], 28 * moved)
        # each of the two classifiers sees images and semantics
        cost += product(model.tasks.first, 2 * n, moved, onward)
        return cost + product(model.tasks.second, 2 * n, moved)

    rows = n * (3 if config.icoral else 2)
    cost = encoders(rows - n)
    if config.sad:
        # the classifiers' own step finds the encoders as the next step does, and costs no pass through them
        cost += encoders(n) * (1 + config.adaptation_steps)
        cost += tasks(True, True) + tasks(True, False) + tasks(False, True) * config.adaptation_steps
    for net, width in ((model.common, rows), (model.visual_decoder, 2 * n), (model.semantic_decoder, 2 * n)):
        cost += stepped([net], adam)
        cost += product(net.first.weight, width) + product(net.second.weight, width)
    return cost


def minimised(values, weights=WEIGHTS):
    """Of the loss terms of a minibatch, in the trainer's order, the two losses that are minimised as they stand: the
    classification of the first sub-step and the whole of the last.

    Single terms of two loops part company sooner. A bias that a batch normalisation takes away has no gradient but
    rounding, which Adam scales up to whole steps, and the small terms feel them; in float64 all terms agree (see the
    tests).
    """
    factors = torch.tensor([0, 0, 1, *weights, -weights[2]])
    return {"classification": values[0], "whole": values @ factors}


def compare_losses(device, minibatches=3):
    """Largest relative difference between both loops of a minimised loss, over some minibatches in float32."""
    _, trainer = begin("float32", device)
    plain = PlainLoop(trainer)
    worst = 0.0
    for _ in range(minibatches):
        draws = next(trainer.draws(1))
        fast = minimised(trainer.minibatch(draws).cpu())
        slow = minimised(plain.minibatch(draws, trainer.weights).cpu())
        worst = max([worst, *((fast[name] - slow[name]).abs().item() / slow[name].abs().item() for name in fast)])
    return worst


def measure(device, rounds, precisions):
    """Time both loops, the fast one in some precisions, float32 among them; print the table; ratios by precision."""
    trainers = {}
    for precision in precisions:
        problem, trainers[precision] = begin(precision, device)
    plain = PlainLoop(trainers["float32"])
    steps = {"plain": lambda: plain.minibatch(*trainers["float32"].draws(1), WEIGHTS)}
    for name, trainer in trainers.items():
        steps[name] = lambda trainer=trainer: trainer.run(*trainer.draws(1))
    took = roofline.interleaved(steps, device, rounds, warm=5 if device == "cuda" else 2)

    cost = iteration_cost(trainers["float32"])
    for precision in trainers:
        machine = roofline.machine(device, getattr(torch, precision))
        speed = f"copies {machine.bandwidth / 1e9:.1f} GB/s, products {machine.throughput / 1e9:.0f} G operations/s"
        print(f"{device}, {precision}: {speed}")
        print(roofline.line(f"training step, {precision}", cost, took[precision], machine))
    print(f"training step, plain loop    {1e3 * took['plain']:9.2f} ms")
    ratios = {precision: took["plain"] / took[precision] for precision in trainers}
    return ratios, took, trainers["float32"], problem


def selection(trainer, problem, took):
    """Seconds of judging once (set, training of both classifiers) beside those of an epoch of training; a line each."""
    model, device = trainer.model, problem.features.device
    made = {}

    def make():
        made["set"] = model.classifier_set(problem, 0)

    setting = roofline.seconds(make, device, repeats=1, warm=1)
    inputs, labels = made["set"]
    semantics, options = torch.cat([problem.seen, problem.unseen]), model.config.classifier
    steps = {
        "plain": lambda: plain_classifier_epoch(inputs, labels, len(semantics), options),
        "here": lambda: next(classifier.epochs(inputs, labels, semantics, options, 0, 1, model)),
    }
    times = roofline.interleaved(steps, device, rounds=2, warm=0)
    unseen_share = len(problem.unseen) * model.config.unseen_samples / len(labels)
    judging = setting + times["here"] * (options.gzsl_epochs + options.czsl_epochs * unseen_share)
    epoch = took["float32"] * -(-len(problem.features) // model.config.batch)
    print(f"classifier, one epoch: {times['here']:.3f} s, by DataLoader {times['plain']:.3f} s")
    print(f"judging once: {judging:.1f} s; an epoch of training: {epoch:.1f} s")
    share = 20 * judging / (20 * judging + model.config.epochs * epoch)
    print(f"judging 20 times in {model.config.epochs} epochs: {share:.1%} of all time")
    return times["plain"] / times["here"], share


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="timed repetitions of each loop, in turns")
    parser.add_argument("--bfloat16", action="store_true", help="also where the device is slow at it")
    options = parser.parse_args()
    ratio, report = {}, {}
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        print(
            f"{device}: {torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name(),
            flush=True,
        )
        worst = compare_losses(device)
        print(f"largest relative difference of a minimised loss between both loops, float32: {worst:.1e}", flush=True)
        ratios, took, trainer, problem = measure(device, options.rounds, roofline.precisions(device, options.bfloat16))
        classifier_ratio, share = selection(trainer, problem, took)
        ratio |= {f"{device}_{precision}": round(value, 2) for precision, value in ratios.items()}
        report |= {
            f"{device}_classifier_ratio": round(classifier_ratio, 2),
            f"{device}_judging_share": round(share, 4),
            f"{device}_largest_loss_difference": worst,
        }
    print(json.dumps({"ratio": ratio} | report))


if __name__ == "__main__":
    main()
