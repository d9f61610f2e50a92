"""Example photographs of the best and worst unseen classes, small enough to live inside the page."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.datasets import index
from pipeline.report import drawing
from pipeline.sources import archives
from pipeline.vision import images

SIDE = 144


@dataclass(frozen=True)
class Example:
    """A test image: its JPEG as a data: address, None where there is no image to show, what it was taken for, and, if
    there are maps, another JPEG of what on it spoke for that."""

    address: str | None
    taken_for: str
    looked: str | None = None


@dataclass(frozen=True)
class Judged:
    """An unseen class: accuracy in percent among all classes and among unseen ones, its images, examples of them."""

    name: str
    gzsl: float
    czsl: float
    images: int
    examples: list[Example]


def extremes(run, predictions, class_names, folder, looks=None, most=4, each=4):
    """The best and the worst unseen classes: two lists of `Judged`, at most `most` in each and no class in both.

    predictions: the arrays of predictions.npz; folder: the data set's, with index.csv and raw/; looks: a `looks.Looks`
    of the run, or None
    """
    rows = [row for row in run.per_class if row["domain"] == "unseen"]
    rows.sort(key=lambda row: (-float(row["gzsl"]), -float(row["czsl"]), row["class_name"]))
    best = rows[: min(most, (len(rows) + 1) // 2)]
    worst = rows[len(best) :][::-1][:most]
    photos = _Photos(folder)
    ids = {name: i for i, name in enumerate(class_names)}

    def judged(row, wrong):
        of_class = predictions["labels"] == ids[row["class_name"]]
        chosen = _examples(
            predictions["rows"][of_class], predictions["gzsl"][of_class], ids[row["class_name"]], each, wrong
        )
        shown = [photos.photo(row) for row, _ in chosen]
        there = [(photo, taken) for photo, (_, taken) in zip(shown, chosen, strict=True) if photo]
        maps = iter(looks(*map(list, zip(*there, strict=True))) if looks and there else [None] * len(there))
        examples = [
            Example(thumbnail(photo), class_names[taken], _looked(photo, next(maps)))
            if photo
            else Example(None, class_names[taken])
            for photo, (_, taken) in zip(shown, chosen, strict=True)
        ]
        return Judged(row["class_name"], float(row["gzsl"]), float(row["czsl"]), int(row["images"]), examples)

    return [judged(row, False) for row in best], [judged(row, True) for row in worst]


def _examples(rows, taken, own, each, wrong):
    """(row, class it was taken for) of some images: right ones first, or mistakes first, the commonest kinds first."""
    kinds, counts = np.unique(taken, return_counts=True)
    order = sorted(
        zip(kinds.tolist(), counts.tolist(), strict=True), key=lambda kind: ((kind[0] == own) == wrong, -kind[1])
    )
    queues = [[(int(row), kind) for row in rows[taken == kind]] for kind, _ in order]
    if not wrong:
        return [example for queue in queues for example in queue][:each]
    # one of each kind of mistake, then a second of each; images that are right come last
    mistakes = queues[:-1] if order[-1][0] == own else queues
    by_turns = [queue[i] for i in range(max(map(len, mistakes), default=0)) for queue in mistakes if i < len(queue)]
    return (by_turns + [example for queue in queues[len(mistakes) :] for example in queue])[:each]


class _Photos:
    def __init__(self, folder):
        self.listing = index.read(folder / "index.csv")
        self.reader = archives.Images(folder / "raw")

    def photo(self, row):
        """The image of a row; None where it is not distributed, not downloaded or undecodable."""
        image, boxes = self.listing.images[row], self.listing.boxes
        if not image or not (self.reader.raw / image.split("/")[0]).is_file():
            return None
        try:
            return images.decode(self.reader.read(image), None if boxes is None else boxes[row])
        except images.BadImage:
            return None


def _looked(photo, placed):
    """The thumbnail of a photograph with a map over it."""
    if placed is None:
        return None
    # of one size first, so that lines and frame are as thick on every photograph
    scale = 2 * SIDE / min(photo.size)
    size = tuple(max(1, round(scale * side)) for side in photo.size)
    return thumbnail(drawing.panel(photo.resize(size, Image.Resampling.BICUBIC), placed.resized(size)))


def thumbnail(image):
    """A PIL image -> a data: address of it as a JPEG, squared by cutting the longer side's ends."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    small = image.crop((left, top, left + side, top + side))
    if side > SIDE:
        small = small.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return address(small)


def address(image, quality=80):
    """A PIL image -> a data: address of it as a JPEG."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
