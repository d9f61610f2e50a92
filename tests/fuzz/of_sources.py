"""Archives, images, and the notes of downloads."""

import io
import json
import tarfile
import zipfile

from PIL import Image, features

from pipeline.datasets.base import Source
from pipeline.sources import archives, download
from pipeline.vision import images
from tests.fuzz import remake
from tests.fuzz.kinds import hashed, kind
from tests.pictures import encoded, gradient

MEMBERS = {f"birds/images/owl/{i}.jpg": encoded(gradient(24, 16, i), "JPEG") for i in range(3)} | {
    "birds/classes.csv": b"class,wing\nowl,30\n" * 20
}


def zipped(folder):
    with zipfile.ZipFile(folder / "a.zip", "w") as file:
        for number, (name, data) in enumerate(MEMBERS.items()):
            file.writestr(name, data, zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED)
    return ["a.zip"]


def tarred(mode, name, form):
    def make(folder):
        with tarfile.open(folder / name, mode, format=form) as file:
            for member, data in {**MEMBERS, "long/" * 40 + "name.jpg": b"x" * 700}.items():
                entry = tarfile.TarInfo(member)
                entry.size = len(data)
                file.addfile(entry, io.BytesIO(data))
        return [name]

    return make


def _placed(folder, name):
    """The contents of all members, as the download stage hands the archive on."""
    raw = folder / "raw"
    raw.mkdir()
    download.place(folder / name, raw, "images")
    archive = archives.Archive(next(raw.iterdir()))
    return sorted(hashed(archive.read(member)) for member in archive.names)


def _within(valid, found):
    return set(found) <= set(valid)


@kind("zip", zipped, sums=True, alike=_within)
def read_zip(folder):
    return _placed(folder, "a.zip")


@kind("zip-remade", zipped, remade=remake.as_zip)
def read_remade_zip(folder):
    return _placed(folder, "a.zip")


@kind("tar", tarred("w", "a.tar", tarfile.PAX_FORMAT))
def read_tar(folder):
    return _placed(folder, "a.tar")


@kind("tar-gnu", tarred("w", "a.tar", tarfile.GNU_FORMAT))
def read_gnu_tar(folder):
    return _placed(folder, "a.tar")


@kind("tgz", tarred("w:gz", "a.tgz", tarfile.PAX_FORMAT), sums=True)
def read_tgz(folder):
    return _placed(folder, "a.tgz")


def photograph(name, form, **options):
    def make(folder):
        picture = gradient(40, 28)
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "a camera"
        if form in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
            options["exif"] = exif
        (folder / name).write_bytes(encoded(picture, form, **options))
        return [name]

    return make


def _decoded(folder):
    path = next(folder.iterdir())
    image = images.decode(path.read_bytes())
    return hashed(image.size, image.tobytes())


FORMATS = {"jpeg": "JPEG", "png": "PNG", "gif": "GIF", "bmp": "BMP", "tiff": "TIFF", "ppm": "PPM", "tga": "TGA"}
FORMATS |= {
    name: form
    for name, form, module in (("webp", "WEBP", "webp"), ("jp2", "JPEG2000", "jpg_2000"), ("avif", "AVIF", "avif"))
    if form in images.FORMATS and features.check(module)
}
for ending, form in FORMATS.items():
    # a PNG's checksums cover all of it
    kind(ending, photograph(f"a.{ending}", form), sums=form == "PNG")(_decoded)


def tiff_in_strips(folder):
    (folder / "a.tiff").write_bytes(encoded(gradient(40, 28), "TIFF", compression="tiff_lzw"))
    return ["a.tiff"]


kind("tiff-lzw", tiff_in_strips)(_decoded)


def stored(folder):
    """A file that was fetched, and the beginning of another, with their notes."""
    store = folder / "store"
    store.mkdir()
    for name, size in (("a.mat", 300), ("b.mat", 900)):
        note = {"url": f"http://127.0.0.1:9/{name}", "size": size, "validator": '"1"', "sha256": "0" * 64}
        part = "" if name == "a.mat" else ".part"
        (store / f"{name}{part}").write_bytes(bytes(300))
        (store / f"{name}{part}.json").write_text(json.dumps(note))
    return ["store/a.mat.json", "store/b.mat.part.json"]


@kind("notes", stored, remade=remake.as_json)
def read_notes(folder):
    download.PAUSE = 0
    taken = download.obtain(Source(["http://127.0.0.1:9/a.mat"]), folder / "store", "cub.sources.splits")
    try:
        download.obtain(Source(["http://127.0.0.1:9/b.mat"]), folder / "store", "cub.sources.splits")
    except download.UserError as error:
        # nothing answers there
        if "connection refused" not in str(error):
            raise
    return hashed(taken.read_bytes())
