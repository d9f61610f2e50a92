"""Gathering all that the report shows of one data set."""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.common import files, params
from pipeline.protocol import tasks, trained
from pipeline.report import aggregate, command, embedding, photographs, provenance


@dataclass(frozen=True)
class Shown:
    """All that is shown of one data set: its runs, one a seed, and what `gather` found to them."""

    name: str
    model: str
    runs: list[aggregate.Run]
    benchmark: tasks.Benchmark
    map: embedding.Map
    best: list[photographs.Judged]
    worst: list[photographs.Judged]
    hashes: dict[str, str]
    params: dict
    records: list[dict]
    undecodable: int
    command: str


def gather(name, runs):
    """A `Shown` of the data set `name`. Map and photographs are of the first seed."""
    folder, first = Path("data") / name, runs[0]
    benchmark = tasks.load(folder)
    task = tasks.test_task(benchmark, torch.device("cpu"))
    kept = trained.read(first.folder / "model.safetensors")
    model, *_ = kept.restore(task)
    order = [row["class_name"] for row in sorted(first.per_class, key=lambda row: -float(row["gzsl"]))]
    ids = {class_name: i for i, class_name in enumerate(benchmark.class_names)}
    best, worst = photographs.extremes(
        first, files.read_npz(first.folder / "predictions.npz"), benchmark.class_names, folder
    )
    return Shown(
        name,
        kept.name,
        runs,
        benchmark,
        embedding.build(task, model, benchmark.class_names, [ids[class_name] for class_name in order], first.seed),
        best,
        worst,
        *provenance.locked(name, first.seed),
        provenance.records(kept.name, name, [run.seed for run in runs]),
        undecodable(folder),
        command.command(params.load().tree, kept.name, name, [run.seed for run in runs], command.committed()),
    )


def undecodable(folder):
    """How many images have zeros for features because they could not be decoded (`features.on_bad_image: zero`)."""
    listed = folder / "undecodable.csv"
    return len(files.read_csv(listed)) if listed.exists() else 0
