"""From a model, its heads and a task to predictions, block by block.

No score of every class for every image is ever held: scores are looked at on the device, and forgotten.
"""

import numpy as np
import torch

from pipeline.common.errors import UserError
from pipeline.models.base import classifier
from pipeline.models.base.rows import BLOCK
from pipeline.protocol.metrics import Predictions

SCORES = 4096 * BLOCK
"""Scores that are held at once: those of BLOCK images, and of fewer where there are more than 4096 classes."""


class Inputs:
    """The judged images as the linear classifiers read them: blocks of BLOCK rows, M x K float32 in all.

    hold: whether they are asked for more than once. They are kept on the device then if they take no more than
    `classifier.HELD` bytes, as they are before `expand` if only that fits; if nothing fits, each time they are read and
    encoded anew.
    """

    def __init__(self, task, model, hold=False):
        self.features, self.model = task.features, model
        self.encoded = self._encoded
        if hold:
            first = model.encode(self.features[:1])
            width = 4 * len(self.features)
            if width * model.expand(first).shape[1] <= classifier.HELD:
                blocks = list(self)
                self.encoded, self.model = lambda: blocks, None
            elif width * first.shape[1] <= classifier.HELD:
                blocks = list(self._encoded())
                self.encoded = lambda: blocks

    def __iter__(self):
        for block in self.encoded():
            yield self.model.expand(block).float() if self.model else block

    def _encoded(self):
        return (self.model.encode(block) for block in self.features.split(BLOCK))


@torch.no_grad()
def predictions(task, model, gzsl, czsl, inputs=None, top=0):
    """The `metrics.Predictions` of the judged images by the heads over all and over unseen classes.

    inputs: the images' `Inputs`, where the caller has them; top: how many classes to keep with their scores
    """
    seen, start = len(task.seen), 0
    of_unseen = torch.from_numpy(task.labels >= seen)
    images, top = len(task.labels), min(top, len(gzsl.bias))
    best_seen, best_unseen, czsl_best = (np.full(images, -1, np.int32) for _ in range(3))
    margin, scores = np.empty(images, np.float32), np.empty((images, top), np.float32)
    found = best_seen, best_unseen, margin, np.empty((images, top), np.int32), scores
    over_unseen = _OverUnseen(czsl)
    for block in Inputs(task, model) if inputs is None else inputs:
        over_unseen.add(block[of_unseen[start : start + len(block)].to(block.device)])
        for part in block.split(_at_once(gzsl)):
            for values, of_part in zip(found, _over_all(gzsl, part, seen, top), strict=True):
                values[start : start + len(part)] = of_part.cpu()
            start += len(part)
    if not np.isfinite(margin).all():
        row = task.rows[np.flatnonzero(~np.isfinite(margin))[0]]
        raise UserError(f"index.csv: row {row}: its scores are not finite; features and weights should be")
    czsl_best[of_unseen.numpy()] = seen + over_unseen.best()
    return Predictions(task.labels, task.seen_mask, *found[:3], czsl_best, *found[3:])


def blocks(task, model, head):
    """The head's scores of the judged images, one block after another, each to be forgotten before the next."""
    for block in Inputs(task, model):
        yield from (head(part) for part in block.split(_at_once(head)))


def _at_once(head):
    """How many images are scored at a time. Up to 4096 classes it is BLOCK: a product of other sizes may end in other
    last digits."""
    return max(1, min(BLOCK, SCORES // max(1, len(head.bias))))


def _over_all(head, inputs, seen, top):
    """Of n x K inputs, n values each: the best seen and the best unseen class, the first of equals, the score of the
    one less that of the other, and the `top` classes with their scores."""
    scores = head(inputs)
    (of_seen, best_seen), (of_unseen, best_unseen) = scores[:, :seen].max(1), scores[:, seen:].max(1)
    return best_seen, seen + best_unseen, of_seen - of_unseen, *_top(scores, top)


def _top(scores, k):
    """The k classes with the largest of n x C scores, and those: n x k each, of equal scores the first class first."""
    highest, classes = scores.topk(k)
    if not k:
        return classes, highest
    # `topk` takes any of equals: where one that it left out equals the last that it took, all are sorted
    tied = (scores >= highest[:, -1:]).sum(1) > k
    if tied.any():
        classes[tied] = scores[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    classes = classes.sort(1).values
    highest, order = scores.gather(1, classes).sort(dim=1, descending=True, stable=True)
    return classes.gather(1, order), highest


class _OverUnseen:
    """The best class for images of unseen classes, by the head over those alone.

    Inputs wait until there are BLOCK of them: so many are scored together, wherever in the data set they stand.
    """

    def __init__(self, head):
        self.head, self.waiting, self.found = head, [], []

    def add(self, inputs):
        self.waiting.append(inputs)
        if sum(map(len, self.waiting)) >= BLOCK:
            self._judge()

    def best(self):
        self._judge()
        return torch.cat(self.found).cpu().int().numpy()

    def _judge(self):
        # never more than a block waits before one is added
        ready, *rest = torch.cat(self.waiting).split(BLOCK)
        self.waiting = rest
        self.found += [self.head(part).argmax(1) for part in ready.split(_at_once(self.head))]
