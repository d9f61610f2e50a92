"""Images -> features, shard by shard: any number of workers, killed and started again, gives the same bytes.

A shard is a fixed run of rows. Its images pass through the network in batches of a fixed size that never reach into
another shard, because a convolution library may pick another algorithm, and so other last bits, for another batch.
Batch and shard are therefore declared params, while workers, devices and hosts can be as many as there are.
"""

import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from tqdm import tqdm

from pipeline.common import files, machine
from pipeline.common.errors import UserError, first_of
from pipeline.common.params import AtLeastOne
from pipeline.vision import images

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# images a forward where features.batch is null: what fits a CPU's caches, what fills a GPU
CPU_BATCH, GPU_BATCH = 16, 256
# seconds without a new shard of the other workers before they are taken for dead
PATIENCE = 1800
UNDECODABLE = ("row", "image", "reason")


@dataclass(frozen=True)
class Config:
    """`features`: what decides their numbers beside the backbone.

    source: extracted from images, or the published ones. dtype: of the network. decode: `full`, or `reduced` for
    JPEGs much larger than needed. shard: rows a shard. batch: images a forward, null for 16 on a CPU, 256 on a GPU.
    on_bad_image: `fail` after all have been found, or `zero` for a row of zeros in its place. most_pixels: an image
    that states more is bad, before it fills the memory.
    """

    source: Literal["images", "published"]
    dtype: Literal["float32", "bfloat16"]
    decode: Literal["full", "reduced"]
    shard: Annotated[int, AtLeastOne]
    batch: Annotated[int, AtLeastOne] | None
    on_bad_image: Literal["fail", "zero"]
    most_pixels: images.Pixels = images.MOST_PIXELS


@dataclass(frozen=True)
class Worker:
    """One of the processes that share an extraction: `rank` of `world`, and its number on its host."""

    rank: int = 0
    world: int = 1
    local: int = 0


def worker(environment=os.environ):
    """Which worker this process is, as torchrun or srun say in the environment; the only one without them."""
    # srun's own count: SLURM_NTASKS also stands in a batch script, where this process is alone
    for names in (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")):
        rank, world, local = (environment.get(name) for name in names)
        if rank is not None and world is not None:
            return Worker(int(rank), int(world), int(local or 0))
    return Worker()


class Network:
    """The backbone ready to run: `forward` takes uint8 pixels of one shard and gives its features, on the device."""

    def __init__(self, model, view, config, device, compiled=False):
        self.view, self.device, self.dtype = view, device, DTYPES[config.dtype]
        self.batch = config.batch or (GPU_BATCH if device.type == "cuda" else CPU_BATCH)
        self.model = model.to(device, self.dtype, memory_format=torch.channels_last).eval()
        if compiled:
            self.model = torch.compile(self.model)

    @torch.inference_mode()
    def forward(self, pixels):
        """M x 3 x size x size uint8 -> M x d float32 on the device, without waiting for it."""
        batches = pixels.to(self.device, non_blocking=True).split(self.batch)
        return torch.cat([self.model(self.view.normalise(batch, self.dtype)).float() for batch in batches])


def key(weights, raw, listing, view, config, run, device):
    """A name for the shards of one extraction: a hash of all that decides their numbers.

    Archives count by size and date: reading 13 GB to hash them would take longer than extracting from them.
    """
    import PIL
    import timm

    archives = sorted({path.split("/")[0] for path in listing.images if path})
    stats = {name: (Path(raw) / name).stat() for name in archives}
    parts = {
        "weights": files.digest(weights),
        "archives": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
        "images": listing.images,
        "boxes": None if listing.boxes is None else np.asarray(listing.boxes).tolist(),
        "view": [view.size, view.mean, view.std, str(view.steps)],
        "config": [config.dtype, config.decode, config.shard, config.batch, config.most_pixels],
        "device": [device.type, run.compile],
        "versions": [torch.__version__, timm.__version__, PIL.__version__],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def extract(network, shards, folder, workers, me=Worker(), label="features"):
    """Write the missing shards that are this worker's into `folder`, each under its final name only when complete.

    Beside a shard with undecodable images stands a list of them, written before it.
    """
    mine = [i for i in range(len(shards)) if i % me.world == me.rank]
    for i in mine:
        _drop_damaged(shards, folder, i)
    todo = [i for i in mine if not _shard(folder, i).exists()]
    if len(todo) < len(mine):
        print(f"{label}: {len(mine) - len(todo)} of {len(mine)} shards are there already", flush=True)
    if not todo:
        return
    rows = sum(len(shards.rows(i)) for i in todo)
    on_gpu = network.device.type != "cpu"
    running = []
    with tqdm(total=rows, desc=label, unit="img", disable=None, position=me.local) as bar:

        def finish(shard, features, bad):
            array = features.cpu().numpy()
            # what an earlier try found may have passed
            _bad(folder, shard).unlink(missing_ok=True)
            if bad:
                array[[row - shards.rows(shard)[0] for row, _ in bad]] = 0
                files.write_json(_bad(folder, shard), bad)
            files.write_npy(_shard(folder, shard), array)
            bar.update(len(array))

        for shard, pixels, bad in images.decoded(shards, todo, workers, on_gpu):
            running.append((shard, network.forward(pixels), bad))
            # a GPU works on this shard while the one before is written
            while len(running) > on_gpu:
                finish(*running.pop(0))
        for rest in running:
            finish(*rest)


def assemble(shards, folder, target, config, label="features", listing=None):
    """Join all shards of `folder` into the N x d float32 array `target`, holding one at a time in memory.

    Waits for shards that other workers write. Returns the undecodable images as {row, image, reason}, which it also
    writes beside the target as undecodable.csv. Raises UserError where there are some and `on_bad_image` is fail, or
    where a class of `listing` has no other.
    """
    _wait(shards, folder, label)
    bad = [
        {"row": row, "image": shards.images.name(row), "reason": reason}
        for shard in range(len(shards))
        for row, reason in _bad_rows(shards, folder, shard)
    ]
    if bad:
        _judge(bad, shards, folder, target.with_name("undecodable.csv"), config, listing)
    width = files.read_npy(_shard(folder, 0)).shape[1]
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(shards.images), width)}
    with files.replacing(target) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for shard in range(len(shards)):
            array = files.read_npy(_shard(folder, shard))
            if array.shape[1] != width:
                raise UserError(
                    f"{_shard(folder, shard)}: has {array.shape[1]} features an image, the first shard {width}; remove"
                    f" {folder}, and `dvc repro` makes it again"
                )
            try:
                _finite(array, shards, shard)
            except UserError:
                # if it was the disk that made them so, the next try does not meet them again
                _shard(folder, shard).unlink()
                raise
            file.write(array.astype("<f4", copy=False).tobytes())
    return bad


def _judge(bad, shards, folder, path, config, listing):
    """Write the undecodable images to a file, and raise UserError where there may be none, or not so many."""
    files.write_csv(path, bad, UNDECODABLE)
    found = f"{len(bad)} of {len(shards.images)} images cannot be decoded: {images.told(bad, path)}"
    if config.on_bad_image == "fail":
        for entry in bad:
            # what failed is tried again the next time
            _shard(folder, entry["row"] // shards.size).unlink(missing_ok=True)
        raise UserError(f"{found}. Mend the archive, or set features.on_bad_image: zero")
    if listing is not None:
        good = np.delete(listing.labels, [entry["row"] for entry in bad])
        if lost := set(listing.labels.tolist()) - set(good.tolist()):
            names = first_of(listing.class_names[label] for label in lost)
            raise UserError(
                f"no image of class {names} can be decoded, of which rows of zeros would say nothing: {found}"
            )


def _drop_damaged(shards, folder, shard):
    """Remove a shard that is there and not whole, as a disk that was full or failing leaves it, and say so."""
    if not _shard(folder, shard).exists():
        return
    try:
        array = files.read_npy(_shard(folder, shard), "it is made anew")
        if array.ndim != 2 or len(array) != len(shards.rows(shard)) or not array.size or array.dtype != np.float32:
            raise files.damaged(_shard(folder, shard), f"{array.dtype} of shape {array.shape}", "it is made anew")
        _bad_rows(shards, folder, shard, "its shard is made anew")
    except UserError as error:
        print(error, flush=True)
        _shard(folder, shard).unlink(missing_ok=True)
        _bad(folder, shard).unlink(missing_ok=True)


def _bad_rows(shards, folder, shard, again=files.AGAIN):
    """[row, reason] of the undecodable images of a shard. Raises UserError where their list is damaged."""
    path = _bad(folder, shard)
    if not path.exists():
        return []
    found = files.read_json(path, again)
    try:
        if all(row in shards.rows(shard) and isinstance(reason, str) for row, reason in found):
            return found
    except (TypeError, ValueError):
        pass
    raise files.damaged(path, "is no list of rows and reasons", again)


def _finite(array, shards, shard):
    if not (fine := np.isfinite(array).all(1)).all():
        name = shards.images.name(shards.rows(shard)[int(fine.argmin())])
        raise UserError(
            f"{name}: the backbone makes features of it that are not finite; are its weights sound? With"
            " features.dtype: bfloat16, try float32"
        )


def _wait(shards, folder, label):
    left, since, told = set(range(len(shards))), time.monotonic(), False
    while True:
        come = {i for i in left if _shard(folder, i).exists()}
        for i in come:
            _drop_damaged(shards, folder, i)
        come = {i for i in come if _shard(folder, i).exists()}
        left -= come
        if not left:
            return
        if come or not told:
            since, told = time.monotonic(), True
            print(f"{label}: waiting for {len(left)} shards of other workers", flush=True)
        if time.monotonic() - since > PATIENCE:
            raise UserError(
                f"{folder}: {len(left)} shards of other workers are missing and none came for {PATIENCE // 60} minutes;"
                " look at their output, then start again: what is done is kept"
            )
        time.sleep(0.2)


def _shard(folder, shard):
    return folder / f"{shard:06d}.npy"


def _bad(folder, shard):
    return folder / f"{shard:06d}.bad.json"


def clear(folder, me):
    """Forget the shards: those of other extractions, and this one's unless a slower worker may still look for them."""
    for other in folder.parent.iterdir():
        if other != folder or me.world == 1:
            shutil.rmtree(other, ignore_errors=True)


def build(model, weights, view, raw, listing, reader, config, run, target, folder, label):
    """Extract the features of a listing into the file `target`, on the device that `run` names; see the parts above.

    weights: the backbone's file, which names the shards kept under `folder` until all are there.
    Returns the undecodable images, and None from a worker that is not the first.
    """
    me = worker()
    device = machine.start(run, me.local)
    print(f"{label}: {len(listing.images)} images on {machine.describe(device)}, {config.dtype}", flush=True)
    rows = images.Rows(listing, reader, view.enough if config.decode == "reduced" else None, config.most_pixels)
    shards = images.Shards(rows, view, config.shard)
    folder = Path(folder) / key(weights, raw, listing, view, config, run, device)
    folder.mkdir(parents=True, exist_ok=True)
    network = Network(model, view, config, device, run.compile)
    extract(network, shards, folder, run.decoders, me, label)
    if me.rank:
        return None
    bad = assemble(shards, folder, target, config, label, listing)
    if bad:
        named = images.told(bad, target.with_name("undecodable.csv"))
        print(f"{label}: WARNING: {len(bad)} of {len(rows)} images cannot be decoded and are rows of zeros: {named}")
    clear(folder, me)
    return bad
