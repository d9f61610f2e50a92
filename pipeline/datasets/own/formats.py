"""The formats that arrays are read from, none of which can run what is in it.

A new one is a function here that gives {name: `Entry`} of a path, and its ending in `READERS`. Files are taken as
hostile: one that claims more than it holds, is damaged, or could only be read by running code in it is refused in one
line.
"""

import functools
import io
import json
import math
import pickle
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.common.errors import UserError
from pipeline.sources import archives


@dataclass(frozen=True)
class Entry:
    """One array of a file: its shape, what its values are called, and `load`, which gives it as numpy or torch."""

    shape: tuple[int, ...]
    kind: str
    load: Callable

    @property
    def floating(self):
        """Whether it holds floating-point numbers."""
        return "float" in self.kind


def load(path, key, entry):
    """The values of an `Entry`, numpy or torch or a list. Raises UserError where they cannot be read."""
    try:
        return entry.load()
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a parser raises whatever a damaged file leads it to
        raise _damaged(path, error, f"'{key}' of it ") from None


def _damaged(path, error, what=""):
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return UserError(f"{path}: {what}cannot be read ({reason}); write or copy it again")


def reading(function):
    """Whatever a parser raises at a file that is damaged becomes one line."""

    @functools.wraps(function)
    def read(path):
        try:
            return function(path)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            raise _damaged(path, error) from None

    return read


def _of_numpy(dtype, shape, load):
    kind = {"O": "Python objects", "U": "strings", "S": "strings"}.get(dtype.kind, str(dtype))
    return Entry(tuple(shape), kind, load)


def _header(file):
    """(shape, Fortran order, dtype) of the .npy that begins here."""
    version = np.lib.format.read_magic(file)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if reader is None:
        raise ValueError(f".npy of version {'.'.join(map(str, version))}")
    return reader(file)


def _need_whole(path, key, shape, dtype, held):
    """Raise UserError unless an array's data are exactly as long as its header says."""
    if dtype.hasobject:
        raise UserError(
            f"{path}: '{key}' holds Python objects, and reading those would run code from the file; save it from an"
            " array of numbers, or of strings with dtype=str"
        )
    if (wanted := math.prod(shape) * dtype.itemsize) != held:
        raise UserError(
            f"{path}: '{key}' should have {wanted:,} bytes of data by its header, and has {held:,}; is it cut off, or"
            " written twice?"
        )


@reading
def _npy(path):
    """One array without a name, mapped into memory."""
    with open(path, "rb") as file:
        shape, _, dtype = _header(file)
        _need_whole(path, "array", shape, dtype, path.stat().st_size - file.tell())
    return {"array": _of_numpy(dtype, shape, lambda: np.load(path, mmap_mode="r", allow_pickle=False))}


@reading
def _npz(path):
    """Arrays by name, each checked against the checksum that stands beside it."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        archives.check_expansion(path, sum(member.file_size for member in members), path.stat().st_size)
        entries = {}
        for member in members:
            if member.filename.endswith(".npy"):
                key = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    shape, _, dtype = _header(file)
                    _need_whole(path, key, shape, dtype, member.file_size - file.tell())
                if key in entries:
                    raise UserError(f"{path}: holds '{key}' twice")
                entries[key] = _of_numpy(dtype, shape, functools.partial(_member, path, member.filename))
    return entries


def _member(path, name):
    with zipfile.ZipFile(path) as archive:
        # to its last byte, where the checksum is looked at
        return np.load(io.BytesIO(archive.read(name)), allow_pickle=False)


@reading
def _mat(path):
    """Variables of a MATLAB file, of version 7.3 by h5py and of older ones by scipy."""
    import h5py
    import scipy.io

    if h5py.is_hdf5(path):
        return _hdf5(path, across=True)
    entries = {}
    for name, shape, kind in scipy.io.whosmat(path):
        size = math.prod(shape) * {"double": 8, "single": 4}.get(kind, 1)
        archives.check_expansion(path, size, path.stat().st_size)
        kind = {"double": "float64", "single": "float32", "cell": "strings", "char": "strings"}.get(kind, kind)
        entries[name] = Entry(tuple(shape), kind, functools.partial(_variable, path, name))
    return entries


def _variable(path, name):
    import scipy.io

    value = scipy.io.loadmat(path, variable_names=[name])[name]
    if not isinstance(value, np.ndarray):
        raise UserError(f"{path}: '{name}' is a sparse matrix; it should be a full one")
    if value.dtype.kind not in "biufOU":
        raise UserError(f"{path}: '{name}' should hold real numbers or strings")
    return value


def _hdf5(path, across=False):
    """Data sets at the top of an HDF5 file. Nothing outside of the file is followed."""
    import h5py

    entries = {}
    with h5py.File(path, "r") as file:
        for name in file:
            if name.startswith("#"):  # where MATLAB keeps what its cells point to
                continue
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise UserError(f"{path}: '{name}' points to another place; it should hold its own data")
            item = file[name]
            if not isinstance(item, h5py.Dataset) or item.shape is None:
                continue
            _need_written(path, name, item)
            shape = item.shape[::-1] if across else item.shape
            strings = item.dtype.hasobject or item.attrs.get("MATLAB_class") == b"char"
            kind = "strings" if strings else str(item.dtype)
            entries[name] = Entry(tuple(shape), kind, functools.partial(_dataset, path, name, across))
    return entries


def _need_written(path, name, item):
    """Raise UserError where an HDF5 data set lies elsewhere or has parts that were never written, read as zeros."""
    if item.external or item.is_virtual:
        raise UserError(f"{path}: '{name}' keeps its data in other files; it should hold its own")
    archives.check_expansion(path, item.size * max(1, item.dtype.itemsize), path.stat().st_size)
    if item.chunks:
        wanted = math.prod(-(-length // chunk) for length, chunk in zip(item.shape, item.chunks, strict=True))
        whole = item.id.get_num_chunks() == wanted
    else:
        whole = item.id.get_storage_size() >= item.size * item.id.get_type().get_size()
    if not whole:
        raise UserError(f"{path}: parts of '{name}' were never written; write it again")


def _dataset(path, name, across):
    import h5py

    with h5py.File(path, "r") as file:
        item = file[name]
        values = item[()]
        if h5py.check_string_dtype(item.dtype):
            return np.ravel(values)
        if h5py.check_ref_dtype(item.dtype):
            # MATLAB's cell array: each cell is a data set of characters
            cells = (file[reference] for reference in np.ravel(values))
            return np.array(["".join(map(chr, np.ravel(cell[()]))) for cell in cells], dtype=object)
        return values.T if across else values


@reading
def _h5(path):
    """An HDF5 file as another program writes it, a row a row."""
    return _hdf5(path)


@reading
def _safetensors(path):
    """Tensors by name; strings as JSON lists in the metadata."""
    from safetensors import safe_open

    entries = {}
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118 - no mapping
            held = file.get_slice(key)
            kind = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}.get(held.get_dtype())
            load = functools.partial(_tensor, path, key)
            entries[key] = Entry(tuple(held.get_shape()), kind or held.get_dtype(), load)
        for key, text in (file.metadata() or {}).items():
            try:
                value = json.loads(text)
            except ValueError:
                continue
            if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
                entries.setdefault(key, Entry((len(value),), "strings", functools.partial(list, value)))
    return entries


def _tensor(path, key):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.get_tensor(key)


@reading
def _pt(path):
    """A tensor, or a dictionary of tensors and lists, as `torch.save` writes them; no code in it is run."""
    import torch

    mapped = zipfile.is_zipfile(path)
    if mapped:
        with zipfile.ZipFile(path) as archive:
            archives.check_expansion(path, sum(m.file_size for m in archive.infolist()), path.stat().st_size)
            if (bad := archive.testzip()) is not None:
                raise UserError(f"{path}: '{bad}' in it is damaged; write or copy it again")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(
            f"{path}: refused: it holds more than tensors{f', namely {asked[1]}' if asked else ''}, and reading that"
            " would run code from the file; save a dictionary of tensors and lists of strings instead"
        ) from None
    content = content if isinstance(content, dict) else {"array": content}
    entries = {}
    for key, value in content.items():
        if isinstance(value, torch.Tensor):
            _need_plain(path, key, value)
            load = functools.partial(torch.Tensor.detach, value)
            entries[str(key)] = Entry(tuple(value.shape), str(value.dtype).removeprefix("torch."), load)
        elif isinstance(value, list | tuple) and all(isinstance(item, str | int) for item in value):
            kind = "strings" if any(isinstance(item, str) for item in value) else "int64"
            entries[str(key)] = Entry((len(value),), kind, functools.partial(list, value))
    return entries


def _need_plain(path, key, tensor):
    """Raise UserError for a tensor without all its data in the file: sparse, on no device, one number shown as many."""
    import torch

    plain_one = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not plain_one or tensor.numel() * tensor.element_size() > path.stat().st_size:
        raise UserError(f"{path}: '{key}' is no plain tensor that is whole in the file; save its .contiguous()")


READERS = {
    ".npy": _npy,
    ".npz": _npz,
    ".mat": _mat,
    ".h5": _h5,
    ".hdf5": _h5,
    ".safetensors": _safetensors,
    ".pt": _pt,
    ".pth": _pt,
}
