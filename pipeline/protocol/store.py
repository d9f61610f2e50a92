"""What trainings leave, kept by a hash of all that decides it: computed once, taken by whoever asks next.

`data/.trained/<hash>/` is outside of DVC's outs. A stage looks there before it computes, and leaves there what it
computed; many trainings made elsewhere are laid there too, and `dvc repro` then runs none of them. What only changes
speed, and where files lie, is no part of a hash; the code that decides numbers is, as it is among DVC's deps.
"""

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

from pipeline.common import files

FOLDER = Path("data/.trained")
ABOUT = "about.json"
TAKEN = ", taken from {}"
"""What is said where nothing was computed."""
ROOT = Path(__file__).parents[2]
SHARED = ("pipeline/datasets/index.py", "pipeline/models/base", "pipeline/protocol/scoring.py")
CODE = {
    "selection": (*SHARED, *(f"pipeline/protocol/{name}.py" for name in ("judging", "metrics", "selection", "tasks"))),
    "training": (*SHARED, *(f"pipeline/protocol/{name}.py" for name in ("tasks", "trained"))),
}
"""Beside the model's package: the code that decides what a selection, and what a training, comes to."""
FULL = (errno.ENOSPC, errno.EDQUOT)
# a network's file system without locks: two may then make the same, which is harmless
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@functools.cache
def code(kind, model):
    """A digest of the code that decides an entry of this kind for this model. The ranges of a search decide none."""
    state = hashlib.sha256()
    for name in (*CODE[kind], f"pipeline/models/{model}"):
        path = ROOT / name
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if source.name != "space.py":
                state.update(f"{source.relative_to(ROOT).as_posix()}\0".encode() + source.read_bytes() + b"\0")
    return state.hexdigest()


@dataclasses.dataclass(frozen=True)
class Entry:
    """What one selection or training leaves.

    kind: selection (selected.json, selection.csv) or training (model.safetensors, history.csv); dataset: its name, for
    people; decided: plain values, all that decides what is left
    """

    kind: str
    dataset: str
    decided: dict

    @functools.cached_property
    def hash(self):
        """What it is known by."""
        text = json.dumps({"kind": self.kind} | self.decided, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def folder(self):
        return FOLDER / self.hash

    def left(self):
        """The folder that holds it whole, or None. One whose files are not as they were left is said and not taken."""
        about = read_about(self.folder)
        if about is None:
            return None
        for name, digest in about["files"].items():
            path = self.folder / name
            if not path.is_file() or files.digest(path) != digest:
                print(f"{path}: is not as it was left, and is made again", flush=True)
                return None
        return self.folder

    @contextlib.contextmanager
    def leaving(self):
        """A folder to write into, which is kept as this entry only if the block ends well."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{self.hash}.", dir=FOLDER))
        try:
            yield partial
            digests = {path.name: files.digest(path) for path in sorted(partial.iterdir())}
            when = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            about = {"kind": self.kind, "dataset": self.dataset, "files": digests, "left": when}
            files.write_json(partial / ABOUT, about | {"decided": self.decided})
            partial.chmod(0o755)
            self._put(partial)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _put(self, partial):
        try:
            partial.rename(self.folder)
        except OSError:
            # another host's, on a shared disk: the same
            if self.left():
                return
            shutil.rmtree(self.folder, ignore_errors=True)
            partial.rename(self.folder)

    def lock(self):
        """Its `Lock`, held by whoever computes it."""
        return Lock(FOLDER / f".{self.hash}.lock")

    def made(self, make):
        """(folder, whether it was there): where it is not, `make(folder)` writes it, once of all processes here."""
        if folder := self.left():
            return folder, True
        lock = self.lock()
        if not lock.take():
            print(f"{self.folder}: another process is making it; waiting for that", flush=True)
            lock.take(wait=True)
        try:
            if folder := self.left():
                return folder, True
            with self.leaving() as partial:
                make(partial)
        finally:
            lock.give()
        return self.folder, False

    def copy(self, out):
        """Copy what it left into the folder `out`."""
        for name in read_about(self.folder)["files"]:
            with files.replacing(out / name) as file, open(self.folder / name, "rb") as kept:
                shutil.copyfileobj(kept, file, 1 << 20)


def read_about(folder):
    """What an entry's folder says of itself, or None where it is none or half of one."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) and {"kind", "dataset", "files", "decided"} <= set(about) else None


class Lock:
    """A lock between the processes of a host, which dies with the one that holds it."""

    def __init__(self, path):
        self.path, self.descriptor = Path(path), None

    def take(self, wait=False):
        """Take it; whether that worked, which with `wait` it does in the end."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(descriptor)
                return False
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    os.close(descriptor)
                    raise
            # the one before may have removed the file since it was opened
            if _is(descriptor, self.path):
                self.descriptor = descriptor
                with contextlib.suppress(OSError):
                    os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)
                return True
            os.close(descriptor)

    def give(self):
        """Let go of it."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)
        self.descriptor = None


def _is(descriptor, path):
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
