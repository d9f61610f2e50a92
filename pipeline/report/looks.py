"""What on a test photograph spoke for the class it was taken for, as maps of a run's own backbone and model."""

from pathlib import Path

import torch

from pipeline.common import params
from pipeline.common.errors import UserError
from pipeline.models.base import classifier
from pipeline.report import drawing
from pipeline.vision import backbone, evidence, features

BATCH = 16


class Looks:
    """spatial: the run's backbone; model, head: of the run, which tells all classes apart, those of `task.everyone`."""

    def __init__(self, spatial, model, head, order):
        self.spatial, self.model, self.head = spatial, model, head
        self.place = {int(class_id): i for i, class_id in enumerate(order)}

    def __call__(self, photos, taken):
        """PIL images and the class that each was taken for -> a `drawing.Placed` of each."""
        placed, view = [], self.spatial.network.view
        for start in range(0, len(photos), BATCH):
            of_batch = photos[start : start + BATCH]
            at = torch.tensor([self.place[one] for one in taken[start : start + BATCH]])
            held, found = self.spatial(torch.stack([view.pixels(photo) for photo in of_batch]))
            maps = self.spatial.maps(held, found, lambda of, at=at: score(self.model, self.head, of, at))
            for photo, cells in zip(of_batch, maps[:, 0].numpy(), strict=True):
                placed.append(drawing.place(cells, view.window(*photo.size), photo.size))
        return placed


def score(model, head, extracted, at):
    """M x d_x features and the class `at` of each, M -> M x 1: its score beyond the mean of all classes' scores."""
    scores = classifier.scores(head, model.encode(extracted), model.expand)
    return scores.gather(1, at[:, None]) - scores.mean(1, keepdim=True)


def of_run(name, model, head, order):
    """The `Looks` of a run of the data set `name`; None where its features were not extracted from photographs, or by a
    backbone that has no map.

    order: the classes that the head tells apart
    """
    weights = Path("data") / name / "backbone.safetensors"
    if not weights.is_file() or not backbone.held(weights):
        return None
    given = params.load()
    config = backbone.config(given, name)
    network = backbone.load(weights, config)
    extraction = given.section("features", features.Config)
    network = features.Network(network, backbone.view(network, config), extraction, torch.device("cpu"))
    try:
        return Looks(evidence.Spatial(network), model, head, order)
    except UserError as error:
        print(f"report: {name}: {error}", flush=True)
        return None
