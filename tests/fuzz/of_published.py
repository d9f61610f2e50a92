"""Published data sets in small: MATLAB files, lists of names, matrices and annotations, in their real layouts."""

import io
import zipfile

import numpy as np
import scipy.io

from pipeline.datasets import apy, awa2, cub, flo, shapes, sun
from pipeline.datasets.base.xlsa17 import PARTS
from tests.fuzz.kinds import hashed, kind
from tests.pictures import encoded, gradient

CLASSES = ["crow", "gull", "owl", "wren"]
# two rows a class and part, sorted by class as the published rows are; wren is unseen
LABELS = np.repeat(np.arange(4), 4)
NAMES = [f"{CLASSES[label]}/{row:02d}.jpg" for row, label in enumerate(LABELS)]
PICTURE = encoded(gradient(8, 8), "JPEG")
LISTS = {"testclasses.txt": "wren\n"} | {
    f"{part}classes{number}.txt": "\n".join(names) + "\n"
    for number, unseen in enumerate(CLASSES[:3], start=1)
    for part, names in (("val", [unseen]), ("train", [name for name in CLASSES[:3] if name != unseen]))
}


def cells(texts):
    array = np.empty((len(texts), 1), dtype=object)
    array[:, 0] = texts
    return array


def mat(compressed=True, **content):
    file = io.BytesIO()
    scipy.io.savemat(file, content, do_compression=compressed)
    return file.getvalue()


def locations(labels, unseen):
    """The rows of the published split, counted from one: of seen classes the first of each is in test_seen."""
    rows = np.arange(len(labels))
    first = np.r_[True, labels[1:] != labels[:-1]]
    parts = {"test_unseen": np.isin(labels, unseen), "test_seen": first & ~np.isin(labels, unseen)}
    parts["trainval"] = ~parts["test_unseen"] & ~parts["test_seen"]
    return {PARTS[part]: (rows[chosen] + 1.0)[:, None] for part, chosen in parts.items()}


def packed(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return [f"{path.name}!{name}" for name in members if not name.endswith(".jpg")]


def splits(folder, name, wide=5, names=NAMES):
    """splits.zip, as xlsa17.zip, with features: the paths in it."""
    names = [f"/data/{name}" for name in names]
    attributes = np.random.default_rng(0).random((wide, 4))
    parts = locations(LABELS, [3])
    members = {
        "att_splits.mat": mat(False, allclasses_names=cells(CLASSES), att=attributes, **parts),
        "res101.mat": mat(features=np.ones((6, 16)), labels=LABELS[:, None] + 1.0, image_files=cells(names)),
    }
    members |= {name: text.encode() for name, text in LISTS.items()}
    return packed(folder / "splits.zip", {f"xlsa17/data/{name}/{file}": data for file, data in members.items()})


def taken(module, folder, choices):
    """All that the stages ask of a data set's module."""
    listing = module.listing(folder)
    found = [module.semantics(folder, choice) for choice in choices]
    split = module.splits(folder, module.SplitConfig(val_seen=0.25, seed=0))
    features = module.published(folder)
    return hashed(listing.images, listing.labels, split.split, features, *(one.attributes for one in found))


def make_awa2(folder):
    matrix = "\n".join(" ".join(f"{(7 * row + column) % 9}.5" for column in range(5)) for row in range(4))
    lists = {
        "classes.txt": "".join(f"{i:8d}\t{name}\n" for i, name in enumerate(CLASSES, start=1)),
        "predicates.txt": "".join(f"{i:8d}\ttrait {i}\n" for i in range(1, 6)),
        "predicate-matrix-continuous.txt": matrix + "\n",
    }
    images = {f"Animals_with_Attributes2/JPEGImages/{name}": PICTURE for name in NAMES}
    packed(folder / "images.zip", images)
    lists = {f"Animals_with_Attributes2/{name}": text.encode() for name, text in lists.items()}
    return packed(folder / "annotations.zip", lists) * 2 + splits(folder, "AWA2")


@kind("awa2", make_awa2)
def read_awa2(folder):
    return taken(awa2, folder, ("attributes", "published"))


def make_cub(folder):
    matrix = "\n".join(" ".join(f"{(7 * row + column) % 9}.5" for column in range(5)) for row in range(4))
    lists = {
        "classes.txt": "".join(f"{i} {name}\n" for i, name in enumerate(CLASSES, start=1)),
        "images.txt": "".join(f"{i} {name}\n" for i, name in enumerate(NAMES, start=1)),
        "image_class_labels.txt": "".join(f"{i} {label + 1}\n" for i, label in enumerate(LABELS, start=1)),
        "attributes/class_attribute_labels_continuous.txt": matrix + "\n",
    }
    members = {f"CUB_200_2011/{name}": text.encode() for name, text in lists.items()}
    members["attributes.txt"] = "".join(f"{i} has_part::kind_{i}\n" for i in range(1, 6)).encode()
    images = {f"CUB_200_2011/images/{name}": PICTURE for name in NAMES}
    sentences = mat(allclasses_names=cells(CLASSES[::-1]), att=np.random.default_rng(1).random((7, 4)))
    (folder / "sentences.mat").write_bytes(sentences)
    return packed(folder / "images.zip", members | images) * 2 + splits(folder, "CUB")


@kind("cub", make_cub)
def read_cub(folder):
    return taken(cub, folder, ("attributes", "published"))


def make_sun(folder):
    names = [f"{name[0]}/{name}" for name in NAMES]
    votes = np.random.default_rng(0).random((16, 5))
    annotations = {
        "images.mat": mat(images=cells(names)),
        "attributes.mat": mat(False, attributes=cells([f"trait {i}" for i in range(5)])),
        "attributeLabels_continuous.mat": mat(labels_cv=votes),
    }
    packed(folder / "images.zip", {f"images/{name}": PICTURE for name in names})
    annotations = {f"SUNAttributeDB/{name}": data for name, data in annotations.items()}
    return packed(folder / "annotations.zip", annotations) + splits(folder, "SUN", names=names)


@kind("sun", make_sun)
def read_sun(folder):
    return taken(sun, folder, ("attributes", "published"))


def make_apy(folder):
    rows = [
        f"{name.split('/')[1]} {CLASSES[label]} 2 3 20 30 {'0 1 ' * 32}\n"
        for name, label in zip(NAMES, LABELS, strict=True)
    ]
    lists = dict(zip(apy.LISTS, ("".join(rows[a:b]) for a, b in ((0, 6), (6, 12), (12, 16))), strict=True))
    lists["attribute_names.txt"] = "".join(f"trait {i}\n" for i in range(64))
    members = {f"attribute_data/{name}": text.encode() for name, text in lists.items()}
    packed(folder / "pascal.zip", {f"{apy.PASCAL}/{name.split('/')[1]}": PICTURE for name in NAMES[:12]})
    packed(folder / "yahoo.zip", {f"{apy.YAHOO}/{name.split('/')[1]}": PICTURE for name in NAMES[12:]})
    paths = splits(folder, "APY", 64)
    names = [f"/data/{apy.PASCAL if row < 12 else apy.YAHOO}/{name.split('/')[1]}" for row, name in enumerate(NAMES)]
    (folder / "features.mat").write_bytes(
        mat(features=np.ones((6, 16)), labels=LABELS[:, None] + 1.0, image_files=cells(names))
    )
    return packed(folder / "annotations.zip", members) * 3 + paths


@kind("apy", make_apy)
def read_apy(folder):
    return taken(apy, folder, ("published",))


def make_flo(folder):
    labels = np.repeat(np.arange(flo.CLASSES), 3)
    numbers = np.arange(1.0, len(labels) + 1)
    unseen = np.arange(20)
    val = np.isin(labels, np.arange(20, 40))
    seen = ~np.isin(labels, unseen)
    files = {
        "labels.mat": mat(labels=labels[None, :] + 1.0),
        "setid.mat": mat(False, trnid=numbers[None, :102], valid=numbers[None, 102:204], tstid=numbers[None, 204:]),
        "splits.mat": mat(
            att=np.random.default_rng(0).random((6, flo.CLASSES)),
            train_loc=numbers[seen & ~val][:, None],
            val_loc=numbers[val][:, None],
            **locations(labels, unseen),
        ),
        "features.mat": mat(False, features=np.ones((3, len(labels))), labels=labels[:, None] + 1.0),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return list(files)


@kind("mat", make_flo)
def read_flo(folder):
    return taken(flo, folder, ("published",))


def make_shapes(folder):
    drawn = shapes.Sources(version=1, seed=0, seen=24, unseen=4, images_per_class=4, test_share=0.25, size=16)
    shapes.make(folder, drawn)
    return ["classes.csv", "images.csv", "shapes.tar"]


@kind("shapes", make_shapes)
def read_shapes(folder):
    listing, semantics = shapes.listing(folder), shapes.semantics(folder, "attributes")
    split = shapes.splits(folder, shapes.SplitConfig(val_seen=0.25, seed=0, folds=1, unseen=3))
    return hashed(listing.images, listing.labels, semantics.attributes, split.split)
