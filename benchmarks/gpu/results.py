"""The one JSON that all calls of `benchmarks.gpu` fill, a step at a time."""

import datetime
import math
import platform
import shlex
import sys
from pathlib import Path

import torch

from pipeline.common import files
from pipeline.common.errors import UserError

AGAIN = "remove it, or name another by --out"


class Results:
    """{"steps": {name: entry}, "failed": {name: entry}} in a file, of which each change is a whole new file.

    An entry says what a step found, where and when. A step that fails takes nothing away from what it found before.
    One process writes it at a time.
    """

    def __init__(self, path, device):
        self.path, self.device = Path(path), device
        self.read()

    def read(self):
        """All of it; empty where there is no file. Raises UserError where the file is none of these."""
        if not self.path.exists():
            return {"steps": {}, "failed": {}}
        held = files.read_json(self.path, AGAIN)
        kinds = [held.get(name) for name in ("steps", "failed")] if isinstance(held, dict) else [None]
        if not all(isinstance(kind, dict) for kind in kinds):
            raise UserError(f"{self.path}: does not hold 'steps' and 'failed' as this benchmark writes them; {AGAIN}")
        return held

    def found(self, name):
        """What a step found before, or {}."""
        return self.read()["steps"].get(name, {}).get("found", {})

    def keep(self, name, found):
        """What a step found, in place of what it found or how it failed before."""
        held = self.read()
        held["failed"].pop(name, None)
        held["steps"][name] = self._about() | {"found": plain(found)}
        files.write_json(self.path, held)

    def fail(self, name, why):
        """That a step failed, and why."""
        held = self.read()
        held["failed"][name] = self._about() | {"why": why}
        files.write_json(self.path, held)

    def _about(self):
        return {
            "device": self.device,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": shlex.join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]]),
        }


def plain(value):
    """A value as JSON takes it: numbers that are not finite, which it does not know, as text."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
