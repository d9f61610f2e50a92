"""The runs that the params name, read back: what `results/metrics.json` and the report are made of."""

import math
from dataclasses import dataclass
from pathlib import Path

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.protocol import evaluation, setting
from pipeline.protocol.evaluation import CALIBRATED
from pipeline.protocol.metrics import FIGURES
from pipeline.report.statistics import spread

# the columns of a run's tables, by file; those of `history` beside the epoch are the model's loss terms
TABLES = {
    "selection": {"epoch": int, "classifier_epoch": int} | dict.fromkeys(FIGURES, float),
    "history": {"epoch": int},
    "curve": {"U": float, "S": float, "H": float},
    "per_class": {"class_name": str, "domain": str, "images": int, "gzsl": float, "czsl": str},
    "confusion": {"protocol": str, "actual": str, "predicted": str, "images": int},
}


@dataclass(frozen=True)
class Run:
    """One data set and seed as evaluated.

    figures: name -> percent, those of `evaluate` with the oracle's under names starting oracle_; selected: epochs and
    validation figures; the rest are rows of the CSVs of the same names, their values as text
    """

    model: str
    dataset: str
    seed: int
    folder: Path
    figures: dict[str, float]
    selected: dict
    selection: list[dict]
    history: list[dict]
    curve: list[dict]
    per_class: list[dict]
    confusion: list[dict]


def load(model, dataset, seed, root="runs"):
    """Read runs/<dataset>/<seed>/. Raises UserError where it is missing or of another model."""
    folder = Path(root) / dataset / str(seed)
    for name in ("metrics.json", "selected.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: missing; `dvc repro` makes it")
    metrics = evaluation.read(folder / "metrics.json")
    if metrics["model"] != model:
        raise UserError(f"{folder}: is a run of {metrics['model']}, not of {model}; run `dvc repro`")
    rows = {
        name: files.read_csv(folder / f"{name}.csv", kinds, float if name == "history" else str)
        for name, kinds in TABLES.items()
    }
    run = Run(model, dataset, seed, folder, figures(metrics), setting.chosen(folder / "selected.json"), **rows)
    _check(run)
    return run


def _check(run):
    """Raise UserError where the tables of a run cannot be one run's."""
    chosen = str(run.selected["epoch"]), str(run.selected["gzsl_epoch"])
    if chosen not in {(row["epoch"], row["classifier_epoch"]) for row in run.selection}:
        raise files.damaged(run.folder / "selection.csv", f"lacks epoch {chosen[0]}, which selected.json names")
    if "H" in run.figures and not run.curve:
        raise files.damaged(run.folder / "curve.csv", "holds no rows")
    for row in run.per_class:
        if row["domain"] not in ("seen", "unseen") or int(row["images"]) < 1:
            reason = f"says {row['images']} images, {row['domain']}, of '{row['class_name']}'"
            raise files.damaged(run.folder / "per_class.csv", reason)
        if row["domain"] == "unseen" and not _is_number(row["czsl"]):
            reason = f"says no accuracy of '{row['class_name']}' among unseen classes"
            raise files.damaged(run.folder / "per_class.csv", reason)
    known = {row["class_name"] for row in run.per_class}
    for row in run.confusion:
        if row["actual"] not in known or int(row["images"]) < 1:
            reason = f"says {row['images']} images of '{row['actual']}', which per_class.csv does not"
            raise files.damaged(run.folder / "confusion.csv", reason)


def _is_number(text):
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def figures(metrics):
    """The percentages of one metrics.json, flat: {"T1": ..., ..., "oracle_T1": ...}."""
    flat = {name: metrics[name] for name in (*FIGURES, *CALIBRATED) if name in metrics}
    return flat | {f"oracle_{name}": metrics["oracle"][name] for name in FIGURES if "oracle" in metrics}


def summary(runs):
    """Mean and standard deviation over the runs (seeds) of one data set: {"T1": 50.1, "T1_std": 0.4, ...}."""
    result = {}
    for name in runs[0].figures:
        over = spread([run.figures[name] for run in runs])
        result |= {name: round(over.mean, 2), f"{name}_std": round(over.std, 2)}
    return result


def seeds_table(runs):
    """A row a run with its figures, which is what two experiments are compared by; "" where it has not one of them."""
    names = list(dict.fromkeys([*FIGURES, *(name for run in runs for name in run.figures)]))
    return [
        {"model": run.model, "dataset": run.dataset, "seed": run.seed}
        | {name: round(run.figures[name], 4) if name in run.figures else "" for name in names}
        for run in runs
    ]


def best_by_epoch(run):
    """A row an epoch of the selection: figures averaged over folds, at the classifier epoch with the largest mean H."""
    by_key = {}
    for row in run.selection:
        by_key.setdefault((int(row["epoch"]), int(row["classifier_epoch"])), []).append(row)
    best = {}
    for (epoch, classifier_epoch), rows in by_key.items():
        means = {name: sum(float(row[name]) for row in rows) / len(rows) for name in FIGURES}
        if epoch not in best or means["H"] > best[epoch]["H"]:
            best[epoch] = {"epoch": epoch, "classifier_epoch": classifier_epoch} | means
    return [best[epoch] for epoch in sorted(best)]


def tables(runs):
    """Rows of each CSV under results/, by path: figures of every seed, and for `dvc plots` what no stage has as it is.

    One file a run and loss term, and one a run of images of unseen classes: `dvc plots` then lays experiments over
    each other, whatever terms their models have.
    """
    found = {"seeds.csv": seeds_table(runs)}
    for run in runs:
        name = f"{run.dataset}-{run.seed}"
        for term in [term for term in (run.history[0] if run.history else {}) if term != "epoch"]:
            rows = [{"epoch": row["epoch"], "value": row[term]} for row in run.history]
            found[f"plots/training/{name}-{term}.csv"] = rows
        found[f"plots/confusion/{name}.csv"] = _confused_images(run)
    return found


def _confused_images(run):
    """A row an image of an unseen class, classified among the unseen ones; images of one kind share it."""
    return [
        image
        for row in run.confusion
        if row["protocol"] == "czsl"
        for image in [{"actual": row["actual"], "predicted": row["predicted"]}] * int(row["images"])
    ]
