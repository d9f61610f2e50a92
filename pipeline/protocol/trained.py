"""A trained model: made of all of trainval, written to one file, and read back from that file alone."""

import dataclasses
import json
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pipeline.common import files, params, training
from pipeline.common.errors import UserError
from pipeline.models.base import classifier
from pipeline.models.base import registry as models
from pipeline.protocol import tasks
from pipeline.protocol.scoring import build, heads


def train(task, module, config, chosen, seed, label, checkpoint=None):
    """Train on all of trainval for the chosen epochs: (tensors to save, a row of loss terms an epoch)."""
    model = build(module, task, config)
    trainer = model.trainer(task.problem, seed)
    carry = {"history": []}
    for epoch, terms in training.epochs(model, trainer, chosen["epoch"], label, checkpoint, carry):
        carry["history"].append({"epoch": epoch} | terms)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        trained = heads(model, task, config, seed, chosen["gzsl_epoch"], chosen["czsl_epoch"])
        for name, every in zip(("gzsl", "czsl"), trained, strict=True):
            *_, head = every
            tensors |= {f"{name}.weight": head.weight, f"{name}.bias": head.bias}
    # clones, for safetensors takes no two tensors that share memory, as the heads of ESZSL do
    kept = {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return kept, carry["history"]


def write(path, name, config, tensors):
    """Write what `train` gave, with the model's name and config: the file says all that rebuilding the model takes,
    whatever params.yaml says by then."""
    data = save(tensors, {"model": name, "config": json.dumps(dataclasses.asdict(config))})
    with files.replacing(path) as file:
        file.write(_ordered(data))


def _ordered(data):
    """A safetensors file's bytes with its metadata in the order of their keys, which the library leaves to chance:
    the same training is the same file."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # padded as the library does, for the tensors to begin at a multiple of eight
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def leave(our, chosen, label, folder):
    """Train a `Setting` for the chosen epochs, and write model.safetensors and history.csv into the folder."""
    checkpoint = our.checkpoint(our.training(chosen), "training")
    task = tasks.test_task(our.benchmark, our.device)
    tensors, history = train(task, our.module, our.config, chosen, our.seed, label, checkpoint)
    files.write_csv(folder / "history.csv", history)
    write(folder / "model.safetensors", our.model, our.config, tensors)


@dataclass(frozen=True)
class Trained:
    """name: of the model; config: its module's `Config`; tensors: as `train` gave them; path: for messages."""

    name: str
    config: object
    tensors: dict[str, torch.Tensor]
    path: str

    def of(self, name, config):
        """Itself. Raises UserError where it is not of this model and `Config`."""
        if (self.name, self.config) != (name, config):
            raise UserError(f"{self.path}: was trained as params.yaml is no longer; run `dvc repro`")
        return self

    def restore(self, task):
        """The model and both linear heads, on the task's device. Raises UserError where they do not fit it."""
        try:
            return restore(task, models.get(self.name), self.config, self.tensors)
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{self.path}: does not fit the data set ({error}); run `dvc repro`") from None


def read(path):
    """Read the model.safetensors that the train stage wrote. Raises UserError where it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: not readable ({error}); `dvc repro` makes it for the data sets and seeds of params.yaml"
        ) from None
    if not {"model", "config"} <= set(metadata):
        raise UserError(f"{path}: does not say its model and config; `dvc repro` makes one that does")
    name = params.build(params.Model, metadata["model"], f"{path}: model")
    try:
        config = json.loads(metadata["config"])
    except ValueError as error:
        raise UserError(f"{path}: its config is not valid JSON ({error}); `dvc repro` makes one that is") from None
    config = params.build(models.get(name).Config, config, f"{path}: config")
    return Trained(name, config, tensors, str(path))


def restore(task, module, config, tensors):
    """The model and both heads of what `train` saved."""
    model = build(module, task, config)
    device = task.problem.features.device
    state = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    model.load_state_dict(state)
    gzsl, czsl = (
        classifier.Head(tensors[f"{name}.weight"].to(device), tensors[f"{name}.bias"].to(device))
        for name in ("gzsl", "czsl")
    )
    return model, gzsl, czsl
