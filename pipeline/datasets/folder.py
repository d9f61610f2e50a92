"""A user's own images: a folder or archive with images/<class>/*.jpg, and a table of classes and their attributes.

classes.csv has a row a class. Its first column is the class, as its folder is called; a column `split` may say seen or
unseen; every other column is an attribute:

    class,split,wing length,nocturnal,diet
    Barn Owl,seen,29,yes,rodents
    Common Swift,unseen,17,no,insects

A column whose least number is 0 says how strongly an attribute is there, and is divided by its largest; yes and no are
1 and 0. Other numbers are measurements, which no class lacks: they are scaled to 0..1 and become two attributes, one
that grows with them (`wing length: large`) and one that falls (`wing length: small`), or a class with short wings would
have nothing to show. A column of words becomes one attribute a word. Rows then have length one, as everywhere.
"""

import functools
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tqdm import tqdm

from pipeline.common.errors import UserError, first_of
from pipeline.common.params import AtLeastOne, Range
from pipeline.datasets.base import Holdout, Listing, Source, Splits, columns
from pipeline.datasets.base.text import plain
from pipeline.sources import archives

SEMANTICS = Literal["attributes"]
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
TABLE = "classes.csv"
# beside the copies, what is wrong with the table where a message does not hold it all
FAULTS = "classes.faults.csv"
AGAIN = "once mended: dvc repro --force --single-item download@folder && dvc repro"
Share = Annotated[float, Range(above=0, below=1)]


@dataclass(frozen=True)
class Sources:
    """`images`: the folder or archive; `classes`: the table, where it does not lie in it."""

    images: Source
    classes: Source | None = None


@dataclass(frozen=True)
class SplitConfig(Holdout):
    """`folder.splits`.

    unseen: share of the classes drawn as unseen where the table does not say; test_seen: share of each seen class's
    images; val_unseen: share of the seen classes that act as unseen in a validation fold; folds: how many
    """

    unseen: Share
    test_seen: Share
    val_unseen: Share
    folds: Annotated[int, AtLeastOne]


def mended_by(function):
    """Say with each error how to bring what was mended into `raw`: DVC looks at where a folder is, not into it."""

    @functools.wraps(function)
    def told(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except UserError as error:
            text = str(error)
            known = text.startswith("params.yaml") or text.endswith(AGAIN)
            raise UserError(text if known else f"{text}; {AGAIN}") from None

    return told


@mended_by
def listing(raw):
    """The images, by class in the table's order, then by path."""
    return _listing(raw, table(raw))


@mended_by
def semantics(raw, choice):
    """C x d_a attributes, each from 0 to 1, then each row of length one. Raises UserError naming a bad cell."""
    return columns.semantics(table(raw), functools.partial(print, flush=True))


@mended_by
def splits(raw, config):
    """Unseen classes as stated or drawn, a stratified test_seen, and drawn validation folds."""
    given = table(raw)
    images = _listing(raw, given)
    present = np.bincount(images.labels, minlength=len(given.names)) > 0
    unseen = _unseen(given, present, config)
    _check_attributes(columns.semantics(given), unseen, given.where)
    split = np.where(unseen[images.labels], "test_unseen", "trainval").astype("<U11")
    split[_held_out(raw, images, ~unseen[images.labels], config)] = "test_seen"
    seen = np.random.default_rng([config.seed, 2]).permutation(np.flatnonzero(~unseen))
    count = max(1, round(config.val_unseen * len(seen)))
    if config.folds * count > len(seen) - 1:
        raise UserError(
            f"params.yaml: folder.splits: {config.folds} fold(s) of {count} validation classes need more than the "
            f"{len(seen)} seen classes; ask for fewer"
        )
    return Splits(split, [np.sort(seen[i * count : (i + 1) * count]) for i in range(config.folds)])


def table(raw):
    """Read and check classes.csv. Raises UserError naming the line or column."""
    where = f"{TABLE} (as copied into {raw})"
    data = archives.extract(raw, "classes", TABLE)
    data = archives.need(raw, "images", TABLE) if data is None else data
    return columns.read(data, where, Path(raw).parent / FAULTS)


def _listing(raw, given):
    path = archives.find(raw, "images")
    ids = {name: i for i, name in enumerate(given.names)}
    rows, strays, others = [], Counter(), Counter()
    for member in archives.opened(path).names:
        parts = [plain(part) for part in member.replace("\\", "/").split("/")]
        if "images" not in parts[:-2] or parts[-1].startswith(".") or "__MACOSX" in parts:
            continue
        # from the end: the whole may lie in a folder that is called images too
        parent, name, file = parts[-3:]
        if parent != "images":
            others["in deeper folders"] += 1
        elif not file.lower().endswith(ENDINGS):
            others[file.rpartition(".")[2].lower()] += 1
        elif name not in ids:
            strays[name] += 1
        else:
            rows.append((ids[name], member))
    if strays:
        raise UserError(
            f"{given.where}: has no row for the folder {first_of(strays)}; give each folder one, spelt the same"
        )
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(5))
        print(f"{path}: left out, being no {', '.join(ENDINGS)} in images/<class>/: {kinds}", flush=True)
    if not rows:
        raise UserError(f"{path}: holds no images/<class>/<image>{ENDINGS[0]}")
    rows.sort()
    return Listing(
        [f"{path.name}/{member}" for _, member in rows], np.array([label for label, _ in rows]), list(given.names)
    )


def _unseen(given, present, config):
    """C bools. Stated ones are taken; else classes without images and a drawn share of the others."""
    if any(given.split):
        unseen = np.array([cell == "unseen" for cell in given.split])
    else:
        unseen = ~present
        drawn = np.random.default_rng([config.seed, 0]).permutation(np.flatnonzero(present))
        unseen[drawn[: max(0, round(config.unseen * len(present)) - int(unseen.sum()))]] = True
    if bare := np.flatnonzero(~unseen & ~present).tolist():
        raise UserError(
            f"{given.where}: class {first_of(given.names[i] for i in bare)} is to be seen but has no images; call it "
            "unseen, or add images"
        )
    if not unseen.any() or unseen.sum() > len(unseen) - 2:
        raise UserError(
            f"{given.where}: {int(unseen.sum())} of {len(unseen)} classes would be unseen; there should be at least "
            "one, and two seen"
        )
    return unseen


def _held_out(raw, images, seen, config):
    """Rows of test_seen: a share of each seen class, at least one where it has two; copies of a file stay together."""
    reader = archives.Images(raw)
    digests = [
        hashlib.sha256(reader.read(image)).digest()
        for image in tqdm(images.images, desc="look for copies", unit="image", disable=None)
    ]
    owners = {}
    for digest, label, image in zip(digests, images.labels, images.images, strict=True):
        if owners.setdefault(digest, (label, image))[0] != label:
            raise UserError(f"{raw}: '{image}' and '{owners[digest][1]}' are the same file in two classes; keep one")
    generator = np.random.default_rng([config.seed, 1])
    rows = np.flatnonzero(seen)
    chosen = []
    for group in columns.groups(images.labels[rows].tolist(), rows.tolist()):
        files = columns.groups((digests[row] for row in group), group)
        count = min(max(1, round(config.test_seen * len(files))), len(files) - 1)
        chosen += [row for i in generator.permutation(len(files))[:count] for row in files[i]]
    if not chosen:
        raise UserError(f"{raw}: every seen class has one image only; some need two, for training and for testing")
    return chosen


def _check_attributes(given, unseen, where):
    """Raise UserError where an unseen class has no attribute in common with any seen one: nothing leads to it."""
    shared = given.attributes[unseen] @ given.attributes[~unseen].T
    if (lost := np.flatnonzero(shared.max(1) == 0)).size:
        names = [given.class_names[i] for i in np.flatnonzero(unseen)[lost]]
        raise UserError(
            f"{where}: unseen class {first_of(names)} has no attribute in common with any seen class; it needs one"
        )
