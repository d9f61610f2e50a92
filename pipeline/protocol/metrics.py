"""What the field reports: per-class means T1, U, S, their harmonic mean H, and the area under the seen-unseen curve."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

FIGURES = ("T1", "U", "S", "H", "AUSUC")


def per_class(predictions, labels):
    """Accuracy of each class that has images: {class: share of its images predicted as it}."""
    images = np.bincount(labels)
    right = np.bincount(labels[predictions == labels], minlength=len(images))
    present = np.flatnonzero(images)
    return dict(zip(present.tolist(), (right[present] / images[present]).tolist(), strict=True))


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


@dataclass(frozen=True)
class Predictions:
    """What is said of M judged images: all that the figures follow from, and no score of every class.

    Classes are numbered 0..C-1, seen ones first; of equal scores the first class wins, as in argmax.

    labels: M; seen: C booleans
    best_seen, best_unseen: M, the class with the largest score among the seen and among the unseen ones
    margin: M float32, the score of the former less that of the latter
    czsl: M, the best class by the classifier over unseen classes alone; -1 for an image of a seen class
    top, scores: M x k, the k classes with the largest scores of all, and those float32; k may be 0
    """

    labels: np.ndarray
    seen: np.ndarray
    best_seen: np.ndarray
    best_unseen: np.ndarray
    margin: np.ndarray
    czsl: np.ndarray
    top: np.ndarray
    scores: np.ndarray

    @property
    def gzsl(self):
        """M, the best of all classes."""
        return np.where(self.margin >= 0, self.best_seen, self.best_unseen)

    @property
    def of_seen(self):
        """M booleans: whether the image is of a seen class."""
        return self.seen[self.labels]

    @cached_property
    def curve(self):
        """The exact `Curve`: an image is right for as long as its own domain wins and, within it, its class does, which
        is one threshold an image."""
        of_seen, labels = self.of_seen, self.labels
        right = np.where(of_seen, self.best_seen, self.best_unseen) == labels
        # an image counts 1 / (images of its class) / (classes of its domain)
        counts = np.bincount(labels, minlength=len(self.seen))
        present = counts > 0
        domain = np.where(of_seen, (present & self.seen).sum(), (present & ~self.seen).sum())
        weight = right / counts[labels] / domain
        constants, group = np.unique(self.margin, return_inverse=True)
        gained = np.bincount(group, weight * ~of_seen, minlength=len(constants))
        lost = np.bincount(group, weight * of_seen, minlength=len(constants))
        return Curve(
            np.concatenate([[-np.inf], constants]),
            np.concatenate([[0.0], np.cumsum(gained)]),
            (weight * of_seen).sum() - np.concatenate([[0.0], np.cumsum(lost)]),
        )


def summary(predictions, constant=None):
    """All figures of one evaluation, in percent. With a `constant`, also U, S, H after calibrated stacking with it.

    Without an image of an unseen class there is S alone.
    """
    labels, of_seen, gzsl = predictions.labels, predictions.of_seen, predictions.gzsl
    if of_seen.all():
        return {"S": 100 * mean_per_class(gzsl, labels)}
    figures = {
        "T1": mean_per_class(predictions.czsl[~of_seen], labels[~of_seen]),
        "U": mean_per_class(gzsl[~of_seen], labels[~of_seen]),
        "S": mean_per_class(gzsl[of_seen], labels[of_seen]),
    }
    figures["H"] = float(harmonic(figures["S"], figures["U"]))
    figures["AUSUC"] = predictions.curve.area
    if constant is not None:
        unseen_at, seen_at = predictions.curve.at(constant)
        figures |= {"U_cal": unseen_at, "S_cal": seen_at, "H_cal": float(harmonic(seen_at, unseen_at))}
    return {name: 100 * value for name, value in figures.items()}
