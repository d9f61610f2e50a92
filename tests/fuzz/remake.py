"""Files that are whole by all their checksums, with other values inside: what a program of another version writes."""

import copy
import io
import json
import zipfile

import numpy as np
import torch
from safetensors.torch import load, save

from pipeline.common import training

VALUES = (None, True, 0, 1, -1, 2**40, 10**400, 0.5, 1e308, float("nan"), "", "x", "x" * 10_000, [], {}, [[[]]], [0])


def plain(generator, value):
    """A tree of plain values with one of them removed, replaced or doubled."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return generator.choice(VALUES)
    holder, key = generator.choice(places)
    what = generator.randrange(4)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[key] = generator.choice(VALUES)
    return value if generator.random() < 0.95 else generator.choice(VALUES)


def _places(value):
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def as_json(generator, data):
    return json.dumps(plain(generator, json.loads(data))).encode()


def array(generator, value):
    """An array with a value, its type or its shape changed."""
    what = generator.randrange(4)
    if what == 0 and value.size and value.dtype.kind in "fiu":
        value = value.copy()
        odd = (np.nan, np.inf, -np.inf, 0) if value.dtype.kind == "f" else (-1, 0, 10**6)
        value.flat[generator.randrange(value.size)] = generator.choice(odd)
        return value
    if what == 1 and value.ndim:
        return value[generator.choice((slice(1, None), slice(0), slice(None, None, -1)))]
    if what == 2:
        return value.reshape(generator.choice(((-1,), (1, *value.shape), (*value.shape, 1))))
    return value.astype(generator.choice(("float64", "float16", "int8", "complex64", "U3", "?")), copy=False)


def as_npy(generator, data):
    file = io.BytesIO()
    np.save(file, _tried(array, generator, np.load(io.BytesIO(data))))
    return file.getvalue()


def as_npz(generator, data):
    with np.load(io.BytesIO(data)) as held:
        arrays = dict(held)
    name = generator.choice(list(arrays))
    if generator.random() < 0.2:
        del arrays[name]
    else:
        arrays[name] = _tried(array, generator, arrays[name])
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def as_safetensors(generator, data):
    """Tensors changed, and written without our digest, as any other program does."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = {key: text for key, text in header.get("__metadata__", {}).items() if key != "sha256"}
    if metadata and generator.random() < 0.3:
        metadata[generator.choice(list(metadata))] = generator.choice(("", "x", "{", "[" * 5000, "null", '{"a": 1}'))
    return save(_tensors(generator, load(data)), metadata)


def _tensors(generator, tensors):
    name = generator.choice(list(tensors))
    if generator.random() < 0.2:
        del tensors[name]
    else:
        found = tensors[name].numpy() if tensors[name].dtype != torch.bfloat16 else tensors[name].float().numpy()
        try:
            tensors[name] = torch.from_numpy(np.ascontiguousarray(_tried(array, generator, found)))
        except TypeError:
            tensors[name] = torch.zeros(3)
    return tensors


def as_checkpoint(generator, data):
    """A training checkpoint with a valid digest whose parts are others."""
    state = torch.load(io.BytesIO(data[training.HEAD :]), weights_only=True)
    file = io.BytesIO()
    torch.save(plain(generator, state), file)
    content = file.getvalue()
    digested = training.hashlib.sha256(content).digest()
    return training.MAGIC + digested + content


def as_pth(generator, data):
    """A PyTorch file with other tensors or other values among them."""
    state = torch.load(io.BytesIO(data), weights_only=True)
    file = io.BytesIO()
    torch.save(plain(generator, state) if generator.random() < 0.5 else _tensors(generator, state), file)
    return file.getvalue()


def as_zip(generator, data):
    """A zip with the checksums of its changed members."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            for _ in range(generator.choice((0, 1, 1, 1, 1, 2))):
                new.writestr(generator.choice((name, name, name, "../x", "a\0b", "x" * 300)), old.read(name))
    return file.getvalue()


def _tried(change, generator, value):
    try:
        return change(generator, value)
    except (ValueError, TypeError, OverflowError):
        return value
