"""Named tensors in a .safetensors file: the same tensors always give the same bytes, and what is read is checked."""

import hashlib
import json
import struct

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pipeline.common import files
from pipeline.common.errors import UserError, first_of

METADATA, DIGEST = "__metadata__", "sha256"
LENGTH = struct.Struct("<Q")


def write(path, tensors, metadata):
    """Write tensors and a dictionary of texts, with a digest of both, under a temporary name, then rename."""
    data = save(tensors, metadata)
    (length,) = LENGTH.unpack_from(data)
    header, values = json.loads(data[LENGTH.size : LENGTH.size + length]), memoryview(data)[LENGTH.size + length :]
    # the library leaves the order of the metadata to chance
    header[METADATA] = dict(sorted({**header.get(METADATA, {}), DIGEST: _digest(header, values)}.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # padded as the library does, for the tensors to begin at a multiple of eight
    text += b" " * (-len(text) % LENGTH.size)
    with files.replacing(path) as file:
        file.write(LENGTH.pack(len(text)) + text)
        file.write(values)


def _digest(header, values):
    """sha256 of all that a file says, but for the digest itself."""
    said = {key: value for key, value in header.get(METADATA, {}).items() if key != DIGEST}
    state = hashlib.sha256(json.dumps(header | {METADATA: said}, sort_keys=True).encode())
    state.update(values)
    return state.hexdigest()


def read(path, again=files.AGAIN):
    """(tensors, metadata) of a .safetensors file. Raises UserError where it is missing or damaged, or where a number
    in it is not finite."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            _check(path, metadata)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path}: not a readable safetensors file ({' '.join(str(error).split())[:200]}); {again}"
        ) from None
    need_finite(path, tensors, again)
    metadata.pop(DIGEST, None)
    return tensors, metadata


def _check(path, metadata):
    """Raise ValueError where a file states a digest, as those written here do, and is not what it was taken of."""
    if DIGEST not in metadata:
        return
    with open(path, "rb") as file:
        header = json.loads(file.read(*LENGTH.unpack(file.read(LENGTH.size))))
        if _digest(header, file.read()) != metadata[DIGEST]:
            raise ValueError("its sha256 is not the one it states")


def need_finite(path, tensors, again=files.AGAIN):
    """Raise UserError that names a tensor with a value that is not finite; whole numbers always are."""
    wrong = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not _finite(tensor)]
    if wrong:
        raise files.damaged(path, f"{first_of(wrong)} holds values that are not finite", again)


def _finite(tensor):
    # types of one byte have no test of their own
    return bool(torch.isfinite(tensor if tensor.element_size() > 1 else tensor.float()).all())
