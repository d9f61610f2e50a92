"""Every kind of image becomes upright 8-bit RGB, or is refused with a reason."""

import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.common.errors import UserError
from pipeline.datasets.base import Listing
from pipeline.sources import archives
from pipeline.vision import images
from pipeline.vision.images import BadImage, decode
from tests.pictures import encoded, gradient, photographs

PLAIN = gradient(40, 30)


def png(width, height, depth, colour, rows):
    """A PNG from raw rows, for the kinds that Pillow reads but does not write."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def difference(image, other):
    return np.abs(np.asarray(image, dtype=int) - np.asarray(other, dtype=int)).max()


def test_plain_images_are_as_pillow_gives_them():
    for form in ("PNG", "BMP", "TIFF", "PPM"):
        assert difference(decode(encoded(PLAIN, form)), PLAIN) == 0
    assert difference(decode(encoded(PLAIN, "JPEG", quality=95)), PLAIN) < 30


def test_grey_one_bit_and_cmyk():
    grey = PLAIN.convert("L")
    assert difference(decode(encoded(grey)), grey.convert("RGB")) == 0
    bits = PLAIN.convert("1")
    assert set(np.unique(decode(encoded(bits)))) == {0, 255}
    cmyk = decode(encoded(PLAIN.convert("CMYK"), "JPEG", quality=100, subsampling=0))
    assert cmyk.mode == "RGB"
    assert difference(cmyk, PLAIN) < 20


def test_a_palette_keeps_its_colours_and_its_transparent_entry_is_white():
    palette = PLAIN.quantize(16)
    assert difference(decode(encoded(palette)), palette.convert("RGB")) == 0
    clear = decode(encoded(palette, transparency=palette.getpixel((0, 0))))
    assert clear.getpixel((0, 0)) == (255, 255, 255)


def test_transparency_is_laid_on_white():
    for mode in ("RGBA", "LA"):
        image = PLAIN.convert(mode)
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        shown = np.asarray(decode(encoded(image)), dtype=float)
        colours, alpha = np.asarray(image.convert("RGBA"), dtype=float)[..., :3], np.asarray(image)[..., -1:] / 255
        assert np.abs(shown - (colours * alpha + 255 * (1 - alpha))).max() <= 1


def test_sixteen_bits_keep_their_high_byte():
    ramp = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    expected = np.repeat((ramp >> 8)[..., None], 3, 2)
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(ramp)))), expected)
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(ramp), "TIFF"))), expected)
    colour = png(32, 32, 16, 2, [np.repeat(row[:, None], 3, 1).astype(">u2").tobytes() for row in ramp])
    assert np.abs(np.asarray(decode(colour), dtype=int) - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    tag = Image.Exif()
    tag[0x0112] = orientation
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = PLAIN.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else PLAIN
    assert difference(decode(encoded(stored, "PNG", exif=tag)), PLAIN) == 0


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_no_harm():
    tag = Image.Exif()
    tag[0x0112] = 6
    data = encoded(PLAIN, "JPEG", exif=tag, quality=95)
    assert decode(data).size == (30, 40)
    at = data.index(b"Exif\0\0") + 6
    for damage in (b"XX*\0\xff\xff\xff\xff", b"MM\0*\xff\xff\xff\x08"):
        assert decode(data[:at] + damage + data[at + 8 :]).size == (40, 30)


def test_a_huge_image_is_decoded_and_an_absurd_one_refused():
    huge = Image.new("L", (10_000, 9_500), 77)
    assert decode(encoded(huge, "JPEG")).size == (10_000, 9_500)
    with pytest.raises(BadImage, match=r"over the 120,000,000 of features\.most_pixels"):
        decode(png(60_000, 60_000, 8, 0, [b"\0"]))


def test_one_pixel():
    assert decode(encoded(Image.new("RGB", (1, 1), (9, 8, 7)))).getpixel((0, 0)) == (9, 8, 7)


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("P", (8, 8), colour) for colour in (1, 2)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0])
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((4, 4)) == (250, 0, 0)


def test_what_cannot_be_decoded_says_why():
    jpeg = encoded(PLAIN, "JPEG")
    with pytest.raises(BadImage, match=r"(?i)truncated"):
        decode(jpeg[: len(jpeg) // 2])
    with pytest.raises(BadImage, match="0 bytes that are no JPEG"):
        decode(b"")
    with pytest.raises(BadImage, match="5 bytes that are no JPEG"):
        decode(b"hello")
    with pytest.raises(BadImage, match="floating-point"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))
    with pytest.raises(BadImage, match="no agreed brightness"):
        decode(encoded(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF"))
    # Pillow would start Ghostscript, a program that runs the file, for this one
    with pytest.raises(BadImage, match="no JPEG"):
        decode(encoded(PLAIN, "EPS"))


def test_a_box_is_cut_out_of_the_upright_image():
    data = encoded(PLAIN)
    assert difference(decode(data, (3, 4, 13, 24)), PLAIN.crop((3, 4, 13, 24))) == 0
    assert decode(data, (-5, 20, 100, 100)).size == (40, 10)
    with pytest.raises(BadImage, match="holds no pixel of its 40 x 30"):
        decode(data, (50, 0, 60, 10))


def test_a_large_jpeg_is_decoded_at_the_least_scale_that_is_enough():
    data = encoded(gradient(400, 300), "JPEG")
    assert decode(data, least=(64, 64)).size == (100, 75)
    assert decode(data, least=(80, 80)).size == (200, 150)
    assert decode(data, least=(256, 256)).size == (400, 300)
    assert decode(data, (0, 0, 40, 40), least=(8, 8)).size == (40, 40)
    small = decode(data, least=(64, 64))
    full = decode(data).resize(small.size, Image.Resampling.BOX)
    assert difference(small, full) < 12


def test_an_elongated_image_is_cut_to_its_middle_before_it_is_resized():
    line = Image.fromarray(np.tile(np.arange(5000, dtype=np.uint16)[None, :] // 20, (1, 1)).astype(np.uint8))
    middle = images.bounded(line)
    assert middle.size == (16, 1)
    assert middle.getpixel((0, 0)) == line.getpixel((2492, 0))
    assert images.bounded(PLAIN) is PLAIN


def test_rows_are_read_by_address_and_travel_to_other_processes(tmp_path):
    listing = photographs(tmp_path, 3)
    rows = images.Rows(listing, archives.Images(tmp_path))
    again = pickle.loads(pickle.dumps(rows))
    assert len(again) == 3
    assert difference(again[2], rows[2]) == 0
    missing = images.Rows(Listing(["", "images.tar/none.jpg"], None, None), archives.Images(tmp_path))
    with pytest.raises(BadImage, match="not distributed"):
        missing[0]
    with pytest.raises(BadImage, match=r"none\.jpg"):
        missing[1]
    assert missing.name(0) == "row 0"


def test_an_archive_that_cannot_be_opened_is_one_fault(tmp_path):
    photographs(tmp_path, 3)
    whole = (tmp_path / "images.tar").read_bytes()
    (tmp_path / "images.tar").write_bytes(whole[:2000])
    with pytest.raises(UserError, match=r"images\.tar: the archive is damaged or cut off"):
        images.Rows(Listing(["images.tar/jpg/000.jpg"], None, None), archives.Images(tmp_path))
    with pytest.raises(UserError, match=r"none\.tar"):
        images.Rows(Listing(["none.tar/a.jpg"], None, None), archives.Images(tmp_path))
