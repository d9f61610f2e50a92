"""What the stages after extraction read: one data set's features, semantics and split, and the tasks posed on them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.datasets import index
from pipeline.models.base import Problem
from pipeline.models.base.rows import BLOCK, Stored

FREE = 0.5
"""Share of a GPU's free memory that training features may take; networks, their inputs and scores need the rest."""


@dataclass(frozen=True)
class Benchmark:
    """One data set as built. N images, C classes.

    features: N x d_x float32 (memory-mapped); attributes: C x d_a float32; labels: N int64 in 0..C-1;
    split: N strings; validation: per fold, N strings; class_names: C
    """

    features: np.ndarray
    attributes: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    validation: list[np.ndarray]
    class_names: list[str]

    @cached_property
    def digest(self):
        """See `fingerprint`; hashed once, for it reads all features."""
        state = hashlib.sha256()
        for array in (self.features, self.attributes, self.labels, self.split, *self.validation):
            for start in range(0, len(array), BLOCK):
                state.update(np.ascontiguousarray(array[start : start + BLOCK]).view(np.uint8))
        return state.hexdigest()


@dataclass(frozen=True)
class Task:
    """A problem to learn from and the images to be judged on, which the learner never sees.

    seen, unseen: ids of the classes; problem: see `pipeline.models.base`; features: M x d_x of the judged images, which
    stay in the memory map and are read in blocks;
    labels: M, positions in `seen` followed by `unseen`; rows: M, their rows in index.csv
    """

    seen: np.ndarray
    unseen: np.ndarray
    problem: Problem
    features: Stored
    labels: np.ndarray
    rows: np.ndarray

    @property
    def seen_mask(self):
        """For each class, in the order of the labels, whether it is seen."""
        return np.arange(len(self.seen) + len(self.unseen)) < len(self.seen)


def load(folder):
    """Read data/<data set>/ and check that its files are whole, finite and belong together. Raises UserError."""
    folder = Path(folder)
    rows = index.read(folder / "index.csv", images=False)
    attributes, names = _semantics(folder / "semantics.npz")
    if rows.labels.max() >= len(names):
        reason = f"class {rows.labels.max()} is none of the {len(names)} of semantics.npz"
        raise files.damaged(folder / "index.csv", reason)
    features = files.read_npy(folder / "features.npy")
    if features.ndim != 2 or len(features) != len(rows.labels):
        raise UserError(
            f"{folder / 'features.npy'}: its shape is {features.shape}, but index.csv has {len(rows.labels)} rows;"
            " run `dvc repro`"
        )
    if features.dtype != np.float32 or not features.shape[1]:
        raise files.damaged(folder / "features.npy", f"{features.dtype} of shape {features.shape} are no features")
    need_finite(folder / "features.npy", features)
    return Benchmark(features, attributes, rows.labels, rows.split, rows.validation, names)


def _semantics(path):
    """C x d_a float32 and C names."""
    held = files.read_npz(path, "attributes", "class_names")
    attributes, names = held["attributes"], [str(name) for name in np.ravel(held["class_names"])]
    if attributes.dtype.kind != "f" or attributes.ndim != 2 or not attributes.size or len(attributes) != len(names):
        raise files.damaged(path, f"{attributes.dtype} of shape {attributes.shape} are no rows of {len(names)} classes")
    with np.errstate(over="ignore"):
        attributes = attributes.astype(np.float32)
    need_finite(path, attributes)
    return attributes, names


def attribute_names(folder):
    """Names of the d_a attributes of data/<data set>/, if it has some."""
    path = Path(folder) / "semantics.npz"
    held = files.read_npz(path, "attributes", "attribute_names")
    names = [str(name) for name in np.ravel(held["attribute_names"])]
    if names and held["attributes"].shape[1:] != (len(names),):
        raise files.damaged(path, f"{len(names)} names for attributes of shape {held['attributes'].shape}")
    return names


def need_finite(path, array):
    """Raise UserError that names row and column where a value of an N x d array is not finite."""
    for begin in range(0, len(array), BLOCK):
        block = array[begin : begin + BLOCK]
        if not (fine := np.isfinite(block)).all():
            row, column = np.argwhere(~fine)[0]
            raise files.damaged(path, f"row {begin + row}, column {column} is {block[row, column]}, not finite")


def fingerprint(benchmark):
    """A digest of all that a training reads, to tell whose checkpoint a file is."""
    return benchmark.digest


def need_folds(benchmark, folds):
    """Raise UserError where there are fewer validation folds than asked for."""
    if folds > len(benchmark.validation):
        raise UserError(
            f"params.yaml: selection.folds: this data set has {len(benchmark.validation)} validation fold(s),"
            f" {folds} are asked for; 1 always works"
        )


def validation_task(benchmark, fold, device):
    """Learn from the fold's training rows; judged on its val_seen and val_unseen. No test row enters."""
    part = np.where(benchmark.split == "trainval", benchmark.validation[fold], "")
    return _task(benchmark, part == "train", part == "val_seen", part == "val_unseen", None, device)


def test_task(benchmark, device, learn=True):  # noqa: PT028 - not a test
    """Learn from all of trainval; judged on test_seen and test_unseen.

    learn: False where nothing is to be learnt: the training features then stay in the memory map
    """
    split = benchmark.split
    everyone = np.arange(len(benchmark.class_names))
    return _task(benchmark, split == "trainval", split == "test_seen", split == "test_unseen", everyone, device, learn)


def _task(benchmark, train, judged_seen, judged_unseen, everyone, device, learn=True):
    labels = benchmark.labels
    seen = np.unique(labels[train])
    # classes without any image still take part in the final task: they can be mistaken for
    unseen = np.unique(labels[judged_unseen]) if everyone is None else np.setdiff1d(everyone, seen)
    position = np.full(len(benchmark.class_names), -1)
    position[np.concatenate([seen, unseen])] = np.arange(len(seen) + len(unseen))
    learnt, rows = np.flatnonzero(train), np.flatnonzero(judged_seen | judged_unseen)
    features = Stored(benchmark.features, learnt, device)

    def tensor(array):
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    problem = Problem(
        placed(features) if learn else features,
        tensor(position[labels[learnt]]),
        tensor(benchmark.attributes[seen]),
        tensor(benchmark.attributes[unseen]),
    )
    return Task(seen, unseen, problem, Stored(benchmark.features, rows, device), position[labels[rows]], rows)


def placed(features):
    """Training features where they are learnt from: on their device; or, where they would take more than FREE of the
    memory that a GPU has left, pinned in the processor's memory, where each minibatch takes its rows. A line says so.
    """
    device, size = features.device, 4 * features.shape.numel()
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    if free is None or size <= FREE * free:
        return _copied(features, torch.empty(features.shape, device=device))
    print(
        f"training features ({size / 2**30:.1f} GiB) stay in the processor's memory, for {device} has"
        f" {free / 2**30:.1f} GiB free: minibatches are gathered from there, which is slower",
        flush=True,
    )
    near = Stored(features.held, features.rows, "cpu")
    return Stored(_copied(near, _pinned(features.shape)), np.arange(len(features)), device)


def _pinned(shape):
    """Memory that a GPU fetches from without a detour."""
    return torch.empty(shape, pin_memory=True)


def _copied(features, target):
    """Block by block, so that no second copy lies in memory meanwhile."""
    for block, rows in zip(features.split(BLOCK), target.split(BLOCK), strict=True):
        rows.copy_(block)
    return target
