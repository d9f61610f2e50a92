"""Extraction: the plain forward of each image, the same bytes for any workers, kills and hosts, bad images listed."""

import dataclasses
import multiprocessing
import os
import shutil
import signal
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from pipeline.common import machine
from pipeline.common.errors import UserError
from pipeline.datasets.base import Listing
from pipeline.sources import archives, packing
from pipeline.vision import backbone, features, images
from pipeline.vision.features import Worker
from pipeline.vision.weights import start
from tests.pictures import encoded, gradient, photographs, tar
from tests.processes import started_by

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "../shared"
ARCH = "test_resnet.r160_in1k"
CHOSEN = backbone.Config(arch=ARCH, weights="", size=48)
CONFIG = features.Config("images", "float32", "full", 4, 2, "fail")
RUN = machine.Run("cpu", 0, "unused", compile=False, threads=None, checkpoint_minutes=5)
COUNT = 22
CPU = torch.device("cpu")


@dataclasses.dataclass
class Made:
    """A made-up data set and a backbone on disk."""

    folder: Path
    listing: Listing
    weights: Path

    def build(self, name, config=CONFIG, listing=None, **run):
        """Extract as the stage does; the path of the features, and what `build` returned."""
        model = backbone.load(self.weights, CHOSEN)
        raw, target = self.folder / "raw", self.folder / f"{name}.npy"
        parts = listing or self.listing, archives.Images(raw), config, dataclasses.replace(RUN, **run)
        view = backbone.view(model, CHOSEN)
        return target, features.build(
            model, self.weights, view, raw, *parts, target, self.folder / f"shards of {name}", name
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    listing = photographs(folder / "raw", COUNT)
    backbone.save(folder / "b.safetensors", backbone.create(CHOSEN), ARCH)
    return Made(folder, listing, folder / "b.safetensors")


@pytest.fixture(scope="module")
def expected(made):
    """Features as timm's own transform and model give them, one image at a time."""
    model = backbone.load(made.weights, CHOSEN)
    own = timm.data.resolve_data_config({"input_size": (3, 48, 48)}, model=model)
    transform = timm.data.create_transform(**own)
    reader = archives.Images(made.folder / "raw")
    with torch.inference_mode():
        rows = [model(transform(images.decode(reader.read(path)))[None])[0] for path in made.listing.images]
    return torch.stack(rows).numpy()


@pytest.fixture(scope="module")
def plain(made):
    """The bytes of the features file, extracted in one go in this process."""
    return made.build("plain")[0].read_bytes()


@pytest.mark.parametrize(("shard", "batch"), [(1, 1), (4, 2), (5, 3), (64, None)])
def test_each_row_is_the_plain_forward_of_its_image(made, expected, shard, batch):
    target, bad = made.build("rows", dataclasses.replace(CONFIG, shard=shard, batch=batch))
    found = np.load(target, mmap_mode="r")
    assert found.dtype == np.float32
    assert bad == []
    assert np.abs(found - expected).max() < 1e-6
    assert np.abs(expected).max() > 0.05


def test_bfloat16_points_the_same_way(made, expected):
    target, _ = made.build("half", dataclasses.replace(CONFIG, dtype="bfloat16"))
    found = np.load(target)
    assert found.dtype == np.float32
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() > 0.999
    assert np.abs(found - expected).max() > 0


@pytest.mark.parametrize("workers", [1, 3])
def test_decoding_threads_change_no_byte(made, plain, workers):
    assert made.build("threads", workers=workers)[0].read_bytes() == plain


def test_processes_that_decode_ahead_give_the_same_pixels(made):
    view = backbone.view(backbone.create(CHOSEN), CHOSEN)
    shards = images.Shards(images.Rows(made.listing, archives.Images(made.folder / "raw")), view, 4)
    order = [5, 0, 3]
    ahead, waiting = (list(images.decoded(shards, order, 2, ahead)) for ahead in (True, False))
    assert [item[0] for item in ahead] == order
    for one, other in zip(ahead, waiting, strict=True):
        assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_however_processes_are_started_they_change_no_byte(made, plain, method, monkeypatch):
    """Linux forked until Python 3.14, which forks off a server; macOS spawns. As on a GPU: a CPU decodes in threads."""
    decoded = images.decoded
    monkeypatch.setattr(images, "decoded", lambda shards, which, workers, _: decoded(shards, which, workers, True))
    with started_by(method):
        assert made.build(method, workers=2)[0].read_bytes() == plain


@pytest.mark.parametrize("world", [2, 5])
def test_workers_that_share_the_shards_change_no_byte(made, plain, world, monkeypatch):
    for rank in reversed(range(world)):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        target, bad = made.build(f"world{world}")
        assert target.exists() == (rank == 0)
        assert (bad is None) == (rank > 0)
    assert target.read_bytes() == plain


def test_torchrun_and_srun_are_understood():
    assert features.worker({}) == Worker(0, 1, 0)
    assert features.worker({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Worker(3, 8, 1)
    step = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "0"}
    assert features.worker(step | {"SLURM_NTASKS": "8"}) == Worker(2, 4, 0)
    # in a batch script without srun this process is alone, and would wait for seven that never come
    assert features.worker({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}) == Worker(0, 1, 0)


def build_by_permission(made, gate):
    forward = features.Network.forward

    def gated(self, pixels):
        gate.acquire()
        return forward(self, pixels)

    features.Network.forward = gated
    made.build("killed")


def test_a_killed_extraction_goes_on_at_the_next_shard(made, plain, capfd):
    """Killed after each of four shards: no finished shard is made twice, and the file is the same to the byte."""

    def finished():
        return {path.name: path.stat().st_mtime_ns for path in (made.folder / "shards of killed").glob("*/??????.npy")}

    fork, kept = multiprocessing.get_context("fork"), {}
    for kill in range(5):
        gate = fork.Semaphore(1 if kill < 4 else 2)
        process = fork.Process(target=build_by_permission, args=(made, gate))
        process.start()
        while kill < 4 and len(finished()) == len(kept):
            assert process.is_alive()
            time.sleep(0.005)
        if kill < 4:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert (made.folder / "killed.npy").exists() == (kill == 4)
        assert kill == 4 or len(finished()) == kill + 1
        assert kill == 4 or kept.items() <= finished().items()
        kept = finished()
    assert process.exitcode == 0
    assert "killed: 4 of 6 shards are there already" in capfd.readouterr().out
    assert (made.folder / "killed.npy").read_bytes() == plain
    assert list((made.folder / "shards of killed").iterdir()) == []


def damaged(folder):
    """Raw data with two undecodable images and one that is missing."""
    good = {f"jpg/{i}.jpg": encoded(gradient(60, 50, i), "JPEG") for i in range(9)}
    bad = {"jpg/1.jpg": good["jpg/1.jpg"][:700], "jpg/7.jpg": b"no image"}
    tar(folder / "raw" / "images.tar", good | bad)
    names = [f"images.tar/{name}" for name in good]
    return Listing([*names, "images.tar/jpg/none.jpg"], np.zeros(10, int), ["a"]), good


def test_undecodable_images_are_all_listed_and_tried_again(made, tmp_path):
    listing, good = damaged(tmp_path)
    here = Made(tmp_path, listing, made.weights)
    with pytest.raises(UserError) as error:
        here.build("f")
    message = str(error.value)
    assert message.startswith("3 of 10 images cannot be decoded: images.tar/jpg/1.jpg: ")
    assert "images.tar/jpg/7.jpg: 8 bytes that are no JPEG" in message
    assert "none.jpg" in message
    assert "features.on_bad_image: zero" in message
    assert not (tmp_path / "f.npy").exists()
    # each shard had one: all are made again
    left = sorted(path.name for path in (tmp_path / "shards of f").glob("*/*.npy"))
    assert left == []
    good["jpg/none.jpg"] = good["jpg/0.jpg"]
    tar(tmp_path / "raw" / "images.tar", good)
    found = np.load(here.build("f")[0])
    assert np.array_equal(found[9], found[0])
    assert np.abs(found).sum(1).min() > 0


def test_a_fault_that_passes_leaves_no_trace(made, plain, monkeypatch):
    decode = images.decode

    def failing(data, *args):
        raise images.BadImage("the disk was away")

    monkeypatch.setattr(images, "decode", failing)
    with pytest.raises(UserError, match="22 of 22 images"):
        made.build("passing")
    monkeypatch.setattr(images, "decode", decode)
    target, bad = made.build("passing")
    assert bad == []
    assert target.read_bytes() == plain


def test_features_that_are_not_finite_are_refused_by_name(made, monkeypatch):
    forward = features.Network.forward
    monkeypatch.setattr(features.Network, "forward", lambda self, pixels: forward(self, pixels) / 0)
    with pytest.raises(UserError, match=f"{made.listing.images[0]}: the backbone makes features .* not finite"):
        made.build("infinite")


def test_zero_makes_rows_of_zeros_and_says_so(made, tmp_path, capsys):
    listing, _ = damaged(tmp_path)
    zero = dataclasses.replace(CONFIG, on_bad_image="zero")
    target, bad = Made(tmp_path, listing, made.weights).build("z", zero)
    found = np.load(target)
    assert [entry["row"] for entry in bad] == [1, 7, 9]
    assert np.flatnonzero((found == 0).all(1)).tolist() == [1, 7, 9]
    assert "WARNING: 3 of 10 images" in capsys.readouterr().out


def test_images_that_are_not_distributed_point_to_the_published_features(made, tmp_path):
    photographs(tmp_path / "raw", 1)
    listing = Listing(["", ""], np.zeros(2, int), ["a"])
    with pytest.raises(UserError, match=r"features\.source: published"):
        Made(tmp_path, listing, made.weights).build("none")


def test_a_box_is_what_the_network_sees(made, tmp_path):
    image = gradient(90, 60)
    box = (10, 5, 70, 55)
    tar(tmp_path / "raw/images.tar", {"whole.png": encoded(image), "part.png": encoded(image.crop(box))})
    here = Made(tmp_path, None, made.weights)
    boxes = np.array([box, (0, 0, 60, 50)])
    found = np.load(
        here.build("boxes", listing=Listing(["images.tar/whole.png", "images.tar/part.png"], 0, [], boxes))[0]
    )
    assert np.array_equal(found[0], found[1])


def test_all_that_decides_the_numbers_names_the_shards(made, tmp_path):
    model = backbone.load(made.weights, CHOSEN)
    view = backbone.view(model, CHOSEN)
    raw = made.folder / "raw"

    def key(weights=made.weights, listing=made.listing, view=view, config=CONFIG, run=RUN, device=CPU):
        return features.key(weights, raw, listing, view, config, run, device)

    backbone.save(tmp_path / "other.safetensors", backbone.create(dataclasses.replace(CHOSEN, seed=1)), ARCH)
    boxes = np.tile([0, 0, 5, 5], (COUNT, 1))
    changed = [
        key(weights=tmp_path / "other.safetensors"),
        key(listing=dataclasses.replace(made.listing, images=made.listing.images[::-1])),
        key(listing=dataclasses.replace(made.listing, boxes=boxes)),
        key(view=backbone.view(model, dataclasses.replace(CHOSEN, transform="whole"))),
        key(view=backbone.view(model, dataclasses.replace(CHOSEN, mean=backbone.Channels(0, 0, 0)))),
        key(view=backbone.view(model, dataclasses.replace(CHOSEN, interpolation="nearest"))),
        *(
            key(config=dataclasses.replace(CONFIG, **{name: value}))
            for name, value in {"dtype": "bfloat16", "decode": "reduced", "shard": 5, "batch": 3}.items()
        ),
        key(device=torch.device("cuda")),
        key(run=dataclasses.replace(RUN, compile=True)),
    ]
    assert len({key(), *changed}) == len(changed) + 1
    same = [key(run=dataclasses.replace(RUN, workers=7)), key(config=dataclasses.replace(CONFIG, on_bad_image="zero"))]
    assert set(same) == {key()}
    before = key()
    os.utime(raw / "images.tar", (1, 1))
    assert key() != before


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile wants a C++ compiler")
def test_a_compiled_backbone_gives_the_same_features(made, expected):
    target, _ = made.build("compiled", compile=True)
    np.testing.assert_allclose(np.load(target), expected, rtol=1e-4, atol=1e-5)


def test_memory_stays_flat_in_the_number_of_images(tmp_path):
    """100 shards of half a megabyte are joined in a few megabytes."""
    shards = images.Shards(range(6400), None, 64)
    for i in range(len(shards)):
        np.save(tmp_path / f"{i:06d}.npy", np.full((64, 2048), i, np.float32))
    tracemalloc.start()
    features.assemble(shards, tmp_path, tmp_path / "all.npy", CONFIG)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6
    joined = np.load(tmp_path / "all.npy", mmap_mode="r")
    assert joined.shape == (6400, 2048)
    assert np.array_equal(joined[::64, 0], np.arange(100))


def test_shards_of_a_worker_that_died_are_not_waited_for_for_ever(made, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "PATIENCE", 0)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"3 shards of other workers are missing .* what is done is kept"):
        Made(made.folder, made.listing, made.weights).build("alone")
    assert not (made.folder / "alone.npy").exists()


def test_decoding_at_reduced_scale_gives_nearly_the_same_features(made, tmp_path):
    names = [f"{i}.jpg" for i in range(4)]
    data = {name: encoded(gradient(640, 480, i), "JPEG", quality=90) for i, name in enumerate(names)}
    tar(tmp_path / "raw/images.tar", data)
    here = Made(tmp_path, Listing([f"images.tar/{name}" for name in names], np.zeros(4, int), ["a"]), made.weights)
    full, reduced = (
        np.load(here.build(how, dataclasses.replace(CONFIG, decode=how))[0]) for how in ("full", "reduced")
    )
    cosine = (full * reduced).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(reduced, axis=1)
    assert cosine.min() > 0.999
    assert not np.array_equal(full, reduced)


# by photograph: the four largest features by column, and the length of the vector
GOLDEN = {
    1: ({71: 4.854393, 605: 3.005844, 1121: 2.924633, 998: 2.847518}, 15.594306),
    8189: ({71: 4.922655, 993: 3.270937, 64: 3.107560, 1212: 3.049392}, 17.976765),
}


@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared here")
@pytest.mark.parametrize("number", GOLDEN)
def test_golden_flowers(tmp_path, number):
    """Two photographs through the real weights, pinned from timm's own transform and model."""
    name = f"jpg/image_{number:05d}.jpg"
    packed = SHARED / "data/flo64/102flowers.tgz"
    packing.untar_gz(packed, tmp_path / "raw/images.tar")
    chosen = backbone.Config(arch="tf_efficientnet_lite0.in1k", weights="")
    weights = SHARED / "weights/tf_efficientnet_lite0.in1k.safetensors"
    model = start(weights, chosen, tmp_path)
    view = backbone.view(model, chosen)
    listing = Listing([f"images.tar/{name}"], np.zeros(1, int), ["a"])
    target = tmp_path / "f.npy"
    reader = archives.Images(tmp_path / "raw")
    features.build(
        model, weights, view, tmp_path / "raw", listing, reader, CONFIG, RUN, target, tmp_path / "shards", "golden"
    )
    largest, length = GOLDEN[number]
    found = np.load(target)[0]
    assert found.shape == (1280,)
    assert np.argsort(-found)[:4].tolist() == list(largest)
    assert np.abs(found[list(largest)] - list(largest.values())).max() < 1e-4
    assert abs(np.linalg.norm(found) - length) < 1e-3
