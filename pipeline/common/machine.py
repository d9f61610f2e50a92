"""The `run:` section of params.yaml: where and how fast things run.

No stage declares it, for it decides no number: another device or count of threads moves last digits alone.
"""

import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pipeline.common.errors import UserError
from pipeline.common.params import Positive, Range


@dataclass(frozen=True)
class Run:
    """device; workers that decode images (null: one a core); where downloads are kept; whether to compile the
    backbone; threads of a stage on the processor (null: PyTorch's choice, less
    where a container may use fewer cores); minutes between two checkpoints."""

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


def available_cores(root="/"):
    """Cores this process may use, which a container or a scheduler can make fewer than the machine has.

    root: the folder below which the kernel's /proc and /sys/fs/cgroup are looked for.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *(math.ceil(quota) for quota in _quotas(Path(root)))])


def _quotas(root):
    """Cores that each control group of this process grants, its own and those above it, where they grant a number."""
    for folder in _groups(root):
        # version 2 writes 'QUOTA PERIOD' or 'max PERIOD', version 1 a quota of -1 for no limit
        given = _numbers(folder / "cpu.max") or [
            number for name in ("quota", "period") for number in _numbers(folder / f"cpu.cfs_{name}_us")
        ]
        if len(given) == 2 and min(given) > 0:
            yield given[0] / given[1]


def _groups(root):
    """Folders of the control groups that share out processors to this process, where both versions would have them.

    In a container the path can be the host's: then its last parent, the mount itself, is the container's own group.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        group = PurePosixPath(path.lstrip("/"))
        # the one hierarchy of version 2 names no controller; version 1 mounts each, or some together under either name
        if not controllers:
            mounts = [""]
        elif "cpu" in controllers.split(","):
            mounts = [controllers, "cpu"]
        else:
            continue
        for mount in mounts:
            yield from (root / "sys/fs/cgroup" / mount / part for part in (group, *group.parents))


def _numbers(file):
    return [int(word) for word in _text(file).split() if word.lstrip("-").isdecimal()]


def _text(file):
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def start(run, local=0):
    """Set up as a `Run` says: its torch device, for the process with this number on its host."""
    import torch

    if run.threads:
        torch.set_num_threads(run.threads)
    elif "OMP_NUM_THREADS" not in os.environ and (cores := available_cores()) < torch.get_num_threads():
        # PyTorch counts the host's cores; more threads than a container may run at a time hold each other up
        torch.set_num_threads(cores)
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
    return processor()


def processor():
    """The processor in words."""
    cores = available_cores()
    return f"{platform.machine()} CPU, {cores} {'core' if cores == 1 else 'cores'}"
