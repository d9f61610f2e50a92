"""Weights of backbones, whoever wrote them, and the table that says where they are published."""

import hashlib

import torch
import yaml
from safetensors.torch import save_file

from pipeline.vision import backbone, weights
from tests.fuzz import remake
from tests.fuzz.kinds import hashed, kind

ARCH = "test_resnet.r160_in1k"
CONFIG = backbone.Config(arch=ARCH, weights="")


def state(seed=3):
    """Tensors of the network, with a head of 7 classes."""
    torch.manual_seed(seed)
    model = backbone.create(CONFIG)
    found = {name: torch.randn_like(t) if t.is_floating_point() else t for name, t in model.state_dict().items()}
    return found | {"fc.weight": torch.randn(7, model.num_features), "fc.bias": torch.zeros(7)}


def make_pth(folder):
    torch.save(state(), folder / "w.pth")
    return ["w.pth"]


def make_wrapped(folder):
    torch.save({"epoch": 3, "arch": "test_resnet", "state_dict": state()}, folder / "w.pth.tar")
    return ["w.pth.tar"]


def make_stranger(folder):
    save_file(state(), folder / "w.safetensors", {"format": "pt"})
    return ["w.safetensors"]


def make_ours(folder):
    model = backbone.create(CONFIG)
    backbone.save(folder / "w.safetensors", model, ARCH)
    return ["w.safetensors"]


def _started(folder):
    path = next(folder.glob("w.*"))
    return hashed(*weights.start(str(path), CONFIG, folder / "store").state_dict().values())


kind("pth", make_pth, sums=True)(_started)
kind("pth-wrapped", make_wrapped, sums=True)(_started)
kind("pth-remade", make_pth, remade=remake.as_pth)(_started)
kind("safetensors", make_stranger)(_started)
kind("safetensors-remade", make_stranger, remade=remake.as_safetensors)(_started)


@kind("backbone", make_ours, sums=True)
def read_ours(folder):
    return hashed(*backbone.load(folder / "w.safetensors", CONFIG).state_dict().values())


def make_published(folder):
    make_stranger(folder)
    digest = hashlib.sha256((folder / "w.safetensors").read_bytes()).hexdigest()
    url = "w.safetensors"
    entries = {ARCH: {"url": [url], "sha256": digest[:8]}, "other": {"url": url, "sha256": digest}}
    (folder / "published.yaml").write_text(yaml.safe_dump(entries))
    return ["published.yaml"]


@kind("published-weights", make_published)
def read_published(folder):
    return hashed(*weights.start("published.yaml", CONFIG, "store").state_dict().values())
