"""Functions in processes of their own: what they say and return, and every way in which they can end otherwise."""

import os
import time

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
