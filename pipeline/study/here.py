"""Trainings one after the other in this process: what they say goes to a file, what comes of them to the screen."""

import contextlib
from pathlib import Path

from pipeline.common import machine
from pipeline.study import trainings
from pipeline.study.work import attempt

FOLDER = Path("results/studies")


class Here:
    """A place with room for one training. run: a `machine.Run`; name: of the study, and of its log."""

    def __init__(self, run, name):
        self.run, self.step, self.ticket = run, None, None
        chosen = machine.start(run)
        self.device, self.where = chosen.type, machine.describe(chosen)
        self.log = FOLDER / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)

    def room(self):
        """Whether another step may start."""
        return self.step is None

    def start(self, ticket, step):
        """Take a step; it runs when it is waited for. Where that is, in words."""
        self.ticket, self.step = ticket, step
        return self.where

    def wait(self):
        """[(ticket, outcome)] of steps that ended."""
        step, self.step = self.step, None
        benchmark, _ = trainings.benchmark(step.training.dataset)
        with open(self.log, "a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            return [(self.ticket, attempt(step, benchmark, self.run))]

    def close(self):
        """Nothing is left."""
