"""Gathering all that the report shows of one data set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.common import files, params
from pipeline.protocol import tasks, trained
from pipeline.report import aggregate, command, embedding, looks, photographs, provenance


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
    semantics: str
    columns: list[dict]
    command: str


def gather(name, runs):
    """A `Shown` of the data set `name`. Map and photographs are of the first seed."""
    folder, first = Path("data") / name, runs[0]
    benchmark = tasks.load(folder)
    task = tasks.test_task(benchmark, torch.device("cpu"), learn=False)
    kept = trained.read(first.folder / "model.safetensors")
    model, gzsl, _ = kept.restore(task)
    predictions = files.read_npz(first.folder / "predictions.npz", "rows", "labels", "gzsl", "czsl")
    _check(first, predictions, benchmark, task)
    order = [row["class_name"] for row in sorted(first.per_class, key=lambda row: -float(row["gzsl"]))]
    ids = {class_name: i for i, class_name in enumerate(benchmark.class_names)}
    seeing = looks.of_run(name, model, gzsl, [*task.seen, *task.unseen])
    best, worst = photographs.extremes(first, predictions, benchmark.class_names, folder, seeing)
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
        str(files.read_npz(folder / "semantics.npz", "source")["source"]),
        columns(folder),
        command.command(params.load().tree, kept.name, name, [run.seed for run in runs], command.committed()),
    )


def _check(run, predictions, benchmark, task):
    """Raise UserError where what a run says of images and classes is not of this data set."""
    labels, names = benchmark.labels[task.rows], benchmark.class_names
    least = {"gzsl": 0, "czsl": -1}
    same = np.array_equal(predictions["rows"], task.rows) and np.array_equal(predictions["labels"], labels)
    for name, first in least.items():
        taken = predictions[name]
        same = same and taken.shape == labels.shape and taken.dtype.kind == "i"
        same = same and taken.min() >= first and taken.max() < len(names)
    if not same:
        raise files.damaged(run.folder / "predictions.npz", "is not of the test images of index.csv")
    counts = {names[label]: int(count) for label, count in zip(*np.unique(labels, return_counts=True), strict=True)}
    if {row["class_name"]: int(row["images"]) for row in run.per_class} != counts:
        raise files.damaged(run.folder / "per_class.csv", "is not of the test images of index.csv")


def undecodable(folder):
    """How many images have zeros for features because they could not be decoded (`features.on_bad_image: zero`)."""
    listed = folder / "undecodable.csv"
    return len(files.read_csv(listed)) if listed.exists() else 0


def columns(folder):
    """How the columns of a user's table were taken: {column, taken, attributes} each; none for other data sets."""
    listed = folder / "columns.csv"
    return files.read_csv(listed) if listed.exists() else []
