"""Stages download, splits and semantics: from params.yaml to files, and one line for what is wrong."""

import sys

import numpy as np
import pytest
import yaml

from pipeline.common import files
from pipeline.datasets import index, own
from stages import download, semantics, splits

CLASSES = ["barn owl", "wren", "crow", "gull", "tit", "swift", "kite", "emu"]
PARAMS = {
    "model": "eszsl",
    "datasets": ["folder"],
    "seeds": [0],
    "eszsl": {"folder": {}},
    "features": {"source": "images"},
    "run": {"archives": "data/archives"},
    "folder": {
        "sources": {"images": {"url": ["birds"]}, "classes": None},
        "semantics": "attributes",
        "files": {"features": "data/none", "semantics": "data/none", "share": None, "splits": "data/none"},
        "splits": {"unseen": 0.25, "test_seen": 0.25, "val_unseen": 0.2, "folds": 1, "val_seen": 0.25, "seed": 0},
    },
}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a stage in a folder with params.yaml, `birds` in place, and changes to params given as dotted=value."""
    monkeypatch.chdir(tmp_path)
    for name in CLASSES:
        (tmp_path / "birds/images" / name).mkdir(parents=True)
        for i in range(8):
            (tmp_path / "birds/images" / name / f"{i}.jpg").write_bytes(f"{name} {i}".encode())
    rows = "".join(f"{name},{i + 10},{i % 2}\n" for i, name in enumerate(CLASSES))
    (tmp_path / "birds/classes.csv").write_text("class,wing,nocturnal\n" + rows)
    for kind in ("features", "semantics", "splits"):
        own.write("folder", kind, own.File())

    def run(stage, *changes):
        tree = yaml.safe_load(yaml.safe_dump(PARAMS))
        for key, value in changes:
            *path, last = key.split(".")
            node = tree
            for part in path:
                node = node[part]
            node[last] = value
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
        monkeypatch.setattr(sys, "argv", ["stage", "--dataset", "folder"])
        stage.main()

    return run


def test_from_a_folder_to_the_files_between_the_stages(start, tmp_path, capsys):
    for stage in (download, splits, semantics):
        start(stage)
    found = index.read("data/folder/index.csv")
    assert len(found.images) == 64
    assert len(set(found.class_names)) == 8
    arrays = files.read_npz("data/folder/semantics.npz")
    assert arrays["attributes"].shape == (8, 3)
    np.testing.assert_allclose(np.linalg.norm(arrays["attributes"], axis=1), 1, rtol=1e-6)
    made = sorted(path.name for path in (tmp_path / "data/folder").iterdir())
    assert made == ["columns.csv", "index.csv", "raw", "semantics.npz"]
    said = capsys.readouterr().out
    assert "splits folder: 64 images: trainval 36 (6 classes), test_seen 12 (6 classes), test_unseen 16" in said


@pytest.mark.parametrize(
    ("stage", "key", "value", "message"),
    [
        (
            download,
            "folder.sources.images.url",
            ["nowhere"],
            "folder.sources.images: cannot be fetched: nowhere: no such",
        ),
        (download, "folder.sources.image", {"url": "x"}, "folder.sources.image: unknown key; did you mean 'images'?"),
        (download, "folder.sources.images.needed", "never", "'never' is not one of always, images, published"),
        (download, "features.source", "pictures", "features.source: 'pictures' is not one of images, published"),
        (splits, "folder.splits.val_seen", 1.5, "folder.splits.val_seen: 1.5 is out of range"),
        (splits, "folder.splits.unseen", "many", "folder.splits.unseen: 'many' should be a number"),
        (semantics, "folder.semantics", "sentences", "'sentences' is not one of attributes"),
    ],
)
def test_wrong_params_are_one_line(start, capsys, stage, key, value, message):
    if stage is not download:
        start(download)
    with pytest.raises(SystemExit) as caught:
        start(stage, (key, value))
    said = capsys.readouterr().err
    assert caught.value.code == 1
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_a_failing_check_leaves_no_index(start, tmp_path, capsys):
    (tmp_path / "birds/images/crow/0.jpg").write_bytes(b"barn owl 0")
    start(download)
    with pytest.raises(SystemExit):
        start(splits)
    assert "are the same file in two classes" in capsys.readouterr().err
    assert not (tmp_path / "data/folder/index.csv").exists()


def test_a_download_starts_from_an_empty_folder(start, tmp_path):
    start(download)
    (tmp_path / "data/folder/raw/classes.csv").write_text("left over")
    start(download)
    assert [path.name for path in (tmp_path / "data/folder/raw").iterdir()] == ["images.tar"]
