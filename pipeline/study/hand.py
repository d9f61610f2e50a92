"""A worker on a cluster: keeps PyTorch and its GPU from one step to the next. Knows nothing of Ray but that it runs
there, so that importing it asks for no Ray."""

import dataclasses
import getpass
import os
import socket
import tempfile
from pathlib import Path

import numpy as np

from pipeline.study.work import Failed, attempt


@dataclasses.dataclass(frozen=True)
class Where:
    """Host and process in words, and the host's name in Ray."""

    words: str
    node: str


class Hand:
    """run: a `machine.Run` with the device and threads of this worker; checkpoints: the driver's folder of them;
    mark: the name of a file in it, by which a worker knows that it is the same folder here"""

    def __init__(self, run, checkpoints, mark):
        self.run = run
        shared = (Path(checkpoints) / mark).exists()
        # one's own folder in a place where others may write too
        own = Path(tempfile.gettempdir()) / f"checkpoints-{getpass.getuser()}-{os.getuid()}"
        self.checkpoints = Path(checkpoints) if shared else own
        self.checkpoints.mkdir(mode=0o700, parents=True, exist_ok=True)

    def where(self):
        """Where it is."""
        import ray

        return Where(f"{socket.gethostname()}, process {os.getpid()}", ray.get_runtime_context().get_node_id())

    def do(self, step, benchmark):
        """The outcome of a step; a benchmark's arrays are read where the object store has them."""
        try:
            return attempt(step, benchmark, self.run, self.checkpoints)
        except OSError as error:
            return Failed(f"{socket.gethostname()}: {error}")


def plain(benchmark):
    """A `Benchmark` whose arrays travel as they are and are not copied where they arrive."""

    return dataclasses.replace(benchmark, features=np.asarray(benchmark.features).view(np.ndarray))
