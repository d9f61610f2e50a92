"""The network that turns images into features: any architecture of timm, weights of any origin, its view of an image.

timm is imported inside the functions: it is slow to import, and the schema alone is read by every stage.
"""

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

import torch

from pipeline.common import tensorfile
from pipeline.common.errors import UserError
from pipeline.common.params import Range
from pipeline.vision import images

CENTRE = "center"
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
    """`backbone`: as `Overrides`, and `weights`, a table of published weights or the one file that is used for all, and
    `part`, which of the networks in that file, where it holds several."""

    weights: str
    part: str | None = None
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

    enough: (width, height) that the network's resize asks for. mode: `center` cuts the middle out of the image, its
    shorter side resized, which an elongated one must not fill the memory with; `squash` squeezes both sides; `border`
    resizes the longer side, and fills up.
    """

    size: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    enough: tuple[int, int]
    mode: str
    steps: Callable

    def pixels(self, image):
        """PIL image -> 3 x size x size uint8."""
        return self.steps(images.bounded(image) if self.mode == CENTRE else image)

    def window(self, width, height):
        """(left, top, right, bottom) of the part of a width x height image that the network sees, in its pixels; beyond
        the image where the view fills up."""
        left, top, seen_width, seen_height = (
            images.bounds(width, height) if self.mode == CENTRE else (0, 0, width, height)
        )
        resized = self._resized(seen_width, seen_height)
        scales = seen_width / resized[0], seen_height / resized[1]
        starts = [
            round((side - self.size) / 2) if side >= self.size else -((self.size - side) // 2) for side in resized
        ]
        edges = [
            (at + start * scale, at + (start + self.size) * scale)
            for at, start, scale in zip((left, top), starts, scales, strict=True)
        ]
        return edges[0][0], edges[1][0], edges[0][1], edges[1][1]

    def _resized(self, width, height):
        """What its resize makes of a width x height image."""
        target = self.enough[0]
        if self.mode == "squash":
            return target, target
        if self.mode == "border":
            ratio = max(width, height) / target
            return round(width / ratio), round(height / ratio)
        short = min(width, height)
        return tuple(target if side == short else int(target * side / short) for side in (width, height))

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
    return View(size, interpolation, mean, std, (resized, resized), mode, steps)


def read_weights(path):
    """The tensors and the metadata of a .safetensors file that `save` or `write_safetensors` wrote.

    Raises UserError where it is missing or damaged.
    """
    return tensorfile.read(path, "`dvc repro` makes it anew")


def held(path):
    """The names of the tensors in a .safetensors file that this pipeline wrote."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return list(file.keys())


def load(path, config):
    """The headless model of `config.arch` with the weights that `save` wrote into the file `path`."""
    state, metadata = read_weights(path)
    if not state:
        raise UserError(
            f"{path}: holds no weights, as published features and those of a file leave it; run `dvc repro`"
        )
    if (stated := metadata.get("arch")) != config.arch:
        raise UserError(f"{path}: does not fit {config.arch}: it holds {stated}; run `dvc repro`")
    model = create(config)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: does not fit {config.arch} ({reason}); run `dvc repro`") from None
    return model


def save(path, model, arch):
    """Write the headless state_dict as safetensors with {"arch": arch}, under a temporary name first."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    tensorfile.write(path, state, {"arch": arch})


def width(model, view, device):
    """d, the number of features of an image."""
    with torch.inference_mode():
        return model(torch.zeros(1, 3, view.size, view.size, device=device)).shape[1]
