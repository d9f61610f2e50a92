"""What a file of a user's own says: a row of numbers each, and the names, labels and columns that stand beside them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.base.table import plain
from pipeline.datasets.own.formats import READERS, load

LABELS = ("labels", "label", "targets", "target", "y")
COLUMNS = ("attribute_names", "columns")


@dataclass(frozen=True)
class Keys:
    """Names under which a file may hold its `rows` (M x d numbers), the `names` of the rows, and other `classes`."""

    rows: tuple[str, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...] = ()


FEATURES = Keys(
    ("features", "feature", "feats", "embeddings", "x"),
    ("names", "image_files", "images", "image", "paths", "filenames", "files"),
    ("class_names", "classes", "allclasses_names"),
)
SEMANTICS = Keys(
    ("semantics", "attributes", "att", "vectors", "embeddings", "features"),
    ("class_names", "classes", "names", "allclasses_names"),
)


@dataclass(frozen=True)
class Rows:
    """What a file says.

    where: its path, for messages; values: M x d (see `floats`), columns first if `turned`; names: of the M rows;
    labels: M strings or whole numbers; classes: names that those numbers may count; columns: d names. None where the
    file has none.
    """

    where: str
    values: object
    turned: bool
    names: list[str] | None
    labels: np.ndarray | None
    classes: list[str] | None
    columns: list[str] | None

    def oriented(self, expected):
        """These with M in front, M being the number of names or labels, or else `expected`. Raises UserError."""
        count = next((len(part) for part in (self.names, self.labels) if part is not None), expected)
        for part, word in ((self.names, "names"), (self.labels, "labels")):
            if part is not None and len(part) != count:
                raise UserError(f"{self.where}: has {len(part):,} {word} for {count:,} rows")
        shape = tuple(self.values.shape)
        if len(shape) != 2 or not all(shape) or count not in shape:
            raise UserError(
                f"{self.where}: its array is {' x '.join(map(str, shape)) or 'a single number'}; it should be"
                f" {'a row' if count == 1 else f'{count:,} rows'} of some width"
            )
        # MATLAB's files keep a row in a column; elsewhere that is so only where nothing else fits
        across = shape[1] == count and (self.turned or shape[0] != count)
        values = self.values.T if across else self.values
        if self.columns is not None and len(self.columns) != values.shape[1]:
            raise UserError(f"{self.where}: names {len(self.columns)} columns of {values.shape[1]}")
        return Rows(self.where, values, False, self.names, self.labels, self.classes, self.columns)


def read(path, keys):
    """The `Rows` of a file. Raises UserError where it cannot be read or what it holds is not clear."""
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: '{path.suffix}' is none of the formats that can be read: {', '.join(READERS)}")
    try:
        if not path.stat().st_size:
            raise UserError(f"{path}: is empty; write it again")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    entries = reader(path)
    found = _chosen(path, entries, keys)
    turned = path.suffix.lower() == ".mat"

    def strings(names):
        key = _key(entries, names)
        return None if key is None else _texts(path, key, load(path, key, entries[key]))

    if isinstance(found, list):  # a vector a name
        values = np.stack([_numpy(load(path, key, entries[key])) for key in found])
        return Rows(str(path), values, False, [plain(key) for key in found], None, None, None)
    names = strings([key for key in keys.names if key != found])
    labels = _key(entries, LABELS)
    labels = None if labels is None else _labels(path, labels, load(path, labels, entries[labels]))
    values = load(path, found, entries[found])
    return Rows(str(path), values, turned, names, labels, strings(keys.classes), strings(COLUMNS))


def _key(entries, wanted):
    """The first of the wanted names that the file has, whatever its case."""
    lower = {key.lower(): key for key in reversed(entries)}
    return next((lower[name] for name in wanted if name in lower), None)


def _chosen(path, entries, keys):
    """The key of the rows; or all keys, where the file is a vector a name."""
    if not entries:
        raise UserError(f"{path}: holds no array; it should hold '{keys.rows[0]}'")
    named = _key(entries, keys.rows)
    tables = [key for key, entry in entries.items() if entry.floating and len(entry.shape) == 2]
    if named is None and len(tables) == 1:
        named = tables[0]
    vectors = {entry.shape for entry in entries.values() if entry.floating and len(entry.shape) == 1}
    if named is None and len(vectors) == 1 and len(entries) > 1 and all(e.floating for e in entries.values()):
        return list(entries)
    if named is None:
        held = ", ".join(f"{key} {'x'.join(map(str, entry.shape))}" for key, entry in list(entries.items())[:8])
        raise UserError(f"{path}: holds {held}; which is meant? Name it '{keys.rows[0]}'")
    if not entries[named].floating:
        raise UserError(
            f"{path}: '{named}' holds {entries[named].kind}; it should hold floating-point numbers, such as float32"
        )
    return named


def floats(values, rows, dtype=np.float32):
    """The given rows (a slice or ids) of M x d numpy or torch values, as numpy of `dtype`."""
    # a number too large for it becomes infinite, and is refused as that
    with np.errstate(over="ignore"):
        return _numpy(values[rows]).astype(dtype)


def _numpy(values):
    """Numpy has no bfloat16, which float32 holds exactly."""
    if isinstance(values, np.ndarray):
        return values
    return (values.float() if values.element_size() < 4 else values).numpy()


def _texts(path, key, values):
    """N strings, whatever the format keeps them in."""
    flat = np.ravel(np.asarray(values, dtype=object))
    texts = []
    for value in flat:
        while isinstance(value, np.ndarray) and value.size == 1:
            value = value.ravel()[0]
        if isinstance(value, np.ndarray) and not value.size:
            value = ""
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if not isinstance(value, str):
            raise UserError(f"{path}: '{key}' should hold strings, not {type(value).__name__}")
        texts.append(plain(value))
    return texts


def _labels(path, key, values):
    """N whole numbers, or N strings."""
    if not isinstance(values, np.ndarray | list):
        values = _numpy(values)
    values = np.ravel(np.asarray(values))
    if values.dtype.kind in "OUS":
        return np.array(_texts(path, key, values), dtype=np.str_)
    numbers = values.astype(np.int64) if values.dtype.kind in "iuf" and np.isfinite(values).all() else None
    if numbers is None or (numbers != values).any():
        raise UserError(f"{path}: '{key}' should hold whole numbers or names of classes")
    return numbers
