"""A network is found under any wrappers, gives the features of its bare state_dict, and is not taken for another."""

import argparse
import copy
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from pipeline.common.errors import UserError
from pipeline.vision import backbone, checkpoint, unwrap, weights

SHARED = Path(__file__).parents[2] / "../shared/weights"
RESNET, VIT = "test_resnet.r160_in1k", "test_vit.r160_in1k"
needs_weights = pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/weights here")


def network(arch=RESNET, classes=7, seed=1, **changes):
    torch.manual_seed(seed)
    return timm.create_model(arch, num_classes=classes, **changes)


RAW, AVERAGE, THIRD = (network(seed=seed).state_dict() for seed in (1, 2, 3))
OPTIMISER = torch.optim.SGD(network().parameters(), 0.1, momentum=0.9)
OPTIMISER.state[OPTIMISER.param_groups[0]["params"][0]]["momentum_buffer"] = torch.ones(16, 3, 3, 3)
OPTIMISER = OPTIMISER.state_dict()


def under(prefix, state=RAW):
    return {prefix + key: value for key, value in state.items()}


def split(state=RAW):
    """The pieces of a state_dict that is too large for one file."""
    keys = list(state)
    return [{key: state[key] for key in keys[:30]}, {key: state[key] for key in keys[30:]}]


def averaged():
    return torch.optim.swa_utils.AveragedModel(network()).state_dict()


def compiled_blocks(state=RAW):
    return {key.replace("layer2.0.", "layer2._orig_mod.0._fsdp_wrapped_module."): value for key, value in state.items()}


def numbered(state=RAW):
    """As nn.Sequential(*model.children()) names it."""
    children = [name for name, _ in network().named_children()]
    return {f"{children.index(key.split('.')[0])}.{key.partition('.')[2]}": value for key, value in state.items()}


NAMESPACE = argparse.Namespace(model="test_resnet", lr=0.1, data_dir="/d")
TIMM = {"epoch": 2, "arch": "test_resnet", "optimizer": OPTIMISER, "version": 2, "args": NAMESPACE, "metric": 71.2}
MOMENTUM = under("module.encoder_q.") | under("module.queue_", {"ptr": torch.zeros(1)})

WRAPPED = {
    "bare": RAW,
    "bare, ordered": OrderedDict(RAW),
    "timm's train.py": TIMM | {"state_dict": RAW},
    "timm's, parallel": TIMM | {"state_dict": under("module.")},
    "timm's, its class for an arch": TIMM | {"state_dict": RAW, "arch": "resnet", "args": None},
    "compiled, then parallel": under("_orig_mod.module."),
    "parallel, then compiled": under("module._orig_mod."),
    "twice parallel": under("module.module."),
    "blocks compiled and sharded": {"model": compiled_blocks(under("module."))},
    "Lightning": {"state_dict": under("model.") | {"criterion.weight": torch.ones(7)}, "hyper_parameters": {"lr": 1.0}},
    "Lightning, deeper": {"state_dict": under("model.backbone.net."), "loops": {"fit_loop": {"epoch": 1}}},
    "stochastic weight averaging": averaged(),
    "OpenMMLab": {"meta": {"epoch": 3, "CLASSES": ["a", "b"]}, "state_dict": under("backbone.")},
    "fastai": {
        "model": under("0.model.") | {"1.2.weight": torch.ones(3)},
        "opt": {"state": [{}], "hypers": [{"lr": 1}]},
    },
    "fastai, cut from its head": {"model": {f"0.{key}": value for key, value in numbered().items()}},
    "children in a row": numbered(),
    "Hugging Face's wrapper of timm": under("timm_model."),
    "a student alone": {"student": under("module.backbone."), "epoch": 4},
    "momentum contrast without its twin": {"state_dict": MOMENTUM, "arch": "not_of_timm"},
    "names nobody has seen": {"weights": [{"x": {"y": under("our_net.trunk.")}}]},
    "pieces in a list": {"model": split()},
    "a tuple": (under("net."), {"lr": 0.1}),
    "half precision": {key: value.half() if value.is_floating_point() else value for key, value in RAW.items()},
    "double precision": {key: value.double() if value.is_floating_point() else value for key, value in RAW.items()},
    "no counters": {key: value for key, value in RAW.items() if not key.endswith("num_batches_tracked")},
    "150 classes": network(classes=150, seed=1).state_dict()
    | {k: v for k, v in RAW.items() if not k.startswith("fc.")},
    "no head": {key: value for key, value in RAW.items() if not key.startswith("fc.")},
    "a head of the user's": {key.replace("fc.", "fc.3."): value for key, value in RAW.items()},
    "the same twice": {"state_dict": under("model.") | under("ema.model."), "model": RAW},
    "the whole command line": TIMM | {"state_dict": under("module."), "args": vars(NAMESPACE)},
}
WITH_AVERAGE = {
    "timm's": TIMM | {"state_dict": RAW, "state_dict_ema": AVERAGE},
    "timm's, parallel": TIMM | {"state_dict": under("module."), "state_dict_ema": under("module.", AVERAGE)},
    "DeiT's": {"model": RAW, "model_ema": AVERAGE},
    "a plain ema": {"model": RAW, "ema": AVERAGE, "optimizer": OPTIMISER},
    "within one state_dict": {"state_dict": under("model.") | under("model_ema.module.", AVERAGE)},
    "a callback's": {"state_dict": under("model."), "callbacks": {"EMACallback": {"state": under("net.", AVERAGE)}}},
    "averaged weights beside": {"model": RAW, "swa_model": under("module.", AVERAGE) | {"n_averaged": torch.tensor(4)}},
    "an average of averages": under("ema.online_model.") | under("ema.ema_model.", AVERAGE) | under("net."),
    "Lightning's own": {
        "state_dict": under("model.", AVERAGE),
        "current_model_state": under("model."),
        "averaging_state": {"n_averaged": torch.tensor(3)},
    },
    "MMEngine's, where they are swapped": {
        "meta": {"mmengine_version": "0.10.0"},
        "state_dict": under("backbone.", AVERAGE),
        "ema_state_dict": under("module.backbone.") | {"steps": torch.tensor(3)},
    },
}


def begin(path, arch=RESNET, **given):
    return weights.start(path, backbone.Config(weights=str(path), arch=arch, seed=9, **given), "store")


def features(model):
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model(pixels)


def bare(path, state, arch=RESNET):
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")}, path)
    return begin(path, arch)


@pytest.mark.parametrize("name", WRAPPED)
def test_features_are_those_of_the_bare_state_dict(name, tmp_path):
    halved = {key: value.half().to(value.dtype) if value.is_floating_point() else value for key, value in RAW.items()}
    expected = bare(tmp_path / "bare.pth", halved if name == "half precision" else RAW)
    torch.save(WRAPPED[name], tmp_path / "w.pth")
    assert torch.equal(features(begin(tmp_path / "w.pth")), features(expected))


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone.", "timm_model."])
def test_safetensors_are_unwrapped_too(prefix, tmp_path):
    save_file(under(prefix), tmp_path / "w.safetensors", {"format": "pt"})
    assert torch.equal(features(begin(tmp_path / "w.safetensors")), features(bare(tmp_path / "bare.pth", RAW)))


@pytest.mark.parametrize("name", WITH_AVERAGE)
def test_the_average_is_preferred_and_said_to_be(name, tmp_path, capsys):
    torch.save(WITH_AVERAGE[name], tmp_path / "w.pth")
    model = begin(tmp_path / "w.pth")
    assert ", which is the average" in capsys.readouterr().out
    assert torch.equal(features(model), features(bare(tmp_path / "bare.pth", AVERAGE)))


def test_one_line_says_what_was_taken_and_what_was_left(tmp_path, capsys):
    torch.save(TIMM | {"state_dict": under("module."), "state_dict_ema": AVERAGE}, tmp_path / "model_best.pth.tar")
    begin(tmp_path / "model_best.pth.tar")
    assert capsys.readouterr().out == (
        f"{RESNET}: weights of {tmp_path}/model_best.pth.tar, its state_dict_ema, which is the average; left: "
        f"state_dict_ema.fc (2 tensors), optimizer (1 tensor), state_dict ({len(RAW)} tensors)\n"
    )
    torch.save({"state_dict": under("model.") | {"criterion.weight": torch.ones(7)}}, tmp_path / "l.ckpt")
    begin(tmp_path / "l.ckpt")
    assert capsys.readouterr().out.endswith(
        "l.ckpt, its state_dict.model; left: state_dict.model.fc (2 tensors), state_dict.criterion (1 tensor)\n"
    )
    torch.save(RAW, tmp_path / "bare.pth")
    begin(tmp_path / "bare.pth")
    assert capsys.readouterr().out == f"{RESNET}: weights of {tmp_path}/bare.pth; left: fc (2 tensors)\n"


TWO = {
    "student and teacher": (
        {"student": under("backbone."), "teacher": under("backbone.", AVERAGE)},
        "teacher.backbone",
    ),
    "momentum contrast": (under("module.encoder_q.") | under("module.encoder_k.", AVERAGE), "encoder_k"),
    "online and target": (
        {"state_dict": under("online.net.") | under("target.net.", AVERAGE)},
        "state_dict.target.net",
    ),
    "two averages": ({"state_dict": RAW, "ema_0.99": THIRD, "ema_0.9999": AVERAGE}, "ema_0.9999"),
    "beside each other": (RAW | {"twin": AVERAGE}, "twin"),
    "wrapped and bare": (RAW | under("module.", AVERAGE), "module"),
}


@pytest.mark.parametrize("name", TWO)
def test_two_networks_are_refused_with_both_names_and_one_can_be_chosen(name, tmp_path):
    content, second = TWO[name]
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(
        UserError, match=rf"holds 2 networks that fit {RESNET}, \S+ and {second}; set backbone\.part to"
    ):
        begin(tmp_path / "w.pth")
    model = begin(tmp_path / "w.pth", part=second)
    assert torch.equal(features(model), features(bare(tmp_path / "bare.pth", AVERAGE)))
    with pytest.raises(UserError, match=rf"backbone\.part: .* not found under 'x'; it is found under .* and {second}"):
        begin(tmp_path / "w.pth", part="x")


def test_the_network_itself_can_be_chosen_over_its_average(tmp_path):
    torch.save({"model": RAW, "model_ema": AVERAGE}, tmp_path / "w.pth")
    model = begin(tmp_path / "w.pth", part="model")
    assert torch.equal(features(model), features(bare(tmp_path / "bare.pth", RAW)))


STATING = {
    "timm's arch": {"arch": "resnet10t.c3_in1k", "state_dict": RAW},
    "timm's arguments": {"args": argparse.Namespace(model="resnet10t.c3_in1k"), "state_dict": RAW},
    "Lightning's": {"hyper_parameters": {"backbone": "resnet10t.c3_in1k"}, "state_dict": under("model.")},
    "timm's configuration": {"pretrained_cfg": {"architecture": "resnet10t", "tag": "c3_in1k"}, "model": RAW},
    "a hub's name": {"config": {"model_name": "hf_hub:timm/resnet10t.c3_in1k"}, "model": RAW},
}


@pytest.mark.parametrize("name", STATING)
def test_a_file_that_states_another_architecture_is_refused_with_both_names(name, tmp_path):
    torch.save(STATING[name], tmp_path / "w.pth")
    with pytest.raises(
        UserError, match=rf"says that it holds \S*resnet10t\.c3_in1k \(.*backbone\.arch is {RESNET}; set"
    ):
        begin(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("stated", "arch", "refused"),
    [
        ("test_resnet", RESNET, False),
        ("test_resnet.r160_in1k", "test_resnet", False),
        ("test_resnet.other_in1k", RESNET, True),
        ("test_resnet.other_in1k", "test_resnet", True),
        ("tf_efficientnet_b0_ns", RESNET, True),
        ("my_own_name", RESNET, False),
    ],
)
def test_a_statement_counts_where_timm_knows_it(stated, arch, refused, tmp_path):
    save_file(RAW, tmp_path / "w.safetensors", {"arch": stated})
    if refused:
        with pytest.raises(UserError, match=f"says that it holds {stated}"):
            begin(tmp_path / "w.safetensors", arch)
    else:
        begin(tmp_path / "w.safetensors", arch)


def test_a_statement_of_this_architecture_outweighs_one_of_another(tmp_path):
    torch.save({"model": RAW, "args": {"model": "test_resnet", "encoder": "resnet18"}}, tmp_path / "w.pth")
    begin(tmp_path / "w.pth")


def test_an_old_name_of_timms_is_the_new_one():
    assert unwrap._known("tf_efficientnet_b0_ns") == ("tf_efficientnet_b0", "ns_jft_in1k")
    assert unwrap._known("resnet50") == ("resnet50", None)
    assert unwrap._known("visiontransformer") is None


def find(state, arch=RESNET, **changes):
    torch.manual_seed(0)
    model = timm.create_model(arch, num_classes=0, **changes)
    return unwrap.find(model, {"model": state}, "w.pth", arch)


def test_what_fits_by_resampled_patches_alone_is_refused():
    for size in (8, 32):
        state = network(VIT, patch_size=size).state_dict()
        with pytest.raises(UserError) as error:
            find(state, VIT)
        held = f"patch_embed.proj.weight resampled from 64 x 3 x {size} x {size} to 64 x 3 x 16 x 16"
        assert f"w.pth: does not fit {VIT}: it would fit only with {held}, which is another network" in str(error.value)


def test_position_embeddings_are_resized_by_timms_rule_and_it_is_told():
    state, told = find(network(VIT).state_dict(), VIT, img_size=96)
    assert told.startswith(", its model; pos_embed resized from 1 x 101 x 64 to 1 x 37 x 64; left: model.head (2 ")
    expected = timm.create_model(VIT, num_classes=0, img_size=96)
    own = timm.models.vision_transformer.checkpoint_filter_fn(network(VIT).state_dict(), expected)
    assert torch.equal(state["pos_embed"], own["pos_embed"])


def test_a_linear_patch_embedding_of_old_files_is_the_same_numbers():
    state = network(VIT).state_dict()
    kernel = state["patch_embed.proj.weight"]
    state["patch_embed.proj.weight"] = kernel.flatten(1)
    taken, told = find(state, VIT)
    assert torch.equal(taken["patch_embed.proj.weight"], kernel)
    assert "names are translated by timm's rule" in told


def with_(key, tensor, state=RAW):
    return state | {key: tensor}


UNFIT = {
    "a deeper network": (with_("layer4.1.conv1.weight", torch.zeros(1)), r"1 unknown \(layer4\.1\.conv1\.weight\)"),
    "a further token": (
        with_("dist_token", torch.zeros(1, 1, 64), network(VIT).state_dict()),
        r"unknown \(dist_token\)",
    ),
    "a narrower layer": (
        with_("conv1.0.weight", RAW["conv1.0.weight"][:, :1]),
        "16 x 1 x 3 x 3, should be 16 x 3 x 3 x 3",
    ),
    "whole numbers": (with_("bn1.weight", RAW["bn1.weight"].to(torch.int8)), "32 of int8, should be 32"),
    "a low-rank adapter": (
        {k.replace("conv2.weight", "conv2.base_layer.weight"): v for k, v in RAW.items()}
        | {"layer1.0.conv2.lora_A.weight": torch.zeros(4, 4)},
        r"missing \(.*conv2\.weight.* unknown \(.*base_layer",
    ),
    "an optimiser alone": (
        OPTIMISER,
        r"has none of its \d+ tensors \(conv1\.0\.weight, .*holds model\.state\.0\.momentum",
    ),
    "a shard": (split()[1], r"missing \(conv1\.0\.weight"),
    "another family": (network(VIT).state_dict(), r"missing|none of its"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_another_network_is_refused_in_one_line(name):
    state, reason = UNFIT[name]
    arch = VIT if "cls_token" in state and name != "another family" else RESNET
    with pytest.raises(UserError, match=reason) as error:
        find(state, arch)
    message = str(error.value)
    assert message.startswith(f"w.pth: does not fit {arch}: ")
    assert f"backbone.weights should be weights of {arch}" in message
    assert "\n" not in message
    assert len(message) < 900


def test_nothing_at_all_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match=r"list\.pth: holds no state_dict"):
        begin(tmp_path / "list.pth")
    torch.save({"model": split()[0]}, tmp_path / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(UserError, match="it is one shard of several"):
        begin(tmp_path / "pytorch_model-00001-of-00002.bin")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_numbers_that_are_not_finite_in_the_network_are_refused(value, tmp_path):
    state = copy.deepcopy({key: v.double() if v.is_floating_point() else v for key, v in RAW.items()})
    state["bn1.weight"][3] = value
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: 'bn1\.weight' holds values that are not finite"):
        begin(tmp_path / "w.pth")


@needs_weights
def test_the_real_weights_fit_their_own_architecture_alone():
    lite0, lite2 = (f"tf_efficientnet_{name}.in1k" for name in ("lite0", "lite2"))
    model = begin(SHARED / f"{lite0}.safetensors", lite0)
    held = load_file(SHARED / f"{lite0}.safetensors")
    assert all(torch.equal(value, held[key]) for key, value in model.state_dict().items())
    with pytest.raises(UserError, match="does not fit tf_efficientnet_lite0"):
        begin(SHARED / f"{lite2}.safetensors", lite0)
    content = {"arch": lite0, "state_dict": checkpoint.read(SHARED / f"{lite0}.safetensors")}
    other = timm.create_model("efficientnet_lite0.ra_in1k", num_classes=0)
    with pytest.raises(UserError, match=r"holds tf_efficientnet_lite0\.in1k .* is efficientnet_lite0\.ra_in1k"):
        unwrap.find(other, content, "w.pth", "efficientnet_lite0.ra_in1k")
