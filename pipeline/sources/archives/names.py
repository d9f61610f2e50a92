"""Names of members: whether they may be taken, in which characters they are meant, and which belong to no one."""

import struct
import zlib
from pathlib import PurePosixPath

from pipeline.common.errors import UserError

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075
# what systems and their file managers leave in folders, whoever they belong to
LEFT_BY_SYSTEMS = {
    "__macosx",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "picasa.ini",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}


def of_a_system(name):
    """Whether a file or folder is hidden, or one that systems leave everywhere: nobody's photograph, nobody's class."""
    return name.startswith(".") or name.lower() in LEFT_BY_SYSTEMS


def checked(path, name):
    """A member's name with plain slashes and no needless parts. Raises UserError where it leads out of the archive.

    Some programs for Windows write backslashes, which no name may hold there: they are read as slashes everywhere.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{path}: the name of member {name!a} is not UTF-8; rename it, or pack it with names in UTF-8"
        ) from None
    whole = PurePosixPath(name.replace("\\", "/"))
    parts = whole.parts
    if not parts and name not in (".", "./"):
        raise UserError(f"{path}: holds a member without a name; refused")
    if "\0" in name or ".." in parts or (parts and (parts[0].startswith("/") or parts[0][1:2] == ":")):
        raise UserError(f"{path}: member '{name}' points out of the archive; refused")
    return str(whole)


def of_zip(info):
    """(name, whether its characters are certain) of a zip's member.

    A name is UTF-8 where a flag or a field beside it says so. macOS writes UTF-8 and says nothing: where the bytes are
    UTF-8 they are read as that, and else, as the format asks, as code page 437, which few programs keep to.
    """
    if info.flag_bits & UTF8_FLAG or info.filename.isascii():
        return info.filename, True
    raw = info.orig_filename.encode("cp437")
    try:
        return (_beside(info.extra, raw) or raw).decode(), True
    except UnicodeDecodeError:
        return info.filename, False


def _beside(extra, raw):
    """The UTF-8 name that an extra field gives for the name `raw`, if there is one."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and len(field) > 5 and struct.unpack("<L", field[1:5])[0] == zlib.crc32(raw):
            return field[5:]
    return None
