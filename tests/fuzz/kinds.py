"""The kinds of file: how a small valid one is made, and the reader that a user's command or a stage has for it."""

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass

MODULES = ("sources", "published", "own", "weights", "runs")


@dataclass(frozen=True)
class Kind:
    """make: writes valid files into a folder and gives the paths of those to damage, "a.zip!member" for one inside a
    zip; read: reads the folder as the pipeline does, and gives what it took of it, or None where it set it aside;
    sums: whether the files carry checksums, so that whatever is taken of a damaged one must be what was in it;
    remade: a change of a file that keeps it whole by its checksums, or None; alike: whether what was taken of a
    damaged file may have been in the valid one
    """

    name: str
    make: Callable
    read: Callable
    sums: bool = False
    remade: Callable | None = None
    alike: Callable = lambda valid, found: valid == found


KINDS = {}


def kind(name, make, **more):
    """Register the decorated reader as a kind's."""

    def register(read):
        KINDS[name] = Kind(name, make, read, **more)
        return read

    return register


def every():
    """All kinds by name, in a fixed order."""
    for module in MODULES:
        importlib.import_module(f"tests.fuzz.of_{module}")
    return {name: KINDS[name] for name in sorted(KINDS)}


def hashed(*parts):
    """A short name for arrays, tensors, bytes and plain values, to compare what was taken."""
    state = hashlib.sha256()
    for part in parts:
        if hasattr(part, "numpy"):
            part = part.detach().numpy()
        if hasattr(part, "tobytes"):
            state.update(f"{getattr(part, 'dtype', '')}{getattr(part, 'shape', '')}".encode() + part.tobytes())
        else:
            state.update(part if isinstance(part, bytes) else repr(part).encode())
    return state.hexdigest()
