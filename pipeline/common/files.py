"""Writing files so that none is ever found half-written, and reading back what the stages hand on.

What a stage wrote is trusted no more than a stranger's file by the stage that reads it: a disk, a kill or an editor
may have been at it. Whatever is wrong with it is one line that names the file and what makes it again.
"""

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import itertools
import json
import math
import os
import shutil
import tempfile
import zipfile
from itertools import chain
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError

# where lists go that are too long for a line
LISTS = Path("data/.records")
AGAIN = "`dvc repro` makes it again"
# of a disk, of a user's share of it, of a limit on files
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Raw(io.FileIO):
    """A file that remembers the error of a write, and how long it was to become by then; given up, it takes no more."""

    failed, wanted, given_up = None, 0, False

    def write(self, data):
        if self.given_up:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self.failed, self.wanted = error, self.tell() + memoryview(data).nbytes
            raise


@contextlib.contextmanager
def replacing(path, mode="wb"):
    """Open a temporary file beside `path`; it takes the name `path` only if the block ends well.

    What a killed process left of its own is written over by the next that writes `path`. Raises an OSError that names
    the file, and what it needed, where the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw, name = _temporary(path)
    file = io.BufferedWriter(raw, 1 << 16)
    if "b" not in mode:
        file = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        yield file
        file.flush()
        os.chmod(name, 0o644)
        # a network's disk tells of a failed write at a close; the file's own would end the hold on its name
        os.close(os.dup(raw.fileno()))
        os.replace(name, path)
    except BaseException as error:
        raw.given_up = True
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if raw.failed is not None and isinstance(error, OSError):
            raise _unwritten(path, raw) from None
        raise
    finally:
        file.close()


def partial(path, number=0):
    """The name of what is being written to become the file `path`; the first of those that may be at once."""
    return Path(path).with_name(f".{Path(path).name}.part{number or ''}")


def _temporary(path):
    """A file to write that becomes `path`: (opened, its name). The name is always the same, unless a living process
    holds it."""
    for number in itertools.count():
        name = str(partial(path, number))
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        except OSError:
            # a file system without locks, where nothing tells whether another process writes it
            os.close(descriptor)
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        # another may have given the file its final name since it was opened here
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(name)):
                os.ftruncate(descriptor, 0)
                return _Raw(descriptor, "wb"), name
        os.close(descriptor)


def _unwritten(path, raw):
    error = raw.failed
    if error.errno not in FULL:
        return OSError(error.errno, error.strerror, str(path))
    free = shutil.disk_usage(path.parent).free
    needed = f"it needs {raw.wanted:,} bytes or more, and {free:,} are free there"
    return OSError(error.errno, f"{error.strerror}: {needed}", str(path))


def digest(path, algorithm="sha256", progress=None):
    """Hex digest of a file, read in blocks; `progress` is called with each block's length in bytes."""
    state = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
            if progress:
                progress(len(block))
    return state.hexdigest()


def several(found, name, most=5):
    """Texts in one line that stays short: all of them, or the first few, their count, and a file of this name with
    all."""
    if len(found) <= most:
        return "; ".join(found)
    with replacing(LISTS / name, "w") as file:
        file.writelines(f"{one}\n" for one in found)
    return "; ".join(found[:most]) + f"; and {len(found) - most:,} more, all {len(found):,} in {LISTS / name}"


def damaged(path, reason, again=AGAIN):
    """The `UserError` that a file is not as it was written. again: what makes it anew."""
    return UserError(f"{path}: {reason}; {again}")


@contextlib.contextmanager
def _reading(path, kind, again):
    """Tell in one line whatever goes wrong with reading the file in the block."""
    try:
        yield
    except MemoryError:
        raise
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror or error})", again) from None
    # parsers raise whatever a damaged file leads them to
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise damaged(path, f"not readable as {kind} ({reason})", again) from None


def write_json(path, value):
    """Write `value` as indented JSON with a final newline. Raises ValueError where a number in it is not finite."""
    with replacing(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def read_json(path, again=AGAIN):
    """Read a JSON file that this pipeline wrote. Raises UserError; numbers that are not finite are no JSON."""
    with _reading(path, "JSON", again):
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_float=_finite, parse_constant=_finite)


def holds(found, kinds):
    """Whether what a JSON file holds is an object with at least these: {name: type, or several}."""
    return isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in kinds.items())


def _finite(text):
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is no finite number")
    return value


def write_csv(path, rows, columns=()):
    """Write dictionaries with the same keys as a CSV with a header; `columns` names them where there may be no row."""
    rows = iter(rows)
    first = next(rows, None)
    with replacing(path, "w") as file:
        writer = csv.DictWriter(file, fieldnames=columns if first is None else list(first), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows if first is None else chain([first], rows))


def read_csv(path, kinds=None, rest=str, again=AGAIN):
    """Read a CSV of the pipeline's own, with a header, as a list of dictionaries of strings. Raises UserError.

    kinds: columns that it has at least, and what their cells are to be read as, `str`, `int` or a finite `float`;
    rest: likewise of all other columns
    """
    kinds = kinds or {}
    with _reading(path, "a table", again), open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        columns = reader.fieldnames or []
        if missing := [name for name in kinds if name not in columns]:
            raise ValueError(f"it lacks the column {missing[0]}")
        numbers = {name: kind for name in columns if (kind := kinds.get(name, rest)) is not str}
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"line {reader.line_num} has not as many cells as the header")
            for name, kind in numbers.items():
                if not math.isfinite(kind(row[name])):
                    raise ValueError(f"line {reader.line_num}: {name} is {row[name]}, no finite number")
            rows.append(row)
    return rows


def write_npz(path, **arrays):
    """Write named arrays as one .npz."""
    with replacing(path) as file:
        np.savez(file, **arrays)


def read_npz(path, *names, again=AGAIN):
    """Read arrays of an .npz, all or the named ones, read-only; nothing is unpickled, and its checksums are checked.

    Raises UserError where the file or an array is missing or damaged.
    """
    arrays = {}
    with _reading(path, "arrays", again), zipfile.ZipFile(path) as archive:
        held = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        for name in names or held:
            if name not in held:
                raise ValueError(f"it lacks '{name}'")
            with archive.open(held[name]) as file:
                shape, dtype, start = _header(file)
                if start + math.prod(shape) * dtype.itemsize != held[name].file_size:
                    raise ValueError(f"'{name}' is not as long as it says")
                # at the end of a member its checksum is compared
                data = file.read()
            arrays[name] = np.frombuffer(data, dtype).reshape(shape) if data else np.empty(shape, dtype)
    return arrays


def _header(file):
    """Shape, dtype and the place of the first value of the .npy that an open file begins with. Raises ValueError."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"version {version} of .npy")
    shape, fortran, dtype = read[version](file)
    if fortran or dtype.hasobject or any(size < 0 for size in shape):
        raise ValueError("an order or kind of values that is not written here")
    return shape, dtype, file.tell()


def write_npy(path, array):
    """Write one array as .npy."""
    array = np.asarray(array, order="C")
    with replacing(path) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        # by the file's own write, which knows of a full disk; NumPy's goes around it
        file.write(array.reshape(-1).view(np.uint8).data)


def read_npy(path, again=AGAIN):
    """The array of an .npy, memory-mapped; nothing in it is unpickled. Raises UserError where it is not whole."""
    with _reading(path, "an array", again):
        with open(path, "rb") as file:
            shape, dtype, start = _header(file)
            if start + math.prod(shape) * dtype.itemsize != os.fstat(file.fileno()).st_size:
                raise ValueError("it is not as long as it says")
        # an empty file cannot be mapped
        return np.memmap(path, dtype, "r", start, shape) if math.prod(shape) else np.empty(shape, dtype)
