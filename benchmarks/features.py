"""Extraction against its two parts, in one run: `python -m benchmarks.features [--device cuda --dtype bfloat16]`.

    decode   the images decoded and resized by the stage's own workers, nothing else running
    forward  the network alone on decoded batches that are ready in memory
    stage    decoding, forward and shards written, as the features stage does it
    plain    the same timm model without the pipeline, on a random batch that lies on the device

in images per second. Each round measures all of them; the medians over rounds are reported. The last line is JSON, its
`ratio` the stage's rate over the smaller of decode's and forward's.
"""

import argparse
import io
import json
import resource
import statistics
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.common import machine
from pipeline.datasets.base import Listing
from pipeline.sources import archives
from pipeline.vision import backbone, features, images

DISTINCT = 32


def photograph(generator, width, height):
    """JPEG bytes with about the detail of a photograph: noise at every scale, the coarse ones strongest."""
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    cell = 2
    while cell <= max(width, height):
        noise = generator.normal(0, 12 * cell**0.3, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        layers = [Image.fromarray(noise[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)]
        pixels += np.stack(layers, -1)
        cell *= 2
    data = io.BytesIO()
    Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8)).save(data, "JPEG", quality=93)
    return data.getvalue()


def archive(folder, count, width, height):
    """Write `count` JPEGs, of which `DISTINCT` differ, into folder/images.tar; their `Listing`."""
    generator = np.random.default_rng(0)
    drawn = [photograph(generator, width, height) for _ in range(min(count, DISTINCT))]
    with tarfile.open(folder / "images.tar", "w") as tar:
        for i in range(count):
            entry = tarfile.TarInfo(f"{i:06d}.jpg")
            entry.size = len(drawn[i % DISTINCT])
            tar.addfile(entry, io.BytesIO(drawn[i % DISTINCT]))
    size = statistics.mean(map(len, drawn))
    print(f"{count} JPEGs of {width} x {height}, {size / 1000:.0f} kB on average", flush=True)
    return Listing([f"images.tar/{i:06d}.jpg" for i in range(count)], np.zeros(count, np.int64), ["one"])


def rate(work, count, device):
    """Images per second of a function that handles `count` of them."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return count / (time.perf_counter() - began)


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cosine(network, rows, view, count=64):
    """Least cosine over some images between features of the reduced and of the full decoding."""
    full = images.Rows(Listing(rows.paths, None, None), rows.reader)
    both = [torch.stack([view.pixels(source[i]) for i in range(count)]) for source in (rows, full)]
    reduced, exact = (torch.cat([network.forward(part) for part in pixels.split(16)]) for pixels in both)
    return torch.cosine_similarity(reduced, exact).min().item()


def measure(options, folder):
    """All rates and ratios as a dictionary."""
    torch.manual_seed(0)
    device = machine.device(options.device)
    listing = archive(folder, options.images, *options.pixels)
    chosen = backbone.Config(arch=options.arch, weights="")
    model = backbone.create(chosen)
    view = backbone.view(model, chosen)
    config = features.Config("images", options.dtype, options.decode, options.shard, options.batch, "fail")
    rows = images.Rows(listing, archives.Images(folder), view.enough if options.decode == "reduced" else None)
    shards = images.Shards(rows, view, config.shard)
    workers = machine.available_cores() if options.workers is None else options.workers
    network = features.Network(model, view, config, device, options.compile)
    print(f"{options.arch}, {options.dtype}, {view.size} px, {workers} workers, {machine.describe(device)}", flush=True)

    ready = shards[0][1]
    ready = ready.pin_memory() if device.type == "cuda" else ready
    resident = view.normalise(ready[: network.batch].to(device), network.dtype)
    repeats = -(-options.images // len(ready))

    def decode():
        for _ in images.decoded(shards, range(len(shards)), workers, device.type != "cpu"):
            pass

    def forward():
        for _ in range(repeats):
            network.forward(ready)

    @torch.inference_mode()
    def plain():
        for _ in range(-(-options.images // len(resident))):
            network.model(resident)

    def stage(into):
        features.extract(network, shards, into, workers)
        features.assemble(shards, into, into / "features.npy", config)

    forward()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    rounds = []
    for number in range(options.rounds):
        into = folder / f"shards{number}"
        into.mkdir()
        one = {
            "decode": rate(decode, options.images, device),
            "forward": rate(forward, repeats * len(ready), device),
            "stage": rate(lambda into=into: stage(into), options.images, device),
            "plain": rate(plain, -(-options.images // len(resident)) * len(resident), device),
        }
        rounds.append(one)
        print("  ".join(f"{name} {value:.1f}" for name, value in one.items()) + " img/s", flush=True)
    rates = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "ratio": rates["stage"] / min(rates["decode"], rates["forward"]),
        "forward_over_plain": rates["forward"] / rates["plain"],
        **rates,
        "peak_gib": memory,
        "peak_device_gib": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
        "cosine_of_reduced": cosine(network, rows, view) if options.decode == "reduced" else None,
        "device": machine.describe(device),
        "arch": options.arch,
        "dtype": options.dtype,
        "images": options.images,
        "workers": workers,
        "batch": network.batch,
        "rounds": options.rounds,
        "torch": torch.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet101.tv_in1k")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32", choices=list(features.DTYPES))
    parser.add_argument("--decode", default="full", choices=["full", "reduced"])
    parser.add_argument("--images", type=int, default=None, help="256 on a CPU, 16384 on a GPU")
    parser.add_argument("--pixels", type=int, nargs=2, default=(500, 375), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--shard", type=int, default=None, help="64 on a CPU, 256 on a GPU")
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    on_gpu = machine.device(options.device).type == "cuda"
    options.images = options.images or (16384 if on_gpu else 256)
    options.shard = options.shard or (256 if on_gpu else 64)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    json.dump(result, sys.stdout)
    print(flush=True)


if __name__ == "__main__":
    main()
