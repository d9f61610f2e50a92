"""Decoding: the bytes of any image that Pillow reads -> upright 8-bit RGB, or the reason why not; in many processes."""

import io
import multiprocessing
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image, ImageOps

from pipeline.common.errors import UserError

# formats of photographs and drawings: Pillow's others include EPS, for which it would start Ghostscript
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "TGA")
MOST_ELONGATED = 16


class BadImage(Exception):
    """An image that cannot be decoded. The message is the reason."""


def decode(data, box=None, least=None):
    """Bytes of an image file -> PIL image in mode RGB, turned as its EXIF orientation says.

    box: (left, top, right, bottom) pixels of the upright image to cut out; the right and bottom ones are outside.
    least: (width, height) that are enough: a JPEG of at least twice that is decoded at half, a quarter or an eighth
    of its size, which skips most of the work and none of the scales that a resize to `least` would keep.

    Of an animation the first frame is taken, transparency is laid on white, and 16-bit samples keep their high byte.
    Raises BadImage.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of sizes that are common today; what it calls a bomb, it refuses
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        with image:
            if least and box is None:
                image.draft(None, least)
            upright = _upright(image)
            return to_rgb(upright if box is None else _cut(upright, box))
    except BadImage:
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(f"{len(data)} bytes that are no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from None
    except Image.DecompressionBombError:
        raise BadImage(f"over {2 * Image.MAX_IMAGE_PIXELS:,} pixels, which is taken for a decompression bomb") from None
    except Exception as error:
        # Pillow's plugins raise whatever a damaged file leads them to
        raise BadImage(" ".join(f"{error}".split()) or type(error).__name__) from None


def _upright(image):
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # a damaged EXIF block says nothing of the orientation, and nothing against the pixels
        return image


def to_rgb(image):
    """A PIL image of any mode -> mode RGB. Raises BadImage where its numbers have no agreed meaning as colours."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 0xFFFF:
            raise BadImage("32-bit samples outside of 0..65535, which have no agreed brightness")
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise BadImage("floating-point samples, which have no agreed brightness")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _cut(image, box):
    left, top, right, bottom = (int(edge) for edge in box)
    inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise BadImage(f"its box {(left, top, right, bottom)} holds no pixel of its {image.width} x {image.height}")
    return image.crop(inside)


def bounded(image):
    """An image more than `MOST_ELONGATED` times as long as wide -> its middle part.

    Resizing the shorter side of a 1 x 5000 image to 256 would make 330 million pixels to cut 224 x 224 out of.
    """
    width, height = image.size
    longest = MOST_ELONGATED * min(width, height)
    left, top = max(width - longest, 0) // 2, max(height - longest, 0) // 2
    return image.crop((left, top, left + min(width, longest), top + min(height, longest))) if left or top else image


class Rows:
    """The images of a listing (its `images` and `boxes`), decoded by row. Goes through pickles and forks as `reader`.

    least: see `decode`; None decodes every image in full. Raises UserError where an archive cannot be opened.
    """

    def __init__(self, listing, reader, least=None):
        self.paths, self.boxes, self.reader, self.least = listing.images, listing.boxes, reader, least
        # a missing archive is one fault, not one of each of its images
        for archive in sorted({path.split("/")[0] for path in self.paths if path}):
            reader.archive(archive)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, row):
        """The upright RGB image of a row. Raises BadImage."""
        if not self.paths[row]:
            raise BadImage("is not distributed; features.source: published takes the published features")
        try:
            data = self.reader.read(self.paths[row])
        except UserError as error:
            raise BadImage(str(error)) from None
        return decode(data, None if self.boxes is None else self.boxes[row], self.least)

    def name(self, row):
        """What messages call a row's image."""
        return self.paths[row] or f"row {row}"


class Shards:
    """Decoded shards of `size` rows. Item i: (i, M x 3 x side x side uint8, [row, reason] of undecodable images)."""

    def __init__(self, rows, view, size):
        self.images, self.view, self.size = rows, view, size

    def __len__(self):
        return -(-len(self.images) // self.size)

    def rows(self, shard):
        """The rows of a shard."""
        return range(shard * self.size, min((shard + 1) * self.size, len(self.images)))

    def __getitem__(self, shard):
        return self.decoded(shard)

    def decoded(self, shard, each=map):
        """Item `shard`, its images decoded by `each`: `map`, or that of a thread pool."""
        rows = self.rows(shard)
        pixels = torch.zeros((len(rows), 3, self.view.size, self.view.size), dtype=torch.uint8)
        bad = []
        for i, found in enumerate(each(self._pixels, rows)):
            if isinstance(found, BadImage):
                bad.append([rows[i], str(found)])
            else:
                pixels[i] = found
        return shard, pixels, bad

    def _pixels(self, row):
        try:
            return self.view.pixels(self.images[row])
        except BadImage as error:
            return error


def decoded(shards, which, workers, ahead):
    """Iterate over the shards `which`, each decoded by `workers` in parallel.

    ahead: processes keep the next shards ready while a GPU works. A network on the CPU wants the opposite, threads that
    decode while it waits: a decoder that takes a core from one thread of a convolution makes all the others wait.
    """
    if ahead:
        yield from loader(shards, min(workers, len(which)), batch_size=None, sampler=which)
        return
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for shard in which:
            yield shards.decoded(shard, pool.map)


def loader(dataset, workers, **order):
    """A DataLoader of `dataset` with `workers` processes (0: none), in the order of a sampler or batch_sampler.

    The dataset must go through pickles: only where processes are forked off this one do they have it without.
    """
    # Python 3.14 forks workers off a server instead: this imports once in there what each would import for seconds
    multiprocessing.set_forkserver_preload(["timm.data"])
    return torch.utils.data.DataLoader(
        dataset,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        **order,
    )
