"""The pipeline as a user walks it: one clone, in this order, with the commands of the README."""

import csv
import io
import json
import shutil

import pytest

from tests.walk import SMALL, Clone, ran

pytestmark = pytest.mark.slow
HEAVY = {"finetune@shapes", "features@shapes", "semantics@shapes", "splits@shapes", "download@shapes"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Clone(tmp_path_factory.mktemp("clone"), SMALL.items())


def metrics(clone):
    return json.loads((clone.folder / "results/metrics.json").read_text())["shapes"]


def test_one_command_runs_everything(clone):
    output = clone.run("dvc", "repro")
    assert ran(output) >= HEAVY | {"select@shapes-0", "train@shapes-0", "evaluate@shapes-0", "report"}
    figures = metrics(clone)
    assert {"T1", "U", "S", "H", "AUSUC", "T1_std", "H_std"} <= set(figures)
    assert 0 < figures["T1"] <= 100
    assert "<html" in (clone.folder / "results/report.html").read_text()[:200].lower()
    assert clone.run("git", "status", "--porcelain", "--untracked-files=all").split() == [
        "M",
        "dvc.lock",
        "M",
        "results/metrics.json",
    ]
    clone.commit("Ran")


def test_a_second_time_there_is_nothing_to_do(clone):
    output = clone.run("dvc", "repro")
    assert ran(output) == set()
    assert "Data and pipelines are up to date." in output


def test_switching_the_model_extracts_nothing_and_back_reruns_nothing(clone):
    hsva = metrics(clone)
    output = clone.run("dvc", "exp", "run", "-S", "model=bsegn", "-n", "with-bsegn")
    assert ran(output) == {"check", "select@shapes-0", "train@shapes-0", "evaluate@shapes-0", "report"}
    assert metrics(clone) != hsva
    output = clone.run("dvc", "exp", "run", "-S", "model=hsva", "-n", "with-hsva")
    assert ran(output) == set()
    assert metrics(clone) == hsva


def test_more_seeds_run_those_seeds_alone(clone):
    output = clone.run("dvc", "exp", "run", "-S", "seeds=[0,1]", "-n", "two-seeds")
    assert ran(output) == {"check", "select@shapes-1", "train@shapes-1", "evaluate@shapes-1", "report"}
    assert metrics(clone)["H_std"] >= 0


def test_another_data_sets_params_rerun_nothing(clone):
    clone.edit("params.yaml", "    wrong: 0 ", "    wrong: -1 ")
    assert ran(clone.run("dvc", "repro")) == {"check"}
    clone.run("git", "checkout", "params.yaml")


def test_a_backbone_of_ones_own(clone):
    shutil.copy(clone.folder / "data/shapes/backbone.safetensors", clone.folder / "weights/mine.safetensors")
    options = ("-S", "backbone.weights=weights/mine.safetensors", "-S", "shapes.finetune.epochs=0", "-S", "seeds=[0]")
    output = clone.run("dvc", "exp", "run", *options, "-n", "own-backbone")
    assert {"weights@shapes", "finetune@shapes"} <= ran(output)
    # these weights are those that fine-tuning ended with, so the features are the same and nothing follows
    assert not {"select@shapes-0", "report"} & ran(output)


def test_experiments_can_be_compared(clone):
    table = clone.run("dvc", "exp", "show", "--csv")
    rows = {row["Experiment"]: row for row in csv.DictReader(io.StringIO(table)) if row["Experiment"]}
    assert rows["with-bsegn"]["model"] == "bsegn"
    assert rows["with-bsegn"]["shapes.H"] != ""
    difference = json.loads(clone.run("dvc", "metrics", "diff", "with-bsegn", "with-hsva", "--json"))
    changed = difference["results/metrics.json"]
    assert "shapes.H" in changed or "H" in changed["shapes"]
    clone.run("dvc", "plots", "show", "-o", "plots")
    page = (clone.folder / "plots/index.html").read_text()
    assert "Seen-unseen curve" in page
    shutil.rmtree(clone.folder / "plots")


def test_a_queue_of_models_and_seeds_runs_in_copies(clone):
    clone.run("git", "checkout", "-f", ".")
    output = clone.run("dvc", "exp", "run", "--queue", "-S", "model=eszsl,hsva", "-S", "seeds=[2],[3]")
    assert output.count("Queued experiment") == 4
    clone.run("dvc", "exp", "run", "--run-all")
    table = clone.run("dvc", "exp", "show", "--csv")
    rows = [row for row in csv.DictReader(io.StringIO(table)) if row["model"] == "eszsl" and row["seeds"] == "[2]"]
    assert len(rows) == 1
    assert float(rows[0]["shapes.H"]) >= 0
