"""How far a study is: a line a training as it ends, one bar for all, and a file that another terminal reads."""

import contextlib
import datetime
import os
import shlex
import socket
import sys
import time
from pathlib import Path

from tqdm import tqdm

from pipeline.common import files, training
from pipeline.common.errors import UserError

FOLDER = Path("data/.studies")
KINDS = {
    **{"command": str, "host": str, "pid": int, "state": str, "updated": str},
    **{"total": int, "done": int, "failed": list, "running": dict},
}
STEP = {"where": str, "since": str}
"""What a status must say to be one, and each step of those that are running."""


class Board:
    """The progress of one study of some trainings, as far as this process makes them. name: of the study."""

    def __init__(self, name, total):
        self.name, self.total = name, total
        # one a process, for several may share a study
        self.path = FOLDER / f"{name}.{socket.gethostname()}.{os.getpid()}.json"
        self.done, self.failed, self.running = 0, [], {}
        self.state = "running"
        self.began = _now()
        self.bar = tqdm(total=total, desc=name, unit="training", disable=None)
        _forget(name)
        self.write()

    def say(self, text):
        """A line, above the bar."""
        training.say(text)

    def start(self, label, where):
        """A training's step began."""
        self.running[label] = {"where": where, "since": _now()}
        self.write()

    def stop(self, label):
        """A training's step ended, or is given up."""
        self.running.pop(label, None)

    def end(self, label, words, failed=False):
        """A training ended, well or not."""
        self.stop(label)
        if failed:
            self.failed.append(f"{label}: {words}")
        else:
            self.done += 1
        self.bar.update()
        self.say(f"[{self.done + len(self.failed)}/{self.total}] {label}: {'failed: ' * failed}{words}")
        self.write()

    def write(self):
        """The status file; a disk that is full does not end a study here."""
        with contextlib.suppress(OSError):
            files.write_json(
                self.path,
                {
                    "name": self.name,
                    "command": shlex.join(["python", "-m", "pipeline.study", *sys.argv[1:]]),
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    "state": self.state,
                    "began": self.began,
                    "updated": _now(),
                    **{"total": self.total, "done": self.done, "failed": self.failed, "running": self.running},
                },
            )

    def close(self, state):
        """The study is over: done, failed or stopped."""
        self.state, self.running = state, {}
        self.bar.close()
        self.write()


def _now():
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def read():
    """What each process at a study of this folder last said of it."""
    return list(_found().values())


def _found():
    """The statuses by their files; one that is damaged, or that another process forgets meanwhile, says nothing."""
    statuses = {}
    for path in sorted(FOLDER.glob("*.json")):
        with contextlib.suppress(UserError):
            status = files.read_json(path)
            if _is_status(status):
                # of an earlier version, the file's
                statuses[path] = {"name": path.stem} | status
    return statuses


def _is_status(found):
    # more than 31 bits are no process's number, and os.kill refuses them
    if not files.holds(found, KINDS) or not 0 < found["pid"] < 2**31:
        return False
    return all(files.holds(step, STEP) and _is_time(step["since"]) for step in found["running"].values())


def _is_time(text):
    try:
        _seconds(text)
    except (ValueError, OverflowError):
        return False
    return True


def _forget(name):
    """Remove what processes that are no more said of a study."""
    for path, status in _found().items():
        if status["name"] == name and (status["state"] != "running" or alive(status) is False):
            with contextlib.suppress(OSError):
                path.unlink()


def alive(status):
    """Whether the process of a status still is; None where that is another host's to say."""
    if status["host"] != socket.gethostname():
        return None
    try:
        os.kill(status["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def lines(found, now=None):
    """Some statuses for people."""
    for status in found:
        ended, failed, total = status["done"] + len(status["failed"]), len(status["failed"]), status["total"]
        state = status["state"]
        if state == "running":
            state = {True: "running", None: f"running on {status['host']}", False: "killed"}[alive(status)]
        counts = f"{ended} of {total} ended, {failed} of them failed"
        yield f"{status['name']}: {state}, {counts}; last change {status['updated']}"
        yield f"  {status['command']}"
        if state.startswith("running"):
            for label, step in status["running"].items():
                yield f"  at {label} ({step['where']}), {_since(step['since'], now)}"
        for text in status["failed"]:
            yield f"  failed: {text}"


def _since(when, now):
    return f"for {max(0, round(((now or time.time()) - _seconds(when)) / 60))} min"


def _seconds(when):
    return datetime.datetime.fromisoformat(when).timestamp()
