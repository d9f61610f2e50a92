"""A small made-up benchmark on which every model is tested: features that follow from semantics, plus noise."""

import numpy as np

from pipeline.protocol.tasks import Benchmark


def benchmark(seen=20, unseen=4, width=24, attributes=6, images=20, noise=0.2, seed=0):
    """A `Benchmark` with two validation folds; classes are not in the order of the split."""
    generator = np.random.default_rng(seed)
    classes = seen + unseen
    semantics = generator.random((classes, attributes)).astype(np.float32)
    semantics /= np.linalg.norm(semantics, axis=1, keepdims=True)
    labels = np.repeat(np.arange(classes), images)
    means = np.tanh(semantics @ generator.normal(size=(attributes, width)) * 2)
    features = means[labels] + noise * generator.normal(size=(len(labels), width))
    unseen_ids = generator.permutation(classes)[:unseen]
    position = np.tile(np.arange(images), classes)
    split = np.where(position < images // 4, "test_seen", "trainval").astype("<U11")
    split[np.isin(labels, unseen_ids)] = "test_unseen"
    seen_ids = np.setdiff1d(np.arange(classes), unseen_ids)
    folds = []
    for fold in range(2):
        part = np.where(split == "trainval", "train", "").astype("<U10")
        part[(part == "train") & (position % 5 == 0)] = "val_seen"
        part[(split == "trainval") & np.isin(labels, seen_ids[fold * 3 : fold * 3 + 3])] = "val_unseen"
        folds.append(part)
    names = [f"class {i}" for i in range(classes)]
    return Benchmark(features.astype(np.float32), semantics, labels, split, folds, names)
