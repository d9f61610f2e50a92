"""The `run:` section of params.yaml: where and how fast things run.

No stage declares it, for it decides no number: another device or count of threads moves last digits alone.
"""

import os
import platform
from dataclasses import dataclass
from typing import Annotated

from pipeline.common.errors import UserError
from pipeline.common.params import Positive, Range


@dataclass(frozen=True)
class Run:
    """device; workers that decode images (null: one a core); where downloads are kept; whether to compile the
    backbone; threads of a stage on the processor (null: PyTorch's choice); minutes between two checkpoints."""

    device: str
    workers: Annotated[int, Range(least=0)] | None
    archives: str
    compile: bool
    threads: Annotated[int, Range(least=1)] | None
    checkpoint_minutes: Annotated[float, Positive]

    @property
    def decoders(self):
        """How many processes decode images: as asked for, or the cores shared out among a launcher's processes here."""
        if self.workers is not None:
            return self.workers
        return max(1, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def available_cores():
    """Cores this process may use, which a container or a scheduler can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(run, local=0):
    """Set up as a `Run` says: its torch device, for the process with this number on its host."""
    import torch

    if run.threads:
        torch.set_num_threads(run.threads)
    return device(run.device, local)


def device(name, local=0):
    """The torch device for `run.device`: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; `cuda` is that of number `local`.

    A GPU's float32 is made a full one, and its results the same from run to run.
    """
    import torch

    # TF32 would keep 10 bits of the mantissa
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    # timing algorithms against each other, or one that adds in any order, could give other digits in another run
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(name)
        if chosen.type == "cuda" and chosen.index is None and torch.cuda.device_count():
            chosen = torch.device("cuda", local % torch.cuda.device_count())
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"params.yaml: run.device: '{name}' cannot be used here ({reason}); auto always can") from None
    return chosen


def describe(chosen):
    """The device in words, for logs and the report."""
    import torch

    if chosen.type == "cuda":
        return f"{torch.cuda.get_device_name(chosen)} ({chosen})"
    return f"{platform.machine()} CPU, {available_cores()} cores"
