"""Fine-tuning sees trainval images of seen classes alone, learns from them, and can be repeated and resumed."""

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.common import files, training
from pipeline.common.errors import UserError
from pipeline.datasets.index import Index
from pipeline.sources import archives
from pipeline.vision import backbone, finetune, images, weights
from tests.pictures import encoded, tar
from tests.processes import started_by

ARCH = "test_resnet.r160_in1k"
CHOSEN = backbone.Config(arch=ARCH, weights="", size=32, crop=1.0)
CPU = torch.device("cpu")
CONFIG = finetune.Config(
    epochs=3,
    batch=8,
    lr=0.01,
    head_lr=0.01,
    weight_decay=0.01,
    warmup=0.5,
    label_smoothing=0.0,
    holdout=0.25,
    patience=9,
    crop=0.5,
    flip=True,
    precision="float32",
    spare_folds=0,
    seed=0,
)
COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (120, 40, 160)]


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """An archive and index: classes 0, 2 and 4 seen, 1 and 3 unseen, a class is a colour under noise."""
    raw = tmp_path_factory.mktemp("coloured") / "raw"
    generator = np.random.default_rng(0)
    members, labels, split = {}, [], []
    for label, colour in enumerate(COLOURS):
        for i in range(16):
            pixels = np.clip(generator.normal(colour, 60, (40, 44, 3)), 0, 255).astype(np.uint8)
            members[f"{label}-{i:02d}.png"] = encoded(Image.fromarray(pixels))
            labels.append(label)
            split.append("test_unseen" if label % 2 else "test_seen" if i % 4 == 0 else "trainval")
    tar(raw / "images.tar", members)
    images = [f"images.tar/{name}" for name in members]
    return raw, Index(images, np.array(labels), [str(i) for i in labels], np.array(split), [])


class Spy(archives.Images):
    """Notes what is read."""

    def __init__(self, raw):
        super().__init__(raw)
        self.seen = set()

    def read(self, image):
        self.seen.add(image)
        return super().read(image)


def tuner(coloured, config=CONFIG, reader=None, workers=0):
    raw, index = coloured
    model = backbone.create(CHOSEN)
    view = backbone.view(model, CHOSEN)
    return finetune.Tuner(model, view, finetune.seen(index), reader or archives.Images(raw), config, CPU, workers)


def same(state, other):
    return all(torch.equal(state[key], other[key]) for key in state)


def test_only_trainval_images_of_seen_classes_are_taken(coloured):
    _, index = coloured
    data = finetune.seen(index)
    assert data.classes.tolist() == [0, 2, 4]
    assert len(data.images) == 36
    for image, label in zip(data.images, data.labels, strict=True):
        row = index.images.index(image)
        assert index.split[row] == "trainval"
        assert data.classes[label] == index.labels[row]


def test_classes_of_validation_are_spared_on_request(coloured):
    _, index = coloured
    validation = [np.where(index.labels == spared, "val_unseen", "train") for spared in (2, 4, 0)]
    index = dataclasses.replace(index, validation=validation)
    assert finetune.seen(index).classes.tolist() == [0, 2, 4]
    assert finetune.seen(index, spared=1).classes.tolist() == [0, 4]
    with pytest.raises(UserError, match="unseen classes of 3 validation folds are all there are"):
        finetune.seen(index, spared=3)


def test_training_reads_nothing_else(coloured):
    raw, index = coloured
    spy = Spy(raw)
    finetune.tune(tuner(coloured, dataclasses.replace(CONFIG, epochs=1), spy), "tune")
    allowed = {image for image, part in zip(index.images, index.split, strict=True) if part == "trainval"}
    assert spy.seen == allowed


def test_an_index_that_leaks_is_refused(coloured):
    _, index = coloured
    split = index.split.copy()
    split[index.labels.tolist().index(3)] = "trainval"
    with pytest.raises(UserError, match="classes 3 are unseen and have trainval images"):
        finetune.seen(dataclasses.replace(index, split=split))
    images = list(index.images)
    images[1] = images[0]
    with pytest.raises(UserError, match=r"0-00\.png is both a trainval and a test image"):
        finetune.seen(dataclasses.replace(index, images=images))
    # two boxes of one image are two images
    boxes = np.arange(len(images))[:, None] + np.zeros((1, 4), int)
    assert len(finetune.seen(dataclasses.replace(index, images=images, boxes=boxes)).images) == 36
    with pytest.raises(UserError, match="no trainval row"):
        finetune.seen(dataclasses.replace(index, split=np.full(len(images), "test_seen")))


def test_the_hold_out_takes_its_share_of_every_class():
    labels = np.repeat([0, 1, 2, 3], [40, 10, 2, 1])
    train, held = finetune.hold_out(labels, 0.2, seed=1)
    assert np.bincount(labels[held], minlength=4).tolist() == [8, 2, 1, 0]
    assert sorted([*train, *held]) == list(range(len(labels)))
    assert held.tolist() == finetune.hold_out(labels, 0.2, seed=1)[1].tolist()
    assert held.tolist() != finetune.hold_out(labels, 0.2, seed=2)[1].tolist()
    with pytest.raises(UserError, match="two images or more"):
        finetune.hold_out(np.arange(5), 0.2, seed=1)


def test_the_rate_rises_and_falls_along_half_a_cosine():
    rates = [finetune.rate(step, 110, 10) for step in range(110)]
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert rates[10] == 1
    assert rates[60] == pytest.approx(0.5)
    assert rates[35] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert rates[-1] < 0.001


def test_it_learns_and_what_it_writes_is_a_beginning(coloured, tmp_path):
    tuned = tuner(coloured, dataclasses.replace(CONFIG, epochs=6))
    rows = finetune.tune(tuned, "tune")
    assert tuple(rows[0]) == finetune.COLUMNS
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    # chance is 33
    assert max(row["accuracy"] for row in rows) > 80
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
    backbone.save(tmp_path / "mine.safetensors", tuned.backbone, ARCH)
    begun = weights.start(tmp_path / "mine.safetensors", CHOSEN, tmp_path)
    assert same(begun.state_dict(), tuned.backbone.state_dict())


def test_it_follows_from_the_seed_and_not_from_the_workers(coloured):
    def run(workers=0, **changed):
        tuned = tuner(coloured, dataclasses.replace(CONFIG, epochs=2, **changed), workers=workers)
        return finetune.tune(tuned, "tune"), tuned.backbone.state_dict()

    rows, state = run()
    again, state_again = run()
    assert rows == again
    assert same(state, state_again)
    assert not same(state, run(seed=1)[1])


# a spawned one takes seconds to import torch
@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("forkserver", 2), ("spawn", 1)])
def test_however_processes_are_started_the_weights_are_the_same(coloured, method, workers, monkeypatch):
    """As on a GPU; on a CPU training decodes in its own process."""

    def tuned():
        made = tuner(coloured, dataclasses.replace(CONFIG, epochs=2))
        return finetune.tune(made, "tune"), made.backbone.state_dict()

    rows, state = tuned()
    loader = images.loader
    monkeypatch.setattr(images, "loader", lambda dataset, _, **order: loader(dataset, workers, **order))
    with started_by(method):
        rows_of_processes, state_of_processes = tuned()
    assert rows == rows_of_processes
    assert same(state, state_of_processes)


def test_each_epoch_cuts_anew_and_validation_never_does(coloured):
    tuned = tuner(coloured)
    dataset = tuned.loaders[tuned.training].dataset
    assert torch.equal(dataset[1, 5][0], dataset[1, 5][0])
    assert not torch.equal(dataset[1, 5][0], dataset[2, 5][0])
    assert torch.equal(dataset[0, 5][0], tuned.view.pixels(dataset.images[5]))
    assert set(tuned.training.rows).isdisjoint(tuned.validation.rows)


def test_it_stops_without_progress_and_keeps_the_best_epoch(coloured, monkeypatch):
    tuned = tuner(coloured, dataclasses.replace(CONFIG, epochs=9, patience=2))
    accuracies = iter([10.0, 50.0, 50.0, 20.0, 90.0])
    states = []

    def validate():
        states.append({key: value.clone() for key, value in tuned.backbone.state_dict().items()})
        return 1.0, next(accuracies)

    monkeypatch.setattr(tuned, "validate", validate)
    rows = finetune.tune(tuned, "tune")
    assert [row["accuracy"] for row in rows] == [10.0, 50.0, 50.0, 20.0]
    assert same(states[1], tuned.backbone.state_dict())
    assert not same(states[3], tuned.backbone.state_dict())


def test_a_killed_run_goes_on_to_the_same_end(coloured, tmp_path, monkeypatch):
    unbroken = tuner(coloured)
    expected = finetune.tune(unbroken, "tune")

    class Killed(Exception):
        pass

    killed = tuner(coloured)
    epoch = killed.epoch

    def until_the_third(number):
        if number == 3:
            raise Killed
        return epoch(number)

    monkeypatch.setattr(killed, "epoch", until_the_third)
    with pytest.raises(Killed):
        finetune.tune(killed, "tune", training.Checkpoint(tmp_path / "c.pt", "key", 1e-9))
    resumed = tuner(coloured)
    assert finetune.tune(resumed, "tune", training.Checkpoint(tmp_path / "c.pt", "key", 1)) == expected
    assert same(resumed.backbone.state_dict(), unbroken.backbone.state_dict())


def test_mixed_precision_trains_in_float32_weights(coloured):
    tuned = tuner(coloured, dataclasses.replace(CONFIG, epochs=1, precision="bfloat16"))
    rows = finetune.tune(tuned, "tune")
    assert math.isfinite(rows[0]["loss"])
    assert {value.dtype for value in tuned.backbone.parameters()} == {torch.float32}
    exact = finetune.tune(tuner(coloured, dataclasses.replace(CONFIG, epochs=1)), "tune")
    assert rows[0]["loss"] != exact[0]["loss"]
    assert rows[0]["loss"] == pytest.approx(exact[0]["loss"], rel=0.1)


def test_divergence_is_said(coloured):
    with pytest.raises(UserError, match=r"diverged in epoch 1.* a lower lr"):
        finetune.tune(tuner(coloured, dataclasses.replace(CONFIG, lr=1e30, warmup=0)), "tune")


def test_biases_and_norms_do_not_decay(coloured):
    for group in tuner(coloured).optimiser.param_groups:
        assert group["params"]
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


def test_undecodable_images_stop_it_or_are_left_out_aloud(coloured, tmp_path, capsys):
    raw, index = coloured
    reader = archives.Images(raw)
    members = {name: reader.read(f"images.tar/{name}") for name in reader.archive("images.tar").names}
    tar(tmp_path / "images.tar", members | {"0-01.png": b"", "0-04.png": b"", "4-03.png": b"nothing"})
    view = backbone.view(backbone.create(CHOSEN), CHOSEN)
    args, listed = (finetune.seen(index), view, archives.Images(tmp_path)), tmp_path / "undecodable.csv"
    with pytest.raises(UserError, match=r"2 of 36 trainval images .*0-01\.png: 0 bytes.*4-03\.png: 7 bytes"):
        finetune.without_bad(*args, "fail", images.MOST_PIXELS, 2, "tune", listed)
    kept = finetune.without_bad(*args, "zero", images.MOST_PIXELS, 2, "tune", listed)
    assert [row["image"] for row in files.read_csv(listed)] == ["images.tar/0-01.png", "images.tar/4-03.png"]
    assert len(kept.images) == len(kept.labels) == 34
    assert "images.tar/4-03.png" not in kept.images
    assert "WARNING: 2 images" in capsys.readouterr().out
    again = finetune.without_bad(finetune.seen(index), view, reader, "fail", images.MOST_PIXELS, 1, "tune", listed)
    assert again.images == args[0].images


def test_a_random_cut_keeps_its_least_share(coloured):
    image = Image.new("RGB", (60, 30))
    view = backbone.view(backbone.create(CHOSEN), CHOSEN)
    boxes = []

    class Recorder:
        size = image.size

        def resize(self, size, resample, box):
            boxes.append(box)
            return image.resize(size, resample, box)

    generator = random.Random(0)
    for _ in range(200):
        assert finetune.cut_at_random(Recorder(), view, CONFIG, generator).size == (32, 32)
    areas = [(right - left) * (bottom - top) / 1800 for left, top, right, bottom in boxes]
    assert all(0 <= left < right <= 60.001 and 0 <= top < bottom <= 30.001 for left, top, right, bottom in boxes)
    assert max(areas) <= 1.001
    assert 0.3 < min(areas) < 0.6
