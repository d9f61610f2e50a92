"""The runs that the params name, read back: what `results/metrics.json` and the report are made of."""

from dataclasses import dataclass
from pathlib import Path

from pipeline import files
from pipeline.errors import UserError
from pipeline.protocol import FIGURES
from pipeline.report.statistics import spread

CALIBRATED = ("U_cal", "S_cal", "H_cal")


@dataclass(frozen=True)
class Run:
    """One data set and seed as evaluated.

    figures: name -> percent, those of `evaluate` with the oracle's under names starting oracle_; selected: epochs and
    validation figures; the rest are rows of the CSVs of the same names, their values as text
    """

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
    metrics = files.read_json(folder / "metrics.json")
    if metrics["model"] != model:
        raise UserError(f"{folder}: is a run of {metrics['model']}, not of {model}; run `dvc repro`")
    tables = ("selection", "history", "curve", "per_class", "confusion")
    rows = {name: files.read_csv(folder / f"{name}.csv") for name in tables}
    return Run(dataset, seed, folder, figures(metrics), files.read_json(folder / "selected.json"), **rows)


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
    """A row a run with its figures, which is what two experiments are compared by."""
    return [
        {"dataset": run.dataset, "seed": run.seed} | {name: round(value, 4) for name, value in run.figures.items()}
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


def plots(runs):
    """The rows of each CSV for `dvc plots`, all with the columns dataset and seed."""

    def tagged(rows_of):
        return [{"dataset": run.dataset, "seed": run.seed} | row for run in runs for row in rows_of(run)]

    return {
        "seeds": seeds_table(runs),
        "curve": tagged(lambda run: run.curve),
        "selection": tagged(
            lambda run: [{name: round(value, 3) for name, value in row.items()} for row in best_by_epoch(run)]
        ),
        "history": tagged(_long_history),
        "confusion": tagged(_confused_images),
    }


def _long_history(run):
    """A row an epoch and loss term, so that models with different terms share one file."""
    return [
        {"epoch": row["epoch"], "term": name, "value": row[name]}
        for row in run.history
        for name in row
        if name != "epoch"
    ]


def _confused_images(run):
    """A row an image of an unseen class, classified among the unseen ones."""
    return [
        {"actual": row["actual"], "predicted": row["predicted"]}
        for row in run.confusion
        if row["protocol"] == "czsl"
        for _ in range(int(row["images"]))
    ]
