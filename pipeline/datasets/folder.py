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

import dataclasses
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tqdm import tqdm

from pipeline.common.errors import UserError, first_of
from pipeline.common.params import AtLeastOne, Range
from pipeline.datasets.base import Holdout, Listing, Own, Source, Splits, columns, photographs
from pipeline.datasets.base.columns import Table
from pipeline.datasets.base.text import plain
from pipeline.sources import archives

SEMANTICS = Literal["attributes"]
OWN = True
NOTHING = Own()
TABLE = "classes.csv"
# beside the copies, what is wrong with the table where a message does not hold it all
FAULTS = "classes.faults.csv"
AGAIN = "once mended: dvc repro --force --single-item download@folder && dvc repro"
Share = Annotated[float, Range(above=0, below=1)]


@dataclass(frozen=True)
class Sources:
    """`images`: the folder or archive, null where there are features alone; `classes`: the table, where it does not
    lie in it."""

    images: Source | None
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
def listing(raw, own=NOTHING):
    """The images, by class in the table's order, then by path; without images, the rows of a features file. Says what
    else lies there."""
    given = table(raw, own)
    found = _listing(raw, given, own)
    _tell(raw, given)
    return found


@mended_by
def class_names(raw, own=NOTHING):
    """The classes of the table, or where there is none, of a semantics file."""
    return table(raw, own).names


@mended_by
def semantics(raw, choice):
    """C x d_a attributes, each from 0 to 1, then each row of length one. Raises UserError naming a bad cell."""
    return columns.semantics(table(raw), functools.partial(print, flush=True))


@mended_by
def splits(raw, config, own=NOTHING):
    """Unseen classes as stated or drawn, a stratified test_seen, and drawn validation folds."""
    given = table(raw, own)
    images = _listing(raw, given, own)
    present = np.bincount(images.labels, minlength=len(given.names)) > 0
    unseen = _unseen(given, present, config)
    if given.titles:
        _check_attributes(columns.semantics(given), unseen, given.where)
    split = np.where(unseen[images.labels], "test_unseen", "trainval").astype("<U11")
    split[_held_out(raw, images, ~unseen[images.labels], config)] = "test_seen"
    return Splits(split, folds(np.flatnonzero(~unseen), config))


def folds(seen, config):
    """For each validation fold, which of the seen classes (ids) are drawn to act as unseen in it."""
    seen = np.random.default_rng([config.seed, 2]).permutation(seen)
    count = max(1, round(config.val_unseen * len(seen)))
    if config.folds * count > len(seen) - 1:
        raise UserError(
            f"params.yaml: folder.splits: {config.folds} fold(s) of {count} validation classes need more than the "
            f"{len(seen)} seen classes; ask for fewer"
        )
    return [np.sort(seen[i * count : (i + 1) * count]) for i in range(config.folds)]


def table(raw, own=NOTHING):
    """Read and check classes.csv. Raises UserError naming the line or column."""
    given = _table(raw, own)
    return given if own.stated is None else dataclasses.replace(given, split=own.stated)


def _table(raw, own):
    where = f"{TABLE} (as copied into {raw})"
    data = archives.extract(raw, "classes", TABLE)
    data = archives.extract(raw, "images", TABLE) if data is None else data
    if data is None and own.classes is not None:
        return Table("the semantics file", own.classes, [""] * len(own.classes))
    data = archives.need(raw, "images", TABLE) if data is None else data
    return columns.read(data, where, Path(raw).parent / FAULTS)


def _listing(raw, given, own):
    path = archives.find(raw, "images")
    if path is None and own.rows is not None:
        names, labels = own.rows
        return Listing([""] * len(names), labels, list(given.names), names=names)
    if path is None:
        raise UserError(
            f"{raw}: holds no images; folder.sources.images should name some, or folder.files.features a file of rows"
        )
    found = photographs.by_folder(archives.opened(path), set(given.names))
    _check_folders(path, found, given)
    ids = {name: i for i, name in enumerate(given.names)}
    rows = sorted((ids[name], member) for name, members in found.of.items() for member in members)
    return Listing(
        [f"{path.name}/{member}" for _, member in rows], np.array([label for label, _ in rows]), list(given.names)
    )


def _check_folders(path, found, given):
    """Raise UserError unless each folder is a class's and gives photographs, and no link is lost."""
    archive = archives.opened(path)
    if strays := found.of.keys() - set(given.names):
        unsure = "; the archive does not say in which characters its names are: pack it again, in UTF-8"
        raise UserError(
            f"{given.where}: has no row for the folder {first_of(strays)}; give each folder one, spelt the same"
            + (unsure if archive.unsure else "")
        )
    if found.lost:
        link = min(found.lost)
        raise UserError(f"{path}: link {first_of(found.lost)} {archive.broken[link]}; mend or remove it")
    if bare := [name for name, members in found.of.items() if not members]:
        held = {why: sum(f"/{min(bare)}/" in plain(member) for member in of) for why, of in found.left.items()}
        what = ", ".join(f"{count} {why}" for why, count in held.items() if count) or "nothing"
        raise UserError(
            f"{path}: the folder {first_of(bare)} gives no photograph: it holds {what}; put some into it that can be "
            f"read ({', '.join(photographs.ENDINGS)}), or remove it"
        )
    if not found.of:
        raise UserError(f"{path}: holds no images/<class>/<image>{photographs.ENDINGS[0]}")


def _tell(raw, given):
    """Say what lies in the folder and is no image of a class, by kind, with an example of each."""
    if (path := archives.find(raw, "images")) is None:
        return
    found = photographs.by_folder(archives.opened(path), set(given.names))
    if found.deeper:
        print(
            f"{path}: {len(found.deeper)} images are of folders within a class's: {first_of(found.deeper)}", flush=True
        )
    if left := {why: members for why, members in found.left.items() if members}:
        kinds = ", ".join(f"{len(members)} {why} ({first_of(members)})" for why, members in sorted(left.items()))
        print(f"{path}: left out: {kinds}", flush=True)


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
    digests = _digests(raw, images)
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


def _digests(raw, images):
    """N keys, the same for copies of a file. Raises UserError where those are in two classes."""
    reader = archives.Images(raw)
    digests = [
        # without the image there is nothing to compare
        hashlib.sha256(reader.read(image)).digest() if image else row
        for row, image in enumerate(tqdm(images.images, desc="look for copies", unit="image", disable=None))
    ]
    owners = {}
    for digest, label, image in zip(digests, images.labels, images.images, strict=True):
        if owners.setdefault(digest, (label, image))[0] != label:
            raise UserError(f"{raw}: '{image}' and '{owners[digest][1]}' are the same file in two classes; keep one")
    return digests


@mended_by
def check_copies(raw, images, split):
    """Raise UserError where copies of a file are on both sides of a split of N images: learnt from, and judged on."""
    owners = {}
    for digest, part, image in zip(_digests(raw, images), split, images.images, strict=True):
        before, other = owners.setdefault(digest, (part, image))
        if before != part:
            raise UserError(f"{raw}: '{image}' is in {part} and its copy '{other}' in {before}; keep them together")


def _check_attributes(given, unseen, where):
    """Raise UserError where an unseen class has no attribute in common with any seen one: nothing leads to it."""
    shared = given.attributes[unseen] @ given.attributes[~unseen].T
    if (lost := np.flatnonzero(shared.max(1) == 0)).size:
        names = [given.class_names[i] for i in np.flatnonzero(unseen)[lost]]
        raise UserError(
            f"{where}: unseen class {first_of(names)} has no attribute in common with any seen class; it needs one"
        )
