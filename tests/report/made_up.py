"""A small data set and runs of it, written as the stages write them: made-up features, truly trained models."""

import dataclasses
import json
import tarfile
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from pipeline.common import files, params
from pipeline.datasets import index
from pipeline.models.base import registry as models
from pipeline.protocol import evaluation, judging, metrics, selection, tasks, trained
from pipeline.sources import archives
from pipeline.vision import backbone, features, images

ESZSL = {"gammas": [-1, 1], "lambdas": [-1, 1], "wrong": -1, "scale": "minmax"}
CLASSES, SEEN, D_X, D_A, IMAGES = 9, 6, 16, 5, 12


def dataset(folder, seed=0):
    """Nine classes, three of them unseen, whose features are noisy images of their semantics; files as built."""
    generator = np.random.default_rng(seed)
    attributes = generator.random((CLASSES, D_A))
    attributes /= np.linalg.norm(attributes, axis=1, keepdims=True)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    features = attributes[labels] @ generator.normal(size=(D_A, D_X)) + generator.normal(
        scale=0.2, size=(len(labels), D_X)
    )
    names = [f"class <{i}>" for i in range(CLASSES)]
    rows = []
    for row, label in enumerate(labels):
        held_out = row % 4 == 0
        split = "test_unseen" if label >= SEEN else "test_seen" if held_out else "trainval"
        part = "val_unseen" if label >= SEEN - 2 else "val_seen" if row % 4 == 1 else "train"
        image = f"images.tar/{row}.jpg"
        rows.append(
            {"row": row, "image": image, "class_id": label, "class_name": names[label], "split": split}
            | {"validation": part if split == "trainval" else ""}
        )
    files.write_csv(folder / "index.csv", rows)
    files.write_npz(
        folder / "semantics.npz",
        attributes=attributes,
        class_names=np.array(names),
        attribute_names=np.array([f"attribute {i}" for i in range(D_A)]),
        source=np.array("made up"),
    )
    files.write_npy(folder / "features.npy", features.astype(np.float32))


def photographs(root, seed=0):
    """Real JPEGs to the rows of `dataset`, their features by a small random network, and the params of both."""
    folder, arch = root / "data/shapes", "resnet10t"
    rows, attributes = files.read_csv(folder / "index.csv"), files.read_npz(folder / "semantics.npz")["attributes"]
    generator = np.random.default_rng(seed)
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    photos = root / "photographs"
    photos.mkdir(exist_ok=True)
    for row in rows:
        # five grey stripes, one an attribute
        stripes = np.repeat(255 * attributes[int(row["class_id"])], 8)[None, :, None]
        pixels = stripes + generator.normal(scale=12, size=(40, 40, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(photos / f"{row['row']}.jpg", quality=95)
    with tarfile.open(folder / "raw/images.tar", "w") as archive:
        for row in rows:
            archive.add(photos / f"{row['row']}.jpg", f"{row['row']}.jpg")
    tree = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    tree["backbone"] |= {"arch": arch, "pretrained": False, "size": 32, "crop": 1.0}
    tree["shapes"]["backbone"] = {}
    given = params.Params(tree)
    config = backbone.config(given, "shapes")
    network = backbone.create(config)
    backbone.save(folder / "backbone.safetensors", network, arch)
    view = backbone.view(network, config)
    extractor = features.Network(network, view, given.section("features", features.Config), torch.device("cpu"))
    reader = images.Rows(index.read(folder / "index.csv"), archives.Images(folder / "raw"))
    pixels = torch.stack([view.pixels(reader[i]) for i in range(len(rows))])
    files.write_npy(folder / "features.npy", extractor.forward(pixels).numpy())
    (root / "params.yaml").write_text(yaml.safe_dump(tree))


def hsva():
    """A small HSVA: the params of the repository, with narrow networks and few epochs."""
    given = params.load(Path(__file__).parents[2] / "params.yaml")
    config = given.layered("hsva.common", "hsva.shapes", models.get("hsva").Config)
    narrow = {"hidden": 32, "aligned": 24, "common": 24, "latent": 8, "decoder": 32, "task": 16}
    return dataclasses.replace(
        config,
        epochs=4,
        networks=dataclasses.replace(config.networks, **narrow),
        **dict.fromkeys(("seen_samples", "unseen_samples", "czsl_samples"), 20),
        classifier=dataclasses.replace(config.classifier, gzsl_epochs=3, czsl_epochs=3),
    )


def bsegn():
    """A small BSeGN likewise, whose classifier reads standardised features."""
    given = params.load(Path(__file__).parents[2] / "params.yaml")
    config = given.layered("bsegn.common", "bsegn.shapes", models.get("bsegn").Config)
    widths = dict.fromkeys(("encoder", "generator", "critic", "cycle1", "cycle2", "fem"), 32)
    return dataclasses.replace(
        config,
        epochs=8,
        length=10.0,
        latent=8,
        widths=dataclasses.replace(config.widths, **widths),
        classifier=dataclasses.replace(config.classifier, gzsl_epochs=3, czsl_epochs=3),
    )


def run(folder, benchmark, model="eszsl", config=None, seed=0, oracle=True):
    """Select, train and evaluate as the stages do, into `folder`."""
    module = models.get(model)
    config = config or params.build(module.Config, ESZSL, model)
    how = selection.Selection(folds=1, checks=2)
    chosen, rows = selection.select(benchmark, module, config, how, seed, torch.device("cpu"), "t")
    files.write_csv(folder / "selection.csv", rows)
    files.write_json(folder / "selected.json", {"model": model} | chosen)
    task = tasks.test_task(benchmark, torch.device("cpu"))
    tensors, history = trained.train(task, module, config, chosen, seed, "t")
    files.write_csv(folder / "history.csv", history)
    metadata = {"model": model, "config": json.dumps(dataclasses.asdict(config))}
    save_file(tensors, folder / "model.safetensors", metadata)
    judged = judging.predictions(task, *trained.restore(task, module, config, tensors), top=evaluation.TOP)
    figures = metrics.summary(judged, chosen["constant"])
    if oracle:
        figures["oracle"] = evaluation.oracle(task, module, config, 2, seed, "t")
    evaluation.write(folder, benchmark, task, judged, {"model": model} | figures)


def project(root, seeds=(0, 1), unseen_photographs=True):
    """A folder with params.yaml, data/shapes and runs/shapes/<seed>, as `dvc repro` leaves it."""
    tree = {"model": "eszsl", "datasets": ["shapes"], "seeds": list(seeds), "shapes": {}, "eszsl": {"shapes": ESZSL}}
    (root / "params.yaml").write_text(yaml.safe_dump(tree))
    dataset(root / "data/shapes")
    if not unseen_photographs:
        _without_unseen_photographs(root / "data/shapes")
    benchmark = tasks.load(root / "data/shapes")
    for seed in seeds:
        run(root / f"runs/shapes/{seed}", benchmark, seed=seed, oracle=unseen_photographs)


def _without_unseen_photographs(folder):
    rows = files.read_csv(folder / "index.csv")
    kept = [row["split"] != "test_unseen" for row in rows]
    files.write_csv(folder / "index.csv", [row for row, keep in zip(rows, kept, strict=True) if keep])
    files.write_npy(folder / "features.npy", np.load(folder / "features.npy")[kept])
