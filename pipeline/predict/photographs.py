"""From image files to guesses, batch by batch."""

import sys
from dataclasses import replace
from pathlib import Path

from pipeline.common.errors import UserError
from pipeline.datasets.base.photographs import HEAD, is_photograph
from pipeline.sources import walk
from pipeline.sources.archives.names import of_a_system
from pipeline.vision import backbone, features, images

BATCH = 64


class Photographs:
    """Image files by number, decoded when asked for, as `images.Shards` reads them."""

    def __init__(self, paths, least=None, most=images.MOST_PIXELS):
        self.paths, self.least, self.most = paths, least, most

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        """The upright RGB image. Raises BadImage."""
        try:
            data = Path(self.paths[i]).read_bytes()
        except OSError as error:
            raise images.BadImage(error.strerror or str(error)) from None
        return images.decode(data, least=self.least, most=self.most)


def listed(arguments, stream=sys.stdin):
    """Paths of all photographs that the command line names: files, folders, - for a list on standard input."""
    paths = []
    for argument in arguments:
        if argument == "-":
            paths += [line.rstrip("\n") for line in stream if line.strip()]
        elif Path(argument).is_dir():
            paths += map(str, _inside(Path(argument)))
        else:
            paths.append(argument)
    if not paths:
        raise UserError("no photographs: name image files, folders, or - for paths on standard input")
    return paths


def _inside(folder):
    """Paths of a folder's photographs, and of what cannot be read, to be told as such. Says what else is there."""
    found = walk.below(folder)
    inside, others = [path for path, _ in found.faults], []
    for path in found.files:
        if not any(map(of_a_system, path.relative_to(folder).parts)):
            (inside if is_photograph(path.name, lambda path=path: _head(path)) else others).append(path)
    if not inside:
        raise UserError(f"{folder}: the folder holds no photographs, and {len(others)} other files")
    passed = [(path, "no photograph") for path in others] + found.passed
    if passed:
        print(f"{folder}: left out: {walk.told(passed)}", file=sys.stderr, flush=True)
    return sorted(inside)


def _head(path):
    with open(path, "rb") as file:
        return file.read(HEAD)


def network(kept, device):
    """The backbone of a `Bundle`, a `features.Network`."""
    model = backbone.load(kept.weights, kept.about.network)
    return features.Network(model, backbone.view(model, kept.about.network), kept.about.extraction, device)


def stream(kept, predictor, paths, top, workers, spatial=None):
    """Yield (path, guesses, None) or (path, None, reason) for every photograph, in order, as batches are ready.

    spatial: an `evidence.Spatial` of the bundle's network, by which first guesses get their maps
    """
    extractor = spatial.network if spatial else network(kept, predictor.device)
    view, extraction = extractor.view, kept.about.extraction
    least = view.enough if extraction.decode == "reduced" else None
    shards = images.Shards(Photographs(paths, least, extraction.most_pixels), view, BATCH)
    for shard, pixels, bad in images.decoded(shards, range(len(shards)), workers, predictor.device.type != "cpu"):
        reasons, held = dict(map(tuple, bad)), None
        if spatial:
            held, extracted = spatial(pixels)
        else:
            extracted = extractor.forward(pixels).clone()
        if extracted.shape[1] != kept.about.width:
            raise UserError(
                f"{kept.weights}: gives {extracted.shape[1]} features, {kept.about.width} were learned from"
            )
        guesses = predictor(extracted, top)
        if spatial:
            firsts = [of_image[0] for of_image in guesses]
            maps = spatial.maps(held, extracted, predictor.values(firsts)).cpu()
            for of_image, of_maps in zip(guesses, maps, strict=True):
                of_image[0] = replace(of_image[0], maps=of_maps)
        for row, of_image in zip(shards.rows(shard), guesses, strict=True):
            yield paths[row], None if row in reasons else of_image, reasons.get(row)
