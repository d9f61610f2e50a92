"""Whether evidence maps point at what was drawn: `python -m benchmarks.evidence [--seeds 0 1 2]`, after `dvc repro`.

On the test photographs of the unseen classes of `shapes`, whose masks say where each shape and its edge were drawn:

    pointing    share of maps of an attribute that the photograph's class has whose maximum lies on a shape;
                by chance: the share of the picture that shapes cover
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
from pipeline.predict import bundle, drawing, photographs
from pipeline.predict.predictor import Guess, Predictor
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

    def placed(self, cells, photo):
        return drawing.place(cells, self.view.window(*photo.size), photo.size)


def pointing(looked):
    """{group of attributes: [whether a map's maximum lies on a shape]}."""
    about, candidates = looked.kept.about, looked.predictor.candidates
    hits = {group: [] for group in shapes.GROUPS}
    for start in range(0, len(looked.photos), BATCH):
        photos, of_batch = looked.photos[start : start + BATCH], slice(start, start + BATCH)
        held, _ = looked.spatial(looked.pixels(photos))
        at = [candidates.names.index(name) for name in looked.names[of_batch]]
        present = [(candidates.semantics[i] > looked.predictor.reading.average).nonzero()[:, 0].tolist() for i in at]
        for turn in range(max(map(len, present))):
            guesses = [Guess("", "", 0.0, [], i, which[turn : turn + 1]) for i, which in zip(at, present, strict=True)]
            maps = looked.spatial.maps(held, looked.predictor.values(guesses))[:, 1].cpu().numpy()
            for cells, photo, mask, guess in zip(maps, photos, looked.masks[of_batch], guesses, strict=True):
                if guess.which:
                    strength = looked.placed(cells, photo).strength
                    group = about.attributes[guess.which[0]].split(":")[0]
                    # a map that is nowhere positive points nowhere
                    hits[group].append(bool(strength.any() and mask.flat[strength.argmax()]))
    return hits


def deletion(looked, seed):
    """(fall of the first guess's probability where what speaks most is painted over, where another part is), means."""
    generator, falls = np.random.default_rng(seed), []
    for start in range(0, len(looked.photos), BATCH):
        photos = looked.photos[start : start + BATCH]
        held, extracted = looked.spatial(looked.pixels(photos))
        guesses = [found[0] for found in looked.predictor(extracted, 1)]
        maps = looked.spatial.maps(held, looked.predictor.values(guesses))[:, 0].cpu().numpy()
        painted = {"strongest": [], "elsewhere": []}
        for cells, photo in zip(maps, photos, strict=True):
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
        hits = pointing(looked)
        covered = 100 * np.mean([(mask > 0).mean() for mask in looked.masks])
        every = 100 * np.mean([hit for of_group in hits.values() for hit in of_group])
        down, across = looked.spatial.grid
        groups = "  ".join(f"{group} {100 * np.mean(of_group):.1f}" for group, of_group in hits.items())
        strongest, elsewhere = 100 * deletion(looked, seed)
        rows.append((every, covered, strongest, elsewhere))
        print(
            f"{looked.kept.about.model}, seed {seed}, {len(looked.photos)} photographs, maps of {down} x {across}:"
            f" pointing {every:.1f} % ({groups}), by chance {covered:.1f} %; the probability falls by"
            f" {strongest:.1f} points where most speaks, {elsewhere:.1f} elsewhere",
            flush=True,
        )
    mean, spread = np.mean(rows, 0), np.std(rows, 0, ddof=len(rows) > 1)
    names = "pointing", "by chance", "fall where most speaks", "fall elsewhere"
    print("  ".join(f"{name} {m:.1f} ± {s:.1f}" for name, m, s in zip(names, mean, spread, strict=True)))


if __name__ == "__main__":
    main()
