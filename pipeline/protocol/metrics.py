"""What the field reports: per-class means T1, U, S, their harmonic mean H, and the area under the seen-unseen curve."""

from dataclasses import dataclass

import numpy as np

FIGURES = ("T1", "U", "S", "H", "AUSUC")


def per_class(predictions, labels):
    """Accuracy of each class that has images: {class: share of its images predicted as it}."""
    return {int(c): float((predictions[labels == c] == c).mean()) for c in np.unique(labels)}


def mean_per_class(predictions, labels):
    """The mean over classes of their accuracy, so that a class of few images counts as much as one of many."""
    return float(np.mean(list(per_class(predictions, labels).values())))


def harmonic(seen, unseen):
    """2 S U / (S + U), 0 where both are 0; elementwise for arrays."""
    total = np.asarray(seen + unseen, dtype=float)
    return np.divide(2 * np.multiply(seen, unseen), total, out=np.zeros_like(total), where=total > 0)


@dataclass(frozen=True)
class Curve:
    """U and S as a constant, subtracted from every seen class's score, grows from -inf to inf (Chao et al., ECCV 2016).

    constants: k values, and U and S at them (k each), for a constant just above each; the first is -inf.
    """

    constants: np.ndarray
    unseen: np.ndarray
    seen: np.ndarray

    @property
    def area(self):
        """AUSUC, the area under S as a function of U, by trapezoids."""
        return float(np.trapezoid(self.seen, self.unseen))

    def at(self, constant):
        """(U, S) with this constant."""
        # a margin equal to the constant goes to the seen class, as argmax with seen classes first does
        i = np.searchsorted(self.constants, constant, side="left") - 1
        return float(self.unseen[max(i, 0)]), float(self.seen[max(i, 0)])

    def best(self):
        """The constant with the largest H: the middle of its interval."""
        i = int(np.argmax(harmonic(self.seen, self.unseen)))
        ends = self.constants[i : i + 2]
        finite = ends[np.isfinite(ends)]
        return float(finite.mean()) if len(finite) else 0.0


def seen_unseen_curve(scores, labels, seen):
    """The exact curve of N x C scores, N labels and a boolean mask of the C classes that are seen.

    An image is right for as long as its own domain wins and, within it, its class does: one threshold an image.
    """
    by_class = np.where(seen[None, :], scores, -np.inf)
    best_seen = by_class.argmax(1)
    by_class = np.where(seen[None, :], -np.inf, scores)
    best_unseen = by_class.argmax(1)
    rows = np.arange(len(labels))
    margin = scores[rows, best_seen] - scores[rows, best_unseen]
    of_seen = seen[labels]
    right = np.where(of_seen, best_seen, best_unseen) == labels
    # an image counts 1 / (images of its class) / (classes of its domain)
    counts = np.bincount(labels, minlength=len(seen))
    present = counts > 0
    weight = right / counts[labels] / np.where(of_seen, (present & seen).sum(), (present & ~seen).sum())
    constants, group = np.unique(margin, return_inverse=True)
    gained = np.bincount(group, weight * ~of_seen, minlength=len(constants))
    lost = np.bincount(group, weight * of_seen, minlength=len(constants))
    unseen = np.concatenate([[0.0], np.cumsum(gained)])
    total_seen = (weight * of_seen).sum()
    return Curve(np.concatenate([[-np.inf], constants]), unseen, total_seen - np.concatenate([[0.0], np.cumsum(lost)]))


def summary(gzsl_scores, czsl_scores, labels, seen, constant=None):
    """All figures of one evaluation, in percent.

    gzsl_scores: N x C over all classes; czsl_scores: N' x U over unseen classes for the N' rows of unseen classes;
    labels: N in 0..C-1; seen: C booleans. With a `constant`, also U, S, H after calibrated stacking with it.
    Without an image of an unseen class there is S alone.
    """
    predictions = gzsl_scores.argmax(1)
    of_seen = seen[labels]
    if of_seen.all():
        return {"S": 100 * mean_per_class(predictions, labels)}
    unseen_ids = np.flatnonzero(~seen)
    figures = {
        "T1": mean_per_class(unseen_ids[czsl_scores.argmax(1)], labels[~of_seen]),
        "U": mean_per_class(predictions[~of_seen], labels[~of_seen]),
        "S": mean_per_class(predictions[of_seen], labels[of_seen]),
    }
    figures["H"] = float(harmonic(figures["S"], figures["U"]))
    curve = seen_unseen_curve(gzsl_scores, labels, seen)
    figures["AUSUC"] = curve.area
    if constant is not None:
        unseen_at, seen_at = curve.at(constant)
        figures |= {"U_cal": unseen_at, "S_cal": seen_at, "H_cal": float(harmonic(seen_at, unseen_at))}
    return {name: 100 * value for name, value in figures.items()}
