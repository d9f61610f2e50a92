"""A two-dimensional map of the space that the classifier reads: real images, and what the model synthesised."""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.common.errors import UserError
from pipeline.models.base import Problem

POINTS = 40
"""Images, and synthesised samples, shown of a class at most."""


@dataclass(frozen=True)
class Cloud:
    """One class on the map: its name, k x 2 real test images and m x 2 synthesised samples.

    Of a seen class the second are made as the classifier's training inputs are, from real trainval images.
    """

    name: str
    real: np.ndarray
    made: np.ndarray


@dataclass(frozen=True)
class Map:
    """Clouds of some unseen and some seen classes on the same two axes, the main ones of their test images, and the
    shares of those images' variance that the axes hold.

    kind: what the second points of a cloud are, `samples`, or `semantics` for a model that synthesises nothing
    """

    unseen: list[Cloud]
    seen: list[Cloud]
    shares: tuple[float, float]
    kind: str


def spaced(items, most):
    """At most `most` of the items, evenly spaced from the first to the last."""
    items = list(items)
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def principal(points):
    """N x k points -> their mean, the k x 2 main axes, and the shares of the variance along them.

    An axis points to where its largest component is positive, so that the map does not flip from run to run.
    """
    try:
        return _principal(points)
    except torch.linalg.LinAlgError as error:
        raise UserError(
            f"the map of images cannot be drawn ({' '.join(str(error).split())[:120]}): features.npy and the model of"
            " the run should hold values of a sensible size; `dvc repro` makes them anew"
        ) from None


def _principal(points):
    centre = points.mean(0)
    centred = points - centre
    if centred.shape[1] > 512:
        # of wide features, a fixed random projection followed by the exact one of its few directions
        generator = torch.Generator().manual_seed(0)
        probe = torch.randn(centred.shape[1], 32, generator=generator, dtype=centred.dtype)
        for _ in range(4):
            probe, _ = torch.linalg.qr(centred.T @ (centred @ probe))
        _, vectors = torch.linalg.eigh((centred @ probe).T @ (centred @ probe))
        axes = probe @ vectors.flip(1)[:, :2]
    else:
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        axes = vectors.flip(1)[:, :2]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    total = centred.square().sum()
    shares = tuple(float(value) for value in (centred @ axes).square().sum(0) / total)
    return centre, axes, shares


def _problem_of(problem, seen, unseen):
    """A `Problem` of some of its classes alone, by their numbers: their semantics, and images of those seen."""
    device = problem.labels.device
    number = torch.full((len(problem.seen),), -1, device=device)
    number[seen] = torch.arange(len(seen), device=device)
    rows = (number[problem.labels] >= 0).nonzero()[:, 0]
    labels = number[problem.labels[rows]]
    return Problem(problem.features[rows], labels, problem.seen[seen], problem.unseen[unseen])


@torch.no_grad()
def build(task, model, names, order, seed, most=8):
    """The `Map` of a trained model. task: what it was judged on; names: of all classes, by id.

    order: ids of the classes from best to worst; `most` of each domain are shown, evenly from best to worst. No image
    and no sample of any other class is looked at, for there may be many.
    """
    position = {int(class_id): i for i, class_id in enumerate(np.concatenate([task.seen, task.unseen]))}
    unseen, seen = (
        spaced([c for c in order if (position[c] >= len(task.seen)) == domain], most) for domain in (True, False)
    )
    problem = _problem_of(task.problem, [position[c] for c in seen], [position[c] - len(task.seen) for c in unseen])
    made = model.classifier_set(problem, seed)

    def comparable(rows):
        # a bilinear score only knows the directions
        return torch.nn.functional.normalize(rows.float(), dim=1) if made is None else rows.float()

    inputs = comparable(torch.cat([problem.seen, problem.unseen]) if made is None else made[0][:])
    labels = torch.arange(len(inputs), device=inputs.device) if made is None else made[1]
    generator = torch.Generator().manual_seed(seed)

    def some(rows):
        rows = rows.cpu()
        return rows[torch.randperm(len(rows), generator=generator)[:POINTS]].sort().values

    judged = torch.from_numpy(task.labels)
    clouds = []
    for shown, first, is_unseen in ((unseen, len(seen), True), (seen, 0, False)):
        for number, class_id in enumerate(shown, start=first):
            images = some((judged == position[class_id]).nonzero()[:, 0])
            real = comparable(model.encode(task.features[images]))
            fake = inputs[some((labels == number).nonzero()[:, 0]).to(inputs.device)]
            clouds.append((is_unseen, names[class_id], real.double().cpu(), fake.double().cpu()))
    # axes of the images alone: the noise of samples can be wide in directions that tell no class from another
    centre, axes, shares = principal(torch.cat([real for _, _, real, _ in clouds]))

    def flat(points):
        return ((points - centre) @ axes).numpy()

    placed = [(is_unseen, Cloud(name, flat(real), flat(fake))) for is_unseen, name, real, fake in clouds]
    return Map(
        [cloud for is_unseen, cloud in placed if is_unseen],
        [cloud for is_unseen, cloud in placed if not is_unseen],
        shares,
        "semantics" if made is None else "samples",
    )
