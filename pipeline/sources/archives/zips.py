"""What a zip's member may be packed by, and reading it."""

import zipfile

from pipeline.common.errors import UserError

ENCRYPTED = 0x1 | 0x40
READ = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
# from Python 3.14 on
READ.add(getattr(zipfile, "ZIP_ZSTANDARD", zipfile.ZIP_STORED))
# by their numbers in the format
UNREAD = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    93: "Zstandard",
    95: "xz",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
    99: "AES",
}


def check(path, name, info):
    """Raise UserError where a member is encrypted, or packed by a method that is not read: neither is damage."""
    if info.flag_bits & ENCRYPTED:
        raise UserError(
            f"{path}: '{name}' is encrypted; unpack the archive with its password, and give the folder or a zip without"
        )
    if info.compress_type not in READ:
        method = UNREAD.get(info.compress_type, f"method {info.compress_type}")
        raise UserError(
            f"{path}: '{name}' is packed by {method}, which is not read; unpack the archive and give the folder, or "
            "pack it as .tar.gz or as a zip by Deflate"
        )


def read(archive, info, most=None):
    """The bytes of a member, or its first `most`."""
    if most is None:
        return archive.read(info)
    with archive.open(info) as file:
        return file.read(most)
