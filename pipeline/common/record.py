"""How long a stage took, with how much memory, on what: kept for the report, outside of what DVC tracks.

It says nothing about the results, and would make equal results look different if it stood among them.
"""

import datetime
import functools
import resource
import sys
import time
from pathlib import Path

from pipeline.common import files, machine, params
from pipeline.common.errors import UserError

FOLDER = Path("data/.records")
# what a record holds at least
KINDS = {"stage": str, "of": list, "model": str, "seconds": (int, float), "memory": int, "device": str, "ended": str}


def recorded(main):
    """Wrap a stage's `main`: when it ends well, write what it took to data/.records/<stage and arguments>.json."""

    @functools.wraps(main)
    def run():
        began = time.monotonic()
        stage = Path(sys.argv[0])
        if stage.parent.name != "stages":
            main()
            return
        # before the stage runs, for while it does params.yaml may be edited
        model = params.load().tree["model"]
        main()
        values = [word for word in sys.argv[1:] if not word.startswith("--")]
        name = "-".join([stage.stem, *values])
        what = {"stage": stage.stem, "of": values, "model": model}
        files.write_json(FOLDER / f"{name}.json", what | measured(began))

    return run


def read(path):
    """A record, or None, said in a line, where it is not as it was written: the results stand without it."""
    again = "it is left out until its stage runs again"
    try:
        found = files.read_json(path, again)
        if not files.holds(found, KINDS):
            raise files.damaged(path, "is no record of a stage", again)
        return found
    except UserError as error:
        print(error, flush=True)
        return None


def measured(began):
    """Seconds since `began` (time.monotonic), peak memory in bytes, device, and when it ended."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    figures = {
        "seconds": round(time.monotonic() - began, 2),
        "memory": peak * unit,
        "device": machine.processor(),
        "ended": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available() and torch.cuda.is_initialized():
        # the one that was used, which with run.device: cuda:1 is not the current one
        used = max(range(torch.cuda.device_count()), key=torch.cuda.max_memory_allocated)
        figures |= {"device": torch.cuda.get_device_name(used), "device_memory": torch.cuda.max_memory_allocated(used)}
    return figures
