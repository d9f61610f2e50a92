"""Features and semantics of one's own by one flag each, and what a changed file runs again."""

import csv
import io
import json

import numpy as np
import pytest

from pipeline.datasets import index
from tests.datasets.own import writers
from tests.walk import SMALL, Clone, ran

pytestmark = pytest.mark.slow
AFTER = {"select@shapes-0", "train@shapes-0", "evaluate@shapes-0", "report"}


def write(clone, seed):
    """Features and semantics of classes that can be told apart, in an order of their own, under names of their own."""
    generator = np.random.default_rng(seed)
    rows = index.read(clone.folder / "data/shapes/index.csv")
    vectors = generator.normal(size=(rows.labels.max() + 1, 8))
    noise = generator.normal(scale=0.3, size=(len(rows.labels), 12))
    features = vectors[rows.labels] @ generator.normal(size=(8, 12)) + noise
    order = generator.permutation(len(features))
    (clone.folder / "data/own").mkdir(exist_ok=True)
    names = np.array(["/".join(image.split("/")[-2:]) for image in rows.images])[order]
    writers.npz(clone.folder / "data/own/mine.npz", features[order].astype(np.float16), names=names)
    classes = dict(zip(rows.labels.tolist(), rows.class_names, strict=True))
    spoken = [classes[i].replace("-", " ").title() for i in range(len(vectors))]
    return vectors, spoken


def test_ones_own_files_by_one_flag_each_and_a_changed_one_reruns_what_follows_alone(tmp_path):
    clone = Clone(tmp_path, [*SMALL.items(), ("model: hsva #", "model: eszsl #")])
    clone.run("dvc", "repro", "splits@shapes")
    vectors, classes = write(clone, 0)
    writers.csv(clone.folder / "data/own/clip.csv", vectors, classes)
    output = clone.say(
        "dvc exp run -S shapes.files.features=data/own/mine.npz -S shapes.files.semantics=data/own/clip.csv"
    )
    assert "rows found by the last 2 parts of the path" in output
    assert "36 classes are spelt otherwise" in output
    assert AFTER | {"files", "features@shapes", "semantics@shapes"} <= ran(output)
    assert "splits@shapes" not in ran(output)
    figures = json.loads((clone.folder / "results/metrics.json").read_text())["shapes"]
    # such semantics lead to classes that were never seen; chance is 1 in 12
    assert figures["T1"] > 50
    page = (clone.folder / "results/report.html").read_text()
    assert "8-d semantics (clip.csv), 12-d features" in page
    assert "features of mine.npz, clip.csv" in page
    shown = next(iter(csv.DictReader(io.StringIO(clone.run("dvc", "exp", "show", "--csv")))))
    assert shown["shapes.files.semantics"] == "data/own/clip.csv"

    vectors, _ = write(clone, 1)
    assert ran(clone.run("dvc", "repro")) == AFTER | {"files", "features@shapes"}
    writers.csv(clone.folder / "data/own/clip.csv", vectors, classes)
    assert ran(clone.run("dvc", "repro")) == AFTER | {"files", "semantics@shapes"}
    writers.csv(clone.folder / "data/own/clip.csv", vectors, classes)
    assert ran(clone.run("dvc", "repro")) == set()
