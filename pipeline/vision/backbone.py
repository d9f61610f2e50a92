"""The network that turns images into features: any architecture of timm, weights of any origin, its view of an image.

timm is imported inside the functions: it is slow to import, and the schema alone is read by every stage.
"""

import difflib
import functools
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import torch

from pipeline.common import tensorfile
from pipeline.common.errors import UserError
from pipeline.common.params import Range
from pipeline.vision import images

Interpolation = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True)
class Channels:
    """One number a colour, on the scale 0..1."""

    red: Annotated[float, Range(least=0, most=1)]
    green: Annotated[float, Range(least=0, most=1)]
    blue: Annotated[float, Range(least=0, most=1)]


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """`<data set>.backbone`: what differs from the section `backbone`. Null: as there.

    arch: any name of timm, with the tag of its weights. pretrained: false starts from random weights drawn from `seed`.
    transform: `model` resizes and crops as the network was trained; `whole` squeezes the entire image into the input.
    size, interpolation, crop (share of the resized side that is kept), mean, std: null as in timm's data config.
    """

    arch: str | None = None
    pretrained: bool | None = None
    seed: Annotated[int, Range(least=0)] | None = None
    transform: Literal["model", "whole"] | None = None
    size: Annotated[int, Range(least=8, most=4096)] | None = None
    interpolation: Interpolation | None = None
    crop: Annotated[float, Range(above=0, most=1)] | None = None
    mean: Channels | None = None
    std: Channels | None = None


@dataclass(frozen=True, kw_only=True)
class Config(Overrides):
    """`backbone`: as `Overrides`, and `weights`, a table of published weights or the one file that is used for all."""

    weights: str
    arch: str
    pretrained: bool = True
    seed: Annotated[int, Range(least=0)] = 0
    transform: Literal["model", "whole"] = "model"


def config(params, dataset):
    """The section `backbone` with the data set's own `backbone` laid over it."""
    over = params.section(f"{dataset}.backbone", Overrides)
    own = {field.name: getattr(over, field.name) for field in fields(over)}
    given = {key: value for key, value in own.items() if value is not None}
    return replace(params.section("backbone", Config), **given)


def create(config):
    """The timm model without a head, on the CPU, its weights drawn from `config.seed`. M x 3 x size x size -> M x d."""
    import timm

    known = timm.list_models() + timm.list_pretrained()
    if config.arch not in known:
        close = difflib.get_close_matches(config.arch, known, n=3)
        raise UserError(
            f"params.yaml: backbone.arch: timm {timm.__version__} has no '{config.arch}'"
            f"{'; did you mean ' + ' or '.join(close) + '?' if close else ''}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = timm.create_model(config.arch, num_classes=0)
        if config.size and model.pretrained_cfg.get("fixed_input_size"):
            torch.manual_seed(config.seed)
            model = timm.create_model(config.arch, num_classes=0, img_size=config.size)
    return model.eval()


@dataclass(frozen=True)
class View:
    """How a network sees an image: `pixels` gives 3 x size x size uint8 of a PIL image, `normalise` its input.

    enough: (width, height) that the network's resize asks for. bound: whether it cuts the middle out of a resized
    image, which an elongated one must not fill the memory with.
    """

    size: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    enough: tuple[int, int]
    bound: bool
    steps: Callable

    def pixels(self, image):
        """PIL image -> 3 x size x size uint8."""
        return self.steps(images.bounded(image) if self.bound else image)

    def normalise(self, pixels, dtype=torch.float32):
        """M x 3 x size x size uint8 -> the network's input, computed in float32, channels last."""
        mean, std = _channels(self.mean, pixels.device), _channels(self.std, pixels.device)
        scaled = pixels.contiguous(memory_format=torch.channels_last).float().div_(255).sub_(mean).div_(std)
        return scaled.to(dtype)


@functools.cache
def _channels(values, device):
    """Made once: sending three numbers to a GPU waits for all that it has in hand."""
    return torch.tensor(values, device=device).view(3, 1, 1)


def view(model, config):
    """The `View` of timm's data config for this model, with what `config` overrides."""
    from timm.data import create_transform, resolve_data_config

    own = resolve_data_config({}, model=model)
    size = config.size or own["input_size"][-1]
    mean, std = (
        tuple(own[name] if channels is None else (channels.red, channels.green, channels.blue))
        for name, channels in (("mean", config.mean), ("std", config.std))
    )
    whole = config.transform == "whole"
    crop = config.crop or (1.0 if whole else own["crop_pct"])
    mode = "squash" if whole else own["crop_mode"]
    interpolation = config.interpolation or own["interpolation"]
    steps = create_transform(
        (3, size, size), interpolation=interpolation, crop_pct=crop, crop_mode=mode, normalize=False
    )
    resized = int(size / crop)
    return View(size, interpolation, mean, std, (resized, resized), mode == "center", steps)


def read_weights(path):
    """All tensors of a .safetensors or PyTorch file as a dict, and the safetensors metadata. Nothing is run.

    Raises UserError where the file is missing, damaged, or could only be read by running code in it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; backbone.weights should name a .safetensors or PyTorch file")
    with open(path, "rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        return tensorfile.read(path, "fetch or write it again")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(
            f"{path}: refused: it holds more than tensors{f', namely {asked[1]}' if asked else ''}, and reading that "
            "would run code from the file; save the model's state_dict() instead"
        ) from None
    except Exception as error:
        raise UserError(f"{path}: not a readable PyTorch file ({' '.join(str(error).split())[:200]})") from None
    return _state_dict(path, content), {}


def _state_dict(path, content):
    """The tensors of a checkpoint: bare, or under the names that training scripts use, with or without wrappers."""
    for name in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path}: holds no state_dict of tensors; save the model's state_dict() there")
    state = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    for prefix in ("module.", "_orig_mod."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def fit(model, state, path, arch, metadata=None):
    """Load `state` into the headless `model`; a head of any number of classes is dropped.

    Raises UserError that names the keys which are missing, unknown or of another shape.
    """
    state = _without_head(model, state)
    problem = _misfit(model, state)
    if problem:
        problem = _misfit(model, state := _converted(model, state)) or ""
    if problem:
        held = (metadata or {}).get("arch")
        raise UserError(
            f"{path}: does not fit {arch}: {problem}; "
            + (f"it holds {held}" if held else f"backbone.weights should be weights of {arch}")
        )
    model.load_state_dict(state, strict=False)


def _without_head(model, state):
    names = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
    own = model.state_dict()
    return {key: value for key, value in state.items() if key in own or not (heads and key.startswith(heads))}


def _converted(model, state):
    """`state` renamed and resized by timm's own rule for this family, for checkpoints of the original authors."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    try:
        return _without_head(model, convert(dict(state), model)) if convert else state
    except Exception:
        # the rules expect the family's keys and fail in their own ways on others; `state` as it is names the misfit
        return state


def _misfit(model, state):
    """What keeps `state` from fitting, in words; "" if nothing does."""
    own = model.state_dict()
    # files older than that counter lack it, and a network that is not trained does not read it
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    misshaped = [
        f"{key} {_shape(state[key])}, should be {_shape(own[key])}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    found = (("missing", missing), ("unknown", unknown), ("of another shape", misshaped))
    return "; ".join(f"{len(keys)} {word} ({_first(keys)})" for word, keys in found if keys)


def _shape(tensor):
    return " x ".join(map(str, tensor.shape)) or "scalar"


def _first(keys, most=5):
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")


def load(path, config):
    """The headless model of `config.arch` with the weights in the file `path`."""
    model = create(config)
    state, metadata = read_weights(path)
    if not state:
        raise UserError(f"{path}: holds no weights, as features.source=published leaves it; run `dvc repro`")
    fit(model, state, path, config.arch, metadata)
    return model


def save(path, model, arch):
    """Write the headless state_dict as safetensors with {"arch": arch}, under a temporary name first."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    tensorfile.write(path, state, {"arch": arch})


def width(model, view, device):
    """d, the number of features of an image."""
    with torch.inference_mode():
        return model(torch.zeros(1, 3, view.size, view.size, device=device)).shape[1]
