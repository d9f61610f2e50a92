"""What is said of images from the scores of every class for every image, which the pipeline never holds."""

import numpy as np

from pipeline.protocol.metrics import Predictions


def predictions(scores, labels, seen, over_unseen=None, top=0):
    """The `Predictions` of N x C scores, seen classes first; over_unseen: N' x U, of images of unseen classes."""
    of_seen, of_unseen = scores[:, seen], scores[:, ~seen]
    czsl = np.full(len(labels), -1)
    if over_unseen is not None:
        czsl[~seen[labels]] = seen.sum() + over_unseen.argmax(1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return Predictions(
        labels,
        seen,
        of_seen.argmax(1),
        seen.sum() + of_unseen.argmax(1),
        of_seen.max(1) - of_unseen.max(1),
        czsl,
        order,
        np.take_along_axis(scores, order, 1),
    )


def curve(scores, labels, seen):
    """(constants, U, S) of the seen-unseen curve, by taking each constant off the scores in turn."""
    own = np.where(seen, scores, -np.inf).max(1) - np.where(seen, -np.inf, scores).max(1)
    constants, points = np.unique(own), []
    for constant in constants:
        # just above: an image at the constant has gone over to the unseen classes
        to_unseen = own <= constant
        best = np.where(to_unseen, np.where(seen, -np.inf, scores).argmax(1), np.where(seen, scores, -np.inf).argmax(1))
        points.append([accuracy(best, labels, part) for part in (~seen, seen)])
    return constants, *np.array(points).T


def accuracy(best, labels, classes):
    """Mean over those of the classes (C booleans) that have images of the share of images that are right."""
    present = [c for c in np.flatnonzero(classes) if (labels == c).any()]
    return np.mean([(best[labels == c] == c).mean() for c in present])
