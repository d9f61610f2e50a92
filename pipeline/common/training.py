"""Train a model epoch by epoch: progress, divergence, and checkpoints that a killed run goes on from."""

import hashlib
import math
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from pipeline.common.errors import UserError


def say(text):
    """Print a line at once, above a progress bar if there is one."""
    tqdm.write(text)
    sys.stdout.flush()


class Checkpoint:
    """A file outside DVC's outs, for DVC empties those before it reruns a stage. `key` is all that decides a training:
    one with another key does not go on from it."""

    def __init__(self, path, key, minutes):
        self.path = Path(path)
        self.key = hashlib.sha256(repr(key).encode()).hexdigest()
        self.seconds = 60 * minutes
        self.saved = time.monotonic()

    def load(self):
        """The state saved last, or None. Nothing is unpickled but tensors and plain values."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
        except Exception as error:
            print(f"{self.path}: unreadable ({type(error).__name__}), training starts over", flush=True)
            return None
        return state if state["key"] == self.key else None

    def due(self):
        """Whether the last save is long enough ago."""
        return time.monotonic() - self.saved >= self.seconds

    def save(self, state):
        """Write the state under a temporary name, then rename."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".part")
        torch.save(state | {"key": self.key}, partial)
        partial.replace(self.path)
        self.saved = time.monotonic()

    def remove(self):
        """Forget it: what it led to is written."""
        self.path.unlink(missing_ok=True)


def epochs(model, trainer, most, label, checkpoint=None, carry=None):
    """Train up to `most` epochs; yield (epoch, loss terms) after each, from 1 on.

    With a `checkpoint` a run goes on where it was killed: `carry`, a dict of plain values that the caller keeps up to
    date, is saved and restored with it. Raises UserError where a loss term is not finite.
    """
    done = 0
    state = checkpoint.load() if checkpoint else None
    if state:
        model.load_state_dict(state["model"])
        trainer.load_state_dict(state["trainer"])
        carry.clear()
        carry.update(state["carry"])
        done = state["epoch"]
        print(f"{label}: going on after epoch {done}", flush=True)
    with tqdm(total=most, initial=done, desc=label, unit="epoch", disable=None, leave=False) as bar:
        for epoch in range(done + 1, most + 1):
            terms = trainer.epoch()
            for name, value in terms.items():
                if not math.isfinite(value):
                    raise UserError(
                        f"{label}: diverged in epoch {epoch}: {name} is {value}; a lower learning rate may help"
                    )
            yield epoch, terms
            bar.update()
            if checkpoint and checkpoint.due() and epoch < most:
                state = {"model": model.state_dict(), "trainer": trainer.state_dict(), "epoch": epoch}
                checkpoint.save(state | {"carry": carry})
