"""Functions in processes of their own: what they say and return, and every way in which they can end otherwise."""

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu import processes
from benchmarks.gpu.processes import Failed, together
from pipeline.common.errors import UserError

FAR = 1e12


def squared(say, number):
    say(f"squaring {number}")
    return number**2


def ends(say, how):
    if how == "user":
        raise UserError("mend this")
    if how == "fault":
        raise KeyError("lost")
    if how == "dies":
        os._exit(7)
    say(os.getpid())
    time.sleep(3600)


def test_what_one_does_is_not_the_others_trouble():
    works = {how: (ends, how) for how in ("user", "fault", "dies")} | {"well": (squared, 3)}
    heard = []
    found = together(works, FAR, lambda *said: heard.append(said))
    assert found["well"] == 9
    assert heard == [("well", "squaring 3")]
    assert found["user"] == Failed("mend this")
    assert found["fault"].why == "KeyError: 'lost'"
    assert 'raise KeyError("lost")' in found["fault"].trace
    assert found["dies"] == Failed("its process died (7)")


def test_who_takes_too_long_is_ended(monkeypatch):
    pids = []
    # the time is over once it was heard of
    monkeypatch.setattr(processes, "now", lambda: 2 * FAR if pids else 0)
    found = together({"slow": (ends, "never")}, FAR, lambda name, pid: pids.append(pid))
    assert found == {"slow": Failed("was ended, for the time was over")}
    try:
        os.kill(pids[0], 0)
        alive = True
    except ProcessLookupError:
        alive = False
    assert not alive


def waits(say):
    print("waiting", flush=True)
    time.sleep(3600)


STARTS = """
from benchmarks.gpu.processes import together
from tests.benchmarks.gpu.test_processes import waits
together({"waits": (waits,)}, 1e12)
"""


def test_a_process_dies_with_the_one_that_started_it():
    starting = subprocess.Popen(
        [sys.executable, "-c", STARTS], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True
    )
    assert starting.stdout.readline() == "waiting\n"
    starting.kill()
    # the end of the pipe comes when nobody can write into it any more
    starting.communicate(timeout=60)
