"""A trained model read back from its file alone: what it is, its config, its tensors."""

import json
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open

from pipeline import models, params, protocol
from pipeline.errors import UserError


@dataclass(frozen=True)
class Trained:
    """name: of the model; config: its module's `Config`; tensors: as `protocol.train` gave them; path: for messages."""

    name: str
    config: object
    tensors: dict[str, torch.Tensor]
    path: str

    def restore(self, task):
        """The model and both linear heads, on the task's device. Raises UserError where they do not fit it."""
        try:
            return protocol.restore(task, models.get(self.name), self.config, self.tensors)
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
