"""A project small enough for many trainings in seconds: params.yaml, and data/shapes as `dvc repro` leaves it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from pipeline.common import params
from pipeline.study import __main__ as study
from pipeline.study import trainings
from tests.report import made_up

ROOT = Path(__file__).parents[2]
NARROW = {
    "hsva": {
        "epochs": 6,
        "networks": {"hidden": 32, "aligned": 24, "common": 24, "latent": 8, "decoder": 32, "task": 16},
        "seen_samples": 20,
        "unseen_samples": 20,
        "czsl_samples": 20,
        "classifier": {"gzsl_epochs": 3, "czsl_epochs": 3},
    },
    "bsegn": {
        "epochs": 4,
        "synthetic": 10,
        "widths": dict.fromkeys(("encoder", "generator", "critic", "cycle1", "cycle2", "fem"), 24),
        "classifier": {"gzsl_epochs": 3, "czsl_epochs": 3},
    },
    "eszsl": {"gammas": [-1, 1], "lambdas": [-1, 1]},
}


def make(folder, seeds=(0,), checks=3, changes=None, linked=False):
    """A project in a folder. changes: {model: a tree over its small section}; linked: with the code in it, to be run
    by other processes there."""
    tree = yaml.safe_load((ROOT / params.FILE).read_text())
    for model, narrow in NARROW.items():
        below = params.Params({"below": tree[model]["shapes"], "above": narrow}).laid("below", "above")
        tree[model]["shapes"] = params.Params({"below": below, "above": (changes or {}).get(model, {})}).laid(
            "below", "above"
        )
    tree |= {"datasets": ["shapes"], "seeds": list(seeds)}
    tree["selection"] |= {"checks": checks}
    tree["run"] |= {"device": "cpu", "threads": 1, "checkpoint_minutes": 1e-9}
    (folder / params.FILE).write_text(yaml.safe_dump(tree, sort_keys=False))
    made_up.dataset(folder / "data/shapes")
    if linked:
        for name in ("pipeline", "stages"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(*words):
    """A command of the study in this process, on the data that are there now."""
    trainings.benchmark.cache_clear()
    study.main(list(words))


def begin(folder, *words, environment=None):
    """A command of the study in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.study", *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(true, process, seconds=300):
    """Wait until something is true while a process runs."""
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)


def kill(process):
    """End a process as a power cut does."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def kept(folder):
    """{hash and name: bytes} of all that the store holds, but for when it was left."""
    store = folder / "data/.trained"
    files = [path for path in store.glob("*/*") if path.name != "about.json" and not path.parent.name.startswith(".")]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}
