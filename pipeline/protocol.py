"""The protocol: epochs chosen on validation classes, training on all of trainval, the test images looked at once."""

import gc
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch

from pipeline import classifier, data, metrics, training
from pipeline.params import AtLeastOne

FIGURES = ("T1", "U", "S", "H", "AUSUC")


@dataclass(frozen=True)
class Selection:
    """`selection`: how many of the data set's validation folds to average over, and how often a training is checked."""

    folds: Literal[1, 3]
    checks: Annotated[int, AtLeastOne]


@dataclass(frozen=True)
class Evaluation:
    """`evaluation`: calibrated: also U, S, H after calibrated stacking with validation's constant; oracle: also the
    best epoch on the test images, as the published programs pick it, under that name."""

    calibrated: bool
    oracle: bool


def build(module, task, config):
    """A model of the task's sizes on its device."""
    # a trainer and the step it captured hold each other; without this the last ones would lie in a GPU's memory still
    gc.collect()
    problem = task.problem
    sizes = problem.features.shape[1], problem.seen.shape[1], len(problem.seen), len(problem.unseen)
    return module.Model(*sizes, config).to(problem.features.device)


def heads(model, task, config, seed, gzsl_epochs, czsl_epochs):
    """Two iterators: the linear classifier over all classes and over unseen classes alone, after each of its epochs.

    A model without a trained classifier gives one of each, whose weights are the classes' semantics.
    """
    seen = len(task.seen)
    made = model.classifier_set(task.problem, seed)
    if made is None:
        weight = torch.cat([task.problem.seen, task.problem.unseen])
        zeros = weight.new_zeros(len(weight))
        return iter([classifier.Head(weight, zeros)]), iter([classifier.Head(weight[seen:], zeros[seen:])])
    inputs, labels = model.classifier_set(task.problem, seed, unseen_only=True)
    options = config.classifier, seed
    return (
        classifier.epochs(*made, seen + len(task.unseen), *options, gzsl_epochs, model.expand),
        classifier.epochs(inputs, labels - seen, len(task.unseen), *options, czsl_epochs, model.expand),
    )


@torch.no_grad()
def scores(task, model, gzsl, czsl, encoded=None):
    """Scores of the judged images: M x C over all classes, and of the rows of unseen classes over those alone.

    encoded: the images' inputs and what remains to be done to each batch of them, where the caller has them
    """
    inputs, expand = encoded or (model.encode(task.features), model.expand)
    unseen = torch.from_numpy(task.labels >= len(task.seen)).to(inputs.device)
    over_all = classifier.scores(gzsl, inputs, expand)
    over_unseen = classifier.scores(czsl, inputs[unseen], expand)
    return over_all.cpu().numpy(), over_unseen.cpu().numpy()


@torch.no_grad()
def check(model, task, config, seed):
    """Figures on the judged images after each epoch of the classifiers, a row each, with the constant of the best H."""
    options = getattr(config, "classifier", None)
    most = (options.gzsl_epochs, options.czsl_epochs) if options else (1, 1)
    every_gzsl, every_czsl = heads(model, task, config, seed, *most)
    encoded = classifier.expanded(model.encode(task.features), model.expand)
    rows, gzsl, czsl = [], None, None
    for i in range(max(most)):
        # the shorter training stands still at its end
        gzsl, czsl = next(every_gzsl, gzsl), next(every_czsl, czsl)
        over_all, over_unseen = scores(task, model, gzsl, czsl, encoded)
        constant = metrics.seen_unseen_curve(over_all, task.labels, task.seen_mask).best()
        figures = metrics.summary(over_all, over_unseen, task.labels, task.seen_mask, constant)
        rows.append({"classifier_epoch": i + 1} | figures | {"constant": constant})
    return rows


def sweep(task, module, config, seed, checks, label, checkpoint=None):
    """Train to the end and `check` on the way, `checks` times evenly spaced; all rows, each with its epoch.

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


def select(benchmark, module, config, selection, seed, device, label, checkpoint):
    """Sweep over the validation folds: (what `choose` chose, all rows). `checkpoint(fold)` is that training's."""
    data.need_folds(benchmark, selection.folds)
    folds = []
    for fold in range(selection.folds):
        task = data.validation_task(benchmark, fold, device)
        name = f"{label}, fold {fold + 1} of {selection.folds}"
        folds.append(sweep(task, module, config, seed, selection.checks, name, checkpoint(fold)))
    chosen = choose(folds)
    if names := cut_short(chosen, config):
        training.say(f"{label}: the best was the last that {' and '.join(names)} allowed; more may be better")
    return chosen, [{"fold": i + 1} | row for i, rows in enumerate(folds) for row in rows]


def train(task, module, config, chosen, seed, label, checkpoint=None):
    """Train on all of trainval for the chosen epochs: (tensors to save, a row of loss terms an epoch)."""
    model = build(module, task, config)
    trainer = model.trainer(task.problem, seed)
    carry = {"history": []}
    for epoch, terms in training.epochs(model, trainer, chosen["epoch"], label, checkpoint, carry):
        carry["history"].append({"epoch": epoch} | terms)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        trained = heads(model, task, config, seed, chosen["gzsl_epoch"], chosen["czsl_epoch"])
        for name, every in zip(("gzsl", "czsl"), trained, strict=True):
            *_, head = every
            tensors |= {f"{name}.weight": head.weight, f"{name}.bias": head.bias}
    # clones, for safetensors takes no two tensors that share memory, as the heads of ESZSL do
    kept = {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return kept, carry["history"]


def restore(task, module, config, tensors):
    """The model and both heads of what `train` saved."""
    model = build(module, task, config)
    device = task.problem.features.device
    state = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    model.load_state_dict(state)
    gzsl, czsl = (
        classifier.Head(tensors[f"{name}.weight"].to(device), tensors[f"{name}.bias"].to(device))
        for name in ("gzsl", "czsl")
    )
    return model, gzsl, czsl


def oracle(task, module, config, checks, seed, label):
    """The figures of the epoch that is best on the test images: what the published programs report, not a result."""
    rows = sweep(task, module, config, seed, checks, label)
    best = max(rows, key=lambda row: row["H"])
    return {name: best[name] for name in ("epoch", "classifier_epoch", *FIGURES)}
