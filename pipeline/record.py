"""How long a stage took, with how much memory, on what: kept for the report, outside of what DVC tracks.

It says nothing about the results, and would make equal results look different if it stood among them.
"""

import datetime
import functools
import os
import platform
import resource
import sys
import time
from pathlib import Path

from pipeline import files, params

FOLDER = Path("data/.records")


def recorded(main):
    """Wrap a stage's `main`: when it ends well, write what it took to data/.records/<stage and arguments>.json."""

    @functools.wraps(main)
    def run():
        began = time.monotonic()
        main()
        stage = Path(sys.argv[0])
        if stage.parent.name == "stages":
            values = [word for word in sys.argv[1:] if not word.startswith("--")]
            name = "-".join([stage.stem, *values])
            what = {"stage": stage.stem, "of": values, "model": params.load().tree["model"]}
            files.write_json(FOLDER / f"{name}.json", what | measured(began))

    return run


def measured(began):
    """Seconds since `began` (time.monotonic), peak memory in bytes, device, and when it ended."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    figures = {
        "seconds": round(time.monotonic() - began, 2),
        "memory": peak * unit,
        "device": f"{platform.machine()} CPU, {os.cpu_count()} cores",
        "ended": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available() and torch.cuda.is_initialized():
        figures |= {"device": torch.cuda.get_device_name(), "device_memory": torch.cuda.max_memory_allocated()}
    return figures
