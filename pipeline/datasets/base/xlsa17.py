"""The proposed splits, class semantics and published features of Xian et al. (xlsa17.zip, cvpr18xian.zip).

`att_splits.mat` gives `att` (d_a x C), the class names, and the rows of each part of the split (`*_loc`, counted from
one); `res101.mat` gives `features` (d_x x N), `labels` (counted from one) and `image_files` in the same row order.
"""

import functools
import io
import math

import numpy as np

from pipeline.common.errors import UserError
from pipeline.datasets.base import Splits, lists, matlab
from pipeline.datasets.base.text import short
from pipeline.sources import archives

PARTS = {"trainval": "trainval_loc", "test_seen": "test_seen_loc", "test_unseen": "test_unseen_loc"}
PUBLISHED_WIDTH = 2048
# the largest published array, AWA2's features, has 76 million
MOST_VALUES = 500_000_000
# the variables that are cell arrays of strings; all others are numbers
TEXTS = ("allclasses_names", "attributes", "image_files", "images")


def load(raw, role, tail, *keys):
    """The name of a .mat file in raw for messages, then its arrays `keys`; see `archives.extract`.

    Raises UserError where the file or a key is missing, is of another kind, or where numbers are not finite.
    """
    import scipy.io

    where = f"{raw}/{role}: {tail}"
    data = archives.need(raw, role, tail)
    try:
        kinds = matlab.classes(data, keys, where)
        for name, shape, _ in scipy.io.whosmat(io.BytesIO(data)):
            if name in keys and math.prod(shape) > MOST_VALUES:
                raise ValueError(f"'{name}' claims to be {shape}, more than {MOST_VALUES:,} values")
        # structs and function handles are of no use here; only the named variables are parsed
        for key in (key for key in keys if kinds and key in kinds):
            readable = (matlab.CELL, matlab.CHAR) if key in TEXTS else matlab.FULL
            if kinds[key] not in readable:
                raise _of_another_kind(where, key)
        content = scipy.io.loadmat(io.BytesIO(data), variable_names=list(keys))
    except UserError:
        raise
    except Exception as error:  # the parser raises whatever a damaged file leads it to
        raise UserError(f"{where}: not readable as a MATLAB file ({type(error).__name__}: {error})") from None
    arrays = []
    for key in keys:
        if key not in content:
            raise UserError(f"{where}: lacks '{key}'; it should hold {', '.join(keys)}")
        _check_kind(where, key, content[key])
        arrays.append(content[key])
    return where, *arrays


def _check_kind(where, key, array):
    """Raise UserError unless a variable is what it should be: a cell array of strings, or finite numbers."""
    kind = array.dtype.kind if isinstance(array, np.ndarray) else "sparse"
    if key in TEXTS:
        if kind not in "OU":
            raise _of_another_kind(where, key)
    elif kind not in "biuf":
        raise _of_another_kind(where, key)
    elif not np.isfinite(array).all():
        raise UserError(f"{where}: '{key}' holds values that are not finite")


def _of_another_kind(where, key):
    if key in TEXTS:
        return UserError(f"{where}: '{key}' should be a cell array of strings")
    return UserError(f"{where}: '{key}' should be a full matrix of numbers, neither sparse nor a cell array")


def holds(raw, role, tail, key):
    """Whether a .mat file has a variable."""
    import scipy.io

    data = archives.extract(raw, role, tail)
    try:
        return data is not None and key in {name for name, *_ in scipy.io.whosmat(io.BytesIO(data))}
    except Exception as error:  # as in `load`
        raise UserError(f"{raw}/{role}: {tail}: not readable as a MATLAB file ({error})") from None


def texts(cells):
    """A MATLAB cell array of strings as a list of str, blanks at the ends removed."""
    return [str(np.asarray(cell).ravel()[0]).strip() if np.size(cell) else "" for cell in np.ravel(cells)]


def ids(where, name, values, most):
    """Whole numbers counted from one -> int64 counted from zero. Raises UserError outside 1..most."""
    values = np.ravel(values)
    numbers = values.astype(np.int64)
    if len(numbers) == 0 or (numbers != values).any() or numbers.min() < 1 or numbers.max() > most:
        raise UserError(f"{where}: '{name}' should hold whole numbers from 1 to {most}")
    return numbers - 1


def class_names(raw, folder):
    """The published class order: column k of `att` is the k-th name, and so is label k + 1."""
    where, cells = load(raw, "splits", f"{folder}/att_splits.mat", "allclasses_names")
    names = texts(cells)
    if len(set(names)) != len(names) or "" in names:
        raise UserError(f"{where}: 'allclasses_names' should hold a name for each class, each once")
    return names


def class_ids(where, names, classes):
    """Positions of class names in the published order; UserError names one that is not in it."""
    known = {name: i for i, name in enumerate(classes)}
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"{where}: '{unknown[0]}' is no class of att_splits.mat")
    return np.array([known[name] for name in names], dtype=np.int64)


def listed_ids(where, data, classes):
    """Positions of the names in a text list, given its bytes; UserError with the line of one that is no class."""
    known = set(classes)
    for line, name in (listed := lists.names(data, where)):
        if name not in known:
            raise line.wrong(f"{short(name)} is no class of att_splits.mat")
    return class_ids(where, [name for _, name in listed], classes)


def attributes(raw, tail, classes, role="splits"):
    """`att` as C x d_a, as published."""
    where, att = load(raw, role, tail, "att")
    if att.ndim != 2 or att.shape[1] != classes:
        raise UserError(f"{where}: 'att' is {att.shape}; it should be a number of attributes x {classes} classes")
    return np.asarray(att, dtype=np.float64).T


def parts(raw, tail, rows, role="splits"):
    """The part of each of `rows` rows, N strings. Raises UserError unless each row is in exactly one."""
    where, *locations = load(raw, role, tail, *PARTS.values())
    if (stated := sum(map(np.size, locations))) != rows:
        raise UserError(f"{where}: splits {stated:,} images, but there are {rows:,}; is one missing, or one too many?")
    split = np.full(rows, "", dtype="<U11")
    for part, values in zip(PARTS, locations, strict=True):
        chosen = ids(where, PARTS[part], values, rows)
        if (split[chosen] != "").any() or len(np.unique(chosen)) != len(chosen):
            raise UserError(f"{where}: a row of '{PARTS[part]}' is in two parts of the split")
        split[chosen] = part
    return split


def fold_of_rows(raw, tail, labels, split, role="splits"):
    """The classes of `val_loc` within trainval: the published validation classes. See `validation_classes`.

    `train_loc` and `val_loc` together cover trainval and test_seen: both are first intersected with trainval.
    """
    where, train, val = load(raw, role, tail, "train_loc", "val_loc")
    trainval = split == "trainval"
    train, val = (
        np.intersect1d(ids(where, name, values, len(labels)), np.flatnonzero(trainval))
        for name, values in (("train_loc", train), ("val_loc", val))
    )
    unseen = np.unique(labels[val])
    if np.isin(unseen, labels[train]).any() or len(train) + len(val) != trainval.sum():
        raise UserError(f"{where}: train_loc and val_loc should part the classes of trainval_loc in two")
    return unseen


def class_folds(raw, folder, names, role="splits"):
    """The published class folds, `valclasses1.txt` to 3 with `trainclasses1.txt` to 3: ids of each; [] if none."""
    folds = []
    for number in (1, 2, 3):
        pair = []
        for kind in ("trainclasses", "valclasses"):
            tail = f"{folder}/{kind}{number}.txt"
            data = archives.extract(raw, role, tail)
            if data is None:
                return folds
            pair.append(listed_ids(f"{raw}/{role}: {tail}", data, names))
        if np.isin(*pair).any():
            raise UserError(f"{raw}/{role}: {folder}: a class is in both trainclasses{number} and valclasses{number}")
        folds.append(np.sort(pair[1]))
    return folds


def splits(raw, folder, names, labels, classes, role="splits"):
    """The published split of a data set with its validation folds: class folds where given, else `val_loc`.

    names: N, how each image's path ends; labels: N class ids; classes: C names. The rows are compared with res101.mat
    where that was downloaded. Raises UserError where rows, classes and split do not belong together.
    """
    tail = f"{folder}/att_splits.mat"
    if has_rows(raw, folder):
        check_rows(raw, folder, names, labels, len(classes))
    split = parts(raw, tail, len(labels), role)
    _check_classes(raw, folder, labels, classes, split, role)
    folds = class_folds(raw, folder, classes, role)
    if holds(raw, role, tail, "val_loc"):
        stated = fold_of_rows(raw, tail, labels, split, role)
        if not folds:
            folds = [stated]
        elif not np.array_equal(folds[0], stated):
            raise UserError(f"{raw}/{role}: {tail}: val_loc and valclasses1.txt name different classes")
    if not folds:
        raise UserError(
            f"{raw}/{role}: {tail} has no train_loc and val_loc, and no {folder}/trainclasses1.txt stands beside it; "
            "take xlsa17.zip or its folder"
        )
    return Splits(split, folds)


def _check_classes(raw, folder, labels, names, split, role):
    """Raise UserError unless the rows of `testclasses.txt`, if given, are test_unseen: rows out of order are not."""
    data = archives.extract(raw, role, f"{folder}/testclasses.txt")
    if data is None:
        return
    where = f"{raw}/{role}: {folder}/testclasses.txt"
    unseen = listed_ids(where, data, names)
    strays = np.flatnonzero(np.isin(labels, unseen) != (split == "test_unseen"))
    if len(strays):
        row = strays[0]
        raise UserError(
            f"{where}: row {row} is of class '{names[labels[row]]}' but in {split[row]} (and {len(strays) - 1:,} more "
            "such rows); are the images in the published order, and all there?"
        )


def rows(raw, folder, classes):
    """What res101.mat says of each row: N image names as published ("" where it names none), and N class ids."""
    state = archives.find(raw, _features(raw))
    stamp = None if state is None else (str(state), state.stat().st_size, state.stat().st_mtime_ns)
    names, labels = _rows(raw, folder, classes, stamp)
    return list(names), labels.copy()


@functools.lru_cache(maxsize=1)
def _rows(raw, folder, classes, stamp):
    # hundreds of MB are unpacked for it, and listing and splits both ask
    role, tail = _features(raw), f"{folder}/res101.mat"
    where, labels = load(raw, role, tail, "labels")
    labels = ids(where, "labels", labels, classes)
    names = [""] * len(labels)
    if holds(raw, role, tail, "image_files"):
        _, cells = load(raw, role, tail, "image_files")
        names = [name.replace("\\", "/") for name in texts(cells)]
    if len(names) != len(labels):
        raise UserError(f"{where}: {len(names)} image_files for {len(labels)} labels")
    if len(np.unique(labels)) != classes:
        raise UserError(f"{where}: only {len(np.unique(labels))} of {classes} classes occur in 'labels'")
    return names, labels


def has_rows(raw, folder):
    """Whether res101.mat is at hand: on its own, or in the archive of the splits."""
    path, member = archives.locate(raw, _features(raw), f"{folder}/res101.mat")
    return path is not None and (member is not None or _features(raw) == "features")


def check_rows(raw, folder, names, labels, classes):
    """Raise UserError unless each row is, in res101.mat too, the image of that name ("": not known) and class."""
    files, found = rows(raw, folder, classes)
    where = f"{raw}: {folder}/res101.mat"
    if len(found) != len(labels):
        raise UserError(f"{where}: has {len(found):,} rows; the data set has {len(labels):,} images")
    for row, (file, name) in enumerate(zip(files, names, strict=True)):
        if name and file and file != name and not file.endswith("/" + name):
            raise UserError(f"{where}: row {row} is '{file}' where '{name}' is expected; the row order is another")
    if (found != labels).any():
        row = int(np.flatnonzero(found != labels)[0])
        raise UserError(f"{where}: row {row} has label {found[row] + 1} where {labels[row] + 1} is expected")


def published(raw, folder, names, labels, classes):
    """The published features, N x d_x float32, once their rows are known to be those of the listing.

    names, labels: see `splits`; classes: C. Raises UserError where order, labels or shape differ.
    """
    check_rows(raw, folder, names, labels, classes)
    where, features = load(raw, _features(raw), f"{folder}/res101.mat", "features")
    if features.ndim != 2 or features.shape[1] != len(labels):
        raise UserError(f"{where}: 'features' is {features.shape}; it should be a width x {len(labels):,} images")
    if len(features) != PUBLISHED_WIDTH:
        print(f"{where}: features of width {len(features)}; those of the papers have {PUBLISHED_WIDTH}", flush=True)
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(features.T, dtype=np.float32)
    # finite in float64 they are, but float32 ends at 3.4e38
    for row, values in enumerate(cast):
        if not (fine := np.isfinite(values)).all():
            column = int(fine.argmin())
            raise UserError(
                f"{where}: 'features' is {features[column, row]} in row {row}, column {column}, more than float32 holds"
            )
    return cast


def _features(raw):
    """The role that holds res101.mat: its own, or the archive that the splits came in."""
    return "features" if archives.find(raw, "features") else "splits"
