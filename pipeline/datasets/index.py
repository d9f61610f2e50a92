"""index.csv: one row an image, with its class and its part of the split; written by the splits stage alone."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from pipeline.common import files
from pipeline.common.errors import UserError

BOX = ("left", "top", "right", "bottom")
PARTS = ("trainval", "test_seen", "test_unseen")
VALIDATION = ("train", "val_seen", "val_unseen")
NEEDED = ("row", "image", "class_id", "class_name", "split", "validation")

READ = 16384
"""Rows of the file that are held as text at once."""


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


def read(path, images=True):
    """Read an `Index`; with `images` False without `images` and `class_names`, which then are empty and take no memory.

    Raises UserError where the file is missing or is no index.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            needed = (*NEEDED, *BOX) if BOX[0] in header else NEEDED
            if any(name not in header for name in needed):
                raise UserError(f"{path}: is no index; it should have rows and the columns {', '.join(needed)}")
            known = defaultdict(dict)
            parts = list(_parts(lines, header, images, known))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); `dvc repro` makes it for the data sets of params.yaml"
        ) from None
    except (ValueError, OverflowError, csv.Error) as error:
        raise UserError(f"{path}: {error}; `dvc repro` makes it") from None
    if not parts:
        raise UserError(f"{path}: is no index; it should have rows and the columns {', '.join(NEEDED)}")
    whole = {name: _joined([part.pop(name) for part in parts]) for name in list(parts[0])}
    whole |= {name: np.array(list(values))[whole[name]] for name, values in known.items()}
    folds = [whole[name] for name in header if name.startswith("validation")]
    boxes = np.stack([whole[side] for side in BOX], 1) if BOX[0] in header else None
    found = Index(whole["image"], whole["class_id"], whole["class_name"], whole["split"], folds, boxes)
    _check_values(path, found)
    return found


def _parts(lines, header, images, known):
    """The columns of READ rows at a time: numbers as arrays, names as lists, and of the few words of the split their
    places in `known`, which for each such column gathers them."""
    numbers = ("class_id", *BOX)
    words = [name for name in header if name == "split" or name.startswith("validation")]
    names, done = {}, 0
    while rows := [row for row in islice(lines, READ) if row]:
        if short := next((row for row in rows if len(row) != len(header)), None):
            raise ValueError(f"row {short[0]} has {len(short)} values for {len(header)} columns")
        columns = dict(zip(header, zip(*rows, strict=True), strict=True))
        if list(map(int, columns["row"])) != list(range(done, done + len(rows))):
            raise ValueError("its rows are not numbered 0, 1, 2, ...")
        done += len(rows)
        part = {name: np.array(list(map(int, columns[name])), np.int64) for name in numbers if name in columns}
        for name in words:
            places = [known[name].setdefault(word, len(known[name])) for word in columns[name]]
            part[name] = np.array(places, np.int32)
        # one string a class, not one a row
        of_rows = [names.setdefault(name, name) for name in columns["class_name"]] if images else []
        yield part | {"image": list(columns["image"]) if images else [], "class_name": of_rows}


def _joined(parts):
    return list(chain(*parts)) if isinstance(parts[0], list) else np.concatenate(parts)


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
