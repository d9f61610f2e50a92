"""Selection, training and evaluation of every model on a made-up benchmark, as the stages put them together."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
import yaml

from pipeline.common import params, training
from pipeline.common.errors import UserError
from pipeline.models.base import registry as models
from pipeline.protocol import evaluation, judging, metrics, selection, tasks, trained
from tests import problems

BENCHMARK = problems.benchmark()
GIVEN = params.load("params.yaml")
SHORT = {"hsva": {"epochs": 6}, "bsegn": {"epochs": 6}, "eszsl": {}}
ENOUGH = {"hsva": {"epochs": 40}, "bsegn": {"epochs": 40}, "eszsl": {}}
SELECTION = selection.Selection(folds=1, checks=3)


def config(name, epochs=SHORT):
    """The embedded data set's params of a model, with other epochs."""
    built = GIVEN.layered(f"{name}.common", f"{name}.shapes", models.get(name).Config)
    return dataclasses.replace(built, **epochs[name])


def select(name, seed=0, checkpoints=None, epochs=SHORT):
    settings = config(name, epochs)
    return selection.select(BENCHMARK, models.get(name), settings, SELECTION, seed, "cpu", name, checkpoints)


@pytest.mark.parametrize("name", params.MODELS)
def test_a_model_learns_to_tell_unseen_classes_apart(name):
    module = models.get(name)
    settings = config(name, ENOUGH)
    chosen, rows = select(name, epochs=ENOUGH)
    assert {row["epoch"] for row in rows} >= {chosen["epoch"]}
    task = tasks.test_task(BENCHMARK, "cpu")
    tensors, history = trained.train(task, module, settings, chosen, 0, name)
    assert [row["epoch"] for row in history] == list(range(1, chosen["epoch"] + 1))
    judged = judging.predictions(task, *trained.restore(task, module, settings, tensors))
    figures = metrics.summary(judged, chosen["constant"])
    # of four unseen classes; chance is 25
    assert figures["T1"] > 40
    assert json.loads(json.dumps(figures)) == figures


@pytest.mark.parametrize("name", ["hsva", "bsegn"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(name):
    first, second, other = select(name)[1], select(name)[1], select(name, seed=1)[1]
    assert first == second != other


def test_a_selection_killed_in_the_middle_ends_the_same(tmp_path, monkeypatch):
    whole = select("hsva")

    def checkpoints():
        return [training.Checkpoint(tmp_path / "0.pt", "key", 1e-9)]

    with monkeypatch.context() as patched:
        calls = []

        def dies(*arguments):
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return check(*arguments)

        check = selection.check
        patched.setattr(selection, "check", dies)
        with pytest.raises(KeyboardInterrupt):
            select("hsva", checkpoints=checkpoints())
    assert (tmp_path / "0.pt").exists()
    assert select("hsva", checkpoints=checkpoints()) == whole


def test_several_folds_are_averaged():
    one, two = ([{"epoch": 1, "classifier_epoch": c, **row} for c, row in enumerate(rows, 1)] for rows in FOLDS)
    chosen = selection.choose([one, two])
    assert chosen["gzsl_epoch"] == 2
    assert chosen["czsl_epoch"] == 1
    assert chosen["validation"]["H"] == 30
    assert chosen["validation"]["T1"] == 60
    assert chosen["constant"] == 2


def test_a_fold_too_many_is_refused_before_any_training(monkeypatch):
    monkeypatch.setattr(selection, "sweep", lambda *args: pytest.fail("trained"))
    one_fold = dataclasses.replace(BENCHMARK, validation=BENCHMARK.validation[:1])
    three = selection.Selection(folds=3, checks=3)
    with pytest.raises(UserError, match=r"selection\.folds: this data set has 1 validation fold"):
        selection.select(one_fold, models.get("hsva"), config("hsva"), three, 0, "cpu", "t")


def test_a_choice_that_the_limits_cut_short_is_named():
    settings = config("hsva")
    most = settings.classifier
    last = {"epoch": settings.epochs, "gzsl_epoch": most.gzsl_epochs, "czsl_epoch": most.czsl_epochs}
    assert selection.cut_short(last, settings) == ["epochs", "classifier.gzsl_epochs", "classifier.czsl_epochs"]
    assert selection.cut_short({"epoch": 1, "gzsl_epoch": 1, "czsl_epoch": 1}, settings) == []
    assert selection.cut_short({"epoch": 1}, config("eszsl")) == []


def test_a_selection_says_that_its_choice_was_cut_short(capsys):
    short = {"hsva": {"epochs": 1}}
    select("hsva", epochs=short)
    assert "hsva, fold" in (output := capsys.readouterr().out)
    assert re.search(r"^hsva: the best was the last that epochs\b.* allowed; more may be better$", output, re.M)


def row(t1, h, constant):
    return {"T1": t1, "U": h, "S": h, "H": h, "AUSUC": h, "constant": constant}


FOLDS = ([row(70, 40, 0), row(10, 30, 1)], [row(50, 10, 0), row(20, 30, 3)])


def test_the_chosen_epoch_is_the_best_on_validation_and_not_on_test():
    chosen, rows = select("eszsl")
    assert chosen["validation"]["H"] == max(row["H"] for row in rows)
    oracle = evaluation.oracle(tasks.test_task(BENCHMARK, "cpu"), models.get("eszsl"), config("eszsl"), 3, 0, "oracle")
    task = tasks.test_task(BENCHMARK, "cpu")
    tensors, _ = trained.train(task, models.get("eszsl"), config("eszsl"), chosen, 0, "eszsl")
    judged = judging.predictions(task, *trained.restore(task, models.get("eszsl"), config("eszsl"), tensors))
    assert oracle["H"] >= metrics.summary(judged)["H"]


def test_no_test_image_and_no_test_label_reaches_training():
    poisoned = dataclasses.replace(
        BENCHMARK,
        features=np.where((BENCHMARK.split == "trainval")[:, None], BENCHMARK.features, np.float32("nan")),
        labels=np.where(BENCHMARK.split == "test_seen", BENCHMARK.labels[::-1], BENCHMARK.labels),
    )
    for name in params.MODELS:
        task = tasks.test_task(poisoned, "cpu")
        chosen = {"epoch": 1, "gzsl_epoch": 1, "czsl_epoch": 1}
        tensors, _ = trained.train(task, models.get(name), config(name), chosen, 0, name)
        clean, _ = trained.train(tasks.test_task(BENCHMARK, "cpu"), models.get(name), config(name), chosen, 0, name)
        assert all(torch.equal(tensors[key], clean[key]) for key in clean)


@pytest.mark.parametrize("name", params.MODELS)
def test_params_of_every_data_set_build_a_model(name):
    for dataset in params.DATASETS:
        built = GIVEN.layered(f"{name}.common", f"{name}.{dataset}", models.get(name).Config)
        assert yaml.safe_dump(dataclasses.asdict(built))
