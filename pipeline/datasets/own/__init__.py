"""Files of a user's own in place of what a data set brings: features, semantics, a split (`<data set>.files`).

Their paths are deps of the stage `files` alone, which writes path and checksum of each to
data/files/<data set>/<kind>.json. The stage that takes a file of a kind depends on that: a changed file
reruns what follows from it in its own data set, and nothing else.

    arrays      what a file holds, by its format
    names       whose row is whose: images by path, classes by spelling
    rows        whose features a file holds, where the data set has no list of its own
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.common.params import NO_FILE
from pipeline.datasets.base import Own

FOLDER = Path("data/files")


@dataclass(frozen=True)
class File:
    """A user's file as the stage `files` found it; path and sha256 are None where there is none.

    classes, rows: for a data set that has no list of its own (see `base.Own`): the classes that its semantics file
    names, and the features file that stands for its images
    """

    path: str | None = None
    sha256: str | None = None
    classes: list[str] | None = None
    rows: dict | None = None


def found(path):
    """The `File` at a path, which is read to its end for its checksum."""
    if path == NO_FILE:
        return File()
    if not Path(path).is_file():
        raise UserError(f"{path}: is no file; name one, or {NO_FILE} for none")
    return File(path, files.digest(path))


def write(dataset, kind, file):
    """Write data/files/<dataset>/<kind>.json."""
    files.write_json(FOLDER / dataset / f"{kind}.json", dataclasses.asdict(file))


def read(dataset, kind):
    """The `File` that `write` wrote."""
    return File(**files.read_json(FOLDER / dataset / f"{kind}.json"))


def listing(module, raw, file):
    """The `Listing` of a data set; None where the features `File` is itself the list of its images."""
    if file.rows is not None:
        return None
    return module.listing(raw, Own(classes=file.classes)) if hasattr(module, "OWN") else module.listing(raw)
