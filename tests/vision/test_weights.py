"""Where a backbone begins: fetched and checked, a file of the user's, or random."""

import hashlib

import pytest
import torch
import yaml

from pipeline.common.errors import UserError
from pipeline.vision import backbone, weights

ARCH = "test_resnet.r160_in1k"


@pytest.fixture
def published(tmp_path):
    """A file of weights, a table that names it, and its sha256."""
    model = backbone.create(backbone.Config(arch=ARCH, weights="", seed=7))
    torch.save(model.state_dict(), tmp_path / "net.pth")
    sha256 = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    return model.state_dict(), tmp_path / "net.pth", sha256


def table(folder, entry):
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump({ARCH: entry}))
    return path


def begin(path, folder, **given):
    return weights.start(path, backbone.Config(weights=str(path), **({"arch": ARCH} | given)), folder / "store")


@pytest.mark.parametrize("digits", [8, 64])
def test_published_weights_are_fetched_by_url_and_checked(tmp_path, published, digits):
    state, file, sha256 = published
    path = table(tmp_path, {"url": [file.as_uri()], "sha256": sha256[:digits]})
    model = begin(path, tmp_path)
    assert torch.equal(model.state_dict()["conv1.0.weight"], state["conv1.0.weight"])
    path = table(tmp_path, {"url": [file.as_uri()], "sha256": ("0" * 64)[:digits]})
    with pytest.raises(UserError, match=sha256[:8]):
        begin(path, tmp_path)


def test_a_table_without_the_architecture_says_what_to_do(tmp_path, published):
    path = table(tmp_path, {"url": "file:///x", "sha256": "00"})
    with pytest.raises(UserError, match=r"no published weights of resnet18; add its url .* or pretrained: false"):
        begin(path, tmp_path, arch="resnet18")
    with pytest.raises(UserError, match="cannot be fetched"):
        begin(path, tmp_path)
    with pytest.raises(UserError, match=r"none\.yaml"):
        begin(tmp_path / "none.yaml", tmp_path)
    path.write_text("a: [")
    with pytest.raises(UserError, match="not valid YAML"):
        begin(path, tmp_path)


def test_random_weights_need_no_table(tmp_path):
    model = begin(tmp_path / "none.yaml", tmp_path, pretrained=False, seed=3)
    expected = backbone.create(backbone.Config(arch=ARCH, weights="", seed=3))
    assert torch.equal(model.state_dict()["conv1.0.weight"], expected.state_dict()["conv1.0.weight"])


def test_a_file_is_used_whatever_the_data_set_would_begin_with(tmp_path, published):
    state, file, _ = published
    model = begin(file, tmp_path, pretrained=False)
    assert torch.equal(model.state_dict()["conv1.0.weight"], state["conv1.0.weight"])
    with pytest.raises(UserError, match=r"net\.pth: does not fit resnet18"):
        begin(file, tmp_path, arch="resnet18")


def test_the_table_that_comes_along_is_well_formed(request):
    entries = yaml.safe_load((request.config.rootpath / "weights/published.yaml").read_text())
    entry = entries["resnet101.tv_in1k"]
    assert entry["url"] == ["https://download.pytorch.org/models/resnet101-63fe2227.pth"]
    for arch, entry in entries.items():
        backbone.create(backbone.Config(arch=arch, weights=""))
        assert all(entry["sha256"] in url for url in entry["url"])
