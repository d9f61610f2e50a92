"""The embedded data set: drawn shapes whose class is a combination of attributes. No download, no licence, no weights.

Each image varies in position, size, rotation, background, lighting and noise. Everything follows from the params.
"""

import contextlib
import io
import itertools
import tarfile
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageDraw

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.common.params import AtLeastOne, Range
from pipeline.datasets.base import Holdout, Listing, Semantics, Splits, normalised
from pipeline.datasets.base.kinds import take
from pipeline.datasets.base.table import read_table
from pipeline.datasets.base.text import short

OUTLINES = {
    "circle": [(np.cos(t), np.sin(t)) for t in np.linspace(0, 2 * np.pi, 40, endpoint=False)],
    "triangle": [(np.cos(t), np.sin(t)) for t in np.linspace(0, 2 * np.pi, 3, endpoint=False)],
    "square": [(np.cos(t), np.sin(t)) for t in np.linspace(0, 2 * np.pi, 4, endpoint=False)],
    "star": [
        (r * np.cos(t), r * np.sin(t))
        for r, t in zip(itertools.cycle([1, 0.42]), np.linspace(0, 2 * np.pi, 10, endpoint=False), strict=False)
    ],
    "cross": [
        (x * a, y * b)
        for (a, b), turn in (((1, 1), 1), ((-1, 1), -1), ((-1, -1), 1), ((1, -1), -1))
        for x, y in [(1, 0.3), (0.3, 0.3), (0.3, 1)][::turn]
    ],
    "bar": [(1, 0.33), (-1, 0.33), (-1, -0.33), (1, -0.33)],
}
COLOURS = {
    "red": (205, 45, 45),
    "green": (45, 160, 60),
    "blue": (50, 80, 205),
    "yellow": (225, 195, 40),
    "purple": (150, 55, 170),
}
TEXTURES = ("plain", "striped", "dotted", "chequered")
COUNTS = {"one": 1, "two": 2, "three": 3}
BORDERS = {"borderless": None, "black-edged": (15, 15, 15), "white-edged": (245, 245, 245)}
GROUPS = {
    "outline": tuple(OUTLINES),
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "count": tuple(COUNTS),
    "border": tuple(BORDERS),
}
ARCHIVE, MASKS, CLASSES, IMAGES = "shapes.tar", "masks.tar", "classes.csv", "images.csv"
INSIDE, EDGE = 128, 255
"""Shades of a mask where a shape was drawn, and where its edge was; 0 is the background."""
PARTS = ("trainval", "test_seen", "test_unseen")
SEMANTICS = Literal["attributes"]


@dataclass(frozen=True)
class Sources:
    """`shapes.sources`: what is drawn. `version` stands for the drawing code: raise it when that changes."""

    version: int
    seed: Annotated[int, Range(least=0)]
    seen: Annotated[int, Range(least=12, most=200)]
    unseen: Annotated[int, Range(least=2, most=100)]
    images_per_class: Annotated[int, Range(least=4, most=10_000)]
    test_share: Annotated[float, Range(above=0, below=1)]
    size: Annotated[int, Range(least=16, most=1024)]


@dataclass(frozen=True)
class SplitConfig(Holdout):
    """`shapes.splits`: also how many validation folds, and how many seen classes act as unseen in each."""

    folds: Annotated[int, AtLeastOne]
    unseen: Annotated[int, AtLeastOne]


def combinations(config):
    """(S + U) x 5 attribute values, seen classes first; every value of an unseen class stands in a seen one.

    Any two classes differ in two attributes or more. Raises UserError where so many classes cannot be had.
    """
    generator = np.random.default_rng(config.seed)
    sizes = [len(values) for values in GROUPS.values()]
    everything = generator.permutation(list(itertools.product(*map(range, sizes))))
    chosen = []
    for candidate in everything:
        if all((candidate != other).sum() >= 2 for other in chosen):
            chosen.append(candidate)
        if len(chosen) == config.seen + config.unseen:
            break
    else:
        raise UserError(f"params.yaml: shapes.sources: only {len(chosen)} classes differ enough; ask for fewer")
    classes = np.array(chosen)
    for column, size in enumerate(sizes):
        if set(classes[config.seen :, column]) - set(classes[: config.seen, column]):
            raise UserError(f"params.yaml: shapes.sources.seen: too few classes show all {size} values; ask for more")
    return classes


def make(raw, config):
    """Draw the data set into the folder `raw`: an archive of JPEGs, one of their masks, and two CSVs."""
    classes = combinations(config)
    names = ["-".join(values[i] for values, i in zip(GROUPS.values(), row, strict=True)) for row in classes]
    generator = np.random.default_rng([config.seed, 1])
    rows = []
    with _archive(raw / ARCHIVE) as archive, _archive(raw / MASKS) as masks:
        for class_id, (name, values) in enumerate(zip(names, classes, strict=True)):
            tests = round(config.test_share * config.images_per_class) if class_id < config.seen else None
            for i in range(config.images_per_class):
                member = f"images/{name}/{i:04d}.jpg"
                image, mask = draw(values, config.size, generator)
                _add(archive, member, image, format="JPEG", quality=92)
                _add(masks, mask_of(member), mask, format="PNG")
                split = "test_unseen" if tests is None else "test_seen" if i < tests else "trainval"
                rows.append({"image": member, "class_name": name, "split": split})
    files.write_csv(raw / IMAGES, rows)
    columns = [f"{group}: {value}" for group, values in GROUPS.items() for value in values]
    present = [
        [int(row[g] == v) for g, values in enumerate(GROUPS.values()) for v in range(len(values))] for row in classes
    ]
    files.write_csv(
        raw / CLASSES,
        [{"class_name": name} | dict(zip(columns, row, strict=True)) for name, row in zip(names, present, strict=True)],
    )


def draw(values, size, generator):
    """One RGB image of a class (indices into each attribute group), `size` x `size` pixels, and its mask, in which each
    pixel says what was drawn there: `INSIDE` a shape, where its texture is, its `EDGE`, or nothing."""
    outline, colour, texture, count, border = (
        list(group)[i] for group, i in zip((OUTLINES, COLOURS, TEXTURES, COUNTS, BORDERS), values, strict=True)
    )
    scale = 2 * size  # drawn at twice the size, then reduced: smooth edges
    image, drawn = _background(scale, generator), Image.new("L", (scale, scale))
    for x, y, radius in _places(COUNTS[count], scale, generator):
        points = _turned(OUTLINES[outline], generator.uniform(0, 2 * np.pi)) * radius + (x, y)
        mask = Image.new("L", image.size)
        ImageDraw.Draw(mask).polygon([tuple(p) for p in points], fill=255)
        base = np.clip(np.array(COLOURS[colour]) + generator.integers(-18, 19, 3), 0, 255)
        image.paste(_textured(texture, base, image.size, radius, generator), mask=mask)
        drawn.paste(INSIDE, mask=mask)
        if BORDERS[border]:
            corners = [tuple(p) for p in (*points, points[0], points[1])]
            for sheet, fill in ((image, BORDERS[border]), (drawn, EDGE)):
                ImageDraw.Draw(sheet).line(corners, fill=fill, width=max(2, scale // 42), joint="curve")
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.float32)
    slope = generator.uniform(-0.35, 0.35, 2)
    across = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    light = generator.uniform(0.75, 1.2) * (1 + slope[0] * across[None, :] + slope[1] * across[:, None])
    noise = generator.normal(0, generator.uniform(2, 9), pixels.shape)
    image = Image.fromarray(np.clip(pixels * light[..., None] + noise, 0, 255).astype(np.uint8))
    return image, drawn.resize((size, size), Image.Resampling.NEAREST)


def mask_of(member):
    """The name in the archive of masks of an image's."""
    return member.removesuffix(".jpg") + ".png"


def listing(raw):
    """The images in the order of images.csv."""
    sheet, names = _sheet(raw, IMAGES), _class_names(raw)
    images, of_rows = _column(sheet, "image"), _column(sheet, "class_name")
    _check_known(sheet, "class_name", of_rows, names)
    ids = {name: i for i, name in enumerate(names)}
    return Listing([f"{ARCHIVE}/{image}" for image in images], np.array([ids[name] for name in of_rows]), names)


def semantics(raw, choice):
    """The attributes of classes.csv, 0 or 1, rows scaled to length one."""
    sheet, names = _sheet(raw, CLASSES), _class_names(raw)
    titles = [title for title in sheet.header if title != "class_name"]
    columns = take(sheet, names, titles, numbers_only=True)
    return Semantics(normalised(np.stack([column.values for column in columns], axis=1)), names, titles)


def splits(raw, config):
    """The split of images.csv; each validation fold takes the next `unseen` of the seen classes as unseen."""
    sheet = _sheet(raw, IMAGES)
    split = np.array(_column(sheet, "split"))
    _check_known(sheet, "split", split, PARTS)
    labels = listing(raw).labels
    seen = np.unique(labels[split == "trainval"])
    if config.folds * config.unseen > len(seen) - 2:
        raise UserError(
            f"params.yaml: shapes.splits: {config.folds} folds of {config.unseen} classes need more than the"
            f" {len(seen)} seen classes; ask for fewer"
        )
    return Splits(split, [seen[i * config.unseen : (i + 1) * config.unseen] for i in range(config.folds)])


def _class_names(raw):
    return _column(_sheet(raw, CLASSES), "class_name")


def _sheet(raw, name):
    """One of the two tables, as `make` wrote it."""
    path = raw / name
    try:
        return read_table(path.read_bytes(), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); `dvc repro` draws the data set anew") from None


def _column(sheet, title):
    if title not in sheet.header or not sheet.rows:
        raise UserError(f"{sheet.faults.where}: should have rows and a column {title}")
    return sheet.column(title)


def _check_known(sheet, title, cells, known):
    """Raise UserError, with the lines, where a cell is none of those that are known."""
    known = set(known)
    for line, cell in zip(sheet.lines, cells, strict=True):
        if cell not in known:
            sheet.faults.add(line, f"{short(cell)} is no {title} of this data set", title)
    sheet.faults.tell()


@contextlib.contextmanager
def _archive(path):
    with files.replacing(path) as file, tarfile.open(fileobj=file, mode="w") as archive:
        yield archive


def _add(archive, member, image, **how):
    data = io.BytesIO()
    image.save(data, **how)
    entry = tarfile.TarInfo(member)
    entry.size = data.tell()
    data.seek(0)
    archive.addfile(entry, data)


def _background(scale, generator):
    """A smooth patch of muted colours with a few faint lines."""
    coarse = generator.integers(90, 200, (3, 3, 1)) + generator.integers(-25, 26, (3, 3, 3))
    image = Image.fromarray(coarse.astype(np.uint8)).resize((scale, scale), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(generator.integers(0, 5)):
        ends = [tuple(point) for point in generator.uniform(0, scale, (2, 2))]
        pen.line(ends, fill=tuple(int(v) for v in generator.integers(80, 190, 3)), width=int(generator.integers(1, 4)))
    return image


def _places(count, scale, generator):
    """Centre and radius of each shape: `count` places that do not overlap."""
    largest = {1: 0.40, 2: 0.25, 3: 0.21}[count] * scale
    while True:
        radii = generator.uniform(0.72, 1, count) * largest
        centres = np.array([generator.uniform(r, scale - r, 2) for r in radii])
        gaps = [
            np.linalg.norm(centres[i] - centres[j]) - radii[i] - radii[j]
            for i, j in itertools.combinations(range(count), 2)
        ]
        if all(gap > 0 for gap in gaps):
            return [(x, y, r) for (x, y), r in zip(centres, radii, strict=True)]


def _turned(points, angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array(points) @ np.array([[cos, sin], [-sin, cos]])


def _textured(texture, base, size, radius, generator):
    """A sheet of the texture, in the base colour and a darker tone of it."""
    width, height = size
    angle, step = generator.uniform(0, np.pi), radius * generator.uniform(0.42, 0.55)
    y, x = np.mgrid[:height, :width]
    u = (x * np.cos(angle) + y * np.sin(angle)) / step
    v = (y * np.cos(angle) - x * np.sin(angle)) / step
    dark = {
        "plain": np.zeros((height, width), dtype=bool),
        "striped": u % 1 < 0.45,
        "dotted": (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.09,
        "chequered": (np.floor(u) + np.floor(v)) % 2 < 1,
    }[texture]
    sheet = np.where(dark[..., None], base * 0.42, base)
    return Image.fromarray(sheet.astype(np.uint8))
