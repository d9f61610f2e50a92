"""Whether evidence maps point at what was drawn: `python -m benchmarks.evidence [--seeds 0 1 2]`, after `dvc repro`.

On the test photographs of the unseen classes of `shapes`, whose masks say where each shape and its edge were drawn:

    pointing    share of the maps shown, of attributes that speak for the first guess and that the photograph's class
                has, whose maximum, the middle of their strongest cell, lies on a shape; cell: that cell holds a part
                of one. By chance: the share of the picture that shapes cover, and of the cells
    deletion    by how much the first guess's probability falls when the fifth of the picture that speaks most for it is
                painted over in the picture's mean colour, and when a fifth of the same form elsewhere is
"""

import argparse
import io
import tarfile

import numpy as np
import torch
from PIL import Image

from pipeline.common import machine, params
from pipeline.common.errors import one_line
from pipeline.datasets import index, shapes
from pipeline.predict import bundle, photographs
from pipeline.predict.predictor import Predictor
from pipeline.report import drawing
from pipeline.sources import archives
from pipeline.vision import evidence, images

FOLDER = "data/shapes"
FIFTH = 0.2
BATCH = 64


def masks(members):
    """The mask of each image, as an array."""
    with tarfile.open(f"{FOLDER}/raw/{shapes.MASKS}") as archive:
        for member in members:
            yield np.asarray(Image.open(io.BytesIO(archive.extractfile(shapes.mask_of(member)).read())))


class Looked:
    """A run's model and the test photographs of unseen classes: `photos`, `masks` and `names` of their classes."""

    def __init__(self, seed, device):
        self.kept = bundle.of_run("shapes", seed)
        self.predictor = Predictor(self.kept, device)
        self.spatial = evidence.Spatial(photographs.network(self.kept, device))
        self.view = self.spatial.network.view
        built = index.read(f"{FOLDER}/index.csv")
        rows = np.flatnonzero(np.asarray(built.split) == "test_unseen")
        reader = images.Rows(built, archives.Images(f"{FOLDER}/raw"))
        self.photos = [reader[row] for row in rows]
        self.masks = list(masks([built.images[row].split("/", 1)[1] for row in rows]))
        self.names = [built.class_names[row] for row in rows]

    def pixels(self, photos):
        return torch.stack([self.view.pixels(photo) for photo in photos])

    def explained(self, photos):
        """First guesses and their M x 4 x h x w maps."""
        held, extracted = self.spatial(self.pixels(photos))
        guesses = [found[0] for found in self.predictor(extracted, 1)]
        return guesses, self.spatial.maps(held, extracted, self.predictor.values(guesses)).cpu().numpy()

    def placed(self, cells, photo):
        return drawing.place(cells, self.view.window(*photo.size), photo.size)


def pointing(looked):
    """{measure: percent} of the maps that `--explain` shows: of attributes that speak for the first guess, where the
    photograph's own class has them too."""
    names, semantics = looked.predictor.candidates.names, looked.predictor.candidates.semantics
    down, across = looked.spatial.grid
    hits = {name: [] for name in ("strongest attribute", "all three", "cell of all three")}
    for start in range(0, len(looked.photos), BATCH):
        photos, of_batch = looked.photos[start : start + BATCH], slice(start, start + BATCH)
        guesses, maps = looked.explained(photos)
        for guess, of_image, mask, name, photo in zip(
            guesses, maps[:, 1:], looked.masks[of_batch], looked.names[of_batch], photos, strict=True
        ):
            own = semantics[names.index(name)] > looked.predictor.reading.average
            for turn, (which, cells) in enumerate(zip(guess.which, of_image, strict=False)):
                if not own[which]:
                    continue
                peak = looked.placed(cells, photo).peak
                on_shape = bool(peak and mask[peak[1], peak[0]])
                hits["all three"].append(on_shape)
                if turn == 0:
                    hits["strongest attribute"].append(on_shape)
                touched = covered(mask, down, across)
                hits["cell of all three"].append(bool(touched.flat[cells.argmax()]))
    return {name: 100 * np.mean(found) for name, found in hits.items()}


def covered(mask, down, across):
    """Which cells of a map a shape reaches into."""
    rows, columns = (np.arange(side) * cells // side for side, cells in zip(mask.shape, (down, across), strict=True))
    touched = np.zeros((down, across), bool)
    y, x = np.nonzero(mask)
    touched[rows[y], columns[x]] = True
    return touched


def deletion(looked, seed):
    """(fall of the first guess's probability where what speaks most is painted over, where another part is), means."""
    generator, falls = np.random.default_rng(seed), []
    for start in range(0, len(looked.photos), BATCH):
        photos = looked.photos[start : start + BATCH]
        guesses, maps = looked.explained(photos)
        painted = {"strongest": [], "elsewhere": []}
        for cells, photo in zip(maps[:, 0], photos, strict=True):
            strength = looked.placed(cells, photo).strength
            order = strength.ravel().argsort()[::-1][: round(FIFTH * strength.size)]
            chosen = np.zeros(strength.size, bool)
            chosen[order] = True
            chosen = chosen.reshape(strength.shape)
            moved = np.roll(chosen, tuple(generator.integers(1, chosen.shape)), (0, 1))
            for name, where in (("strongest", chosen), ("elsewhere", moved)):
                pixels = np.array(photo)
                pixels[where] = pixels.reshape(-1, 3).mean(0)
                painted[name].append(Image.fromarray(pixels))
        before = [guess.probability for guess in guesses]
        left = [_probabilities(looked, painted[name], guesses) for name in painted]
        falls.append(np.array([before, before]) - left)
    return np.concatenate(falls, 1).mean(1)


def _probabilities(looked, photos, guesses):
    """Those of the classes guessed before, of other photographs."""
    _, extracted = looked.spatial(looked.pixels(photos))
    every = looked.predictor(extracted, len(looked.predictor.candidates.names))
    return [
        next(other.probability for other in of_image if other.at == guess.at)
        for of_image, guess in zip(every, guesses, strict=True)
    ]


@one_line
def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=params.load().section("seeds", list[int]))
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device, rows = machine.device(args.device), []
    for seed in args.seeds:
        looked = Looked(seed, device)
        down, across = looked.spatial.grid
        row = {f"pointing, {name}": percent for name, percent in pointing(looked).items()}
        row["by chance"] = 100 * np.mean([(mask > 0).mean() for mask in looked.masks])
        row["by chance, cell"] = 100 * np.mean([covered(mask, down, across).mean() for mask in looked.masks])
        row["fall where most speaks"], row["fall elsewhere"] = 100 * deletion(looked, seed)
        rows.append(row)
        print(f"{looked.kept.about.model}, seed {seed}, {len(looked.photos)} photographs, maps of {down} x {across}")
    for name in rows[0]:
        found = [row[name] for row in rows]
        spread = np.std(found, ddof=len(found) > 1)
        print(f"{name:30} {np.mean(found):5.1f} ± {spread:4.1f}   {'  '.join(f'{value:.1f}' for value in found)}")


if __name__ == "__main__":
    main()
