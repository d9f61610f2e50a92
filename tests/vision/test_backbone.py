"""Any architecture, any weights that fit, its own view of an image; what does not fit is named."""

import pytest
import timm
import torch

from pipeline.common import tensorfile
from pipeline.common.errors import UserError
from pipeline.common.params import Params
from pipeline.vision import backbone
from tests.pictures import gradient

ARCH = "test_resnet.r160_in1k"


def config(**given):
    return backbone.Config(weights="", **({"arch": ARCH} | given))


@pytest.fixture
def model():
    return backbone.create(config())


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in state)


def test_a_data_set_lays_its_own_section_over_the_global_one():
    tree = {"backbone": {"arch": "resnet50", "weights": "w.yaml", "size": 99}, "flo": {"backbone": {"crop": 1.0}}}
    read = backbone.config(Params(tree), "flo")
    assert (read.arch, read.weights, read.size, read.crop, read.pretrained) == ("resnet50", "w.yaml", 99, 1.0, True)
    tree["flo"]["backbone"] = {"weights": "mine.pth"}
    with pytest.raises(UserError, match=r"flo\.backbone\.weights: unknown key"):
        backbone.config(Params(tree), "flo")


def test_an_unknown_architecture_is_named_with_its_neighbours():
    with pytest.raises(UserError, match=r"has no 'resnet_101'; did you mean .*resnet101"):
        backbone.create(config(arch="resnet_101"))


def test_random_weights_follow_from_the_seed_and_leave_torchs_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (backbone.create(config(seed=seed)).state_dict() for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert same(one, again)
    assert not same(one, other)


@pytest.mark.parametrize("arch", ["tf_efficientnet_lite0.in1k", "resnet101.tv_in1k", "beit_base_patch16_224"])
def test_the_view_is_timms_own(arch):
    """To the bit, for shapes of every kind."""
    with torch.device("meta"):
        model = timm.create_model(arch, num_classes=0)
    own = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    view = backbone.view(model, config(arch=arch))
    for shape in [(500, 375), (375, 500), (64, 64), (1, 1), (2, 31), (256, 256), (255, 256)]:
        image = gradient(*shape)
        assert torch.equal(view.normalise(view.pixels(image)[None])[0], own(image))


def test_overrides_change_the_view(model):
    view = backbone.view(model, config(size=48, crop=1.0, interpolation="nearest"))
    image = gradient(48, 96)
    middle = image.crop((0, 24, 48, 72))
    assert torch.equal(view.pixels(image), torch.tensor(list(middle.tobytes())).view(48, 48, 3).permute(2, 0, 1))
    grey = backbone.Channels(0.5, 0.5, 0.5)
    view = backbone.view(model, config(size=48, mean=grey, std=backbone.Channels(0.25, 0.5, 1.0)))
    white = view.normalise(torch.full((1, 3, 48, 48), 255, dtype=torch.uint8))
    assert white[0, :, 0, 0].tolist() == [2.0, 1.0, 0.5]


def test_whole_squeezes_the_entire_image(model):
    image = gradient(96, 40)
    view = backbone.view(model, config(transform="whole", size=32, interpolation="bilinear"))
    expected = image.resize((32, 32), 2)
    assert torch.equal(view.pixels(image), torch.tensor(list(expected.tobytes())).view(32, 32, 3).permute(2, 0, 1))


def test_an_elongated_image_takes_no_absurd_memory(model):
    view = backbone.view(model, config())
    assert view.pixels(gradient(1, 5000)).shape == (3, 160, 160)
    assert backbone.view(model, config(transform="whole")).pixels(gradient(5000, 2)).shape == (3, 160, 160)


def test_what_is_saved_is_what_is_loaded(model, tmp_path):
    backbone.save(tmp_path / "b.safetensors", model.to(memory_format=torch.channels_last), ARCH)
    again = backbone.load(tmp_path / "b.safetensors", config(seed=8))
    assert same(model.state_dict(), again.state_dict())
    assert backbone.read_weights(tmp_path / "b.safetensors")[1] == {"arch": ARCH}
    with pytest.raises(UserError, match=f"does not fit resnet18.*it holds {ARCH}"):
        backbone.load(tmp_path / "b.safetensors", config(arch="resnet18"))
    tensorfile.write(tmp_path / "empty.safetensors", {}, {"arch": "none"})
    with pytest.raises(UserError, match="holds no weights"):
        backbone.load(tmp_path / "empty.safetensors", config())
    held = model.state_dict()
    held = {key: value.contiguous() for key, value in held.items()} | {"conv1.0.weight": torch.zeros(1)}
    tensorfile.write(tmp_path / "other.safetensors", held, {"arch": ARCH})
    with pytest.raises(UserError, match=r"other.safetensors: does not fit .*conv1\.0\.weight"):
        backbone.load(tmp_path / "other.safetensors", config())
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut.safetensors: not a readable"):
        backbone.load(tmp_path / "cut.safetensors", config())
