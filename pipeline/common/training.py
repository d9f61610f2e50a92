"""Train a model epoch by epoch: progress, divergence, and checkpoints that a killed run goes on from."""

import contextlib
import hashlib
import io
import math
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from pipeline.common import files
from pipeline.common.errors import UserError

# what a checkpoint begins with, and the sha256 of all that follows
MAGIC = b"checkpoint 1\n"
HEAD = len(MAGIC) + hashlib.sha256().digest_size


def say(text):
    """Print a line at once, above a progress bar if there is one."""
    tqdm.write(text)
    sys.stdout.flush()


class Checkpoint:
    """A file outside DVC's outs, for DVC empties those before it reruns a stage. `key` is all that decides a training:
    one with another key does not go on from it, and one that is not as it was written is set aside."""

    def __init__(self, path, key, minutes):
        self.path = Path(path)
        self.key = hashlib.sha256(repr(key).encode()).hexdigest()
        self.seconds = 60 * minutes
        self.saved = time.monotonic()

    def load(self, *parts):
        """The state saved last, with these parts, or None. Nothing is unpickled but tensors and plain values."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(io.BytesIO(self._checked()), weights_only=True, map_location="cpu")
            if not isinstance(state, dict) or (missing := {"key", *parts} - state.keys()):
                raise ValueError("it lacks " + ", ".join(sorted(missing)) if isinstance(state, dict) else "no dict")
        except Exception as error:  # unpickling raises whatever a file leads it to
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            print(f"{self.path}: set aside, training starts over ({reason})", flush=True)
            return None
        return state if state["key"] == self.key else None

    def _checked(self):
        """The bytes after the head. Raises ValueError where they are not those that were written."""
        data = memoryview(self.path.read_bytes())
        if data[: len(MAGIC)] != MAGIC:
            raise ValueError("it is no checkpoint of this version")
        if hashlib.sha256(data[HEAD:]).digest() != data[len(MAGIC) : HEAD]:
            raise ValueError("its sha256 is not the one it states")
        return data[HEAD:]

    @contextlib.contextmanager
    def going_on(self):
        """Raise UserError where what `load` gave does not fit the model or trainer in the block."""
        try:
            yield
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            raise UserError(f"{self.path}: does not fit this training ({reason}); remove it to start over") from None

    def due(self):
        """Whether the last save is long enough ago."""
        return time.monotonic() - self.saved >= self.seconds

    def save(self, state):
        """Write the state under a temporary name, then rename. Raises an OSError that says what it needed where the
        disk is full."""
        with files.replacing(self.path) as file:
            file.write(MAGIC + bytes(HEAD - len(MAGIC)))
            digested = _Digested(file)
            torch.save(state | {"key": self.key}, digested)
            digested.finish()
        self.saved = time.monotonic()

    def remove(self):
        """Forget it, and what a kill left of a later one: what it led to is written."""
        self.path.unlink(missing_ok=True)
        files.partial(self.path).unlink(missing_ok=True)


class _Digested:
    """What `torch.save` writes into: passed on to a file, whose head then gets the digest of it.

    An error waits until all was offered, for PyTorch's writer would hide it, and for its message to tell the size.
    """

    def __init__(self, file):
        self.file, self.state, self.size, self.error = file, hashlib.sha256(), HEAD, None

    def write(self, data):
        self.state.update(data)
        self.size += memoryview(data).nbytes
        if self.error is None:
            try:
                self.file.write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes

    def flush(self):
        """Nothing: the file is flushed when it is whole."""

    def finish(self):
        if self.error is not None:
            self.file.raw.wanted = self.size
            raise self.error
        self.file.seek(len(MAGIC))
        self.file.write(self.state.digest())


def restore(optimiser, state):
    """Load the `state_dict` of an Adam of the same parameters and settings; a schedule may have moved its lr.

    PyTorch checks the number of parameters alone: what else is wrong would come out as an error of its kernels, or as
    none. Raises ValueError, KeyError, TypeError or AttributeError.
    """
    for kept, own in zip(state["param_groups"], optimiser.state_dict()["param_groups"], strict=True):
        if kept | {"lr": own["lr"]} != own or not math.isfinite(kept["lr"]):
            raise ValueError("its optimiser has other settings")
    parameters = [(group, parameter) for group in optimiser.param_groups for parameter in group["params"]]
    for index, moments in state["state"].items():
        group, parameter = parameters[index]
        names = {"step", "exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])}
        kinds = {name: (() if name == "step" else tuple(parameter.shape), parameter.dtype) for name in names}
        if {name: (tuple(value.shape), value.dtype) for name, value in moments.items()} != kinds:
            raise ValueError(f"its optimiser's moments of parameter {index} are not {', '.join(sorted(names))}")
    optimiser.load_state_dict(state)


def epochs(model, trainer, most, label, checkpoint=None, carry=None):
    """Train up to `most` epochs; yield (epoch, loss terms) after each, from 1 on.

    With a `checkpoint` a run goes on where it was killed: `carry`, a dict of plain values that the caller keeps up to
    date, is saved and restored with it. Raises UserError where a loss term is not finite.
    """
    done = 0
    state = checkpoint.load("model", "trainer", "carry", "epoch") if checkpoint else None
    if state:
        with checkpoint.going_on():
            model.load_state_dict(state["model"])
            trainer.load_state_dict(state["trainer"])
            if {name: type(value) for name, value in state["carry"].items()} != {
                name: type(value) for name, value in carry.items()
            }:
                raise ValueError("it carries something else")
            carry.update(state["carry"])
            done = int(state["epoch"])
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
