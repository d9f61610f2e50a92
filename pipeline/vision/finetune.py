"""Fine-tuning the backbone on trainval images of seen classes, and on nothing else.

Training takes a `Seen`, which only `seen` makes, out of the trainval rows of index.csv.
"""

import math
import random
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from pipeline.common import files, training
from pipeline.common.errors import UserError
from pipeline.common.params import AtLeastOne, Positive, Range
from pipeline.vision import backbone, images

COLUMNS = ("epoch", "lr", "loss", "validation_loss", "accuracy")
# how far a random crop's sides may be from a square's
MOST_STRETCHED = 4 / 3


@dataclass(frozen=True)
class Config:
    """`<data set>.finetune`.

    epochs: the most; 0 leaves the backbone as it is. batch, lr (of the backbone at its highest), head_lr,
    weight_decay: AdamW's. warmup: epochs of linear rise before the cosine. label_smoothing: share of the target that
    all classes have in common. holdout: share of each class's images that gives the validation accuracy. patience:
    epochs without a better one before it stops. crop: least share of an image that a random crop keeps. flip: mirror
    every second image. precision: of forward and backward. spare_folds: classes that act as unseen in so many of the
    validation folds are left out, so that selection on those judges by classes that the backbone has not seen either.
    """

    epochs: Annotated[int, Range(least=0)]
    batch: Annotated[int, Range(least=2)]
    lr: Annotated[float, Positive]
    head_lr: Annotated[float, Positive]
    weight_decay: Annotated[float, Range(least=0)]
    warmup: Annotated[float, Range(least=0)]
    label_smoothing: Annotated[float, Range(least=0, below=1)]
    holdout: Annotated[float, Range(above=0, below=1)]
    patience: Annotated[int, AtLeastOne]
    crop: Annotated[float, Range(above=0, most=1)]
    flip: bool
    precision: Literal["float32", "bfloat16"]
    spare_folds: Literal[0, 1, 3]
    seed: Annotated[int, Range(least=0)]


@dataclass(frozen=True)
class Seen:
    """All that fine-tuning may see. n trainval images of S seen classes.

    images, boxes: as in a `Listing`, of these rows alone; labels: n int64 in 0..S-1; classes: S, their class ids
    """

    images: list[str]
    boxes: np.ndarray | None
    labels: np.ndarray
    classes: np.ndarray


def seen(index, spared=0):
    """The trainval rows of an `Index` as `Seen`, less classes that act as unseen in the first `spared` folds.

    Raises UserError where a trainval image belongs to an unseen class, or is a test image too.
    """
    chosen = index.split == "trainval"
    if not chosen.any():
        raise UserError("index.csv has no trainval row; there is nothing to fine-tune on")
    for fold in index.validation[:spared]:
        chosen &= fold != "val_unseen"
    if not chosen.any():
        raise UserError(
            f"finetune.spare_folds: the unseen classes of {spared} validation folds are all there are; take fewer"
        )
    leaked = np.intersect1d(index.labels[chosen], index.labels[index.split == "test_unseen"])
    if len(leaked):
        raise UserError(f"index.csv: classes {', '.join(map(str, leaked[:5]))} are unseen and have trainval images")
    boxes = np.zeros((len(chosen), 0), int) if index.boxes is None else index.boxes
    parts = [(image, *box) for image, box in zip(index.images, boxes.tolist(), strict=True)]
    trained, tested = ({parts[i] for i in np.flatnonzero(rows)} for rows in (chosen, ~chosen))
    if twice := trained & tested:
        raise UserError(f"index.csv: {min(twice)[0]} is both a trainval and a test image")
    classes, labels = np.unique(index.labels[chosen], return_inverse=True)
    paths = [index.images[i] for i in np.flatnonzero(chosen)]
    return Seen(paths, None if index.boxes is None else index.boxes[chosen], labels, classes)


def hold_out(labels, share, seed):
    """Rows to train on and rows held out: of every class `share`, but one at least and never all of it."""
    generator = np.random.default_rng(seed)
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        held[rows[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    if not held.any():
        raise UserError("fine-tuning needs a seen class with two images or more: one of them is held out")
    return np.flatnonzero(~held), np.flatnonzero(held)


class Pixels(torch.utils.data.Dataset):
    """Item (epoch, row): 3 x size x size uint8 and label. Epoch 0 is the plain view, any other is cut at random.

    The randomness of an item follows from seed, epoch and row, and so not from the number of workers.
    """

    def __init__(self, rows, labels, view, config):
        self.images, self.labels, self.view, self.config = rows, labels, view, config

    def __getitem__(self, item):
        epoch, row = item
        image = self.images[row]
        if not epoch:
            return self.view.pixels(image), self.labels[row]
        generator = random.Random(f"{self.config.seed} {epoch} {row}")
        image = cut_at_random(image, self.view, self.config, generator)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), self.labels[row]


class Order:
    """Batches of (epoch, row). `epoch` set before each pass: 0 goes through the rows in order, others at random."""

    def __init__(self, rows, config):
        self.rows, self.config, self.epoch = rows, config, 0

    def __iter__(self):
        rows = np.random.default_rng([self.config.seed, self.epoch]).permutation(self.rows) if self.epoch else self.rows
        for begin in range(0, len(rows), self.config.batch):
            batch = rows[begin : begin + self.config.batch]
            # batch norm has no variance of a single image
            if not self.epoch or len(batch) > 1:
                yield [(self.epoch, int(row)) for row in batch]

    def __len__(self):
        """Batches of a training epoch."""
        whole, rest = divmod(len(self.rows), self.config.batch)
        return whole + (rest > 1)


def cut_at_random(image, view, config, generator):
    """A random part of a PIL image as size x size, mirrored at random."""
    width, height = image.size
    area = generator.uniform(config.crop, 1) * width * height
    stretch = MOST_STRETCHED ** generator.uniform(-1, 1)
    across, down = min(math.sqrt(area * stretch), width), min(math.sqrt(area / stretch), height)
    left, top = generator.uniform(0, width - across), generator.uniform(0, height - down)
    resample = Image.Resampling[view.interpolation.upper()]
    image = image.resize((view.size, view.size), resample, (left, top, left + across, top + down))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if config.flip and generator.random() < 0.5 else image


def without_bad(data, view, reader, on_bad_image, most, workers, label, listed):
    """`data` less its undecodable images, said aloud; UserError that tells of them where `on_bad_image` is fail.

    most: pixels of an image that is decoded; listed: path of the CSV that has all the others.
    """
    shards = images.Shards(images.Rows(data, reader, most=most), view, 64)
    bad = []
    with tqdm(total=len(data.images), desc=f"{label}: check images", unit="img", disable=None, leave=False) as bar:
        for _, pixels, found in images.decoded(shards, range(len(shards)), workers, ahead=False):
            bad += found
            bar.update(len(pixels))
    if not bad:
        return data
    entries = [{"image": shards.images.name(row), "reason": reason} for row, reason in bad]
    files.write_csv(listed, entries)
    named = images.told(entries, listed)
    if on_bad_image == "fail":
        raise UserError(
            f"{len(bad)} of {len(data.images)} trainval images cannot be decoded: {named}. Mend the archive, "
            "or set features.on_bad_image: zero"
        )
    print(f"{label}: WARNING: {len(bad)} images cannot be decoded and are left out: {named}", flush=True)
    kept = np.setdiff1d(np.arange(len(data.images)), [row for row, _ in bad])
    classes, labels = np.unique(data.labels[kept], return_inverse=True)
    boxes = None if data.boxes is None else data.boxes[kept]
    return Seen([data.images[i] for i in kept], boxes, labels, data.classes[classes])


def rate(step, steps, warmup):
    """The share of the highest learning rate at a step: a linear rise, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Tuner:
    """A backbone, a linear head on it, and their optimiser, epoch by epoch."""

    def __init__(self, model, view, data, reader, config, device, workers):
        self.config, self.device, self.view = config, device, view
        train, held = hold_out(data.labels, config.holdout, config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            head = nn.Linear(backbone.width(model, view, "cpu"), len(data.classes))
        self.backbone = model
        self.network = nn.Sequential(model, head).to(device, memory_format=torch.channels_last)
        # no image is left that has too many pixels: see `without_bad`
        pixels = Pixels(images.Rows(data, reader, most=math.inf), torch.from_numpy(data.labels), view, config)
        self.training, self.validation = Order(train, config), Order(held, config)
        self.loaders = {
            order: images.loader(pixels, 0 if device.type == "cpu" else workers, batch_sampler=order)
            for order in (self.training, self.validation)
        }
        self.optimiser = torch.optim.AdamW(self._groups(model, head), fused=True)
        steps = len(self.training)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: rate(step, steps * config.epochs, steps * config.warmup)
        )

    def _groups(self, model, head):
        """AdamW's groups: no decay of biases and of norms' scales, which a smaller value does not make simpler."""
        for module, lr in ((model, self.config.lr), (head, self.config.head_lr)):
            for decay, chosen in ((self.config.weight_decay, lambda p: p.ndim > 1), (0.0, lambda p: p.ndim <= 1)):
                yield {"params": [p for p in module.parameters() if chosen(p)], "lr": lr, "weight_decay": decay}

    def _batches(self, order, epoch):
        order.epoch = epoch
        for pixels, labels in self.loaders[order]:
            pixels = pixels.to(self.device, non_blocking=True)
            yield self.view.normalise(pixels), labels.to(self.device, non_blocking=True)

    def _autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def epoch(self, number):
        """Train one epoch, from 1 on; the mean loss of an image."""
        # for networks that drop units or layers at random
        torch.manual_seed(self.config.seed * 1_000_003 + number)
        self.network.train()
        total, count = torch.zeros((), device=self.device), 0
        for inputs, labels in self._batches(self.training, number):
            with self._autocast():
                loss = functional.cross_entropy(
                    self.network(inputs), labels, label_smoothing=self.config.label_smoothing
                )
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            total += loss.detach() * len(labels)
            count += len(labels)
        return total.item() / count

    @torch.inference_mode()
    def validate(self):
        """Mean loss and accuracy (%) over the images held out."""
        self.network.eval()
        loss, right, count = 0.0, 0, 0
        for inputs, labels in self._batches(self.validation, 0):
            with self._autocast():
                scores = self.network(inputs).float()
            loss += functional.cross_entropy(scores, labels, reduction="sum").item()
            right += (scores.argmax(1) == labels).sum().item()
            count += len(labels)
        return loss / count, 100 * right / count

    def state_dict(self):
        """All that going on needs."""
        return {part: getattr(self, part).state_dict() for part in ("network", "optimiser", "schedule")}

    def load_state_dict(self, state):
        """Go on from a `state_dict`."""
        self.network.load_state_dict(state["network"])
        training.restore(self.optimiser, state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


def tune(tuner, label, checkpoint=None):
    """Train until the last epoch or until `patience` epochs brought no better accuracy on the images held out.

    Leaves the backbone as it was after its best epoch; returns a row an epoch (see `COLUMNS`).
    """
    config = tuner.config
    rows, best = [], None
    if state := checkpoint and checkpoint.load("tuner", "rows", "best"):
        with checkpoint.going_on():
            tuner.load_state_dict(state["tuner"])
        rows, best = state["rows"], state["best"]
        print(f"{label}: going on after epoch {len(rows)}", flush=True)
    with tqdm(total=config.epochs, initial=len(rows), desc=label, unit="epoch", disable=None, leave=False) as bar:
        while len(rows) < config.epochs and (not best or len(rows) - best["epoch"] < config.patience):
            number, lr = len(rows) + 1, tuner.schedule.get_last_lr()[0]
            loss = tuner.epoch(number)
            if not math.isfinite(loss):
                raise UserError(f"{label}: diverged in epoch {number}: the loss is {loss}; a lower lr may help")
            validation_loss, accuracy = tuner.validate()
            rows.append(dict(zip(COLUMNS, (number, lr, loss, validation_loss, accuracy), strict=True)))
            # of epochs that get as many right, the surer one
            if not best or (accuracy, -validation_loss) > (best["accuracy"], -best["loss"]):
                weights = {key: value.cpu().clone() for key, value in tuner.backbone.state_dict().items()}
                best = {"epoch": number, "accuracy": accuracy, "loss": validation_loss, "backbone": weights}
            training.say(
                f"{label}: epoch {number}/{config.epochs}  loss {loss:.3f}, of images held out {validation_loss:.3f},"
                f" of which {accuracy:.1f}% are right"
            )
            bar.update()
            if checkpoint and checkpoint.due():
                checkpoint.save({"tuner": tuner.state_dict(), "rows": rows, "best": best})
    tuner.backbone.load_state_dict(best["backbone"])
    print(
        f"{label}: {best['accuracy']:.1f}% of the images held out are right after epoch {best['epoch']} of {len(rows)}",
        flush=True,
    )
    return rows
