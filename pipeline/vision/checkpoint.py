"""Files of weights, whoever wrote them: of which format, whether whole, what they hold. Nothing in them is run."""

import argparse
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from pipeline.common.errors import UserError

DEEPEST = 100
SAVE = "save the model's state_dict() instead"
# what a file that is no weights begins with, and what to do
OTHERS = {
    b"\x08": f"an ONNX file, by its first byte, which holds a graph; {SAVE}",
    b"\x89HDF": f"HDF5, as Keras writes it; {SAVE}",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"{": "JSON, such as an index of shards; merge those into one file",
    b"<": "a web page; fetch the file itself",
    b"version https://git-lfs": "a pointer of Git LFS; `git lfs pull` fetches the file itself",
}
# an architecture is stated under names such as these: timm's own `arch` and `args.model`, Lightning's hyper_parameters
STATING = re.compile(r"(timm_)?(arch|architecture|model|backbone|encoder|net|network)(_name|_arch)?")


def read(path):
    """What a .safetensors or PyTorch file holds: mappings and lists, nested as it nests them, of tensors and plain
    values; of a .safetensors file its tensors, and its metadata under "__metadata__".

    Raises UserError where the file is missing, damaged, no weights, or could only be read by running code in it.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}; backbone.weights should name a .safetensors or PyTorch file")
    with open(path, "rb") as file:
        head = file.read(32)
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _read_safetensors(path)
    zipped = head.startswith(b"PK")
    if zipped:
        _check_zip(path)
    elif other := next((what for start, what in OTHERS.items() if head.startswith(start)), None):
        raise UserError(f"{path}: is no file of weights: {other}")
    elif tarfile.is_tarfile(path):
        raise UserError(f"{path}: is a tar archive; unpack it, and name the file of weights in it")
    content = _unpickled(path, zipped)
    if not zipped:
        print(f"{path}: in PyTorch's old format, which carries no checksum: damage would not be noticed", flush=True)
    return content


def _read_safetensors(path):
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors | {"__metadata__": file.metadata() or {}}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); fetch or write it again") from None


def _check_zip(path):
    """Raise UserError where a zip is not as `torch.save` wrote it: PyTorch compares no checksum of what it reads."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = {member.filename.partition("/")[2] or member.filename for member in members}
            # stored as they are, so that reading takes no more than the file's own size
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            summed = any(member.CRC for member in members)
            damaged = archive.testzip() if summed and not packed and "data.pkl" in names else None
    except Exception as error:  # zipfile raises whatever a damaged file leads it to
        raise _damaged(path, error) from None
    if "constants.pkl" in names:
        raise UserError(f"{path}: is a TorchScript archive, which is code; {SAVE}")
    if "data.pkl" not in names or packed:
        raise UserError(f"{path}: is a zip, but none that torch.save wrote; {SAVE}")
    if damaged:
        raise _damaged(path, f"the checksum of {damaged} is wrong")
    if not summed:
        print(f"{path}: was saved without checksums: damage would not be noticed", flush=True)


def _unpickled(path, zipped):
    """A PyTorch file's content; tensors, plain values, and the Namespace of timm's and others' command lines."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            # of the version of pickle, which is no more the user's than the file
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if not asked:
            raise _damaged(path, error) from None
        raise UserError(
            f"{path}: refused: it holds more than tensors, namely {asked[1]}, and reading that would run code from the "
            f"file; {SAVE}"
        ) from None
    except Exception as error:
        raise _damaged(path, error) from None


def _damaged(path, reason):
    return UserError(
        f"{path}: not a readable PyTorch file ({' '.join(str(reason).split())[:200]}); fetch or write it again"
    )


def entries(content):
    """Walk through all that a file holds, each container once: pairs of a path, of text, and what is there."""
    waiting, met = [((), content)], set()
    while waiting:
        path, value = waiting.pop()
        yield path, value
        if isinstance(value, argparse.Namespace):
            value = vars(value)
        if not isinstance(value, (Mapping, list, tuple)) or id(value) in met:
            continue
        met.add(id(value))
        if isinstance(value, Mapping):
            inner = [((*path, *str(key).split(".")), part) for key, part in value.items()]
        elif _shards(value):
            inner = [(path, part) for part in value]
        else:
            inner = [((*path, str(i)), part) for i, part in enumerate(value)]
        waiting += reversed(inner)


def _shards(parts):
    """Whether these are mappings that share no key, such as the pieces of one state_dict."""
    keys = [key for part in parts if isinstance(part, Mapping) for key in part]
    return len(parts) > 1 and all(isinstance(part, Mapping) for part in parts) and len(set(keys)) == len(keys)


def tensors(path, content):
    """{path: tensor} of all tensors that a file holds. Raises UserError where two have one name, where one would be
    larger than what is stored of it, and where they lie too deep for any network."""
    found = {}
    for where, value in entries(content):
        if len(where) > DEEPEST:
            raise UserError(f"{path}: is nested more than {DEEPEST} deep; {SAVE}")
        if not isinstance(value, torch.Tensor):
            continue
        name = ".".join(where)
        if where in found and not same(found[where], value):
            raise UserError(f"{path}: holds two tensors named {name}")
        if value.layout is torch.strided and value.nbytes > value.untyped_storage().nbytes():
            raise UserError(f"{path}: {name} is larger than what is stored of it; {SAVE}")
        found[where] = value
    return found


def same(one, other):
    """Whether two tensors hold the same numbers in the same type."""
    return one is other or (one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other))


def statements(content):
    """{where: what} of the architectures that a file says it is of, in its own words."""
    found = {}
    for path, value in entries(content):
        if isinstance(value, Mapping) and isinstance(value.get("architecture"), str):
            # timm's pretrained_cfg
            tag = value.get("tag")
            found[".".join((*path, "architecture"))] = ".".join(filter(None, (value["architecture"], tag or None)))
        elif isinstance(value, str) and path and STATING.fullmatch(path[-1].lower()):
            found.setdefault(".".join(path), value)
    return {where.removeprefix("__metadata__."): what for where, what in found.items()}
