"""Writing files so that none is ever found half-written, and reading what the stages hand on."""

import contextlib
import csv
import hashlib
import json
import os
import tempfile
from itertools import chain
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError


@contextlib.contextmanager
def replacing(path, mode="wb"):
    """Open a temporary file beside `path`; it takes the name `path` only if the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with os.fdopen(descriptor, mode, **text) as file:
            yield file
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def digest(path, algorithm="sha256", progress=None):
    """Hex digest of a file, read in blocks; `progress` is called with each block's length in bytes."""
    state = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
            if progress:
                progress(len(block))
    return state.hexdigest()


def write_json(path, value):
    """Write `value` as indented JSON with a final newline."""
    with replacing(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path):
    """Read a JSON file this pipeline wrote."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); run the stage that makes it again") from None


def write_csv(path, rows, columns=()):
    """Write dictionaries with the same keys as a CSV with a header; `columns` names them where there may be no row."""
    rows = iter(rows)
    first = next(rows, None)
    with replacing(path, "w") as file:
        writer = csv.DictWriter(file, fieldnames=columns if first is None else list(first), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows if first is None else chain([first], rows))


def read_csv(path):
    """Read a CSV of the pipeline's own, with a header, as a list of dictionaries of strings."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_npz(path, **arrays):
    """Write named arrays as one .npz."""
    with replacing(path) as file:
        np.savez(file, **arrays)


def read_npz(path):
    """Read all arrays of an .npz; nothing in it is unpickled."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def write_npy(path, array):
    """Write one array as .npy."""
    with replacing(path) as file:
        np.save(file, array)
