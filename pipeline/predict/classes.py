"""Classes that did not exist at training: the table to write them into, and its reading."""

import csv
import io
from pathlib import Path

import numpy as np
import torch

from pipeline.common.errors import UserError
from pipeline.datasets.base.kinds import take
from pipeline.datasets.base.table import read_table
from pipeline.datasets.base.text import plain, short


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
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    sheet = read_table(data, path)
    # class: as the table of one's own photographs calls it
    title = next((title for title in sheet.header if title in ("class_name", "class")), None)
    if not sheet.rows or title is None or len(sheet.header) < 2:
        raise UserError(f"{path}: should have a column class_name, one column an attribute, and a row a class")
    given = [other for other in sheet.header if other != title]
    wanted = [" ".join(plain(name).split()) for name in about.attributes] or given
    _check_titles(path, given, wanted, about.dataset)
    names = sheet.column(title)
    _check_names(sheet, names, {*about.seen, *about.unseen})
    columns = take(sheet, names, wanted, numbers_only=True)
    _check_units(path, columns)
    values = np.stack([column.values for column in columns], axis=1)
    with np.errstate(over="ignore"):  # told below
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
    for line, name, length in zip(sheet.lines, names, lengths[:, 0], strict=True):
        if not 0 < length < np.inf:
            raise UserError(
                f"{path}: line {line}: the attributes of {short(name)} should be not all zero, nor beyond what a "
                "computer calculates with"
            )
    return names, torch.from_numpy(values / lengths).float()


def _check_titles(path, given, wanted, dataset):
    missing, unknown = [name for name in wanted if name not in given], [name for name in given if name not in wanted]
    if missing or unknown:
        counts = [(f"lacks {len(missing)} columns, such as", missing), ("has no use for", unknown)]
        words = " and ".join(f"{text} {', '.join(map(short, names[:3]))}" for text, names in counts if names)
        raise UserError(
            f"{path}: {words}; its columns should be the {len(wanted)} attributes of {dataset}, as --template prints"
            " them"
        )


def _check_names(sheet, names, known):
    """Raise UserError unless each class has a name, and one that no other class has."""
    known = {"", *known}
    for line, name in zip(sheet.lines, names, strict=True):
        if name in known:
            sheet.faults.add(line, f"class {short(name)} should have a name that no other class has")
        known.add(name)
    sheet.faults.tell()


def _check_units(path, columns):
    """Raise UserError unless all numbers are bare, or all in percent: a row's values are compared with each other."""
    if len({column.unit for column in columns}) > 1 or columns[0].unit not in ("", "%"):
        odd = next(column for column in columns if column.unit)
        raise UserError(
            f"{path}: column {short(odd.title)} is in {short(odd.unit)}; the numbers of a table should be without a "
            "unit, or all in percent"
        )
