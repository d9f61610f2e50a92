"""What a stage reads of another: data sets, checkpoints, shards, runs, records, dvc.lock; and exported folders."""

import torch
import yaml

from pipeline.common import files, params, record, training
from pipeline.datasets.base import Listing
from pipeline.models.base import registry as models
from pipeline.predict import bundle, classes
from pipeline.predict.predictor import Predictor
from pipeline.protocol import judging, scoring, setting, tasks, trained
from pipeline.report import aggregate, contents, page
from pipeline.sources import archives
from pipeline.vision import backbone, features, images
from tests import configs, problems
from tests.fuzz import remake
from tests.fuzz.kinds import hashed, kind
from tests.pictures import photographs
from tests.report import made_up

CPU = torch.device("cpu")


def make_data(folder):
    made_up.dataset(folder)
    return ["index.csv", "semantics.npz", "features.npy"]


def _by_ending(generator, data):
    """A change inside of a file of any of our own formats."""
    for head, change in ((b"PK", remake.as_npz), (b"\x93NUMPY", remake.as_npy), (b"{", remake.as_json)):
        if data.startswith(head):
            return change(generator, data)
    if data[8:9] == b"{":
        return remake.as_safetensors(generator, data)
    return data


@kind("data", make_data)
def read_data(folder):
    benchmark = tasks.load(folder)
    task = tasks.test_task(benchmark, CPU)
    return hashed(tasks.fingerprint(benchmark), task.labels)


kind("data-remade", make_data, remade=_by_ending)(read_data)


def _walk(checkpoint):
    """A small HSVA taken up from a checkpoint, or None."""
    module, config = models.get("hsva"), configs.hsva(epochs=2)
    task = tasks.test_task(problems.benchmark(), CPU)
    model = scoring.build(module, task, config)
    trainer = model.trainer(task.problem, 0)
    if checkpoint.path.exists() and checkpoint.load("model", "trainer", "carry", "epoch") is None:
        return None
    carry = {"history": []}
    for epoch, terms in training.epochs(model, trainer, 2, "walk", checkpoint, carry):
        carry["history"].append({"epoch": epoch} | terms)
        if not checkpoint.path.exists():
            checkpoint.save(
                {"model": model.state_dict(), "trainer": trainer.state_dict(), "epoch": epoch, "carry": carry}
            )
            break
    return hashed(*model.state_dict().values())


def make_checkpoint(folder):
    _walk(training.Checkpoint(folder / "walk.pt", ["key"], 60))
    return ["walk.pt"]


@kind("checkpoint", make_checkpoint, sums=True)
def read_checkpoint(folder):
    return _walk(training.Checkpoint(folder / "walk.pt", ["key"], 60))


kind("checkpoint-remade", make_checkpoint, remade=remake.as_checkpoint)(read_checkpoint)


class Mean:
    """A backbone of two features: the mean and the deviation of the pixels."""

    device = CPU

    def forward(self, pixels):
        flat = pixels.float().flatten(1)
        return torch.stack([flat.mean(1), flat.std(1)], 1)


def _shards(folder):
    network = backbone.Config(arch="test_resnet.r160_in1k", weights="", size=32)
    listing = photographs(folder / "raw", 10) if not (folder / "raw").exists() else None
    reader = archives.Images(folder / "raw")
    names = listing.images if listing else [f"images.tar/{name}" for name in reader.archive("images.tar").names]
    rows = images.Rows(Listing(names, None, []), reader)
    return images.Shards(rows, backbone.view(backbone.create(network), network), 4)


ZERO = features.Config("images", "float32", "full", 4, 2, "zero")


def make_shards(folder):
    shards = _shards(folder)
    (folder / "shards").mkdir()
    features.extract(Mean(), shards, folder / "shards", 1)
    files.write_json(folder / "shards/000001.bad.json", [[5, "cannot be decoded"]])
    return [f"shards/00000{i}.npy" for i in range(3)] + ["shards/000001.bad.json"]


@kind("shards", make_shards)
def read_shards(folder):
    shards = _shards(folder)
    features.extract(Mean(), shards, folder / "shards", 1)
    bad = features.assemble(shards, folder / "shards", folder / "features.npy", ZERO)
    return hashed((folder / "features.npy").read_bytes(), bad)


kind("shards-remade", make_shards, remade=_by_ending)(read_shards)

LOCK = {
    "schema": "2.0",
    "stages": {
        "splits@shapes": {
            "cmd": "python -m stages.splits --dataset shapes",
            "params": {"params.yaml": {"shapes.splits": {"folds": 3}, "features": {"source": "images"}}},
            "outs": [{"path": "data/shapes/index.csv", "md5": "0" * 32, "size": 10}],
        }
    },
}
RECORD = {"stage": "train", "of": ["shapes", "0"], "model": "eszsl", "seconds": 2.5, "memory": 10**9}


def make_run(folder):
    made_up.project(folder, seeds=(0,))
    (folder / "dvc.lock").write_text(yaml.safe_dump(LOCK))
    files.write_json(folder / record.FOLDER / "train-shapes-0.json", RECORD | {"device": "CPU", "ended": "2026-11-25"})
    files.write_csv(folder / "data/shapes/undecodable.csv", [{"row": 1, "image": "a.jpg", "reason": "cut"}])
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "params.yaml"]
    return sorted(path.relative_to(folder).as_posix() for path in paths)


@kind("run", make_run)
def read_run(folder):
    runs = [aggregate.load("eszsl", "shapes", 0)]
    aggregate.summary(runs)
    tables = aggregate.tables(runs)
    shown = page.page("eszsl", [contents.gather("shapes", runs)])
    benchmark = tasks.load("data/shapes")
    task = tasks.test_task(benchmark, CPU)
    chosen = setting.chosen("runs/shapes/0/selected.json")
    judged = judging.predictions(task, *trained.read("runs/shapes/0/model.safetensors").restore(task))
    return hashed(sorted(tables), len(shown) > 0, chosen["epoch"], judged.margin)


kind("run-remade", make_run, remade=_by_ending)(read_run)


def bundled(model):
    def make(folder):
        made_up.dataset(folder / "data")
        config = {"hsva": made_up.hsva, "bsegn": made_up.bsegn}.get(model, lambda: None)()
        benchmark = tasks.load(folder / "data")
        made_up.run(folder / "run", benchmark, model, config, oracle=False)
        kept, task = trained.read(folder / "run/model.safetensors"), tasks.test_task(benchmark, CPU)
        network, *_ = kept.restore(task)
        given = params.load(made_up.Path(made_up.__file__).parents[2] / "params.yaml")
        chosen = setting.chosen(folder / "run/selected.json")
        about = bundle.About(
            **{name: chosen[name] for name in ("epoch", "gzsl_epoch", "czsl_epoch", "constant")},
            **{"format": bundle.FORMAT, "model": model, "dataset": "shapes", "seed": 0, "width": made_up.D_X},
            seen=[benchmark.class_names[i] for i in task.seen],
            unseen=[benchmark.class_names[i] for i in task.unseen],
            attributes=tasks.attribute_names(folder / "data"),
            figures={"S": 50.0},
            network=backbone.Config(arch="test_resnet.r160_in1k", weights="backbone.safetensors"),
            extraction=given.section("features", features.Config),
        )
        tensors = kept.tensors | {"seen": task.problem.seen, "unseen": task.problem.unseen}
        tensors |= bundle.learned(network, task.problem, 0)
        start = folder / "start.safetensors"
        backbone.save(start, backbone.create(about.network), "test_resnet.r160_in1k")
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        bundle.save(bundle.Bundle(about, kept.config, start, tensors), folder / "export")
        return ["export/bundle.json", "export/model.safetensors"]

    return make


def read_bundle(folder):
    kept = bundle.load(folder / "export")
    classes.template(kept)
    extracted = torch.linspace(0, 1, 3 * made_up.D_X).reshape(3, -1)
    new = ["a new one"], torch.nn.functional.normalize(torch.ones(1, kept.tensors["seen"].shape[1]))
    guesses = []
    for predictor in (Predictor(kept, CPU, calibrated=True), Predictor(kept, CPU, new, "unseen")):
        guesses += [guess for of_image in predictor(extracted, 3) for guess in of_image]
    if any(not 0 <= guess.probability <= 1 for guess in guesses):
        raise AssertionError("a probability that is none")
    return hashed(guesses)


for model in ("eszsl", "hsva", "bsegn"):
    make = bundled(model)
    kind(f"bundle-{model}", make)(read_bundle)
    kind(f"bundle-{model}-remade", make, remade=_by_ending)(read_bundle)
