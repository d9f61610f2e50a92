"""From image files to guesses, batch by batch."""

import sys
from pathlib import Path

from pipeline.common.errors import UserError
from pipeline.vision import backbone, features, images

BATCH = 64
ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2", ".tga"}


class Photographs:
    """Image files by number, decoded when asked for, as `images.Shards` reads them."""

    def __init__(self, paths, least=None):
        self.paths, self.least = paths, least

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        """The upright RGB image. Raises BadImage."""
        try:
            data = Path(self.paths[i]).read_bytes()
        except OSError as error:
            raise images.BadImage(error.strerror or str(error)) from None
        return images.decode(data, least=self.least)


def listed(arguments, stream=sys.stdin):
    """Paths of all photographs that the command line names: files, folders, - for a list on standard input."""
    paths = []
    for argument in arguments:
        if argument == "-":
            paths += [line.rstrip("\n") for line in stream if line.strip()]
        elif Path(argument).is_dir():
            inside = sorted(p for p in Path(argument).rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
            if not inside:
                raise UserError(f"{argument}: the folder holds no photographs ({', '.join(sorted(ENDINGS))})")
            paths += map(str, inside)
        else:
            paths.append(argument)
    if not paths:
        raise UserError("no photographs: name image files, folders, or - for paths on standard input")
    return paths


def stream(kept, predictor, paths, top, workers):
    """Yield (path, guesses, None) or (path, None, reason) for every photograph, in order, as batches are ready."""
    network = backbone.load(kept.weights, kept.about.network)
    view = backbone.view(network, kept.about.network)
    network = features.Network(network, view, kept.about.extraction, predictor.device)
    least = view.enough if kept.about.extraction.decode == "reduced" else None
    shards = images.Shards(Photographs(paths, least), view, BATCH)
    for shard, pixels, bad in images.decoded(shards, range(len(shards)), workers, predictor.device.type != "cpu"):
        reasons, extracted = dict(map(tuple, bad)), network.forward(pixels).clone()
        if extracted.shape[1] != kept.about.width:
            raise UserError(
                f"{kept.weights}: gives {extracted.shape[1]} features, {kept.about.width} were learned from"
            )
        guesses = predictor(extracted, top)
        for row, of_image in zip(shards.rows(shard), guesses, strict=True):
            yield paths[row], None if row in reasons else of_image, reasons.get(row)
