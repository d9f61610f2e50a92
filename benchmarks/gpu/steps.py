"""A model's training step on a device, replayed as a graph, run as it is, as a plain loop and on the processor: whether
all come to the same losses, how long each takes, and how much of the device that uses."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import torch

from benchmarks import bsegn, hsva, made_up, roofline
from pipeline.common import machine
from pipeline.models.base.captured import WARM
from pipeline.models.bsegn.trainer import TERMS

CPU = torch.device("cpu")
CAPTURED, EAGER, PLAIN, PROCESSOR = "captured", "not captured", "plain loop", "processor"
PAIRS = ((CAPTURED, EAGER), (CAPTURED, PROCESSOR), (EAGER, PROCESSOR), (PLAIN, EAGER))
"""Whose losses are compared."""


@dataclass(frozen=True)
class Sizes:
    """problem: of the made-up data; changes: of the model's config, nested; compared: minibatches whose losses are
    compared; steps: that are timed together on the device, and `on_processor` there; rounds: how often, there 3 times
    at most; machine: what `roofline.machine` measures the device by: MiB that are copied, rows of the product's
    matrices"""

    problem: made_up.Sizes = made_up.CUB
    changes: dict | None = None
    compared: int = WARM + 5
    steps: int = 20
    on_processor: int = 2
    rounds: int = 7
    machine: tuple[int, int] = (2048, 8192)


_FEW = made_up.Sizes(images=60, features=24, semantics=7, seen=5, unseen=3)
_WIDTHS = dict.fromkeys(("encoder", "generator", "critic", "cycle1", "cycle2", "fem"), 24)
_NETWORKS = {"hidden": 32, "aligned": 16, "common": 16, "latent": 8, "decoder": 32, "task": 12}
_NARROW = {"hsva": {"batch": 10, "networks": _NETWORKS, "projections": 16}, "bsegn": {"batch": 8, "widths": _WIDTHS}}
SMALL = {name: Sizes(_FEW, narrow, WARM + 2, 2, 1, 1, (1, 64)) for name, narrow in _NARROW.items()}


class Side(NamedTuple):
    """A trainer, and a step of it as a function of its draws; both models' loss terms come out in their order."""

    trainer: object
    step: object


class Hsva:
    """What HSVA's benchmark calls its parts."""

    def begin(self, precision, device, sizes):
        return hsva.begin(precision, device, sizes.problem, sizes.changes or {})[-1]

    def graph(self, trainer):
        return trainer.replayed

    def eager(self, trainer):
        return trainer.minibatch

    def plain(self, trainer):
        loop = hsva.PlainLoop(trainer)
        return lambda draws: loop.minibatch(draws, hsva.WEIGHTS)

    def minimised(self, values, trainer):
        return hsva.minimised(values)

    def cost(self, trainer):
        return hsva.iteration_cost(trainer)

    def moved(self, draws, device):
        return type(draws)(*(value.to(device) for value in draws))


class Bsegn:
    """What BSeGN's benchmark calls them."""

    def begin(self, precision, device, sizes):
        return bsegn.begin(precision, device, sizes.problem, sizes.changes or {})[-1]

    def graph(self, trainer):
        return trainer._captured

    def eager(self, trainer):
        return trainer.iteration

    def plain(self, trainer):
        loop = bsegn.PlainLoop(trainer)

        def step(draws):
            terms = loop.iteration(draws)
            return torch.stack([terms[name].to(trainer.device) for name in TERMS])

        return step

    def minimised(self, values, trainer):
        return bsegn.minimised(values, trainer.config)

    def cost(self, trainer):
        return sum(bsegn.costs(trainer).values(), roofline.Cost())

    def moved(self, draws, device):
        return type(draws)(*(value.to(device) for value in vars(draws).values()))


METHODS = {"hsva": Hsva(), "bsegn": Bsegn()}


def run(say, model, device, sizes):
    """{precision: what `measured` finds}, in both."""
    chosen = machine.device(device)
    return {precision: measured(METHODS[model], precision, chosen, sizes) for precision in ("float32", "bfloat16")}


def measured(method, precision, device, sizes):
    """Losses compared, milliseconds a step, ratios, shares of the device and its peak memory, as a dictionary."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    sides = begin(method, precision, device, sizes)
    losses = compared(method, sides, sizes.compared)
    trainer = sides[CAPTURED].trainer
    captured = method.graph(trainer).graph is not None
    took = timed(sides, device, sizes)
    reached = roofline.machine(device, getattr(torch, precision), *sizes.machine)
    cost = method.cost(trainer)
    found = {
        "captured": captured,
        "milliseconds": {name: 1e3 * seconds for name, seconds in took.items()},
        "times_as_long_as_captured": {name: took[name] / took[CAPTURED] for name in took if name != CAPTURED},
        "losses_apart": losses,
        "machine": {"bytes_a_second": reached.bandwidth, "operations_a_second": reached.throughput},
        "step": {"bytes": cost.bytes, "operations": cost.operations},
        "shares": {name: roofline.shares(cost, took[name], reached) for name in (CAPTURED, EAGER)},
        "peak_device_gib": torch.cuda.max_memory_allocated(device) / 2**30 if on_gpu else None,
    }
    _tell(precision, found)
    return found


def begin(method, precision, device, sizes):
    """{name: `Side`}, each with a trainer of its own, all of the same weights. The plain loop is in float32."""
    trainers = {name: method.begin(precision, device, sizes) for name in (CAPTURED, EAGER)}
    trainers |= {PLAIN: method.begin("float32", device, sizes), PROCESSOR: method.begin(precision, CPU, sizes)}
    steps = {name: _quiet(method.eager(trainers[name])) for name in (EAGER, PROCESSOR)}
    steps |= {CAPTURED: trainers[CAPTURED].run, PLAIN: method.plain(trainers[PLAIN])}
    return {name: Side(trainers[name], steps[name]) for name in (CAPTURED, EAGER, PLAIN, PROCESSOR)}


def _quiet(step):
    def run(draws):
        with warnings.catch_warnings():
            # an optimiser that could be captured and is not is what is asked for here
            warnings.filterwarnings("ignore", ".*capturable=True")
            return step(draws)

    return run


def compared(method, sides, count):
    """How far the minimised losses of the pairs of `PAIRS` are apart, relative to the second's, over some minibatches
    of the same random numbers, drawn on the processor: {pair: {loss: [in the first, the largest]}}.

    The first minibatch begins with the same weights; from then on each side goes on with its own.
    """
    losses = {name: [] for name in sides}
    for draws in sides[PROCESSOR].trainer.draws(count):
        for name, (trainer, step) in sides.items():
            values = step(method.moved(draws, trainer.features.device)).cpu()
            losses[name].append(method.minimised(values, trainer))
    return {f"{a} against {b}": _apart(losses[a], losses[b]) for a, b in PAIRS}


def _apart(ours, theirs):
    found = {}
    for loss in theirs[0]:
        a, b = (torch.stack([losses[loss] for losses in side]).double() for side in (ours, theirs))
        apart = (a - b).abs() / b.abs().clamp_min(1e-12)
        found[loss] = {"first": apart[0].item(), "largest": apart.max().item()}
    return found


def timed(sides, device, sizes):
    """Median seconds of a step of each side. Random numbers are drawn for many steps at once, as an epoch draws them,
    and their time is part of it."""

    def several(side, count):
        return lambda: [side.step(draws) for draws in side.trainer.draws(count)]

    here = {name: several(side, sizes.steps) for name, side in sides.items() if name != PROCESSOR}
    took = roofline.interleaved(here, device, sizes.rounds, warm=1)
    took = {name: seconds / sizes.steps for name, seconds in took.items()}
    there = several(sides[PROCESSOR], sizes.on_processor)
    return took | {PROCESSOR: roofline.seconds(there, CPU, min(3, sizes.rounds), warm=1) / sizes.on_processor}


def _tell(precision, found):
    took = "  ".join(f"{name} {value:.2f} ms" for name, value in found["milliseconds"].items())
    print(f"{precision}: {took}{'' if found['captured'] else '  (nothing was captured)'}")
    shares = "  ".join(f"{name} {share:.0%}" for name, share in found["shares"][CAPTURED].items())
    print(f"{precision}: of the device: {shares}")
    for pair, losses in found["losses_apart"].items():
        worst = max(loss["largest"] for loss in losses.values())
        print(f"{precision}: {pair}: losses apart by {worst:.1e} at most", flush=True)
