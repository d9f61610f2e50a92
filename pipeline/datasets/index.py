"""index.csv: one row an image, with its class and its part of the split; written by the splits stage alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.common import files
from pipeline.common.errors import UserError

BOX = ("left", "top", "right", "bottom")
PARTS = ("trainval", "test_seen", "test_unseen")
VALIDATION = ("train", "val_seen", "val_unseen")


@dataclass(frozen=True)
class Index:
    """N rows in published order.

    images: N addresses (see `archives.Images`), "" where no image is distributed; labels: N int64 class ids;
    class_names: N, the name of each row's class; split: N strings of PARTS; validation: per fold, N strings of
    VALIDATION, "" for test rows; boxes: N x 4 int64 pixels, or None
    """

    images: list[str]
    labels: np.ndarray
    class_names: list[str]
    split: np.ndarray
    validation: list[np.ndarray]
    boxes: np.ndarray | None = None


def write(path, index):
    """Write an `Index` as CSV."""
    columns = {
        "row": range(len(index.images)),
        "image": index.images,
        "class_id": index.labels,
        "class_name": index.class_names,
        "split": index.split,
    }
    for number, fold in enumerate(index.validation, start=1):
        columns["validation" if number == 1 else f"validation{number}"] = fold
    if index.boxes is not None:
        columns |= dict(zip(BOX, index.boxes.T, strict=True))
    names = list(columns)
    files.write_csv(path, (dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)))


def read(path):
    """Read an `Index`. Raises UserError where the file is missing or is no index."""
    path = Path(path)
    rows = files.read_csv(path, again="`dvc repro` makes it for the data sets of params.yaml")
    needed = ("row", "image", "class_id", "class_name", "split", "validation")
    if not rows or any(name not in rows[0] for name in needed):
        raise UserError(f"{path}: is no index; it should have rows and the columns {', '.join(needed)}")
    try:
        if [int(row["row"]) for row in rows] != list(range(len(rows))):
            raise ValueError("its rows are not numbered 0, 1, 2, ...")
        labels = np.array([int(row["class_id"]) for row in rows], dtype=np.int64)
        boxes = np.array([[int(row[side]) for side in BOX] for row in rows]) if BOX[0] in rows[0] else None
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise UserError(f"{path}: {error}; `dvc repro` makes it") from None
    folds = [name for name in rows[0] if name.startswith("validation")]
    found = Index(
        [row["image"] for row in rows],
        labels,
        [row["class_name"] for row in rows],
        np.array([row["split"] for row in rows]),
        [np.array([row[name] for row in rows]) for name in folds],
        boxes,
    )
    _check_values(path, found)
    return found


def _check_values(path, found):
    """Raise UserError where a value of an `Index` is none that `write` writes."""
    if found.labels.min() < 0:
        raise files.damaged(path, f"its row {int(found.labels.argmin())} has a class_id below 0")
    for words, known in ((found.split, PARTS), *((fold, ("", *VALIDATION)) for fold in found.validation)):
        if not (fine := np.isin(words, known)).all():
            row = int(fine.argmin())
            raise files.damaged(
                path, f"its row {row} is in '{words[row][:40]}', none of {', '.join(filter(None, known))}"
            )
