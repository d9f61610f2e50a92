"""All that prediction needs, gathered from a run or read back from an exported folder.

A folder holds bundle.json, backbone.safetensors, model.safetensors and README.md. Beside weights and semantics it
keeps what the classifier was trained on for seen classes, so that it can be trained anew when classes are added.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.common import files, params, tensorfile
from pipeline.common.errors import UserError
from pipeline.models.base import Problem
from pipeline.models.base import registry as models
from pipeline.predict import fits
from pipeline.predict.fits import AGAIN
from pipeline.protocol import evaluation, reading, setting, tasks, trained
from pipeline.vision import backbone, features

FORMAT = 2


@dataclass(frozen=True)
class About:
    """bundle.json. S seen and U unseen classes, d_a attributes (or no names), the run and its figures.

    semantics: which they are, in words: the data set's choice, or the name of a file
    network, extraction: of the backbone, as the sections `backbone` and `features` of params.yaml
    gzsl_epoch, czsl_epoch: of the classifiers over all and over unseen classes; constant: for calibrated stacking
    figures: percent, on the test images; width: d_x
    """

    format: int
    model: str
    dataset: str
    seed: int
    epoch: int
    gzsl_epoch: int
    czsl_epoch: int
    constant: float
    width: int
    seen: list[str]
    unseen: list[str]
    attributes: list
    figures: dict[str, float]
    network: backbone.Config
    extraction: features.Config
    semantics: str = ""


@dataclass(frozen=True)
class Bundle:
    """about; config: of the model; weights: path of the backbone's file; and tensors:

    model.*            the model's state
    gzsl.*, czsl.*     weight and bias of the linear heads over all and over unseen classes
    seen, unseen       S x d_a and U x d_a semantics
    inputs, labels     M x k and M: what the heads were trained on for seen classes; absent for a model without training
    reading.*          weight d_a x k, centre k: of a `protocol.reading.Reading`
    temperature        by which scores are divided before a softmax
    """

    about: About
    config: object
    weights: Path
    tensors: dict[str, torch.Tensor]

    def model(self, device, unseen=None):
        """The model, for `unseen` U' x d_a semantics where given. Raises UserError where its tensors do not fit."""
        about, tensors = self.about, self.tensors
        unseen = tensors["unseen"] if unseen is None else unseen
        sizes = about.width, tensors["seen"].shape[1], len(about.seen), len(unseen)
        module = models.get(about.model)
        try:
            state = trained.own(module, sizes, self.config, tensors)
        except RuntimeError as error:
            path = self.weights.with_name("model.safetensors")
            raise files.damaged(path, f"does not fit bundle.json ({error})", AGAIN) from None
        model = module.Model(*sizes, self.config)
        model.load_state_dict(state)
        fits.check_heads(model, about.width, tensors, self.weights.with_name("model.safetensors"))
        return model.to(device).eval()


def of_run(dataset, seed):
    """The `Bundle` of runs/<dataset>/<seed>/, in the folder that holds params.yaml."""
    given = params.load()
    network, extraction = backbone.config(given, dataset), given.section("features", features.Config)
    if (file := given.section(f"{dataset}.files.features", str)) != params.NO_FILE:
        raise UserError(
            f"params.yaml: {dataset}.files.features: {dataset} was learned on features of {file}, and no backbone here"
            f" makes them of a photograph; a run with {params.NO_FILE} there and features.source=images predicts"
        )
    if extraction.source == "published":
        raise UserError(
            f"params.yaml: features.source: {dataset} was learned on published features, and no backbone here makes"
            " them of a photograph; a run with features.source=images predicts"
        )
    folder, run = Path(f"data/{dataset}"), Path(f"runs/{dataset}/{seed}")
    kept = trained.read(run / "model.safetensors")
    benchmark, semantics = tasks.load(folder), files.read_npz(folder / "semantics.npz", "source")
    task = tasks.test_task(benchmark, torch.device("cpu"))
    model, *_ = kept.restore(task)
    chosen, metrics = setting.chosen(run / "selected.json"), evaluation.read(run / "metrics.json")
    about = About(
        format=FORMAT,
        model=kept.name,
        dataset=dataset,
        seed=seed,
        epoch=chosen["epoch"],
        gzsl_epoch=chosen["gzsl_epoch"],
        czsl_epoch=chosen["czsl_epoch"],
        constant=chosen["constant"],
        width=benchmark.features.shape[1],
        seen=[benchmark.class_names[i] for i in task.seen],
        unseen=[benchmark.class_names[i] for i in task.unseen],
        attributes=tasks.attribute_names(folder),
        figures={name: value for name, value in metrics.items() if isinstance(value, float)},
        # where its weights lay on this machine is nobody's business
        network=dataclasses.replace(network, weights="backbone.safetensors"),
        extraction=extraction,
        semantics=str(semantics["source"]),
    )
    tensors = (
        kept.tensors | {"seen": task.problem.seen, "unseen": task.problem.unseen} | learned(model, task.problem, seed)
    )
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return Bundle(about, kept.config, folder / "backbone.safetensors", tensors)


@torch.no_grad()
def learned(model, problem, seed):
    """The tensors inputs, labels and reading.* of a `Bundle`."""
    made = model.classifier_set(problem, seed)
    weight, centre, fitted = reading.of_model(model, problem, made)
    found = {"reading.weight": weight, "reading.centre": centre, "temperature": fitted}
    if made is None:
        return found
    inputs, labels = made[0][:], made[1]
    of_seen = labels < len(problem.seen)
    return found | {"inputs": inputs[of_seen].half(), "labels": labels[of_seen]}


@torch.no_grad()
def synthesised(bundle, model, unseen, seed):
    """M x k inputs and M labels S..S+U'-1 that the model makes of U' x d_a semantics; None where it makes none.

    The model is given one blank image: what it makes of unseen classes does not depend on those of seen ones.
    """
    tensors, device = bundle.tensors, unseen.device
    blank = torch.zeros(1, bundle.about.width, device=device)
    problem = Problem(blank, torch.zeros(1, dtype=torch.int64, device=device), tensors["seen"].to(device), unseen)
    made = model.classifier_set(problem, seed)
    if made is None:
        return None
    inputs, labels = made
    return inputs[labels >= len(tensors["seen"])], labels[labels >= len(tensors["seen"])]


def save(bundle, folder):
    """Write a `Bundle` into `folder`, all but its README.md."""
    folder = Path(folder)
    state, metadata = backbone.read_weights(bundle.weights)
    tensorfile.write(folder / "backbone.safetensors", state, metadata)
    tensorfile.write(folder / "model.safetensors", bundle.tensors, {"model": bundle.about.model})
    about = dataclasses.asdict(bundle.about) | {"config": dataclasses.asdict(bundle.config)}
    files.write_json(folder / "bundle.json", about)


def load(folder):
    """Read an exported folder. Raises UserError where it is not one."""
    folder = Path(folder)
    if not (folder / "bundle.json").is_file():
        raise UserError(f"{folder}: holds no bundle.json; `python -m pipeline.predict.export` makes such a folder")
    where = folder / "bundle.json"
    about = files.read_json(where, AGAIN)
    if not isinstance(about, dict):
        raise UserError(f"{where}: should be a JSON object; export it again")
    if about.get("format") != FORMAT:
        raise UserError(f"{where}: format {about.get('format')!r}, this program reads {FORMAT}")
    config = about.pop("config", None)
    about = params.build(About, about, str(where))
    name = params.build(params.Model, about.model, f"{where}: model")
    config = params.build(models.get(name).Config, config, f"{where}: config")
    tensors, _ = tensorfile.read(folder / "model.safetensors", AGAIN)
    fits.check(about, tensors, config, folder)
    return Bundle(about, config, folder / "backbone.safetensors", tensors)
