"""Any architecture, any weights that fit, its own view of an image; what does not fit is named."""

import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from pipeline.common import tensorfile
from pipeline.common.errors import UserError
from pipeline.common.params import Params
from pipeline.vision import backbone
from tests.pictures import gradient

SHARED = Path(__file__).parents[2] / "../shared/weights"
ARCH = "test_resnet.r160_in1k"
needs_weights = pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/weights here")


def config(**given):
    return backbone.Config(weights="", **({"arch": ARCH} | given))


def with_head(classes, arch=ARCH):
    torch.manual_seed(1)
    return timm.create_model(arch, num_classes=classes).state_dict()


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


@pytest.mark.parametrize("classes", [1000, 150, 0])
def test_a_head_of_any_size_is_dropped(model, tmp_path, classes):
    state = with_head(classes)
    save_file(state, tmp_path / "w.safetensors")
    found, _ = backbone.read_weights(tmp_path / "w.safetensors")
    backbone.fit(model, found, "w", ARCH)
    assert same(model.state_dict(), {key: value for key, value in state.items() if not key.startswith("fc.")})


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_pytorch_files_are_read_bare_or_wrapped(model, tmp_path, wrap, prefix):
    state = with_head(7)
    torch.save(wrap({prefix + key: value for key, value in state.items()}), tmp_path / "w.pth")
    found, _ = backbone.read_weights(tmp_path / "w.pth")
    backbone.fit(model, found, "w", ARCH)
    assert torch.equal(model.state_dict()["conv1.0.weight"], state["conv1.0.weight"])


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"state_dict": with_head(0), "extra": Hostile(mark)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"refused: .* namely getattr, .* would run code") as error:
        backbone.read_weights(tmp_path / "w.pth")
    assert "\n" not in str(error.value)
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(Hostile(mark)))
    with pytest.raises(UserError):
        backbone.read_weights(tmp_path / "bare.pkl")
    assert not mark.exists()


def test_unreadable_files_are_named(tmp_path):
    save_file(with_head(0), tmp_path / "w.safetensors")
    torch.save(with_head(0), tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=f"{name}: not a readable"):
            backbone.read_weights(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        backbone.read_weights(tmp_path / "none.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="no state_dict"):
        backbone.read_weights(tmp_path / "list.pth")


def test_missing_unknown_and_misshaped_keys_are_named_in_one_line(model):
    state = with_head(0)
    state["conv1.0.weight"] = state["conv1.0.weight"][:, :1]
    state["extra.weight"] = state.pop("bn1.weight")
    with pytest.raises(UserError) as error:
        backbone.fit(model, state, "w.pth", ARCH)
    message = str(error.value)
    assert message.startswith(f"w.pth: does not fit {ARCH}: 1 missing (bn1.weight); 1 unknown (extra.weight); 1 of")
    assert "conv1.0.weight 16 x 1 x 3 x 3, should be 16 x 3 x 3 x 3" in message
    assert "\n" not in message


def test_files_without_batch_counters_fit(model):
    state = {key: value for key, value in with_head(9).items() if not key.endswith("num_batches_tracked")}
    backbone.fit(model, state, "old.pth", ARCH)


def test_a_vision_transformer_takes_another_size():
    chosen = config(arch="test_vit.r160_in1k", size=96)
    model = backbone.create(chosen)
    backbone.fit(model, with_head(1000, "test_vit.r160_in1k"), "w", chosen.arch)
    assert model(torch.zeros(1, 3, 96, 96)).shape == (1, backbone.width(model, backbone.view(model, chosen), "cpu"))


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


@needs_weights
def test_the_real_weights_fit_their_own_architecture_alone():
    lite0, lite2 = (f"tf_efficientnet_{name}.in1k" for name in ("lite0", "lite2"))
    model = backbone.load(SHARED / f"{lite0}.safetensors", config(arch=lite0))
    held = load_file(SHARED / f"{lite0}.safetensors")
    assert all(torch.equal(value, held[key]) for key, value in model.state_dict().items())
    with pytest.raises(UserError, match="does not fit tf_efficientnet_lite0"):
        backbone.load(SHARED / f"{lite2}.safetensors", config(arch=lite0))
