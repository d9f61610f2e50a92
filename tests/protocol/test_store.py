"""What a training leaves is known by all that decides it, is whole or not there, and is computed once."""

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks import configs as full
from pipeline.common import files, machine
from pipeline.models import hsva
from pipeline.models.base import precision
from pipeline.protocol import selection, setting, store, trained
from tests import configs, problems

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
RUN = machine.Run("cpu", None, "archives", False, 1, 5.0)
HOW = selection.Selection(1, 3)
CHOSEN = {"epoch": 2, "gzsl_epoch": 1, "czsl_epoch": 1, "constant": 0.1, "validation": {}}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.code.cache_clear()
    yield tmp_path
    store.code.cache_clear()


def our(**changes):
    what = {"dataset": "cub", "seed": 0, "model": "hsva", "module": None, "config": configs.hsva(), "run": RUN}
    return setting.Setting(**what | {"device": CPU, "benchmark": None, "data": "a fingerprint"} | changes)


def entry(name="0"):
    return store.Entry("selection", "cub", {"seed": name})


def test_everything_that_decides_a_training_is_in_its_hash_and_nothing_that_does_not():
    before = our()
    others = [
        our(seed=1),
        our(model="bsegn"),
        our(config=configs.hsva(lr=0.5)),
        our(data="another"),
        our(device=torch.device("meta")),
    ]
    hashes = {one.selecting(HOW).hash for one in (before, *others)}
    assert len(hashes) == 6
    assert before.selecting(dataclasses.replace(HOW, checks=4)).hash not in hashes
    speed = machine.Run("cpu", 3, "elsewhere", True, 8, 1.0)
    assert our(run=speed, dataset="sun", checkpoints=Path("x")).selecting(HOW).hash == before.selecting(HOW).hash


def test_what_auto_comes_to_is_in_the_hash_and_the_checkpoint(monkeypatch):
    """A training that began on another processor is neither taken up nor gone on with here."""
    auto = our(config=configs.hsva(precision="auto"))
    found = {}
    for fast in (False, True):
        monkeypatch.setattr(precision, "_fast", lambda device, fast=fast: fast)
        entry = auto.selecting(HOW)
        found[fast] = entry.hash, auto.training(CHOSEN).hash, auto.checkpoint(entry, "fold-0").key
        assert auto.selecting(HOW).decided["precision"] == ("bfloat16" if fast else "float32")
    assert not set(found[False]) & set(found[True])
    assert our(model="eszsl", config=full.config("eszsl", "cub")).decided("selection")["precision"] is None


def test_a_training_is_known_by_its_epochs_whatever_chose_them():
    for name in ("epoch", "gzsl_epoch", "czsl_epoch"):
        assert our().training(CHOSEN).hash != our().training(CHOSEN | {name: 7}).hash
    assert our().training(CHOSEN).hash == our().training(CHOSEN | {"constant": 0.5}).hash
    assert our().training(CHOSEN).hash != our(seed=1).training(CHOSEN).hash


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("pipeline/models/hsva/losses.py", {"selection", "training"}),
        ("pipeline/models/base/classifier.py", {"selection", "training"}),
        ("pipeline/protocol/metrics.py", {"selection"}),
        ("pipeline/protocol/trained.py", {"training"}),
        ("pipeline/protocol/evaluation.py", set()),
        ("pipeline/models/hsva/space.py", set()),
        ("pipeline/models/bsegn/losses.py", set()),
        ("pipeline/common/files.py", set()),
    ],
)
def test_changed_code_takes_no_old_training(folder, monkeypatch, path, changed):
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(store, "ROOT", folder)
    before = {kind: store.code(kind, "hsva") for kind in store.CODE}
    (folder / path).write_text((folder / path).read_text() + "# changed\n")
    store.code.cache_clear()
    assert {kind for kind in store.CODE if store.code(kind, "hsva") != before[kind]} == changed


def test_the_code_in_a_hash_is_what_dvc_has_the_stages_depend_on():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    # where things are kept decides no number
    plumbing = {"pipeline/protocol/setting.py", "pipeline/protocol/store.py", "pipeline/models/${model}"}
    for kind, stage in {"selection": "select", "training": "train"}.items():
        deps = {dep for dep in stages[stage]["deps"] if dep.startswith("pipeline/")}
        assert set(store.CODE[kind]) == deps - plumbing


def test_what_is_left_is_whole_or_not_there(folder):
    with pytest.raises(KeyboardInterrupt), entry().leaving() as half:
        (half / "a").write_text("half")
        raise KeyboardInterrupt
    assert entry().left() is None
    assert list(store.FOLDER.iterdir()) == []
    with entry().leaving() as whole:
        (whole / "a").write_text("whole")
    assert (entry().left() / "a").read_text() == "whole"
    entry().copy(folder / "out")
    assert [path.name for path in (folder / "out").iterdir()] == ["a"]


def test_a_full_disk_leaves_nothing_and_is_told(monkeypatch):
    def full(path, value):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(OSError, match="No space left"), entry().leaving() as half:
        (half / "a").write_text("half")
    assert list(store.FOLDER.iterdir()) == []


def test_what_is_damaged_is_said_and_made_again(capsys):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "a").write_text("right")

    assert entry().made(make) == (entry().folder, False)
    assert entry().made(make) == (entry().folder, True)
    (entry().folder / "a").write_text("wrong")
    assert entry().made(make)[1] is False
    assert (entry().left() / "a").read_text() == "right"
    assert len(made) == 2
    assert "is not as it was left, and is made again" in capsys.readouterr().out


def test_two_at_once_leave_one(folder):
    """On a shared disk without locks both compute the same."""
    with entry().leaving() as first, entry().leaving() as second:
        (first / "a").write_text("same")
        (second / "a").write_text("same")
    assert (entry().left() / "a").read_text() == "same"
    assert [path.name for path in store.FOLDER.iterdir()] == [entry().hash]


HOLDS = """
import sys, time
from pipeline.protocol import store
assert store.Lock(sys.argv[1]).take()
print("held", flush=True)
time.sleep(600)
"""


def test_a_lock_dies_with_its_process(folder):
    path = folder / "locks/a.lock"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, path], stdout=subprocess.PIPE, env=environment)
    try:
        assert holder.stdout.readline() == b"held\n"
        lock = store.Lock(path)
        assert not lock.take()
        holder.kill()
        holder.wait()
        assert lock.take()
        assert not store.Lock(path).take()
        lock.give()
        assert not path.exists()
    finally:
        holder.kill()
        holder.communicate()


MAKES = """
import time
from pathlib import Path
from pipeline.protocol import store

def make(folder):
    with open("made", "a") as made:
        made.write("once ")
    time.sleep(0.5)
    (folder / "a").write_text("x")

store.Entry("selection", "cub", {"seed": 0}).made(make)
"""


def test_processes_side_by_side_compute_once(folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    several = [
        subprocess.Popen([sys.executable, "-c", MAKES], env=environment, stdout=subprocess.PIPE) for _ in range(3)
    ]
    outputs = [process.communicate()[0].decode() for process in several]
    assert [process.returncode for process in several] == [0, 0, 0]
    assert (folder / "made").read_text() == "once "
    # those that came too late say what they wait for, unless all was done when they began
    assert all(output == "" or "another process is making it; waiting for that" in output for output in outputs)


def test_the_same_training_is_the_same_file(folder):
    tensors = {"a": torch.arange(5.0), "b": torch.ones(2, 3)}
    contents = set()
    for i in range(12):
        trained.write(folder / f"{i}.safetensors", "hsva", configs.hsva(), tensors)
        contents.add((folder / f"{i}.safetensors").read_bytes())
    assert len(contents) == 1
    again = trained.read(folder / "0.safetensors")
    assert again.config == configs.hsva()
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in tensors.items())


def test_a_selection_and_a_training_leave_what_the_stages_write(folder):
    config = configs.hsva(epochs=2, classifier={"gzsl_epochs": 1, "czsl_epochs": 1})
    ours = our(benchmark=problems.benchmark(), data=None, module=hsva, config=config)
    entry = ours.selecting(HOW)
    entry.made(lambda to: selection.leave(ours, HOW, "select", to))
    assert {path.name for path in entry.folder.iterdir()} == {"about.json", "selected.json", "selection.csv"}
    chosen = files.read_json(entry.folder / "selected.json")
    training = ours.training(chosen)
    training.made(lambda to: trained.leave(ours, chosen, "train", to))
    assert {path.name for path in training.folder.iterdir()} == {"about.json", "model.safetensors", "history.csv"}
    assert trained.read(training.folder / "model.safetensors").config == ours.config
