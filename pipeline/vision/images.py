"""Decoding: the bytes of any image that Pillow reads -> upright 8-bit RGB, or the reason why not; in many processes."""

import functools
import io
import multiprocessing
import re
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np
import torch
from PIL import Image

from pipeline.common.errors import UserError
from pipeline.common.params import AtLeastOne

# formats of photographs and drawings: Pillow's others include EPS, for which it would start Ghostscript
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "AVIF", "PPM", "JPEG2000", "TGA")
READ = f"{', '.join(FORMATS)} or HEIF"
MOST_ELONGATED = 16
# telephones and all but a few cameras make less
MOST_PIXELS = 120_000_000
Pixels = Annotated[int, AtLeastOne]
# rows of so many pixels are turned into RGB at a time, which bounds what that takes besides the image itself
BAND = 1 << 22
# EXIF's and TIFF's numbers of what is asked here
ORIENTATION, KIND, BITS, COMPRESSION, PHOTOMETRIC = 0x0112, 254, 258, 259, 262
STRIPS, TILES, PARTS, DEFLATE = (273, 279), (324, 325), 330, (8, 32946)
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# of which width and height change places
TURNED = (5, 6, 7, 8)

# what Pillow thinks odd it reads all the same, or raises; its limit of pixels is `most` here
warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\b")
Image.MAX_IMAGE_PIXELS = None


class BadImage(Exception):
    """An image that cannot be decoded. The message is the reason."""


def decode(data, box=None, least=None, most=MOST_PIXELS):
    """Bytes of an image file -> PIL image in mode RGB, turned as its EXIF orientation says.

    box: (left, top, right, bottom) pixels of the upright image to cut out; the right and bottom ones are outside.
    least: (width, height) that are enough: a JPEG of at least twice that is decoded at half, a quarter or an eighth
    of its size, which skips most of the work and none of the scales that a resize to `least` would keep.
    most: pixels of an image; one that states more is refused before it fills the memory.

    Of an animation the first frame is taken, transparency is laid on white, 16-bit samples keep their high byte, and a
    checksum in the file is looked at. Raises BadImage.
    """
    try:
        with _opened(data, most) as image:
            _check(image, data)
            _mend_key(image, data)
            if least and box is None:
                image.draft(None, least)
            image.load()
            turn = UPRIGHT.get(_orientation(image))
            rgb = to_rgb(image)
        upright = rgb.transpose(turn) if turn is not None else rgb
        return upright if box is None else _cut(upright, box)
    except BadImage:
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(f"{len(data)} bytes that are no {READ} image, or the beginning of one") from None
    except MemoryError:
        raise BadImage(
            "memory does not suffice for it; features.most_pixels refuses images of so many pixels"
        ) from None
    except Exception as error:
        # Pillow's plugins raise whatever a damaged file leads them to
        raise BadImage(" ".join(f"{error}".split()) or type(error).__name__) from None


def upright_size(data, most=MOST_PIXELS):
    """(width, height) of what `decode` makes in full of an image that it can decode."""
    with _opened(data, most) as image:
        return image.size[::-1] if _orientation(image) in TURNED else image.size


def _opened(data, most):
    """The image with its header read, and no pixel yet."""
    if _is_heif(data):
        _learn_heif()
        image = Image.open(io.BytesIO(data), formats=("HEIF",))
    else:
        image = _of_avif(data) if data[4:8] == b"ftyp" else Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > most:
        raise BadImage(f"{image.width} x {image.height} pixels are over the {most:,} of features.most_pixels")
    return image


def _of_avif(data):
    """As `Image.open`, which writes the EXIF block of an AVIF anew and fails where a tag of it is odd: then without."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception:
        start = re.search(rb"II\*\0\x08\0\0\0|MM\0\*\0\0\0\x08", data)
        if start is None:
            raise
        return Image.open(io.BytesIO(data[: start.end()] + b"\0\0" + data[start.end() + 2 :]), formats=FORMATS)


def _is_heif(data):
    """Whether the bytes are HEIF, and no AVIF, which is written into the same kind of box."""
    if data[4:8] != b"ftyp":
        return False
    size = min(max(int.from_bytes(data[:4], "big"), 16), 256)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, size, 4))}
    return not brands & {b"avif", b"avis"} and bool(
        brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
    )


@functools.cache
def _learn_heif():
    """Have Pillow read HEIF, which takes a library that is slow to load; decoders run side by side already."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def _check(image, data):
    """Raise where a checksum in the file is wrong, which Pillow does not look at, or it is a camera's raw file."""
    if image.format == "PNG":
        Image.open(io.BytesIO(data), formats=("PNG",)).verify()
    elif image.format == "TIFF":
        tags = image.tag_v2
        if tags.get(KIND, 0) & 1 and PARTS in tags:
            raise BadImage("a camera's raw file, or one like it, of which a preview alone could be read")
        if tags.get(COMPRESSION) in DEFLATE:
            for starts, sizes in (STRIPS, TILES):
                for start, size in zip(_many(tags.get(starts)), _many(tags.get(sizes)), strict=False):
                    _inflate(data[start : start + size])


def _mend_key(image, data):
    """Bring a PNG's transparent shade to the scale of its samples: Pillow widens or narrows these, and not that."""
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None:
        return
    depth = data[24]
    if image.mode == "L":
        most = 2**depth - 1
        image.info["transparency"] = (key & most) * 255 // most
    elif image.mode == "RGB" and depth == 16:
        image.info["transparency"] = tuple(shade >> 8 for shade in key)


def _many(value):
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _inflate(packed):
    """Unpack bytes to nowhere: at their end stands a checksum, and zlib raises where it is wrong."""
    stream = zlib.decompressobj()
    while packed and not stream.eof:
        stream.decompress(packed, BAND)
        packed = stream.unconsumed_tail
    if not stream.eof:
        raise BadImage("packed pixels that are cut off")


def _orientation(image):
    """1 to 8, as EXIF or else XMP says; that one tag is looked for, whatever is wrong with all others."""
    if image.format == "HEIF":
        # it is part of how the pixels are stored, and applied to them already
        return 1
    if image.format != "AVIF" and (found := _exif_orientation(image.info.get("exif", b""))):
        return found
    try:
        value = image.getexif().get(ORIENTATION, 1)
        return int(value[0] if isinstance(value, (bytes, tuple)) else value)
    except Exception:
        # a damaged block says nothing of the orientation, and nothing against the pixels
        return _xmp_orientation(image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b"")


def _xmp_orientation(block):
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', block.encode() if isinstance(block, str) else block)
    return int(found[1]) if found else 1


def _exif_orientation(block):
    """1 to 8 in an EXIF block, None where it says nothing. Pillow gives up at the first tag that is cut off."""
    block = re.sub(b"^(Exif\0\0)+", b"", block)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return None
    first = struct.unpack(f"{order}L", block[4:8])[0] + 2
    count = int.from_bytes(block[first - 2 : first], "little" if order == "<" else "big")
    for at in range(first, min(first + 12 * count, len(block) - 11), 12):
        tag, kind, _, value = struct.unpack(f"{order}HHL4s", block[at : at + 12])
        if tag == ORIENTATION:
            # a whole number of some width, or, by programs that know no better, a digit
            number = int.from_bytes(value[: {3: 2, 4: 4}.get(kind, 1)], "little" if order == "<" else "big")
            number -= ord("0") if kind == 2 else 0
            if number in range(1, 9):
                return number
    return None


def to_rgb(image):
    """A PIL image of any mode -> mode RGB. Raises BadImage where its numbers have no agreed meaning as colours."""
    rows = max(1, BAND // image.width)
    if image.height <= rows or (image.mode == "RGB" and not image.has_transparency_data):
        return _to_rgb(image, image)
    whole = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        whole.paste(_to_rgb(band, image), (0, top))
    return whole


def _to_rgb(image, whole):
    """A band of the image `whole` -> mode RGB."""
    if image.mode.startswith("I;16"):
        return _of_wide(np.asarray(image), image.info.get("transparency"), whole)
    if image.mode == "I":
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 0xFFFF:
            raise BadImage("32-bit samples outside of 0..65535, which have no agreed brightness")
        return _of_wide(wide, image.info.get("transparency"), whole)
    if image.mode == "F":
        raise BadImage("floating-point samples, which have no agreed brightness")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _of_wide(samples, key, whole):
    """Grey samples of up to 16 bits -> mode RGB, the shade `key` white."""
    tags = getattr(whole, "tag_v2", {})
    bits = min(16, max(8, max(_many(tags.get(BITS, 16)))))
    grey = (samples >> (bits - 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == 0:
        # white is 0 there, which Pillow minds in 8 bits alone
        grey = 255 - grey
    if key is not None:
        grey[samples == key] = 255
    return Image.fromarray(grey).convert("RGB")


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
    left, top, width, height = bounds(*image.size)
    return image.crop((left, top, left + width, top + height)) if left or top else image


def bounds(width, height):
    """(left, top, width, height) of what `bounded` keeps of an image."""
    longest = MOST_ELONGATED * min(width, height)
    return max(width - longest, 0) // 2, max(height - longest, 0) // 2, min(width, longest), min(height, longest)


class Rows:
    """The images of a listing (its `images` and `boxes`), decoded by row. Goes through pickles and forks as `reader`.

    least, most: see `decode`; None of `least` decodes every image in full. Raises UserError where an archive cannot be
    opened.
    """

    def __init__(self, listing, reader, least=None, most=MOST_PIXELS):
        self.paths, self.boxes, self.reader, self.least, self.most = listing.images, listing.boxes, reader, least, most
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
        return decode(data, None if self.boxes is None else self.boxes[row], self.least, self.most)

    def name(self, row):
        """What messages call a row's image."""
        return self.paths[row] or f"row {row}"


def told(bad, path, most=3):
    """The first of some undecodable images, {row, image, reason}, in words; `path` has them all."""
    first = "; ".join(f"{entry['image']}: {entry['reason']}" for entry in bad[:most])
    return first + (f"; and {len(bad) - most:,} more, all of them in {path}" if len(bad) > most else "")


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
