"""A trained model: made of all of trainval, written to one file, and read back from that file alone."""

import dataclasses
import json
from dataclasses import dataclass

import torch

from pipeline.common import files, params, tensorfile, training
from pipeline.common.errors import UserError, first_of
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
    """Write the tensors that `train` gave, with the model's name and config: the file says all that rebuilding the
    model takes, whatever params.yaml says by then."""
    tensorfile.write(path, tensors, {"model": name, "config": json.dumps(dataclasses.asdict(config))})


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
    """Read the model.safetensors that the train stage wrote. Raises UserError where it is missing or damaged, or holds
    a value that is not finite."""
    tensors, metadata = tensorfile.read(path, "`dvc repro` makes it for the data sets and seeds of params.yaml")
    if not {"model", "config"} <= set(metadata):
        raise UserError(f"{path}: does not say its model and config; `dvc repro` makes one that does")
    name = params.build(params.Model, metadata["model"], f"{path}: model")
    try:
        config = json.loads(metadata["config"])
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: its config is not valid JSON ({error}); `dvc repro` makes one that is") from None
    config = params.build(models.get(name).Config, config, f"{path}: config")
    return Trained(name, config, tensors, str(path))


def restore(task, module, config, tensors):
    """The model and both heads of what `train` saved. Raises KeyError or RuntimeError where they do not fit."""
    problem, seen, unseen = task.problem, len(task.seen), len(task.unseen)
    sizes = problem.features.shape[1], problem.seen.shape[1], seen, unseen
    state = own(module, sizes, config, tensors)
    model = build(module, task, config)
    model.load_state_dict(state)
    heads = []
    for name, count in (("gzsl", seen + unseen), ("czsl", unseen)):
        weight, bias = (tensors[f"{name}.{part}"].to(problem.features.device) for part in ("weight", "bias"))
        head = classifier.Head(weight, bias)
        if classifier.scores(head, model.encode(task.features[:1]), model.expand).shape[1:] != (count,):
            raise RuntimeError(f"{name} tells other than {count} classes apart")
        heads.append(head)
    return model, *heads


def own(module, sizes, config, tensors):
    """The state of a model of these sizes among what `train` saved. Raises RuntimeError where it is not of the shapes
    and types that such a model has, which is asked before one of perhaps absurd sizes is built, or counts nothing."""
    state = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    with torch.device("meta"):
        wanted = module.Model(*sizes, config).state_dict()
    if differing := wanted.keys() ^ state.keys():
        raise RuntimeError(f"{first_of(differing)} is missing or unknown")
    for name, tensor in state.items():
        if (tensor.shape, tensor.dtype) != (wanted[name].shape, wanted[name].dtype):
            found, right = (f"{one.dtype} {tuple(one.shape)}" for one in (tensor, wanted[name]))
            raise RuntimeError(f"size of {name}: {found}, should be {right}")
        # an integer is how many of something the model makes
        if not tensor.is_floating_point() and tensor.min() < 1:
            raise RuntimeError(f"{name}: {int(tensor.min())}, should be at least 1")
    return state
