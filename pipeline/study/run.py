"""Running a list of trainings, here or on a cluster: nothing computed twice, nothing lost, errors told at the end."""

import collections
import contextlib
import itertools
import json
import time

import torch

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.protocol import selection, store
from pipeline.study import trainings
from pipeline.study.work import Cut, Done, Failed, Step, full

RETRIES = 3
"""Workers that may die over one training."""
PATIENCE = 1.0
"""Seconds between two looks at what another process is making."""
BUSY = object()


class Going:
    """A training on its way, step by step: what the store has is taken, what it lacks is asked for."""

    def __init__(self, training, run, device):
        self.training, self.run = training, run
        self.data = trainings.benchmark(training.dataset)[1]
        self.our = training.setting(self.data, run, torch.device(device))
        self.chosen = self.figures = self.curve = None
        self.lost, self.lock, self.locked = 0, None, None
        self.began, self.steps = time.monotonic(), 0

    @property
    def selecting(self):
        """Its selection's entry of the store."""
        return self.our.selecting(self.training.how)

    def next(self):
        """The next `Step`; None where all is done; BUSY where another process is at it."""
        if self.curve is not None:
            return None
        if self.chosen is None:
            folder = self._there(self.selecting)
            if folder is BUSY or folder is None:
                return folder or self._step("select")
            self.chosen = files.read_json(folder / "selected.json")
        if not self.training.tested or self.figures is not None:
            return None
        folder = self._there(self.our.training(self.chosen))
        if folder is BUSY or folder is None:
            return folder or self._step("train", chosen=self.chosen)
        return self._step("judge", chosen=self.chosen, model=(folder / "model.safetensors").read_bytes())

    def _there(self, entry):
        """The entry's folder, or None where it is ours to make, or BUSY."""
        if self.locked == entry.hash or (folder := entry.left()):
            return None if self.locked == entry.hash else folder
        lock = entry.lock()
        if not lock.take():
            return BUSY
        self.give()
        self.lock, self.locked = lock, entry.hash
        if folder := entry.left():
            self.give()
        return folder

    def _step(self, kind, **more):
        decided = self.our.decided("selection" if kind == "select" else "training")
        return Step(kind, self.training, decided, self.data, **more)

    def took(self, step, made):
        """Keep what a step made: {name: bytes}."""
        self.steps += 1
        if step.kind == "judge":
            self.figures = json.loads(made["figures.json"])
            return
        entry = self.selecting if step.kind == "select" else self.our.training(self.chosen)
        with entry.leaving() as folder:
            for name, content in made.items():
                (folder / name).write_bytes(content)
        self.our.forget(entry)
        self.give()

    def give(self):
        """Let go of what others may wait for."""
        if self.lock:
            self.lock.give()
        self.lock = self.locked = None

    def words(self):
        """What came of it, in a line."""
        if self.curve is not None:
            return f"stopped after {len(self.curve)} looks, worse than most were then"
        shown = [f"{name} {self.figures[name]:.1f}" for name in ("T1", "U", "S", "H") if name in (self.figures or ())]
        shown.append(f"H on validation {self.chosen['validation']['H']:.1f}, epoch {self.chosen['epoch']}")
        if last := selection.limits(self.chosen, self.training.config):
            shown[-1] += f", {last}"
        taken = f"{time.monotonic() - self.began:.0f} s" if self.steps else "was there"
        return f"{'  '.join(shown)}  ({taken})"


class Study:
    """Trainings from an iterable, which is asked for the next when there is room for it, in a place: `here.Here` or
    `cluster.Cluster`.

    ended: called with the `Going` of each that ended well; skip: whether a training need not be any more; failed:
    called with each training that failed
    """

    def __init__(self, source, place, run, board, ended, skip=lambda training: False, failed=lambda training: None):
        self.source, self.place, self.run, self.board = iter(source), place, run, board
        self.ended, self.skip, self.failed = ended, skip, failed
        self.ready, self.deferred, self.running = collections.deque(), collections.deque(), {}
        self.tickets, self.live = itertools.count(), set()

    def all(self):
        """Run them all; the labels and reasons of those that failed."""
        state = "stopped"
        try:
            while (moved := self._fill()) or self.running or self.deferred:
                if not self.running and not moved:
                    time.sleep(PATIENCE)
                for ticket, outcome in self.place.wait() if self.running else ():
                    self._take(*self.running.pop(ticket), outcome)
            state = "failed" if self.board.failed else "done"
        except OSError as error:
            if error.errno in store.FULL:
                raise full(error) from None
            raise
        finally:
            for going in self.live:
                going.give()
            self.board.close(state)
        return self.board.failed

    def _fill(self):
        """Start what there is room for; whether something began or ended."""
        moved = False
        for _ in range(len(self.deferred)):
            self.ready.append(self.deferred.popleft())
        while self.place.room():
            if (going := self._next()) is None:
                break
            if going is not BUSY:
                moved |= self._start(going)
        return moved

    def _next(self):
        if self.ready:
            return self.ready.popleft()
        training = next(self.source, None)
        if training is None:
            return None
        try:
            going = Going(training, self.run, self.place.device)
            self.live.add(going)
            return going
        except UserError as error:
            self._fail(training, str(error))
            return BUSY

    def _start(self, going):
        label = going.training.label
        # another process may have made all of it since
        if self.skip(going.training):
            self._leave(going)
            self.board.end(label, "was there")
            return True
        step = going.next()
        if step is BUSY:
            self.deferred.append(going)
            return False
        if step is None:
            self._end(going)
            return True
        ticket = next(self.tickets)
        self.running[ticket] = going, step
        self.board.start(label, self.place.start(ticket, step))
        return True

    def _leave(self, going):
        going.give()
        self.live.discard(going)

    def _end(self, going):
        self._leave(going)
        self.ended(going)
        self.board.end(going.training.label, going.words())

    def _take(self, going, step, outcome):
        label = going.training.label
        self.board.stop(label)
        match outcome:
            case Done(made):
                going.took(step, made)
                self.ready.appendleft(going)
            case Cut(curve):
                going.curve = curve
                going.our.forget(going.selecting)
                self.ready.appendleft(going)
            case Failed(text, lost=True) if going.lost < RETRIES:
                going.lost += 1
                self.board.say(f"{label}: {text}; another goes on, from the last checkpoint where it can read that")
                self.ready.appendleft(going)
            case Failed(text, trace=trace):
                self._leave(going)
                self._fail(going.training, text)
                if trace:
                    self.board.say(trace)

    def _fail(self, training, text):
        self.failed(training)
        self.board.end(training.label, text, failed=True)


@contextlib.contextmanager
def told():
    """Show an interrupted study as stopped, in one line."""
    try:
        yield
    except KeyboardInterrupt:
        raise UserError("stopped; what is done stays done, and the same command goes on") from None


def finish(failed, total):
    """Raise UserError where trainings failed, with all their reasons."""
    if failed:
        raise UserError(f"{len(failed)} of {total} trainings failed, all others are done: {'; '.join(failed)}")
