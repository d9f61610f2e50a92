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

FOLDER = Path("data/.studies")


class Board:
    """The progress of one study of some trainings. name: of its files."""

    def __init__(self, name, total):
        self.path, self.total = FOLDER / f"{name}.json", total
        self.done, self.failed, self.running = 0, [], {}
        self.state = "running"
        self.began = _now()
        self.bar = tqdm(total=total, desc=name, unit="training", disable=None)
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
    """What each study of this folder last said of itself, by its name."""
    return {path.stem: files.read_json(path) for path in sorted(FOLDER.glob("*.json"))}


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
    for name, status in found.items():
        ended, failed, total = status["done"] + len(status["failed"]), len(status["failed"]), status["total"]
        state = status["state"]
        if state == "running":
            state = {True: "running", None: f"running on {status['host']}", False: "killed"}[alive(status)]
        yield f"{name}: {state}, {ended} of {total} ended, {failed} of them failed; last change {status['updated']}"
        yield f"  {status['command']}"
        if state.startswith("running"):
            for label, step in status["running"].items():
                yield f"  at {label} ({step['where']}), {_since(step['since'], now)}"
        for text in status["failed"]:
            yield f"  failed: {text}"


def _since(when, now):
    seconds = (now or time.time()) - datetime.datetime.fromisoformat(when).timestamp()
    return f"for {max(0, round(seconds / 60))} min"
