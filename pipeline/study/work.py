"""One step of a training, wherever it runs: epochs chosen, trained on all of trainval, judged on the test images.

Bytes go in and bytes come out, so that a step on another host needs no disk of ours.
"""

import errno
import json
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

from pipeline.common import errors, machine
from pipeline.common.errors import UserError
from pipeline.protocol import selection, store, trained
from pipeline.study import judging
from pipeline.study.trainings import Training

WORDS = {
    "torch": "PyTorch",
    "code": "code of the model or the protocol",
    "device": "device",
    "config": "settings",
    "precision": "precision (auto)",
}
"""What a worker's must be as the driver's, in words."""
SHOWN = ("torch", "device", "precision")
"""Of these, what is short enough to be shown."""


@dataclass(frozen=True)
class Step:
    """kind: select, train or judge; decided: what the driver thinks decides it, compared with what does where it runs;
    data: the benchmark's fingerprint; chosen: what selection chose, for the other two; model: the bytes of
    model.safetensors, to be judged"""

    kind: str
    training: Training
    decided: dict
    data: str
    chosen: dict | None = None
    model: bytes | None = None


@dataclass(frozen=True)
class Done:
    """What a step came to: {name of a file: its bytes}."""

    files: dict[str, bytes]


@dataclass(frozen=True)
class Cut:
    """A selection that its watch ended, with its curve: a value each look."""

    curve: list[float]


@dataclass(frozen=True)
class Failed:
    """text: why; lost: the worker died, and not by its own doing: another may go on; trace: a fault of ours, in full"""

    text: str
    lost: bool = False
    trace: str = ""


class Pruned(Exception):
    """Raised by a watch: worse than most were at the same point."""

    def __init__(self, curve):
        super().__init__(curve)
        self.curve = curve


def attempt(step, benchmark, run, checkpoints=Path("checkpoints")):
    """Do a step: a `Done`, `Cut` or `Failed`. An OSError of a full disk is raised: it is everyone's. run: where and
    how fast, a `machine.Run`."""
    try:
        return Done(do(step, benchmark, run, checkpoints))
    except Pruned as pruned:
        return Cut(pruned.curve)
    except OSError as error:
        if error.errno in store.FULL:
            raise
        return Failed(str(error))
    except Exception as error:
        if text := errors.message(error):
            return Failed(text)
        return Failed(f"{type(error).__name__}: {error}", trace=traceback.format_exc())


def do(step, benchmark, run, checkpoints):
    """Do a step: {name of a file: its bytes}."""
    device = machine.start(run)
    training = step.training
    our = training.setting(step.data, run, device, checkpoints, benchmark)
    differing(our.decided(kind(step)), step.decided)
    if step.kind == "judge":
        return {"figures.json": json.dumps(judging.judge(our, step.chosen, step.model)).encode()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if step.kind == "train":
            trained.leave(our, step.chosen, training.label, folder)
        else:
            try:
                selection.leave(our, training.how, training.label, folder, training.watch)
            except Pruned:
                our.forget(our.selecting(training.how))
                raise
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def kind(step):
    """Of which kind of entry of the store a step is."""
    return "selection" if step.kind == "select" else "training"


def differing(here, there):
    """Raise UserError where a worker would not come to what the driver would: of other code, say, or another device."""
    for name, words in WORDS.items():
        if here[name] != there[name]:
            shown = f" ({here[name]} instead of {there[name]})" if name in SHOWN else ""
            raise UserError(f"the {words} of this host is not that of where the study was started{shown}")


def full(error):
    """A full disk in one line."""
    assert error.errno in (errno.ENOSPC, errno.EDQUOT)
    where = f" ({error.filename})" if error.filename else ""
    return UserError(f"no space is left on the disk{where}; what is done stays done: make room, and start this again")
