"""Functions side by side, each in a process of its own: what one of them does to a GPU's memory or state, a crash of
its, or its taking too long, ends that process alone."""

import contextlib
import multiprocessing
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing import connection

from pipeline.common import errors

PATIENCE = 30
"""Seconds that a process may take to end once it has said what it found."""
LOOK = 60
"""Seconds after which the time is looked at again."""


def now():
    """Seconds, by a clock that all processes share."""
    return time.time()


@dataclass(frozen=True)
class Failed:
    """why: a line; trace: more of it, where it is no user's fault"""

    why: str
    trace: str = ""


def together(works, until, heard=lambda name, message: None):
    """{name: what its function returned, or a `Failed`} of functions that run side by side.

    works: {name: (function, *arguments)}; a function is called with `say` before its arguments, and may call
    `say(message)` on its way, upon which `heard(name, message)` is called here
    until: when those that are not done are ended, by `now`
    """
    running, outcomes = {}, {}
    try:
        for name, (function, *arguments) in works.items():
            pipe, process = _started(name, function, arguments)
            running[pipe] = name, process
        while running:
            ready = connection.wait(list(running), min(LOOK, max(0, until - now())))
            if not ready and now() >= until:
                outcomes |= {name: Failed("was ended, for the time was over") for name, _ in running.values()}
                break
            for pipe in ready:
                name, process = running[pipe]
                kind, value = _received(pipe)
                if kind == "said":
                    heard(name, value)
                    continue
                del running[pipe]
                process.join(PATIENCE)
                outcomes[name] = Failed(f"its process died ({process.exitcode})") if kind == "died" else value
    finally:
        for _, process in running.values():
            process.kill()
            process.join()
    return outcomes


def _started(name, function, arguments):
    # a GPU cannot be used in a process that is forked off one that used it
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, function, arguments), name=name)
    process.start()
    theirs.close()
    return ours, process


def _received(pipe):
    try:
        return pipe.recv()
    except EOFError:
        return "died", None


def _work(pipe, function, arguments):
    """In the new process: call the function, and send what it says and what it comes to."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout.reconfigure(line_buffering=True)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            came_to = function(lambda message: pipe.send(("said", message)), *arguments)
        except Exception as error:
            text = errors.message(error)
            came_to = Failed(text) if text else Failed(f"{type(error).__name__}: {error}", traceback.format_exc())
        pipe.send(("done", came_to))


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)
