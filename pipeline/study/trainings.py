"""What a training of a study is: a data set, a model, settings and a seed, under the protocol of params.yaml."""

import copy
import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from pipeline.common import machine, params
from pipeline.common.errors import UserError
from pipeline.models.base import registry as models
from pipeline.protocol import selection, tasks
from pipeline.protocol.setting import Setting


@dataclass(frozen=True)
class Training:
    """One training, not yet bound to a machine.

    config: the model's `Config`; how: a `Selection`; settings: what the study lays over params.yaml, in words;
    variant: what people call those; tested: whether it is trained on all of trainval and the test images looked at,
    otherwise its epochs are chosen and that is all; watch: see `selection.sweep`
    """

    dataset: str
    model: str
    seed: int
    config: object
    how: selection.Selection
    settings: str = ""
    variant: str = ""
    tested: bool = True
    watch: object = None

    @property
    def label(self):
        """Itself in words."""
        words = [self.model, self.dataset, self.variant, f"seed {self.seed}"]
        return ", ".join(filter(None, words))

    def setting(self, data, run, device, checkpoints=Path("checkpoints"), benchmark=None):
        """The protocol's `Setting` of it; data: the fingerprint of its benchmark."""
        module = models.get(self.model)
        what = self.dataset, self.seed, self.model, module, self.config, run
        return Setting(*what, torch.device(device), benchmark, data, checkpoints)


@functools.cache
def benchmark(dataset):
    """(the `Benchmark`, its fingerprint) of data/<data set>/. Raises UserError where it is not there."""
    folder = Path(f"data/{dataset}")
    for name in ("features.npy", "index.csv", "semantics.npz"):
        if not (folder / name).exists():
            made = f"`dvc exp run -S 'datasets=[{dataset}]'` makes or restores it"
            raise UserError(f"{folder / name}: is not there; {made}")
    loaded = tasks.load(folder)
    return loaded, tasks.fingerprint(loaded)


def protocol(given, folds=None, checks=None):
    """(`Selection`, `Run`) of params.yaml, with other folds or checks where given."""
    how = given.section("selection", selection.Selection)
    changes = {name: value for name, value in (("folds", folds), ("checks", checks)) if value is not None}
    return dataclasses.replace(how, **changes), given.section("run", machine.Run)


def configured(given, model, dataset, *settings):
    """The model's Config with settings such as 'fem.weight=0.1 levels=1' laid over params.yaml; later ones win."""
    tree = given.laid(f"{model}.common", f"{model}.{dataset}")
    for key, value in split(model, dataset, *settings):
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise _no_param(f"{key}={value}", model, dataset)
        node[last] = value
    words = f" with {' '.join(settings)}" if any(settings) else ""
    return params.build(models.get(model).Config, tree, f"{model}.{dataset}{words}")


def laid(tree, model, dataset, settings):
    """params.yaml's tree with a training's settings in the model's section for the data set, a copy."""
    tree = copy.deepcopy(tree)
    for key, value in split(model, dataset, settings):
        node = tree[model][dataset]
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def split(model, dataset, *settings):
    """(dotted key, value) of each of some settings, a text each."""
    found = []
    for setting in " ".join(settings).split():
        key, separator, value = setting.partition("=")
        if not separator:
            raise _no_param(setting, model, dataset)
        try:
            found.append((key, yaml.safe_load(value)))
        except (yaml.YAMLError, ValueError):
            raise UserError(f"'{setting}': '{value}' is not valid YAML; a list is written [1,2], no blanks") from None
    return found


def _no_param(setting, model, dataset):
    known = f"say KEY=VALUE, with a key of {model}.{dataset} in params.yaml"
    return UserError(f"'{setting}': {model} has no such param; {known}")
