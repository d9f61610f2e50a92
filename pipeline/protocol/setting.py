"""What select, train and evaluate have in common: whose training it is, on what, and where it is kept."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated

import torch

from pipeline.common import files, machine, params, training
from pipeline.common.errors import UserError
from pipeline.common.params import AtLeastOne
from pipeline.models.base import registry as models
from pipeline.protocol import tasks


@dataclass(frozen=True)
class Setting:
    """One data set, model and seed of params.yaml, ready to be learnt from.

    model: its name; module: its package; config: that package's `Config`; run: of params.yaml; device: to learn on
    """

    dataset: str
    seed: int
    model: str
    module: ModuleType
    config: object
    run: machine.Run
    device: torch.device
    benchmark: tasks.Benchmark

    @property
    def out(self):
        """The folder of this data set's and seed's results."""
        return Path(f"runs/{self.dataset}/{self.seed}")

    def label(self, what):
        """What is done, in words, for progress and messages."""
        return f"{what} {self.model}, {self.dataset}, seed {self.seed}"

    def checkpoint(self, name, decided):
        """The checkpoint of this name for a training that also depends on what was `decided` before it."""
        key = [self.model, self.config, decided, self.seed, tasks.fingerprint(self.benchmark), self.device.type]
        path = f"checkpoints/{self.dataset}-{self.seed}/{name}.pt"
        return training.Checkpoint(path, key, self.run.checkpoint_minutes)


def read(given, dataset, seed):
    """The `Setting` that a `Params` chooses for a data set and seed."""
    model, module, config = models.configured(given, dataset)
    run = given.section("run", machine.Run)
    benchmark = tasks.load(f"data/{dataset}")
    return Setting(dataset, seed, model, module, config, run, machine.start(run), benchmark)


@dataclass(frozen=True)
class Chosen:
    """selected.json: what `selection.choose` chose, and for which model."""

    model: params.Model
    epoch: Annotated[int, AtLeastOne]
    gzsl_epoch: Annotated[int, AtLeastOne]
    czsl_epoch: Annotated[int, AtLeastOne]
    constant: float
    validation: dict[str, float]


def chosen(path):
    """What the select stage wrote into selected.json, checked, as it wrote it. Raises UserError."""
    found = files.read_json(path)
    try:
        params.build(Chosen, found, "it")
    except UserError as error:
        raise files.damaged(path, str(error)) from None
    return found
