"""From a data set's proposed split to its index: the validation split, and the check that nothing leaks."""

from collections import Counter, defaultdict

import numpy as np

from pipeline.common.errors import UserError, first_of
from pipeline.datasets import index


def build(listing, splits, config):
    """The `Index` of a data set, checked.

    listing, splits: see `pipeline.datasets.base`; config: a `Holdout`. Raises UserError where anything leaks.
    """
    validation = splits.validation or [
        validate(listing.labels, splits.split, unseen, config.val_seen, [config.seed, number])
        for number, unseen in enumerate(splits.folds)
    ]
    names = [listing.class_names[label] for label in listing.labels]
    built = index.Index(listing.images, listing.labels, names, splits.split, validation, listing.boxes)
    check(built)
    return built


def validate(labels, split, unseen, share, seed):
    """One validation split, N strings: train, val_seen, val_unseen, and "" for test rows.

    unseen: ids of the classes that act as unseen; val_seen is `share` of the other trainval rows, drawn within each
    class with `seed`, at least one where there are two; a class keeps at least one row in train.
    """
    result = np.where(split == "trainval", "train", "").astype("<U10")
    result[(split == "trainval") & np.isin(labels, unseen)] = "val_unseen"
    generator = np.random.default_rng(seed)
    learnt = np.flatnonzero(result == "train")
    ordered = learnt[np.argsort(labels[learnt], kind="stable")]
    for rows in np.split(ordered, np.flatnonzero(np.diff(labels[ordered])) + 1):
        held = min(max(1, round(share * len(rows))), len(rows) - 1)
        result[generator.permutation(rows)[:held]] = "val_seen"
    return result


def check(built):
    """Raise UserError, naming the first offender, where an `Index` lets a model see what it will be judged on."""
    split, labels = built.split, built.labels
    if unknown := set(split) - set(index.PARTS):
        raise UserError(f"split: '{unknown.pop()}' is none of {', '.join(index.PARTS)}")
    for part in ("trainval", "test_seen"):
        if not (split == part).any():
            raise UserError(f"split: no image is in {part}; it needs some")
    seen = _classes(built, split == "trainval")
    _none(_classes(built, split == "test_unseen") & seen, "unseen class", "has images in trainval")
    _none(_classes(built, split == "test_seen") - seen, "class", "is in test_seen but has no image in trainval")
    _apart(built)
    for number, fold in enumerate(built.validation, start=1):
        where = f"in validation fold {number}"
        test = split != "trainval"
        if (fold[test] != "").any() or not np.isin(fold[~test], index.VALIDATION).all():
            row = int(np.flatnonzero(np.where(test, fold != "", ~np.isin(fold, index.VALIDATION)))[0])
            problem = "test row {} takes part" if test[row] else "trainval row {} has no part"
            raise UserError(f"split: {where} {problem.format(row)}")
        learnt = _classes(built, fold == "train")
        _none(_classes(built, fold == "val_unseen") & learnt, "class", f"{where} is val_unseen and in train")
        _none(_classes(built, fold == "val_seen") - learnt, "class", f"{where} is val_seen but not in train")
        if not (fold == "val_unseen").any():
            raise UserError(f"split: {where} no class acts as unseen")
        if not (fold == "val_seen").any():
            raise UserError(f"split: {where} no image is held out of seen classes; some class needs two in trainval")
    if len(labels) != len(built.images):
        raise UserError(f"split: {len(built.images)} images but {len(labels)} labels")


def _classes(built, rows):
    return {built.class_names[row] for row in np.flatnonzero(rows)}


def _none(classes, kind, problem):
    if classes:
        raise UserError(f"split: {kind} {first_of(classes)} {problem}")


def _apart(built):
    """No image is listed twice, in one part or two. Objects cut out of photographs may share them: see `describe`."""
    if built.boxes is not None:
        return
    image, count = Counter(filter(None, built.images)).most_common(1)[0] if any(built.images) else ("", 1)
    if count > 1:
        parts = sorted({built.split[row] for row, name in enumerate(built.images) if name == image})
        raise UserError(f"split: image '{image}' is listed {count} times, in {', '.join(parts)}; it should be once")


def describe(built):
    """Lines for the log: how many images and classes each part has, and what the published split lets parts share."""
    parts = ", ".join(
        f"{part} {int((built.split == part).sum()):,} ({len(_classes(built, built.split == part))} classes)"
        for part in index.PARTS
    )
    first = built.validation[0]
    folds = ", ".join(f"{part} {int((first == part).sum()):,}" for part in index.VALIDATION)
    text = f"{len(built.images):,} images: {parts}; {len(built.validation)} validation fold(s), the first: {folds}"
    if built.boxes is not None:
        homes = defaultdict(set)
        for image, part in zip(built.images, built.split, strict=True):
            homes[image].add(part)
        shared = sum(len(parts) > 1 for image, parts in homes.items() if image)
        text += f"\n  {shared:,} photographs hold objects of two parts or more, as the split was published"
    return text
