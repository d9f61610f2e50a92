"""Photographs as cameras, telephones and programs write them: read for what they show, or refused with the reason."""

import io
import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from pipeline.vision.images import BadImage, decode
from tests.pictures import encoded, gradient
from tests.vision.test_images import PLAIN, difference

LYING = 6  # the orientation of a telephone held upright


def heic(image, **options):
    """The bytes of an image as HEIC."""
    data = io.BytesIO()
    pillow_heif.from_pillow(image).save(data, quality=95, **options)
    return data.getvalue()


def exif(*tags):
    """An EXIF block of (tag, type, count, four bytes of value), little-endian, as damaged as its tags."""
    entries = b"".join(struct.pack("<HHL", *tag[:3]) + tag[3] for tag in tags)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


ORIENTATION = (0x0112, 3, 1, struct.pack("<HH", LYING, 0))
ODD = {
    "a width that is text": (0x0100, 2, 4, b"abc\0"),
    "a type that does not exist": (0x010F, 99, 1, b"\0\0\0\0"),
    "a value beyond the end": (0x010F, 2, 5000, struct.pack("<L", 1 << 30)),
    "a count without end": (0x8769, 4, 0xFFFFFFFF, b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("odd", ODD)
def test_whatever_is_wrong_with_another_tag_the_photograph_stands_upright(form, odd):
    upright = decode(encoded(PLAIN, form, exif=exif(ORIENTATION)))
    assert upright.size == (30, 40)
    for tags in ((ODD[odd], ORIENTATION), (ORIENTATION, ODD[odd])):
        assert difference(decode(encoded(PLAIN, form, exif=exif(*tags))), upright) == 0


def test_what_telephones_and_browsers_write_is_read():
    picture = gradient(64, 48)
    assert difference(decode(heic(picture)), picture) < 40
    for form in ("AVIF", "JPEG2000", "TIFF", "BMP", "GIF", "WEBP", "TGA"):
        assert decode(encoded(picture, form)).size == (64, 48), form


def test_a_heic_that_lies_on_its_side_is_turned():
    tag = Image.Exif()
    tag[0x0112] = LYING
    assert decode(heic(gradient(64, 48), exif=tag.tobytes())).size == (48, 64)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_pixels_are_white_in_every_mode(mode):
    if mode == "P":
        image = PLAIN.quantize(8)
        data = encoded(image, transparency=bytes(8))
    else:
        image = PLAIN.convert("RGBA" if mode == "PA" else mode)
        image.putalpha(0)
        data = encoded(image.convert("RGBA").quantize(8) if mode == "PA" else image)
    assert np.asarray(decode(data)).min() == 255


def flips(data, count):
    """The file with one bit turned, at evenly spaced places of its second half."""
    for at in np.linspace(len(data) // 2, len(data) - 20, count).astype(int):
        yield data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def test_no_flipped_bit_of_a_png_is_taken_for_the_photograph():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    for damaged in flips(encoded(noise), 60):
        with pytest.raises(BadImage):
            decode(damaged)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "GIF"])
def test_a_file_that_is_cut_off_is_refused(form):
    data = encoded(gradient(64, 64), form)
    for part in (0, 1, 8, len(data) // 3):
        with pytest.raises(BadImage):
            decode(data[:part])


def test_a_bound_on_pixels_is_kept_before_they_are_made():
    data = encoded(Image.new("1", (3000, 3000)))
    assert decode(data).size == (3000, 3000)
    with pytest.raises(BadImage, match=r"3000 x 3000 pixels are over the 1,000,000 of features\.most_pixels"):
        decode(data, most=1_000_000)


def test_wide_numbers_without_a_meaning_are_refused():
    with pytest.raises(BadImage, match="no agreed brightness"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))
