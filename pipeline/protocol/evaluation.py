"""The test images, looked at once: what is judged, and what is left for people and for the report."""

from dataclasses import dataclass

import numpy as np

from pipeline.common import files
from pipeline.protocol import metrics
from pipeline.protocol.metrics import FIGURES
from pipeline.protocol.selection import sweep

CALIBRATED = ("U_cal", "S_cal", "H_cal")

POINTS = 200
"""Points of the seen-unseen curve that are written down; the area is of the exact one."""

TOP = 5
"""Classes of an image that are written down with their scores."""

PAIRS = 20_000
"""Kinds of mistake that are written down, the commonest: each image can be one of its own."""


@dataclass(frozen=True)
class Evaluation:
    """`evaluation`: calibrated: also U, S, H after calibrated stacking with validation's constant; oracle: also the
    best epoch on the test images, as the published programs pick it, under that name."""

    calibrated: bool
    oracle: bool


def read(path):
    """The metrics.json of a run: its model, and figures in percent under their names. Raises UserError.

    Without an image of an unseen class there is S alone; `oracle` holds another set of the same figures.
    """
    found = files.read_json(path)
    try:
        for figures in (found, *([found["oracle"]] if "oracle" in found else [])):
            needed = list(FIGURES) if "H" in figures else ["S"]
            needed += CALIBRATED if "H_cal" in figures else []
            if wrong := [name for name in needed if not isinstance(figures[name], float)]:
                raise ValueError(f"{wrong[0]} is no number")
        found["model"].isalpha()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise files.damaged(path, f"holds no figures of a run ({error})") from None
    return found


def oracle(task, module, config, checks, seed, label):
    """The figures of the epoch that is best on the test images: what the published programs report, not a result."""
    rows = sweep(task, module, config, seed, checks, label)
    best = max(rows, key=lambda row: row["H"])
    return {name: best[name] for name in ("epoch", "classifier_epoch", *FIGURES)}


def write(out, benchmark, task, predictions, figures):
    """Write metrics.json, predictions.npz, per_class.csv, confusion.csv and curve.csv into the folder `out`.

    predictions.npz says of each judged image, in 60 bytes: rows, its row of index.csv; labels, gzsl, czsl: ids of its
    class and of the best among all and among unseen classes (-1 for an image of a seen class); margin: score of the
    best seen less that of the best unseen class; top, scores: M x TOP classes by their scores. And once: classes, ids
    of all classes, the first `seen` of them seen.
    """
    classes = np.concatenate([task.seen, task.unseen]).astype(np.int32)
    labels, gzsl = classes[predictions.labels], classes[predictions.gzsl]
    czsl = np.where(predictions.czsl < 0, np.int32(-1), classes[predictions.czsl])
    files.write_json(out / "metrics.json", figures)
    files.write_npz(
        out / "predictions.npz",
        rows=task.rows.astype(np.int32),
        labels=labels,
        gzsl=gzsl,
        czsl=czsl,
        margin=predictions.margin,
        top=classes[predictions.top],
        scores=predictions.scores,
        classes=classes,
        seen=len(task.seen),
    )
    files.write_csv(out / "per_class.csv", per_class(benchmark.class_names, task, labels, gzsl, czsl))
    pairs = confusion(benchmark.class_names, labels, gzsl, czsl)
    files.write_csv(out / "confusion.csv", pairs)
    files.write_csv(out / "curve.csv", curve(predictions.curve))


def per_class(names, task, labels, gzsl, czsl):
    """A row a class with test images: its domain, number of images, accuracy among all and (unseen) among unseen."""
    among_all, images = metrics.per_class(gzsl, labels), np.bincount(labels)
    of_unseen = np.isin(labels, task.unseen)
    among_unseen = metrics.per_class(czsl[of_unseen], labels[of_unseen])
    return [
        {
            "class_name": names[c],
            "domain": "unseen" if c in among_unseen else "seen",
            "images": int(images[c]),
            "gzsl": round(100 * accuracy, 2),
            "czsl": round(100 * among_unseen[c], 2) if c in among_unseen else "",
        }
        for c, accuracy in among_all.items()
    ]


def confusion(names, labels, gzsl, czsl):
    """A row for each pair that occurs: true class, predicted class, how many images, in `gzsl` and in `czsl`.

    Of more than PAIRS kinds of mistake in one of the two, the commonest PAIRS; per_class.csv tells how many there are.
    """
    rows = []
    for protocol, predictions in (("gzsl", gzsl), ("czsl", czsl)):
        made = predictions >= 0
        pairs, counts = np.unique(labels[made].astype(np.int64) * len(names) + predictions[made], return_counts=True)
        actual, predicted = np.divmod(pairs, len(names))
        mistakes = np.flatnonzero(actual != predicted)
        mistakes = mistakes[np.argsort(-counts[mistakes], kind="stable")[:PAIRS]]
        kept = np.sort(np.concatenate([np.flatnonzero(actual == predicted), mistakes]))
        rows += [
            {"protocol": protocol, "actual": names[a], "predicted": names[p], "images": n}
            for a, p, n in zip(*(values[kept].tolist() for values in (actual, predicted, counts)), strict=True)
        ]
    return rows


def curve(exact):
    """Rows of a seen-unseen `Curve` in percent, thinned evenly in U."""
    wanted = np.linspace(0, exact.unseen[-1], POINTS)
    kept = np.unique(np.concatenate([np.searchsorted(exact.unseen, wanted), [0, len(exact.unseen) - 1]]))
    high = metrics.harmonic(exact.seen, exact.unseen)
    return [
        {"U": round(100 * exact.unseen[i], 3), "S": round(100 * exact.seen[i], 3), "H": round(100 * high[i], 3)}
        for i in kept
    ]
