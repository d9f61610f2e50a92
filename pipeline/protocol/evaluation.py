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


def write(out, benchmark, task, over_all, over_unseen, figures):
    """Write metrics.json, predictions.npz, per_class.csv, confusion.csv and curve.csv into the folder `out`."""
    classes = np.concatenate([task.seen, task.unseen])
    gzsl = classes[over_all.argmax(1)]
    czsl = np.full(len(gzsl), -1)
    czsl[task.labels >= len(task.seen)] = task.unseen[over_unseen.argmax(1)]
    labels = classes[task.labels]
    files.write_json(out / "metrics.json", figures)
    files.write_npz(
        out / "predictions.npz",
        rows=task.rows,
        labels=labels,
        gzsl=gzsl,
        czsl=czsl,
        classes=classes,
        seen=len(task.seen),
        scores=over_all.astype(np.float32),
    )
    files.write_csv(out / "per_class.csv", per_class(benchmark.class_names, task, labels, gzsl, czsl))
    files.write_csv(out / "confusion.csv", confusion(benchmark.class_names, labels, gzsl, czsl))
    files.write_csv(out / "curve.csv", curve(over_all, task))


def per_class(names, task, labels, gzsl, czsl):
    """A row a class with test images: its domain, number of images, accuracy among all and (unseen) among unseen."""
    among_all = metrics.per_class(gzsl, labels)
    of_unseen = np.isin(labels, task.unseen)
    among_unseen = metrics.per_class(czsl[of_unseen], labels[of_unseen])
    return [
        {
            "class_name": names[c],
            "domain": "unseen" if c in among_unseen else "seen",
            "images": int((labels == c).sum()),
            "gzsl": round(100 * accuracy, 2),
            "czsl": round(100 * among_unseen[c], 2) if c in among_unseen else "",
        }
        for c, accuracy in among_all.items()
    ]


def confusion(names, labels, gzsl, czsl):
    """A row for each pair that occurs: true class, predicted class, how many images, in `gzsl` and in `czsl`."""
    rows = []
    for protocol, predictions in (("gzsl", gzsl), ("czsl", czsl)):
        made = predictions >= 0
        pairs, counts = np.unique(np.stack([labels[made], predictions[made]]), axis=1, return_counts=True)
        rows += [
            {"protocol": protocol, "actual": names[a], "predicted": names[p], "images": int(n)}
            for (a, p), n in zip(pairs.T, counts, strict=True)
        ]
    return rows


def curve(over_all, task):
    """Rows of the seen-unseen curve in percent, thinned evenly in U."""
    exact = metrics.seen_unseen_curve(over_all, task.labels, task.seen_mask)
    wanted = np.linspace(0, exact.unseen[-1], POINTS)
    kept = np.unique(np.concatenate([np.searchsorted(exact.unseen, wanted), [0, len(exact.unseen) - 1]]))
    high = metrics.harmonic(exact.seen, exact.unseen)
    return [
        {"U": round(100 * exact.unseen[i], 3), "S": round(100 * exact.seen[i], 3), "H": round(100 * high[i], 3)}
        for i in kept
    ]
