"""The proposed splits, class semantics and published features of Xian et al. (xlsa17.zip, cvpr18xian.zip).

`att_splits.mat` gives `att` (d_a x C), the class names, and the rows of each part of the split (`*_loc`, counted from
one); `res101.mat` gives `features` (d_x x N), `labels` (counted from one) and `image_files` in the same row order.
"""

import io

import numpy as np

from pipeline import archives
from pipeline.datasets.base import Splits
from pipeline.errors import UserError

PARTS = {"trainval": "trainval_loc", "test_seen": "test_seen_loc", "test_unseen": "test_unseen_loc"}
PUBLISHED_WIDTH = 2048


def load(raw, role, tail, *keys):
    """The arrays `keys` of a .mat file in raw, with its readable name first; see `archives.extract`.

    Raises UserError where the file or a key is missing. Numeric arrays must be finite.
    """
    import scipy.io

    where = f"{raw}/{role}: {tail}"
    data = archives.extract(raw, role, tail)
    if data is None:
        raise UserError(f"{where} is missing; check the data set's sources.{role}")
    try:
        # structs and function handles are of no use here; only the named variables are parsed
        content = scipy.io.loadmat(io.BytesIO(data), variable_names=list(keys))
    except Exception as error:  # the parser raises whatever a damaged file leads it to
        raise UserError(f"{where}: not readable as a MATLAB file ({type(error).__name__}: {error})") from None
    arrays = []
    for key in keys:
        if key not in content:
            raise UserError(f"{where}: lacks '{key}'; it should hold {', '.join(keys)}")
        if content[key].dtype.kind == "f" and not np.isfinite(content[key]).all():
            raise UserError(f"{where}: '{key}' holds values that are not finite")
        arrays.append(content[key])
    return where, *arrays


def holds(raw, role, tail, key):
    """Whether a .mat file has a variable."""
    import scipy.io

    data = archives.extract(raw, role, tail)
    return data is not None and key in {name for name, *_ in scipy.io.whosmat(io.BytesIO(data))}


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


def class_names(raw, tail, role="splits"):
    """The published class order: column k of `att` is the k-th name."""
    _, names = load(raw, role, tail, "allclasses_names")
    return texts(names)


def attributes(raw, tail, classes, role="splits"):
    """`att` as C x d_a, as published."""
    where, att = load(raw, role, tail, "att")
    if att.ndim != 2 or att.shape[1] != classes:
        raise UserError(f"{where}: 'att' is {att.shape}; it should be a number of attributes x {classes} classes")
    return np.asarray(att, dtype=np.float64).T


def parts(raw, tail, rows, role="splits"):
    """The part of each of `rows` rows, N strings. Raises UserError unless each row is in exactly one."""
    where, *locations = load(raw, role, tail, *PARTS.values())
    split = np.full(rows, "", dtype="<U11")
    for part, values in zip(PARTS, locations, strict=True):
        chosen = ids(where, PARTS[part], values, rows)
        if (split[chosen] != "").any() or len(np.unique(chosen)) != len(chosen):
            raise UserError(f"{where}: a row of '{PARTS[part]}' is in two parts of the split")
        split[chosen] = part
    if missing := int((split == "").sum()):
        raise UserError(f"{where}: {missing} of {rows:,} images are in no part of the split; are all images there?")
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
    known = {name: i for i, name in enumerate(names)}
    for number in (1, 2, 3):
        lists = []
        for kind in ("trainclasses", "valclasses"):
            tail = f"{folder}/{kind}{number}.txt"
            data = archives.extract(raw, role, tail)
            if data is None:
                return folds
            lines = [line.strip() for line in data.decode("utf-8").splitlines() if line.strip()]
            if unknown := [line for line in lines if line not in known]:
                raise UserError(f"{raw}/{role}: {tail}: '{unknown[0]}' is no class of att_splits.mat")
            lists.append({known[line] for line in lines})
        if lists[0] & lists[1]:
            raise UserError(f"{raw}/{role}: {folder}: a class is in both trainclasses{number} and valclasses{number}")
        folds.append(np.array(sorted(lists[1])))
    return folds


def splits(raw, folder, labels, names, file="att_splits.mat", role="splits"):
    """The published split of a data set with its validation folds: class folds where given, else `val_loc`."""
    tail = f"{folder}/{file}"
    split = parts(raw, tail, len(labels), role)
    folds = class_folds(raw, folder, names, role)
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
