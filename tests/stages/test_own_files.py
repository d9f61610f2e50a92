"""Stages on files of a user's own: a folder with and without images, and one line for what is wrong."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.common import files
from pipeline.datasets import index, own
from stages import download, features, finetune, semantics, splits, weights
from stages import files as files_stage
from tests.datasets.own import writers

ROOT = Path(__file__).parents[2]
CLASSES = ["barn owl", "wren", "crow", "gull", "tit", "swift", "kite", "emu"]
LABELS = np.repeat(np.arange(8), 6)
NAMES = [f"{CLASSES[label]}/{i}.jpg" for i, label in enumerate(LABELS)]
GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(48, 5)).astype(np.float32)
VECTORS = GENERATOR.normal(size=(8, 7))
ORDER = GENERATOR.permutation(48)
STAGES = (files_stage, download, semantics, splits, weights, finetune, features)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Runs stages on `folder` in a folder with this repository's params.yaml and changes to it as dotted=value."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/none").write_text("none")
    for name in NAMES:
        (tmp_path / "birds/images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "birds/images" / name).write_bytes(name.encode())
    rows = "".join(f"{name},{i + 10},{i % 2}\n" for i, name in enumerate(CLASSES))
    (tmp_path / "birds/classes.csv").write_text("class,wing,nocturnal\n" + rows)
    np.savez("mine.npz", features=ROWS[ORDER], names=np.array(NAMES)[ORDER])
    np.savez("listed.npz", features=ROWS[ORDER], names=np.array(NAMES)[ORDER], labels=LABELS[ORDER])
    writers.csv(tmp_path / "clip.csv", VECTORS, CLASSES)
    monkeypatch.setattr(sys, "argv", ["stage", "--dataset", "folder"])

    def run(*stages, **changes):
        tree = yaml.safe_load((ROOT / "params.yaml").read_text())
        tree["datasets"] = ["folder"]
        changes = {"folder__sources__images": {"url": ["birds"]}} | changes
        for key, value in changes.items():
            *path, last = key.split("__")
            node = tree
            for part in path:
                node = node[part]
            node[last] = value
        Path("params.yaml").write_text(yaml.safe_dump(tree))
        for stage in stages:
            stage.main()

    return run


def written():
    rows = index.read("data/folder/index.csv")
    return rows, files.read_npz("data/folder/semantics.npz"), np.load("data/folder/features.npy")


def test_features_of_a_file_beside_images(start, capsys):
    start(*STAGES, folder__files__features="mine.npz", folder__files__semantics="clip.csv")
    rows, found, features_found = written()
    assert rows.images[0].startswith("images.tar/birds/images/barn owl/")
    by_name = dict(zip(NAMES, ROWS, strict=True))
    wanted = [by_name["/".join(image.split("/")[-2:])] for image in rows.images]
    np.testing.assert_array_equal(features_found, wanted)
    assert found["attributes"].shape == (8, 7)
    assert found["source"] == "clip.csv"
    said = capsys.readouterr().out
    assert "rows found by the last 2 parts of the path" in said
    assert "finetune folder: the backbone stays as it is" in said


def test_features_alone_are_a_data_set(start):
    """No photographs, no table: classes are those of the semantics file, rows those of the features file."""
    alone = {"folder__sources__images": None, "folder__files__semantics": "clip.csv"}
    start(*STAGES, **alone, folder__files__features="listed.npz")
    rows, found, features_found = written()
    np.testing.assert_array_equal(features_found, ROWS[ORDER])
    np.testing.assert_array_equal(rows.labels, LABELS[ORDER])
    assert rows.class_names == [CLASSES[label] for label in LABELS[ORDER]]
    assert found["class_names"].tolist() == CLASSES
    assert set(rows.split) == {"trainval", "test_seen", "test_unseen"}
    assert set(rows.images) == {""}


def test_features_alone_with_a_table_of_classes(start):
    alone = {"folder__sources__images": None, "folder__sources__classes": {"url": ["birds/classes.csv"]}}
    start(*STAGES, **alone, folder__files__features="mine.npz")
    rows, found, features_found = written()
    np.testing.assert_array_equal(features_found, ROWS[ORDER])
    # the class is the folder in the name
    np.testing.assert_array_equal(rows.labels, LABELS[ORDER])
    assert found["source"] == "attributes"


def test_a_table_of_names_is_enough_beside_semantics(start):
    Path("birds/classes.csv").write_text("class\n" + "\n".join(CLASSES) + "\n")
    start(*STAGES, folder__files__features="mine.npz", folder__files__semantics="clip.csv")
    assert written()[1]["attributes"].shape == (8, 7)


def test_a_split_of_ones_own(start):
    Path("split.csv").write_text("class,split\n" + "".join(f"{n},{'un' * (n < 'd')}seen\n" for n in CLASSES))
    start(files_stage, download, splits, folder__files__splits="split.csv")
    rows = index.read("data/folder/index.csv")
    unseen = {name for name, part in zip(rows.class_names, rows.split, strict=True) if part == "test_unseen"}
    assert unseen == {"barn owl", "crow"}
    lines = [f"{name},{part}" for name, part in zip(NAMES, rows.split[::-1], strict=True)]
    Path("split.csv").write_text("\n".join(["image,split", *lines]) + "\n")
    start(files_stage, splits, folder__files__splits="split.csv")
    again = index.read("data/folder/index.csv")
    by_name = dict(zip(NAMES, rows.split[::-1], strict=True))
    assert [by_name["/".join(image.split("/")[-2:])] for image in again.images] == again.split.tolist()


def test_only_what_a_file_leads_to_is_noted_as_changed(start):
    start(files_stage, folder__files__features="mine.npz", folder__files__semantics="clip.csv")
    before = {path.name: path.read_bytes() for path in (own.FOLDER / "folder").iterdir()}
    others = (own.FOLDER / "cub/features.json").read_bytes()
    np.savez("mine.npz", features=ROWS, names=np.array(NAMES))
    start(files_stage, folder__files__features="mine.npz", folder__files__semantics="clip.csv")
    after = {path.name: path.read_bytes() for path in (own.FOLDER / "folder").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"features.json"}
    assert (own.FOLDER / "cub/features.json").read_bytes() == others


COPIES = "birds/images/wren/6.jpg", "birds/images/wren/7.jpg"


def _with_copies():
    Path(COPIES[1]).write_bytes(Path(COPIES[0]).read_bytes())
    parts = [
        "test_unseen" if label > 5 else "test_seen" if i % 6 == 0 else "trainval" for i, label in enumerate(LABELS)
    ]
    lines = [f"{name},{part}" for name, part in zip(NAMES, parts, strict=True)]
    Path("split.csv").write_text("\n".join(["image,split", *lines]) + "\n")


FAILS = {
    "no such file": (
        {"folder__files__features": "none.npy"},
        None,
        (files_stage,),
        "none.npy: is no file; name one, or data",
    ),
    "no path": ({"folder__files__features": None}, None, (files_stage,), "folder.files.features: None should be text"),
    "share": (
        {"folder__files__share": 1.0},
        None,
        (semantics,),
        "folder.files.share: 1.0 is out of range; it should be",
    ),
    "no list": (
        {"folder__sources__images": None, "folder__files__semantics": "clip.csv"},
        None,
        (files_stage, download, splits),
        "holds no images; folder.sources.images should name some, or folder.files.features a file",
    ),
    "nothing says the class": (
        {
            "folder__sources__images": None,
            "folder__files__semantics": "clip.csv",
            "folder__files__features": "mine.npy",
        },
        lambda: np.save("mine.npy", ROWS),
        (files_stage, download, splits),
        "mine.npy: says of no row which class it is of",
    ),
    "an image twice": (
        {
            "folder__sources__images": None,
            "folder__files__semantics": "clip.csv",
            "folder__files__features": "mine.npz",
        },
        lambda: np.savez("mine.npz", features=ROWS, names=np.array([NAMES[1], *NAMES[1:]])),
        (files_stage, download, splits),
        "mine.npz: has 'barn owl/1.jpg' twice",
    ),
    "an unknown class": (
        {
            "folder__sources__images": None,
            "folder__files__semantics": "clip.csv",
            "folder__files__features": "mine.npz",
        },
        lambda: np.savez("mine.npz", features=ROWS, names=np.array(["dodo/1.jpg", *NAMES[1:]])),
        (files_stage, download, splits),
        "mine.npz: 'dodo' is no class of the data set",
    ),
    "copies on both sides": (
        {"folder__files__splits": "split.csv"},
        _with_copies,
        (files_stage, download, splits),
        "is in trainval and its copy",
    ),
    "a split that leaks": (
        {"folder__files__splits": "split.csv"},
        lambda: Path("split.csv").write_text(
            "image,split\n" + "".join(f"{n},{('trainval', 'test_unseen')[i % 2]}\n" for i, n in enumerate(NAMES))
        ),
        (files_stage, download, splits),
        "split.csv: split: no image is in test_seen",
    ),
}


@pytest.mark.parametrize("case", FAILS)
def test_what_is_wrong_is_one_line(start, capsys, case):
    changes, prepare, stages, message = FAILS[case]
    if prepare:
        prepare()
    start(*stages[:-1], **changes)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        start(stages[-1], **changes)
    said = capsys.readouterr().err
    assert message in said
    assert [line for line in said.splitlines() if line.startswith("error: ")] == [said.splitlines()[-1]]
    assert not Path("data/folder/index.csv").exists()
