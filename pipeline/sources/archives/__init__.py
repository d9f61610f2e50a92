"""Reading images inside archives: in any order, from many processes, nothing unpacked.

Archives are taken as hostile: no member is ever written to disk under its own name, and an archive that holds an
absolute path, a `..`, a link out of it, a device, or far more than its size can hold is refused as a whole.
"""

import functools
import lzma
import os
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from pipeline.common.errors import UserError
from pipeline.sources.archives import links, names, zips

# gzip and deflate reach 1:1000 on constant bytes; photographs, text and .mat files stay far below 1:200
MOST_EXPANSION = 200
SMALL = 64 << 20
# more than any name or comment that a tar's header holds
LONGEST_HEADER = 16 << 20
# systems whose zips state the kind of a file as Unix does: Unix and macOS
UNIX = (3, 19)
SPECIAL = "member '{}' is a device, pipe or other special file; refused"
UNREAD = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\xfd7zXZ\0": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"MSCF": "a cabinet file",
    b"PK\x07\x08": "the first part of a zip in several",
    **{b"BZh%d1AY&SY" % level: "packed by bzip2" for level in range(1, 10)},
}
# RecursionError: tarfile calls itself once for each header that lengthens a name
DAMAGE = zipfile.BadZipFile, tarfile.TarError, EOFError, struct.error, ValueError, NotImplementedError, RecursionError


def kind(path):
    """'zip', 'tar' or 'gzip' by the file's first bytes, None for anything else."""
    with open(path, "rb") as file:
        head = file.read(512)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    # an old tar has no magic: its checksum field says it is one
    return "tar" if head[257:262] == b"ustar" or (len(head) == 512 and _tar_checksum(head)) else None


def named_as_one(name):
    """Whether a file's name says that it is an archive of a kind that can be read."""
    return name.lower().endswith((".zip", ".tar", ".tgz", ".tar.gz"))


def unread(path):
    """What kind of archive a file is that is not read, None where it is none."""
    with open(path, "rb") as file:
        head = file.read(16)
    return next((name for sign, name in UNREAD.items() if head.startswith(sign)), None)


def _tar_checksum(head):
    try:
        stated = int(head[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return stated == sum(head) - sum(head[148:156]) + 8 * 32


class Archive:
    """An open .zip or uncompressed .tar: `names`, the files in it, and `read(name)`.

    A link inside the archive is a file, or a folder of files, like what it leads to. Beside the files there are
    folders: names of folders, where the archive states them or a link makes them
    broken: link -> why it leads to nothing; loops: links to folders that hold them, which are not followed
    twice: names that stand there more than once, of which the last counts, as when the archive is unpacked
    unsure: a name whose characters are not certain, if there is one (see `names.of_zip`)

    Reads are safe from several threads. An archive is bound to the process that opened it (see `Images`).
    Raises UserError where the file is no archive, is cut off, is hostile, encrypted or packed in a way not read.
    `called`: what messages call it, where that is not `path`.
    """

    def __init__(self, path, called=None):
        self.path, self.called = Path(path), called or path
        self.folders, self.links, self.broken, self.loops, self.twice, self.unsure = [], {}, {}, [], [], None
        self._members = {}
        try:
            found = kind(self.path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); run the download stage again") from None
        if found not in ("zip", "tar"):
            raise UserError(f"{self.called}: is not a .zip or an uncompressed .tar archive")
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115 - stays open for the reads
            self._open_zip() if found == "zip" else self._open_tar()
        except UnicodeDecodeError:
            raise UserError(
                f"{self.called}: names in it are in no known encoding; pack it again with names in UTF-8, or give the "
                "folder itself"
            ) from None
        except DAMAGE as error:
            raise UserError(f"{self.called}: the archive is damaged or cut off ({error}); fetch it again") from None
        if self.links:
            tree = links.Tree(self.called, self._members, self.folders, self.links)
            aliases, folders, self.loops, self.broken = tree.aliases()
            self._members |= {name: self._members[end] for name, end in aliases.items()}
            self.folders += folders

    def _open_zip(self):
        self._zip = zipfile.ZipFile(self._file)
        total = 0
        for info in self._zip.infolist():
            name, certain = names.of_zip(info)
            self.unsure = self.unsure if certain else self.unsure or name
            folder = name.endswith(("/", "\\"))
            name = names.checked(self.called, name)
            mode = stat.S_IFMT(info.external_attr >> 16) if info.create_system in UNIX else 0
            if folder or mode == stat.S_IFDIR:
                self.folders.append(name)
                continue
            zips.check(self.called, name, info)
            if mode == stat.S_IFLNK:
                target = self._zip.read(info).decode(errors="replace") if info.file_size < 4096 else "/"
                self._add(name, links.Link(target))
            elif mode in (0, stat.S_IFREG):
                total += info.file_size
                self._add(name, info)
            else:
                raise UserError(f"{self.called}: {SPECIAL.format(name)}")
        check_expansion(self.called, total, self.path.stat().st_size)

    def _open_tar(self):
        self._zip = None
        size, before = self.path.stat().st_size, -1
        with tarfile.open(fileobj=_Headers(self._file), mode="r:") as tar:
            while (info := tar.next()) is not None:
                name = names.checked(self.called, info.name)
                # tarfile keeps every entry; they are not needed again and would fill the memory
                tar.members.clear()
                if info.size < 0 or tar.offset <= before:
                    raise EOFError(f"'{name}' states a size of {info.size:,} bytes")
                before = tar.offset
                if info.isdir():
                    self.folders.append(name)
                elif info.issym() or info.islnk():
                    self._add(name, links.Link(info.linkname, info.islnk()))
                elif info.issparse():
                    raise UserError(
                        f"{self.called}: '{name}' is stored with holes, which is not read; pack it without --sparse"
                    )
                elif info.isreg():
                    if info.offset_data + info.size > size:
                        raise EOFError(f"'{name}' ends after the file's end")
                    self._add(name, (info.offset_data, info.size))
                else:
                    raise UserError(f"{self.called}: {SPECIAL.format(name)}")
            # a header that is cut off or damaged ends tarfile's walk without a word; a whole archive ends with zeros
            if os.pread(self._file.fileno(), 512, tar.offset) != bytes(512):
                raise EOFError("it lacks its end mark")

    def _add(self, name, place):
        """Note a file's place, or a link; the last of a name counts."""
        if name in self._members or name in self.links:
            self.twice.append(name)
            self._members.pop(name, None)
            self.links.pop(name, None)
        if isinstance(place, links.Link):
            self.links[name] = links.checked(self.called, name, place)
        else:
            self._members[name] = place

    @property
    def names(self):
        """Names of the files, in the archive's order; those that links make come last."""
        return list(self._members)

    def __contains__(self, name):
        return name in self._members

    def read(self, name, most=None):
        """The bytes of one file, or its first `most`. Raises UserError where it is missing, damaged or longer than it
        says."""
        try:
            member = self._members[name]
        except KeyError:
            if name in self.broken:
                raise UserError(f"{self.path}: the link '{name}' {self.broken[name]}") from None
            raise UserError(f"{self.path}: holds no file '{name}'") from None
        try:
            if self._zip:
                return zips.read(self._zip, member, most)
            offset, size = member
            return _read_at(self._file.fileno(), offset, size if most is None else min(size, most))
        except (*DAMAGE, zlib.error, lzma.LZMAError, OSError, RuntimeError) as error:
            raise UserError(f"{self.path}: '{name}' is damaged or cut off ({error}); fetch the archive again") from None

    def ending(self, tail):
        """The one file whose path is `tail` or ends with /`tail`; None where there is none."""
        found = [name for name in self._members if name == tail or name.endswith("/" + tail)]
        if len(found) > 1:
            raise UserError(f"{self.path}: holds '{tail}' more than once: {', '.join(found[:3])}")
        return found[0] if found else None


class _Headers:
    """A file as tarfile reads it, which asks for no more than headers: a stated length is no reason to read it all."""

    def __init__(self, file):
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size):
        if not 0 <= size <= LONGEST_HEADER:
            raise EOFError(f"a header states a length of {size:,} bytes")
        return self.file.read(size)


def _read_at(descriptor, offset, size):
    parts = []
    while size:
        block = os.pread(descriptor, min(size, 1 << 30), offset)
        if not block:
            raise EOFError("the file ends early")
        parts.append(block)
        offset += len(block)
        size -= len(block)
    return b"".join(parts)


class Images:
    """The images of a data set by their address "<archive in raw>/<member>".

    An archive is opened at its first use in a process, so the object can be pickled or pass through a fork at no cost.
    """

    def __init__(self, raw):
        self.raw = Path(raw)
        self._forget()

    def _forget(self):
        self._owner = os.getpid()
        self._open = {}
        self._lock = threading.Lock()

    def __getstate__(self):
        return {"raw": self.raw}

    def __setstate__(self, state):
        self.__init__(state["raw"])

    def read(self, image):
        """The bytes of an image. Raises UserError where it cannot be read."""
        archive, _, member = image.partition("/")
        return self.archive(archive).read(member)

    def archive(self, name):
        """The opened `Archive` of that name in raw."""
        if self._owner != os.getpid():
            # file positions are shared with the parent: a forked process needs its own
            self._forget()
        with self._lock:
            if name not in self._open:
                self._open[name] = Archive(self.raw / name)
            return self._open[name]


def find(raw, role):
    """The file of a role in raw ("splits" -> splits.zip or splits.mat), or None. Raises UserError if there are two."""
    found = sorted(path for path in Path(raw).glob(f"{role}.*") if path.is_file())
    if len(found) > 1:
        raise UserError(f"{raw}: holds both {found[0].name} and {found[1].name}; run the download stage again")
    return found[0] if found else None


def locate(raw, role, tail):
    """(path, member) of the file `tail` of a role: a member of its archive by the end of its path, or the bare file.

    The member of a bare file is None. (None, None) where the archive holds no such file or the role is not in raw.
    """
    path = find(raw, role)
    if path is None:
        return None, None
    if kind(path) not in ("zip", "tar"):
        # a bare file is the one that its role is named for
        return (path if Path(tail).suffix == path.suffix else None), None
    name = opened(path).ending(tail)
    return (path, name) if name else (None, None)


def extract(raw, role, tail):
    """The bytes of the file that `locate` finds, or None."""
    path, member = locate(raw, role, tail)
    if path is None:
        return None
    return path.read_bytes() if member is None else opened(path).read(member)


def need(raw, role, tail):
    """As `extract`; raises UserError where the file is missing."""
    data = extract(raw, role, tail)
    if data is None:
        raise UserError(f"{raw}: {find(raw, role) or role} holds no {tail}; see the data set's sources.{role}")
    return data


def opened(path):
    """The `Archive` at a path; of those that this process opened, the last few are kept, for their listing is slow."""
    state = os.stat(path)
    return _opened(str(path), os.getpid(), state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _opened(path, process, size, changed):
    return Archive(path)


def check_expansion(path, total, packed):
    """Raise UserError where `packed` bytes claim to hold absurdly many."""
    if total > max(SMALL, MOST_EXPANSION * packed):
        raise UserError(
            f"{path}: its {packed:,} bytes claim to hold {total:,}, over {MOST_EXPANSION} times as many; "
            "refused as a decompression bomb"
        )


def addresses(raw, role, names):
    """Addresses in a role's archive of files named by the end of their paths; all "" where the archive has none.

    names: paths such as "jpg/image_00001.jpg", each below the same, unknown folder of the archive. Raises UserError
    where only some are there.
    """
    path = find(raw, role)
    if path is None or kind(path) not in ("zip", "tar"):
        return [""] * len(names)
    archive = opened(path)
    # the folder that holds the images is wherever one of them is
    wanted = {PurePosixPath(name).name: name for name in names}
    found = ((member, wanted.get(PurePosixPath(member).name)) for member in archive.names)
    folder = next((member.removesuffix(name) for member, name in found if name and _ends(member, name)), None)
    if folder is None:
        return [""] * len(names)
    if missing := [name for name in names if folder + name not in archive]:
        raise UserError(
            f"{path}: lacks {len(missing):,} of {len(names):,} images, '{folder}{missing[0]}' first; "
            "fetch the archive again"
        )
    return [f"{path.name}/{folder}{name}" for name in names]


def _ends(member, name):
    return member == name or member.endswith("/" + name)
