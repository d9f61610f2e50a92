"""Small images and archives for the tests of decoding, extraction and fine-tuning."""

import io
import tarfile

import numpy as np
from PIL import Image

from pipeline.datasets.base import Listing


def gradient(width, height, seed=0):
    """An RGB image without any symmetry: two ramps and smooth noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    ramp = np.linspace(0, 60, width)[None, :, None] + np.linspace(0, 30, height)[:, None, None]
    return Image.fromarray(np.clip(image * 0.7 + ramp, 0, 255).astype(np.uint8))


def encoded(image, form="PNG", **options):
    """The bytes of a PIL image in a file format."""
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def tar(path, members):
    """Write {name: bytes} as an uncompressed tar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def photographs(raw, count):
    """`count` JPEGs of several shapes in raw/images.tar, their `Listing` and the names in it."""
    shapes = ((90, 70), (64, 64), (50, 120), (33, 47))
    members = {
        f"jpg/{i:03d}.jpg": encoded(gradient(*shapes[i % len(shapes)], seed=i), "JPEG", quality=92)
        for i in range(count)
    }
    tar(raw / "images.tar", members)
    return Listing([f"images.tar/{name}" for name in members], np.arange(count) % 3, ["a", "b", "c"])
