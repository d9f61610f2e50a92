"""A two-dimensional map of the space that the classifier reads: real images, and what the model synthesised."""

from dataclasses import dataclass

import numpy as np
import torch

POINTS = 40
"""Images, and synthesised samples, shown of a class at most."""


@dataclass(frozen=True)
class Cloud:
    """One class on the map: its name, k x 2 real test images and m x 2 synthesised samples.

    Of a seen class the second are the classifier's training inputs, which come from real trainval images.
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


@torch.no_grad()
def build(task, model, names, order, seed, most=8):
    """The `Map` of a trained model. task: what it was judged on; names: of all classes, by id.

    order: ids of the classes from best to worst; `most` of each domain are shown, evenly from best to worst.
    """
    encoded = model.encode(task.features).float()
    made = model.classifier_set(task.problem, seed)
    if made is None:
        inputs = torch.cat([task.problem.seen, task.problem.unseen])
        labels = torch.arange(len(inputs), device=inputs.device)
        # a bilinear score only knows the directions
        encoded, inputs = (torch.nn.functional.normalize(rows.float(), dim=1) for rows in (encoded, inputs))
    else:
        inputs, labels = made
    classes = np.concatenate([task.seen, task.unseen])
    position = {int(class_id): i for i, class_id in enumerate(classes)}
    generator = torch.Generator().manual_seed(seed)

    def some(rows):
        rows = rows.cpu()
        return rows[torch.randperm(len(rows), generator=generator)[:POINTS]].sort().values

    judged = torch.from_numpy(task.labels)
    clouds = []
    for domain in (task.unseen, task.seen):
        own = {int(class_id) for class_id in domain}
        for class_id in spaced([c for c in order if c in own], most):
            at = position[class_id]
            real = encoded[some((judged == at).nonzero()[:, 0]).to(encoded.device)]
            fake = inputs[some((labels == at).nonzero()[:, 0]).to(inputs.device)]
            clouds.append(
                (class_id in set(task.unseen.tolist()), names[class_id], real.double().cpu(), fake.double().cpu())
            )
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
