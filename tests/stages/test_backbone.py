"""Stages weights, finetune and features: from params.yaml to files, alone and under a launcher."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.common import files
from pipeline.datasets import own, shapes
from pipeline.datasets.index import Index, write
from pipeline.vision import backbone
from stages import features, finetune, weights

ROOT = Path(__file__).parents[2]
ARCH = "test_resnet.r160_in1k"
CHANGES = {
    "shapes.backbone": {"arch": ARCH, "pretrained": False, "size": 32, "crop": 1.0},
    "shapes.finetune": {"epochs": 1, "batch": 16, "lr": 0.01, "head_lr": 0.01},
    "features.shard": 16,
    "run.device": "cpu",
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """data/shapes with a few small drawings and their index."""
    folder = tmp_path_factory.mktemp("drawn") / "data/shapes"
    (folder / "raw").mkdir(parents=True)
    config = shapes.Sources(version=1, seed=0, seen=14, unseen=4, images_per_class=6, test_share=0.3, size=32)
    shapes.make(folder / "raw", config)
    listing = shapes.listing(folder / "raw")
    split = shapes.splits(folder / "raw", shapes.SplitConfig(val_seen=0.2, seed=0, folds=1, unseen=3)).split
    names = [listing.class_names[label] for label in listing.labels]
    write(folder / "index.csv", Index(listing.images, listing.labels, names, split, [np.full(len(split), "train")]))
    return folder.parents[1]


@pytest.fixture
def start(drawn, tmp_path, monkeypatch):
    """Starts a stage in a copy of `drawn`, with this repository's params.yaml and changes as dotted=value."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    own.write("shapes", "features", own.File())
    monkeypatch.setattr(sys, "argv", ["stage", "--dataset", "shapes"])

    def run(stage=None, **changes):
        tree = yaml.safe_load((ROOT / "params.yaml").read_text())
        for key, value in (CHANGES | {key.replace("__", "."): value for key, value in changes.items()}).items():
            *path, last = key.split(".")
            node = tree
            for part in path:
                node = node[part]
            node[last] = value
        Path("params.yaml").write_text(yaml.safe_dump(tree))
        if stage:
            stage.main()

    yield run
    torch.set_num_threads(threads)


def bytes_of(name):
    return Path("data/shapes", name).read_bytes()


def test_from_random_weights_to_features(start):
    start(weights)
    held, metadata = backbone.read_weights("data/shapes/weights.safetensors")
    assert metadata == {"arch": ARCH}
    assert not any(key.startswith("fc.") for key in held)
    start(finetune)
    assert bytes_of("backbone.safetensors") != bytes_of("weights.safetensors")
    assert [row["epoch"] for row in files.read_csv("data/shapes/finetune.csv")] == ["1"]
    assert not list(Path().glob("checkpoints/**/*.pt"))
    start(features)
    found = np.load("data/shapes/features.npy")
    assert found.shape == (18 * 6, 96)
    assert np.isfinite(found).all()
    assert Path("data/shapes/undecodable.csv").read_text() == "row,image,reason\n"
    assert not list(Path("data/.shards/shapes").iterdir())


def test_without_epochs_the_backbone_is_a_copy(start):
    start(weights)
    start(finetune, shapes__finetune={"epochs": 0})
    assert bytes_of("backbone.safetensors") == bytes_of("weights.safetensors")
    with open("data/shapes/finetune.csv", newline="") as file:
        assert list(csv.reader(file)) == [["epoch", "lr", "loss", "validation_loss", "accuracy"]]


def test_a_file_of_the_users_is_where_it_begins(start):
    chosen = backbone.Config(arch=ARCH, weights="", seed=9)
    torch.save({"state_dict": backbone.create(chosen).state_dict()}, "mine.pth")
    start(weights, backbone__weights="mine.pth")
    held, _ = backbone.read_weights("data/shapes/weights.safetensors")
    assert torch.equal(held["conv1.0.weight"], backbone.create(chosen).state_dict()["conv1.0.weight"])


def test_what_is_wrong_is_one_line(start, capsys):
    def fails(stage, **changes):
        with pytest.raises(SystemExit) as stop:
            start(stage, **changes)
        assert stop.value.code == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        return lines[0]

    assert "none.pth: no such file" in fails(weights, backbone__weights="none.pth")
    pretrained = {"arch": "resnet26", "pretrained": True}
    assert "no published weights of resnet26" in fails(
        weights, backbone__weights=str(ROOT / "weights/published.yaml"), shapes__backbone=pretrained
    )
    assert "has no 'resnet_10'" in fails(weights, shapes__backbone={"arch": "resnet_10", "pretrained": False})
    assert not Path("data/shapes/weights.safetensors").exists()
    start(weights)
    capsys.readouterr()
    shutil.copy("data/shapes/weights.safetensors", "data/shapes/backbone.safetensors")
    assert f"it holds {ARCH}" in fails(features, shapes__backbone={"arch": "resnet10t"})
    assert "shapes.backbone.size" in fails(features, shapes__backbone={"size": 1})
    assert "holdout: 0.0 is out of range" in fails(finetune, shapes__finetune={"holdout": 0})
    assert not Path("data/shapes/features.npy").exists()


def test_published_features_need_no_backbone(start, monkeypatch):
    array = np.arange(8, dtype=np.float32).reshape(4, 2)
    monkeypatch.setattr(shapes, "published", lambda raw: array, raising=False)
    for stage in (weights, finetune, features):
        start(stage, features__source="published", shapes__backbone={})
    assert backbone.read_weights("data/shapes/backbone.safetensors")[0] == {}
    assert np.array_equal(np.load("data/shapes/features.npy"), array)


def test_torchrun_gives_the_same_bytes(start):
    """Two processes under the launcher, as `$LAUNCH` starts them."""
    start(weights)
    shutil.copy("data/shapes/weights.safetensors", "data/shapes/backbone.safetensors")
    start(features)
    alone = bytes_of("features.npy")
    Path("data/shapes/features.npy").unlink()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run(
        [*launch, "stages.features", "--dataset", "shapes"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert bytes_of("features.npy") == alone


def test_no_other_stage_pays_for_importing_timm():
    names = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
    others = [f"stages.{name}" for name in names if name not in ("weights", "finetune", "features")]
    assert "stages.train" in others
    code = f"import sys, importlib; [importlib.import_module(n) for n in {others}]; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
