"""Reading images inside archives: in any order, from many processes, nothing unpacked.

Archives are taken as hostile: no member is ever written to disk under its own name, and an archive that holds an
absolute path, a `..`, a link out of it, a device, or far more than its size can hold is refused as a whole.
"""

import functools
import gzip
import os
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from pipeline.common import files
from pipeline.common.errors import UserError

# gzip and deflate reach 1:1000 on constant bytes; photographs, text and .mat files stay far below 1:200
MOST_EXPANSION = 200
SMALL = 64 << 20
BLOCK = 1 << 20
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


def _tar_checksum(head):
    try:
        stated = int(head[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return stated == sum(head) - sum(head[148:156]) + 8 * 32


class Archive:
    """An open .zip or uncompressed .tar: `names`, the regular files in it, and `read(name)`.

    Reads are safe from several threads. An archive is bound to the process that opened it (see `Images`).
    Raises UserError where the file is no archive, is cut off, or is hostile.
    """

    def __init__(self, path):
        self.path = Path(path)
        try:
            found = kind(self.path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); run the download stage again") from None
        if found not in ("zip", "tar"):
            raise UserError(f"{path}: is not a .zip or an uncompressed .tar archive")
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115 - stays open for the reads
            self._open_zip() if found == "zip" else self._open_tar()
        except DAMAGE as error:
            raise UserError(f"{path}: the archive is damaged or cut off ({error}); fetch it again") from None

    def _open_zip(self):
        self._zip = zipfile.ZipFile(self._file)
        self._members = {}
        total = 0
        for info in self._zip.infolist():
            _check_name(self.path, info.filename)
            mode = info.external_attr >> 16 if info.create_system == 3 else 0
            if info.is_dir():
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                _check_special(self.path, info.filename, stat.S_ISLNK(mode), self._link(info, mode))
                continue
            total += info.file_size
            self._members[info.filename] = info
        check_expansion(self.path, total, self.path.stat().st_size)

    def _link(self, info, mode):
        return self._zip.read(info).decode(errors="replace") if stat.S_ISLNK(mode) and info.file_size < 4096 else ""

    def _open_tar(self):
        self._zip = None
        self._members = {}
        size = self.path.stat().st_size
        with tarfile.open(fileobj=self._file, mode="r:") as tar:
            while (info := tar.next()) is not None:
                _check_name(self.path, info.name)
                # tarfile keeps every entry; they are not needed again and would fill the memory
                tar.members.clear()
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    _check_special(self.path, info.name, info.issym() or info.islnk(), info.linkname, info.islnk())
                    continue
                if info.offset_data + info.size > size:
                    raise EOFError(f"'{info.name}' ends after the file's end")
                self._members[info.name.removeprefix("./")] = (info.offset_data, info.size)
            # a header that is cut off or damaged ends tarfile's walk without a word; a whole archive ends with zeros
            if os.pread(self._file.fileno(), 512, tar.offset) != bytes(512):
                raise EOFError("it lacks its end mark")

    @property
    def names(self):
        """Names of the regular files, in the archive's order."""
        return list(self._members)

    def __contains__(self, name):
        return name in self._members

    def read(self, name):
        """The bytes of one file. Raises UserError where it is missing, damaged or longer than it says."""
        try:
            member = self._members[name]
        except KeyError:
            raise UserError(f"{self.path}: holds no file '{name}'") from None
        try:
            if self._zip:
                return self._zip.read(member)
            offset, size = member
            return _read_at(self._file.fileno(), offset, size)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise UserError(f"{self.path}: '{name}' is damaged or cut off ({error}); fetch the archive again") from None

    def ending(self, tail):
        """The one file whose path is `tail` or ends with /`tail`; None where there is none."""
        found = [name for name in self._members if name == tail or name.endswith("/" + tail)]
        if len(found) > 1:
            raise UserError(f"{self.path}: holds '{tail}' more than once: {', '.join(found[:3])}")
        return found[0] if found else None


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


def untar_gz(source, target, desc=None):
    """Write the .tar inside the gzipped `source` to `target`, streamed, and check it. Returns nothing.

    Raises UserError where it is cut off, damaged, expands absurdly, or holds no tar that `Archive` takes.
    """
    packed = Path(source).stat().st_size
    with (
        open(source, "rb") as file,
        tqdm(total=packed, unit="B", unit_scale=True, desc=desc or f"unzip {Path(source).name}", disable=None) as bar,
        files.replacing(target) as out,
    ):
        written = 0
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                while block := stream.read(BLOCK):
                    written += len(block)
                    check_expansion(source, written, packed)
                    out.write(block)
                    bar.update(file.tell() - bar.n)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{source}: the archive is damaged or cut off ({error}); fetch it again") from None
    try:
        Archive(target)
    except UserError:
        Path(target).unlink()
        raise


def pack(folder, target):
    """Write the files of a folder to an uncompressed .tar, sorted by path, the folder's name first in each.

    Dates and owners are left out, so that the same files always give the same archive.
    """
    folder = Path(folder).resolve()
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise UserError(f"{folder}: the folder holds no files")
    with files.replacing(target) as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in tqdm(paths, desc=f"pack {folder.name}", unit="file", disable=None):
            info = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}")
            _check_name(folder, info.name)
            info.size = path.stat().st_size
            with open(path, "rb") as file:
                tar.addfile(info, file)


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


def _check_name(path, name):
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{path}: the name of member {name!a} is not UTF-8; rename it, or pack it with names in UTF-8"
        ) from None
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts and name not in (".", "./"):
        raise UserError(f"{path}: holds a member without a name; refused")
    if "\0" in name or ".." in parts or (parts and (parts[0].startswith("/") or parts[0][1:2] == ":")):
        raise UserError(f"{path}: member '{name}' points out of the archive; refused")


def _check_special(path, name, is_link, target, from_root=False):
    if not is_link:
        raise UserError(f"{path}: member '{name}' is a device, pipe or other special file; refused")
    # a hard link's target counts from the archive's root, a symbolic one's from its own folder
    place = PurePosixPath(target) if from_root else PurePosixPath(name).parent / target
    depth = 0
    for part in place.parts:
        depth += {"..": -1, ".": 0}.get(part, 1)
        if depth < 0 or part == "/":
            raise UserError(f"{path}: link '{name}' points out of the archive to '{target}'; refused")


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
