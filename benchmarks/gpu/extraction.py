"""Features on a device against the processor's, and how fast they come."""

import tempfile
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import features as benchmark
from pipeline.common import machine
from pipeline.sources import archives
from pipeline.vision import backbone, features, images

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Sizes:
    """arch: of timm; compared: images whose features are compared; images: that are timed, of which `distinct` of
    benchmarks.features differ; pixels: width and height; shard: rows; rounds: how often each rate is taken"""

    arch: str = "resnet101.tv_in1k"
    compared: int = 64
    images: int = 8192
    pixels: tuple[int, int] = (500, 375)
    shard: int = 256
    rounds: int = 3


SMALL = Sizes("test_resnet.r160_in1k", compared=6, images=8, pixels=(80, 60), shard=4, rounds=1)


def run(say, device, sizes):
    """Both parts, in float32 without TF32 and in bfloat16."""
    chosen = machine.device(device)
    networks, pixels = compared(chosen, sizes)
    against = differences(networks, pixels)
    for name, found in against.items():
        print(f"features by {name}: {words(found)}", flush=True)
    networks.clear()
    rates = {dtype: measured(device, dtype, sizes) for dtype in features.DTYPES}
    return {
        "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        "compared": len(pixels),
        "against": against,
        "rates": rates,
    }


def compared(device, sizes):
    """({name: `Network`} with the same random weights, the one that all are compared with first; the pixels of some
    photographs, M x 3 x size x size uint8)."""
    where = {"the processor": CPU, "the device": device}
    networks = {
        f"{place} in {dtype}": network(sizes.arch, dtype, on)
        for place, on in where.items()
        for dtype in features.DTYPES
    }
    view = next(iter(networks.values())).view
    with tempfile.TemporaryDirectory() as folder:
        listing = benchmark.archive(Path(folder), sizes.compared, *sizes.pixels)
        rows = images.Rows(listing, archives.Images(Path(folder)))
        _, pixels, _ = images.Shards(rows, view, sizes.compared)[0]
    return networks, pixels


def network(arch, dtype, device):
    """The backbone with random weights, the same each time."""
    chosen = backbone.Config(arch=arch, weights="")
    model = backbone.create(chosen)
    config = features.Config("images", dtype, "full", 1, None, "fail")
    return features.Network(model, backbone.view(model, chosen), config, device)


def differences(networks, pixels):
    """How far the features of all other networks are from the first's, in {name: largest and mean absolute difference,
    least cosine}, and the first's own root of the mean square, by which they are to be measured."""
    (first, network), *others = networks.items()
    exact = network.forward(pixels).cpu()
    found = {first: {"root_mean_square": exact.square().mean().sqrt().item()}}
    for name, other in others:
        features_ = other.forward(pixels).cpu()
        apart = (features_ - exact).abs()
        cosine = torch.cosine_similarity(features_.double(), exact.double()).min().item()
        found[name] = {"largest": apart.max().item(), "mean": apart.mean().item(), "least_cosine": cosine}
    return found


def measured(device, dtype, sizes):
    """The rates and the memory that `benchmarks.features` measures."""
    options = Namespace(
        **{"arch": sizes.arch, "device": device, "dtype": dtype, "decode": "full", "compile": False},
        **{"images": sizes.images, "pixels": sizes.pixels, "shard": sizes.shard, "rounds": sizes.rounds},
        **{"workers": None, "batch": None},
    )
    with tempfile.TemporaryDirectory() as folder:
        return benchmark.measure(options, Path(folder))


def words(found):
    """Figures in a line."""
    return "  ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in found.items())
