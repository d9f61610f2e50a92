"""Whole trainings, several seeds at once on one device: epochs chosen on validation, trained on all of trainval, judged
on the test images once, each by the protocol's own functions and kept in the project's own store.

A training stops by itself when the time is over, at a checkpoint, and the next call goes on from there.
"""

import dataclasses
import hashlib
import itertools
import statistics
from dataclasses import dataclass

import torch

from benchmarks.gpu.processes import Failed, now, together
from pipeline.common import machine, training
from pipeline.common.errors import UserError
from pipeline.protocol.setting import Setting
from pipeline.report.statistics import spread
from pipeline.study import judging, trainings
from pipeline.study.run import BUSY, Going
from pipeline.study.trainings import Training
from pipeline.study.work import do

GRACE = 45
"""Seconds after the time is over in which an epoch, a look on validation and a checkpoint still come to their end."""
MODELS = ("hsva", "bsegn")
SMALL = "epochs=2 classifier.gzsl_epochs=1 classifier.czsl_epochs=1"


class OutOfTime(Exception):
    """The time is over, and what was done is in a checkpoint or in the store."""


class Clock:
    """How long a training takes, checkpoint by checkpoint's name (`fold-0`, `training`), and whether the time is over.

    until: when it is, by `now`
    """

    def __init__(self, until):
        self.until, self.phases = until, {}

    def begin(self, phase, epoch):
        """A phase begins, or goes on, after this epoch."""
        self.phases[phase] = epoch, [now()]

    def tick(self, phase):
        """An epoch of it is over."""
        self.phases[phase][1].append(now())

    def over(self):
        return now() >= self.until

    def need(self):
        """Raise OutOfTime where it is over."""
        if self.over():
            raise OutOfTime

    def told(self):
        """{phase: the epoch it began after and the one it got to, seconds in all, and the median of an epoch's}."""
        found = {}
        for phase, (epoch, ticks) in self.phases.items():
            each = [after - before for before, after in itertools.pairwise(ticks)]
            found[phase] = {"from": epoch, "epoch": epoch + len(each), "seconds": ticks[-1] - ticks[0]}
            found[phase] |= {"seconds_an_epoch": statistics.median(each)} if each else {}
        return found


class Watched(training.Checkpoint):
    """A checkpoint that tells a `Clock` of each epoch, and ends the training once it has saved it out of time."""

    def __init__(self, path, key, minutes, clock):
        super().__init__(path, key, minutes)
        self.clock, self.phase = clock, self.path.stem

    def load(self, *parts):
        state = super().load(*parts)
        self.clock.begin(self.phase, int(state["epoch"]) if state else 0)
        return state

    def due(self):
        # asked once after each epoch
        self.clock.tick(self.phase)
        return self.clock.over() or super().due()

    def save(self, state):
        super().save(state)
        self.clock.need()


@dataclass(frozen=True)
class TimedSetting(Setting):
    """A setting whose checkpoints are `Watched`."""

    clock: Clock | None = None

    def checkpoint(self, entry, name):
        plain = super().checkpoint(entry, name)
        return Watched(plain.path, entry.hash, self.run.checkpoint_minutes, self.clock)


@dataclass(frozen=True)
class TimedTraining(Training):
    """A training of a `TimedSetting`."""

    clock: Clock | None = None

    def setting(self, *args, **named):
        return TimedSetting(**_fields(super().setting(*args, **named)), clock=self.clock)


def _fields(of):
    return {field.name: getattr(of, field.name) for field in dataclasses.fields(of)}


def one(say, wanted, run, until):
    """Do a `Training` step by step until it is done or the time is over; what is known of it, said after each step.

    Raises UserError.
    """
    clock = Clock(until)
    device = machine.start(run)
    going = Going(TimedTraining(**_fields(wanted), clock=clock), run, device.type)
    benchmark, _ = trainings.benchmark(wanted.dataset)
    try:
        while (step := going.next()) is not None:
            if step is BUSY:
                raise UserError(f"{wanted.label}: another process is at it; end that, or wait for it")
            clock.need()
            going.took(step, do(step, benchmark, run, going.our.checkpoints))
            say(_known(going, clock, device))
    except OutOfTime:
        print(f"{wanted.label}: the time is over; the same command goes on", flush=True)
    finally:
        going.give()
    return _known(going, clock, device)


def _known(going, clock, device):
    """Phases so far; what was chosen, with validation's figures; the figures on the test images; memory."""
    known = {"phases": clock.told()}
    if going.chosen:
        known["chosen"] = judging.on_validation(going.chosen)
    if going.figures:
        known["figures"] = going.figures
    if device.type == "cuda":
        known["peak_device_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return known


def wanted(given, model, dataset, seeds, settings, checks=None):
    """A `Training` a seed, and the `machine.Run` of params.yaml. settings: texts such as 'sad=true lr=0.001'"""
    how, run = trainings.protocol(given, checks=checks)
    config = trainings.configured(given, model, dataset, *settings)
    words = " ".join(settings)
    return [Training(dataset, model, seed, config, how, words) for seed in seeds], run


def part(asked, run, results, name, until):
    """Do the trainings of one model and data set at once, a process each, and keep what is known of them in `results`
    under a name; the reasons of those that failed, by seed. What is there already is not done again."""
    known = _kept(results.found(name).get("seeds", {}), asked, run)
    todo = {str(each.seed): each for each in asked if "figures" not in known[str(each.seed)]}
    works = {seed: (one, each, run, until) for seed, each in todo.items()}
    began = {seed: known[seed] | {"at_once": len(works)} for seed in works}

    def heard(seed, news):
        known[seed] = joined(began[seed], news)
        results.keep(name, summary(known, asked[0]))

    outcomes = together(works, until + GRACE, heard)
    failed = {seed: outcome for seed, outcome in outcomes.items() if isinstance(outcome, Failed)}
    for seed, outcome in outcomes.items():
        if seed not in failed:
            heard(seed, outcome)
    _tell(name, known, asked[0])
    return failed


def decided(each, run):
    """A digest of all that decides a training's figures."""
    our = each.setting(trainings.benchmark(each.dataset)[1], run, machine.device(run.device))
    parts = our.decided("selection"), our.decided("training"), dataclasses.asdict(each.how)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _kept(before, asked, run):
    """{seed: what earlier calls found of it, where the same would decide it now}, of the seeds asked for and of others.

    before: the records of earlier calls by seed
    """
    seeds = [*before, *(str(each.seed) for each in asked)]
    keys = {seed: decided(dataclasses.replace(asked[0], seed=int(seed)), run) for seed in seeds}
    same = {seed: found for seed, found in before.items() if found.get("key") == keys[seed]}
    return {str(each.seed): {"key": keys[str(each.seed)]} for each in asked} | same


def joined(before, news):
    """What is known of a training from earlier calls and from this one: a phase that went on adds its seconds."""
    phases = dict(before.get("phases", {}))
    for name, phase in news["phases"].items():
        old = phases.get(name)
        phase = dict(phase)
        began = phase.pop("from")
        if old and began:
            phase["seconds"] += old["seconds"]
            phase = old | phase
        phases[name] = phase
    peaks = [known["peak_device_gib"] for known in (before, news) if "peak_device_gib" in known]
    return before | news | {"phases": phases} | ({"peak_device_gib": max(peaks)} if peaks else {})


def summary(known, first):
    """What is kept of a part: each seed's record, and mean and standard deviation over those that are done.

    first: one of its trainings
    """
    done = [found["figures"] for found in known.values() if "figures" in found]
    over = {name: spread([figures[name] for figures in done]) for name in (done[0] if done else ())}
    return {
        "settings": first.settings,
        "epochs": first.config.epochs,
        "done": len(done),
        "seeds": known,
        "mean": {name: found.mean for name, found in over.items()},
        "std": {name: found.std for name, found in over.items()},
    }


def _tell(name, known, first):
    for seed, found in known.items():
        most = {"training": found.get("chosen", {}).get("epoch")}
        phases = [
            f"{phase}: epoch {took['epoch']} of {most.get(phase, first.config.epochs)}"
            + (f", {took['seconds_an_epoch']:.2f} s each" if "seconds_an_epoch" in took else "")
            for phase, took in found.get("phases", {}).items()
        ]
        figures = [f"{figure} {found['figures'][figure]:.1f}" for figure in ("T1", "U", "S", "H") if "figures" in found]
        print(f"{name}, seed {seed}: {'; '.join([*phases, '  '.join(figures)])}", flush=True)
