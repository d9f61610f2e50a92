"""Which files of an archive are photographs, and of which class: all below images/<class>/, or it is said why not."""

from collections import defaultdict
from dataclasses import dataclass, field

from pipeline.datasets.base.table import plain
from pipeline.sources.archives.names import of_a_system

# of what `pipeline.vision.images` decodes
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".hif"),
    *(".tif", ".tiff", ".bmp", ".dib", ".gif", ".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".ppm", ".pgm", ".pbm", ".pnm"),
    ".tga",
)
# cameras' own: they begin as a TIFF does, in which Pillow would find a preview of the size of a stamp
RAW = (".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".3fr")
HEAD = 32


def is_photograph(name, head):
    """Whether a file is one: by its name's ending, or, where that says nothing, by its first bytes.

    head: called for those bytes.
    """
    lower = name.lower()
    return lower.endswith(ENDINGS) or (not lower.endswith(RAW) and _begins_as_one(head()))


def _begins_as_one(head):
    box = head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"avif", b"avis", b"mif1", b"msf1")
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    signs = (
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF87a",
        b"GIF89a",
        b"II*\0",
        b"MM\0*",
        b"\0\0\0\x0cjP  \r\n\x87\n",
    )
    return box or webp or head.startswith((*signs, b"\xff\x4f\xff\x51"))


@dataclass
class Found:
    """of: class folder -> members that are its photographs; a folder that gives none is there too.

    deeper: photographs that lie in folders of a class's folder. left: why -> members that are none, or of no class.
    lost: links that lead to nothing.
    """

    of: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    deeper: list[str] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lost: list[str] = field(default_factory=list)


def by_folder(archive, classes):
    """Sort all that an `Archive` holds, as `Found`. classes: names that a class's folder may have."""
    members = {member: tuple(map(plain, member.split("/"))) for member in (*archive.names, *archive.broken)}
    roots = _roots(members.values(), classes)
    found = Found()
    for folder in archive.folders:
        below = _below(tuple(map(plain, folder.split("/"))), roots)
        if below and not _of_no_one(below, classes):
            # without photographs it is to be told, and is no class without a folder
            found.of[below[0]] += []
    for member, parts in members.items():
        _sort(found, archive, member, _below(parts, roots), classes)
    found.left["links back to a folder that holds them"] += archive.loops
    return found


def _sort(found, archive, member, below, classes):
    """Sort one file, whose path below images/ is `below`, into what was found."""
    if below is None:
        if member.lower().endswith(ENDINGS) and not any(map(of_a_system, member.split("/"))):
            found.left["outside of images/<class>/"].append(member)
    elif _of_no_one(below, classes):
        found.left["hidden or the system's own"].append(member)
    elif member in archive.broken:
        found.lost.append(member)
    elif len(below) == 1:
        found.left["in no class's folder"].append(member)
    elif not is_photograph(below[-1], lambda: archive.read(member, HEAD)):
        found.of[below[0]] += []
        found.left[below[-1].rpartition(".")[2].lower() if "." in below[-1] else "without an ending"].append(member)
    else:
        found.of[below[0]].append(member)
        found.deeper += [member] if len(below) > 2 else []


def _of_no_one(below, classes):
    return any(of_a_system(part) for part in below if part not in classes)


def _below(parts, roots):
    """The parts of a path below its root, None where it has none."""
    return next((parts[depth:] for depth in range(1, len(parts)) if parts[:depth] in roots), None)


def _roots(paths, classes):
    """The folders called images whose folders are classes', or would be, were their names in the table.

    The whole may lie in a folder called images too, and a class's folder may hold one.
    """
    known, nearest = set(), set()
    for parts in paths:
        # hidden folders hold no one's, but the whole may be hidden
        hidden = (i for i, part in enumerate(parts) if of_a_system(part) and part not in classes)
        end = next((i for i in hidden if i or not parts[0].startswith(".")), len(parts))
        places = [i for i, part in enumerate(parts[:-2][:end]) if part.lower() == "images"]
        known |= {parts[: i + 1] for i in places if parts[i + 1] in classes}
        nearest |= {parts[: i + 1] for i in places[:1]}
    return known | {root for root in nearest if not any(other[: len(root)] == root for other in known)}
