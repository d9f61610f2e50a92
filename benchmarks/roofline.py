"""Floors of a step's time: the bytes and operations it cannot do without, over what this machine was measured to do."""

import dataclasses
import statistics
import time
from dataclasses import dataclass

import torch

from pipeline.models.base import precision


@dataclass(frozen=True)
class Cost:
    """Bytes to and from memory, floating-point operations, and how many of the bytes the optimiser moves."""

    bytes: float = 0.0
    operations: float = 0.0
    optimiser: float = 0.0

    def __add__(self, other):
        return Cost(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    def __mul__(self, times):
        return Cost(*(times * value for value in dataclasses.astuple(self)))


@dataclass(frozen=True)
class Machine:
    """Measured: bytes/s of a large copy, reads and writes both counted, and operations/s of a large matrix product."""

    bandwidth: float
    throughput: float

    def floor(self, cost):
        """The least seconds for `cost` if moving and computing overlap perfectly."""
        return max(cost.bytes / self.bandwidth, cost.operations / self.throughput)

    def floor_in_turn(self, cost):
        """The least seconds if the optimiser begins when the products that make its gradients are done."""
        products = Cost(cost.bytes - cost.optimiser, cost.operations)
        return self.floor(products) + self.floor(Cost(cost.optimiser))


def seconds(step, device="cpu", repeats=5, warm=2):
    """Median seconds of `step()` over `repeats`, after `warm` calls that do not count."""
    for _ in range(warm):
        step()
    times = []
    for _ in range(repeats):
        synchronise(device)
        start = time.perf_counter()
        step()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def interleaved(steps, device="cpu", rounds=5, warm=2):
    """Median seconds of each of several named steps, taken in turns so that a busy machine slows all of them alike."""
    for step in steps.values():
        for _ in range(warm):
            step()
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step, device, repeats=1, warm=0))
    return {name: statistics.median(values) for name, values in times.items()}


def precisions(device, anyway=False):
    """What a training is timed in on a device: float32, and bfloat16 where the device is fast at it, or `anyway`."""
    fast = precision.resolved("auto", torch.device(device)) == "bfloat16"
    return ["float32", *(["bfloat16"] if fast or anyway else [])]


def synchronise(device):
    """Wait until an accelerator has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def machine(device="cpu", dtype=torch.float32, megabytes=512, size=2048):
    """Measure `device`: a copy of a block far larger than the caches, and a product of size x size matrices."""
    source = torch.ones(megabytes << 18, device=device)
    target = torch.empty_like(source)
    copy = seconds(lambda: target.copy_(source), device)
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    product = seconds(lambda: left @ right, device)
    return Machine(2 * source.nbytes / copy, 2 * size**3 / product)


def shares(cost, took, machine):
    """What a step that took so many seconds reaches, as shares of one: of the copy's bytes/s, of the product's
    operations/s, and of the roofline with all overlapping and with products and optimiser in turn."""
    return {
        "bandwidth": cost.bytes / took / machine.bandwidth,
        "products": cost.operations / took / machine.throughput,
        "roofline": machine.floor(cost) / took,
        "in_turn": machine.floor_in_turn(cost) / took,
    }


def line(name, cost, took, machine):
    """One printed line: what a step took, its bytes and operations, and its `shares` of the roofline."""
    reached = shares(cost, took, machine)
    return (
        f"{name:<28} {1e3 * took:9.2f} ms  {cost.bytes / 1e9:7.3f} GB  {cost.operations / 1e9:8.2f} G operations  "
        f"floor {1e3 * machine.floor(cost):8.2f} ms  {reached['roofline']:5.0%} of the roofline, "
        f"{reached['in_turn']:.0%} in turn"
    )
