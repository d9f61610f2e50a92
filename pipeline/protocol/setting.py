"""What select, train and evaluate have in common: whose training it is, on what, and where it is kept."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated

import torch

from pipeline.common import files, machine, params, training
from pipeline.common.errors import UserError
from pipeline.common.params import AtLeastOne
from pipeline.models.base import precision
from pipeline.models.base import registry as models
from pipeline.protocol import store, tasks

EPOCHS = ("epoch", "gzsl_epoch", "czsl_epoch")
"""What a training takes of what was chosen for it."""


@dataclass(frozen=True)
class Setting:
    """One data set, model and seed of params.yaml, ready to be learnt from.

    model: its name; module: its package; config: that package's `Config`; run: of params.yaml; device: to learn on;
    data: the benchmark's fingerprint, where the caller has it already; checkpoints: the folder of theirs
    """

    dataset: str
    seed: int
    model: str
    module: ModuleType
    config: object
    run: machine.Run
    device: torch.device
    benchmark: tasks.Benchmark
    data: str | None = None
    checkpoints: Path = Path("checkpoints")

    @property
    def out(self):
        """The folder of this data set's and seed's results."""
        return Path(f"runs/{self.dataset}/{self.seed}")

    def label(self, what):
        """What is done, in words, for progress and messages."""
        return f"{what} {self.model}, {self.dataset}, seed {self.seed}"

    def selecting(self, how):
        """The entry of the store of choosing epochs as a `Selection` says."""
        return self._entry("selection", selection=dataclasses.asdict(how))

    def training(self, chosen):
        """The entry of the store of training for the chosen epochs."""
        return self._entry("training", epochs={name: chosen[name] for name in EPOCHS})

    def _entry(self, kind, **more):
        return store.Entry(kind, self.dataset, self.decided(kind) | more)

    def decided(self, kind):
        """All that decides an entry of this kind, whatever is chosen: plain values."""
        return {
            "model": self.model,
            "config": dataclasses.asdict(self.config),
            "seed": self.seed,
            "data": self.data or tasks.fingerprint(self.benchmark),
            "device": self.device.type,
            "precision": precision.resolved(getattr(self.config, "precision", None), self.device),
            "code": store.code(kind, self.model),
            "torch": torch.__version__,
        }

    def checkpoint(self, entry, name):
        """The checkpoint of this name on the way to an entry of the store."""
        path = self.checkpoints / entry.hash / f"{name}.pt"
        return training.Checkpoint(path, entry.hash, self.run.checkpoint_minutes)

    def forget(self, entry):
        """Remove the checkpoints on the way to an entry: what they led to is left."""
        shutil.rmtree(self.checkpoints / entry.hash, ignore_errors=True)


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
