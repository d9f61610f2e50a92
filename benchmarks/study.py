"""Many trainings at once against one after the other: `python -m benchmarks.study [--seeds 9] [--workers 2]`.

Trains the model on `shapes`, as `dvc repro` has made it, with as many seeds, one thread each: in this process, then on
Ray's workers, in copies of the project that begin with an empty store. Prints

    ratio       seconds in this process over seconds on Ray, once its workers are there
    start       seconds until Ray has its workers
    overhead    seconds a training takes here of which the store has all but the figures
    copied      bytes of features that went to the object store, and of models, a training
"""

import argparse
import contextlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from pipeline.common import params
from pipeline.common.errors import UserError, one_line
from pipeline.study import cluster, grid, here, trainings


@contextlib.contextmanager
def project(data):
    """A folder with params.yaml and the data set in it, entered."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "data").mkdir()
        (Path(name) / "data/shapes").symlink_to(data.absolute())
        shutil.copy(params.FILE, name)
        os.chdir(name)
        try:
            yield
        finally:
            os.chdir(before)


def wanted(model, seeds):
    """The trainings, and the `machine.Run` of one thread on the processor."""
    given = params.load()
    given.tree["run"] |= {"device": "cpu", "threads": 1}
    how, run = trainings.protocol(given)
    return grid.every(given, ["shapes"], [model], range(seeds), how), run, given


def timed(place, trainings_, run, given, out):
    """Seconds that they take in a place."""
    began = time.monotonic()
    grid.train(trainings_, place, run, grid.Rows(out, given.tree, run, place.device), "benchmark")
    return time.monotonic() - began


@one_line
def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", choices=params.MODELS, default="hsva")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    data = Path("data/shapes")
    if not (data / "features.npy").exists():
        raise UserError(f"{data}: is not there; `dvc repro` makes it")
    with project(data):
        todo, run, given = wanted(args.model, args.seeds)
        alone = timed(here.Here(run, "benchmark"), todo, run, given, "alone.jsonl")
        # the store has all of them: what is left to do is to look there, and to judge
        overhead = timed(here.Here(run, "benchmark"), todo, run, given, "again.jsonl") / args.seeds
    with project(data):
        todo, run, given = wanted(args.model, args.seeds)
        began = time.monotonic()
        place = cluster.Cluster(run, threads=1, workers=args.workers)
        while place.coming:
            place.wait()
        start = time.monotonic() - began
        together = timed(place, todo, run, given, "together.jsonl")
        copied = {name: count / args.seeds for name, count in place.sent.items()}
        place.close()
    figures = {"alone": alone, "together": together, "ratio": alone / together, "start": start, "overhead": overhead}
    print(f"{args.seeds} trainings of {args.model} on shapes, one thread each, {args.workers} workers")
    print("  ".join(f"{name} {value:.2f}" for name, value in figures.items()))
    print(f"copied a training: {copied['features']:,.0f} bytes of features, {copied['steps']:,.0f} of models")
    print(json.dumps(figures | {"copied": copied}))


if __name__ == "__main__":
    main()
