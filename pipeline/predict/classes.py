"""Classes that did not exist at training: the table to write them into, and its reading."""

import csv
import io
from pathlib import Path

import numpy as np
import torch

from pipeline.common.errors import UserError
from pipeline.datasets.base.table import plain, read_table


def template(kept):
    """A CSV with the columns that new classes need and one class as an example."""
    about, row = kept.about, kept.tensors["seen"][0].tolist()
    names = about.attributes or [f"attribute {i + 1}" for i in range(len(row))]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [["class_name", *names], [f"like {about.seen[0]}", *(f"{v:.4g}" for v in row)]]
    )
    return text.getvalue()


def read_classes(path, about):
    """New classes from a CSV: (names, U' x d_a float32 rows of length one). Raises UserError."""
    try:
        header, lines = read_table(Path(path).read_bytes(), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    # class: as the table of one's own photographs calls it
    header = ["class_name" if name == "class" else name for name in header]
    if not lines or "class_name" not in header:
        raise UserError(f"{path}: should have a column class_name, one column an attribute, and a row a class")
    rows = [dict(zip(header, cells, strict=True)) for _, cells in lines]
    given = [name for name in header if name != "class_name"]
    wanted = [plain(name) for name in about.attributes] or given
    missing, unknown = [n for n in wanted if n not in given], [n for n in given if n not in wanted]
    if missing or unknown:
        counts = [(f"lacks {len(missing)} columns, such as", missing), ("has no use for", unknown)]
        words = " and ".join(f"{text} {', '.join(names[:3])}" for text, names in counts if names)
        raise UserError(
            f"{path}: {words}; its columns should be the {len(wanted)} attributes of {about.dataset}, as --template"
            " prints them"
        )
    names = [row["class_name"] for row in rows]
    known = {*about.seen, *about.unseen}
    for i, name in enumerate(names):
        if not name or name in known or name in names[:i]:
            raise UserError(f"{path}: row {i + 1}: class '{name}' should have a name that no other class has")
    try:
        values = np.array([[float(row[name]) for name in wanted] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path}: every attribute should be a number ({error})") from None
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    for name, length in zip(names, lengths[:, 0], strict=True):
        if not 0 < length < np.inf:
            raise UserError(f"{path}: the attributes of '{name}' should be finite and not all zero")
    return names, torch.from_numpy(values / lengths).float()
