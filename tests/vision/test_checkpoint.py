"""Files of weights: which are read, which are told by what they are, what a checksum tells, and no code run."""

import argparse
import gzip
import pickle
import random
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.common.errors import UserError
from pipeline.vision import checkpoint

STATE = {"a.weight": torch.arange(600.0).view(20, 30), "a.bias": torch.zeros(20)}


def refused(path, content=None):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        checkpoint.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old format"])
def test_what_is_saved_is_read(new, tmp_path, capsys):
    content = {
        "state_dict": OrderedDict(STATE),
        "epoch": 3,
        "args": argparse.Namespace(model="x", lr=0.1),
        "l": [1, None],
    }
    torch.save(content, tmp_path / "w.pth.tar", _use_new_zipfile_serialization=new)
    found = checkpoint.read(tmp_path / "w.pth.tar")
    assert found["args"] == content["args"]
    assert all(torch.equal(found["state_dict"][key], value) for key, value in STATE.items())
    assert ("carries no checksum" in capsys.readouterr().out) != new


def test_safetensors_are_read_whatever_they_are_called(tmp_path):
    for name in ("w.safetensors", "w.bin"):
        save_file(STATE, tmp_path / name, {"arch": "x"})
        found = checkpoint.read(tmp_path / name)
        assert found.pop("__metadata__") == {"arch": "x"}
        assert found.keys() == STATE.keys()


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old format"])
def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(new, tmp_path):
    mark = tmp_path / "ran"
    torch.save({"state_dict": STATE, "extra": Hostile(mark)}, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    message = refused(tmp_path / "w.pth")
    assert "refused: it holds more than tensors, namely " in message
    assert message.endswith("would run code from the file; save the model's state_dict() instead")
    refused(tmp_path / "bare.pkl", pickle.dumps(Hostile(mark)))
    assert not mark.exists()


def test_a_whole_model_is_refused_by_the_name_of_its_class(tmp_path):
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), tmp_path / "model.pth")
    assert "namely torch.nn.modules.container.Sequential" in refused(tmp_path / "model.pth")


def test_no_more_than_the_namespace_is_allowed(tmp_path):
    """And what is allowed here stays forbidden elsewhere."""
    torch.save({"state_dict": STATE, "path": Path("/d")}, tmp_path / "w.pth")
    assert "namely pathlib" in refused(tmp_path / "w.pth")
    torch.save(argparse.Namespace(a=1), tmp_path / "args.pth")
    checkpoint.read(tmp_path / "args.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "args.pth", weights_only=True)


def test_a_flipped_bit_is_noticed_wherever_it_matters(tmp_path):
    torch.save({"state_dict": STATE}, tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        spans = [(member.header_offset, member.filename, archive.read(member)) for member in archive.infolist()]
    pick = random.Random(0)
    for offset, name, held in spans:
        start = whole.index(held, offset) if held else offset
        for at in {start + pick.randrange(len(held)) for _ in range(12)} if held else ():
            broken = bytearray(whole)
            broken[at] ^= 1 << pick.randrange(8)
            assert "fetch or write it again" in refused(tmp_path / "flipped.pth", bytes(broken)), name


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "old.pth"])
def test_a_file_that_was_cut_off_is_damaged(name, tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    torch.save(STATE, tmp_path / "w.pth")
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / name).read_bytes()
    for length in (len(whole) // 3, len(whole) // 2, len(whole) - 30):
        assert f"{name}: not a readable " in refused(tmp_path / name, whole[:length])


def test_a_file_saved_without_checksums_is_read_and_said_to_be(tmp_path, capsys):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(checkpoint.read(tmp_path / "w.pth")["a.weight"], STATE["a.weight"])
    assert "saved without checksums" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_other_files_are_told_by_what_they_are(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    assert "is a TorchScript archive" in refused(tmp_path / "script.pt")
    assert "an ONNX file" in refused(tmp_path / "net.onnx", b"\x08\x08\x12\x07pytorch")
    assert "HDF5, as Keras" in refused(tmp_path / "net.h5", b"\x89HDF\r\n\x1a\n" + bytes(50))
    assert "unpack it first" in refused(tmp_path / "w.pth.gz", gzip.compress(b"weights"))
    assert "a web page" in refused(tmp_path / "w.pth", b"<!DOCTYPE html><html></html>")
    assert "git lfs pull" in refused(tmp_path / "w.pth", b"version https://git-lfs.github.com/spec/v1\n")
    assert "an index of shards" in refused(tmp_path / "model.bin.index.json", b'{"weight_map": {}}')
    torch.save(STATE, tmp_path / "w.pth")
    with tarfile.open(tmp_path / "w.pth.tar", "w") as archive:
        archive.add(tmp_path / "w.pth", "w.pth")
    assert "is a tar archive; unpack it" in refused(tmp_path / "w.pth.tar")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(tmp_path / "w.pth", "w.pth")
    assert "none that torch.save wrote" in refused(tmp_path / "more.zip")
    with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(1 << 20))
    assert "none that torch.save wrote" in refused(tmp_path / "packed.pth")
    assert "no such file" in refused(tmp_path / "none.pth")
    assert "a folder; backbone.weights should name" in refused(tmp_path)
    assert "not a readable PyTorch file" in refused(tmp_path / "text.pth", b"\x80no weights")
    assert "not a readable PyTorch file" in refused(tmp_path / "empty.pth", b"")


def test_tensors_are_found_in_any_nest_once(tmp_path):
    shared = {"w": torch.ones(2)}
    content = {"a": {"b.c": torch.zeros(1), 3: [shared, {"v": torch.ones(1)}]}, "args": argparse.Namespace(t=shared)}
    content["self"] = content
    found = checkpoint.tensors("w.pth", content)
    # a list of mappings without a common key is the pieces of one
    assert set(found) == {("a", "b", "c"), ("a", "3", "w"), ("a", "3", "v")}
    found = checkpoint.tensors("w.pth", [{"x": torch.zeros(1)}, {"x": torch.zeros(1)}])
    assert set(found) == {("0", "x"), ("1", "x")}


def test_tensors_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"w: holds two tensors named a\.b"):
        checkpoint.tensors("w", {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}})
    torch.save({"w": torch.zeros(1).expand(1 << 40)}, tmp_path / "huge.pth")
    with pytest.raises(UserError, match="w is larger than what is stored of it"):
        checkpoint.tensors("w", checkpoint.read(tmp_path / "huge.pth"))
    deep = torch.zeros(1)
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(UserError, match="nested more than 100 deep"):
        checkpoint.tensors("w", deep)


def test_statements_of_an_architecture_are_found_where_programs_leave_them():
    content = {
        "arch": "resnet50",
        "args": argparse.Namespace(model="vit", teacher_model="x", data="y"),
        "hyper_parameters": {"net": {"backbone_name": "swin"}},
        "pretrained_cfg": {"architecture": "beit", "tag": "in1k"},
        "__metadata__": {"architecture": "deit"},
        "state_dict": {"model": torch.zeros(1)},
    }
    assert checkpoint.statements(content) == {
        "arch": "resnet50",
        "args.model": "vit",
        "hyper_parameters.net.backbone_name": "swin",
        "pretrained_cfg.architecture": "beit.in1k",
        "architecture": "deit",
    }
