"""Epochs, chosen on validation classes: a training is judged on its way, and the best of what was seen is taken."""

import gc
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch

from pipeline.common import files, training
from pipeline.common.params import AtLeastOne
from pipeline.protocol import metrics, tasks
from pipeline.protocol.judging import Inputs, predictions
from pipeline.protocol.metrics import FIGURES
from pipeline.protocol.scoring import build, heads


@dataclass(frozen=True)
class Selection:
    """`selection`: how many of the data set's validation folds to average over, and how often a training is checked."""

    folds: Literal[1, 3]
    checks: Annotated[int, AtLeastOne]


@torch.no_grad()
def check(model, task, config, seed):
    """Figures on the judged images after each epoch of the classifiers, a row each, with the constant of the best H."""
    options = getattr(config, "classifier", None)
    most = (options.gzsl_epochs, options.czsl_epochs) if options else (1, 1)
    every_gzsl, every_czsl = heads(model, task, config, seed, *most)
    inputs = Inputs(task, model, hold=max(most) > 1)
    rows, gzsl, czsl = [], None, None
    for i in range(max(most)):
        # the shorter training stands still at its end
        gzsl, czsl = next(every_gzsl, gzsl), next(every_czsl, czsl)
        judged = predictions(task, model, gzsl, czsl, inputs)
        constant = judged.curve.best()
        figures = metrics.summary(judged, constant)
        rows.append({"classifier_epoch": i + 1} | figures | {"constant": constant})
    return rows


def sweep(task, module, config, seed, checks, label, checkpoint=None, watch=None):
    """Train to the end and `check` on the way, `checks` times evenly spaced; all rows, each with its epoch.

    watch: called with all rows so far after each look at the training, which it ends by raising

    A model without a trained classifier is cheap to judge and is checked after every epoch.
    """
    model = build(module, task, config)
    trainer = model.trainer(task.problem, seed)
    told = max(1, trainer.epochs // checks)
    every = told if hasattr(config, "classifier") else 1
    rows = []
    carry = {"rows": rows}
    for epoch, terms in training.epochs(model, trainer, trainer.epochs, label, checkpoint, carry):
        if epoch % every and epoch != trainer.epochs:
            continue
        rows = carry["rows"]  # restored with the checkpoint
        rows += [{"epoch": epoch} | row for row in check(model, task, config, seed)]
        # pairs of regularisers go by too fast to be read one by one
        if epoch % told and epoch != trainer.epochs:
            continue
        best = max((row for row in rows if row["epoch"] == epoch), key=lambda row: row["H"])
        shown = "  ".join(f"{name} {best[name]:.1f}" for name in FIGURES)
        losses = "  ".join(f"{name} {value:.4g}" for name, value in terms.items())
        training.say(f"{label}: epoch {epoch}/{trainer.epochs}  {shown}  ({losses})")
        if watch:
            watch(rows)
    return carry["rows"]


def choose(folds):
    """From each fold's rows of a sweep: the epoch and classifier epoch with the largest mean H, and for T1 its own.

    The classifier over unseen classes alone has its own number of epochs, at the same epoch of the model.
    """
    keys = [(row["epoch"], row["classifier_epoch"]) for row in folds[0]]
    names = [name for name in folds[0][0] if name not in ("epoch", "classifier_epoch")]
    means = [{name: float(np.mean([fold[i][name] for fold in folds])) for name in names} for i in range(len(keys))]
    best = max(range(len(keys)), key=lambda i: means[i]["H"])
    epoch, gzsl_epoch = keys[best]
    same_epoch = [i for i in range(len(keys)) if keys[i][0] == epoch]
    best_t1 = max(same_epoch, key=lambda i: means[i]["T1"])
    validation = {name: means[best][name] for name in FIGURES} | {"T1": means[best_t1]["T1"]}
    chosen = {"epoch": epoch, "gzsl_epoch": gzsl_epoch, "czsl_epoch": keys[best_t1][1]}
    return chosen | {"constant": means[best]["constant"], "validation": validation}


def cut_short(chosen, config):
    """The params whose last epoch was the chosen one, so that it may have been chosen for want of a later one."""
    if not hasattr(config, "classifier"):
        return []
    limits = {
        "epochs": (chosen["epoch"], config.epochs),
        "classifier.gzsl_epochs": (chosen["gzsl_epoch"], config.classifier.gzsl_epochs),
        "classifier.czsl_epochs": (chosen["czsl_epoch"], config.classifier.czsl_epochs),
    }
    return [name for name, (taken, most) in limits.items() if taken == most]


def limits(chosen, config):
    """What `cut_short` found, in words; nothing where it found nothing."""
    names = cut_short(chosen, config)
    return f"the last that {' and '.join(names)} allowed" if names else ""


def select(benchmark, module, config, how, seed, device, label, checkpoints=None, watch=None):
    """Sweep over the validation folds, as a `Selection` says: (what `choose` chose, all rows).

    checkpoints: one a fold, or None; watch: see `sweep`, for the first fold
    """
    tasks.need_folds(benchmark, how.folds)
    folds = []
    for fold in range(how.folds):
        # the features of the last fold would lie in memory still, in trainers that hold themselves
        task = None
        gc.collect()
        task = tasks.validation_task(benchmark, fold, device)
        name = f"{label}, fold {fold + 1} of {how.folds}"
        checkpoint = checkpoints[fold] if checkpoints else None
        folds.append(sweep(task, module, config, seed, how.checks, name, checkpoint, None if fold else watch))
    chosen = choose(folds)
    if last := limits(chosen, config):
        training.say(f"{label}: the best was {last}; more may be better")
    return chosen, [{"fold": i + 1} | row for i, rows in enumerate(folds) for row in rows]


def leave(our, how, label, folder, watch=None):
    """Select for a `Setting` as a `Selection` says, and write selected.json and selection.csv into the folder."""
    entry = our.selecting(how)
    checkpoints = [our.checkpoint(entry, f"fold-{fold}") for fold in range(how.folds)]
    what = our.benchmark, our.module, our.config, how, our.seed, our.device
    chosen, rows = select(*what, label, checkpoints, watch)
    files.write_csv(folder / "selection.csv", rows)
    files.write_json(folder / "selected.json", {"model": our.model} | chosen)
