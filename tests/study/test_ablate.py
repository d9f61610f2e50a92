import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.common import files, params
from pipeline.common.errors import UserError
from pipeline.models.base import classifier
from pipeline.protocol import tasks
from pipeline.study import ablate, judging, rows, trainings
from stages import evaluate, select, train
from tests import problems
from tests.study import project

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def given():
    return params.load(ROOT / "params.yaml")


@pytest.mark.parametrize("model", params.MODELS)
@pytest.mark.parametrize("dataset", params.DATASETS)
def test_every_variant_is_a_config_and_no_two_are_the_same(given, model, dataset):
    configs = [trainings.configured(given, model, dataset, text) for text in ablate.VARIANTS[model].values()]
    again = trainings.configured(given, model, dataset)
    assert all(type(config) is type(again) for config in configs)
    # the one as configured occurs among them, under whichever name
    assert again in configs
    # some variants set what is set already
    others = [repr(config) for config in configs if config != again]
    assert len(set(others)) == len(others)


def test_settings_lie_over_params_and_leave_them_alone(given):
    config = trainings.configured(given, "bsegn", "flo", "fem.weight=1 levels=0", "fem.weight=0.1 length=null")
    assert (config.fem.weight, config.levels, config.length) == (0.1, 0, None)
    assert given.tree == params.load(ROOT / "params.yaml").tree


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fem.wieght=1", "'fem.wieght=1': bsegn has no such param"),
        ("levels", "'levels': bsegn has no such param"),
        ("epochs.x=1", "'epochs.x=1': bsegn has no such param"),
        ("fem.weight=[1", r"'fem\.weight=\[1': '\[1' is not valid YAML"),
        ("epochs=2026-99-99", "'epochs=2026-99-99': '2026-99-99' is not valid YAML"),
        ("levels=7", "levels: 7 is not one of 0, 1, 2"),
    ],
)
def test_a_wrong_setting_is_named(given, text, message):
    with pytest.raises(UserError, match=message):
        trainings.configured(given, "bsegn", "flo", text)


class Synthesiser(torch.nn.Module):
    """Makes the inputs it was given, of unseen class 0."""

    def __init__(self, inputs):
        super().__init__()
        self.inputs = inputs

    def encode(self, features):
        return features

    def expand(self, inputs):
        return inputs

    def classifier_set(self, problem, seed, unseen_only=False):
        return self.inputs, torch.full((len(self.inputs),), len(problem.seen))


def test_symptoms_tell_whose_the_synthesised_look_like():
    task = tasks.test_task(problems.benchmark(noise=0.01, width=60), CPU)
    classes = len(task.seen) + len(task.unseen)
    # log 3 against zeros elsewhere, so that its probability is known
    bias = torch.zeros(classes)
    bias[0] = np.log(3)
    head = classifier.Head(torch.zeros(classes, 60), bias)
    of_seen, of_unseen = (
        task.features[torch.from_numpy(rows)] for rows in (task.labels < len(task.seen), task.labels >= len(task.seen))
    )
    like_seen = judging.symptoms(task, Synthesiser(of_seen), head, 0)
    like_unseen = judging.symptoms(task, Synthesiser(of_unseen), head, 0)
    assert like_seen["unseen_as_seen"] > 95
    assert like_unseen["unseen_as_seen"] < like_seen["unseen_as_seen"] - 30
    total = 3 + classes - 1
    assert like_seen["seen_confidence"] == pytest.approx(100 * 3 / total)
    assert like_seen["unseen_confidence"] == pytest.approx(100 / total)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return project.make(tmp_path)


PATH = Path("results/ablations/shapes-eszsl.jsonl")


def test_a_row_holds_the_figures_of_the_stages(folder, monkeypatch):
    project.run("ablate", "eszsl", "shapes", "--seeds", "0")
    (row,) = rows.read(PATH)
    # on their own, without what the study left
    shutil.rmtree("data/.trained")
    files.write_json(Path("params.yaml"), params.load().tree | {"model": "eszsl"})
    for stage in (select, train, evaluate):
        monkeypatch.setattr("sys.argv", [stage.__name__, "--dataset", "shapes", "--seed", "0"])
        stage.main()
    figures = files.read_json("runs/shapes/0/metrics.json")
    assert {name: row[name] for name in figures if name != "model"} == {
        name: value for name, value in figures.items() if name != "model"
    }
    assert row["validation_H"] == files.read_json("runs/shapes/0/selected.json")["validation"]["H"]


def test_on_validation_alone_no_test_figure_is_made(folder):
    project.run("ablate", "eszsl", "shapes", "--seeds", "0", "--validation")
    (row,) = rows.read(PATH)
    assert "validation_H" in row
    assert not {"T1", "H"} & set(row)


def test_what_is_made_is_not_made_again_and_a_torn_line_does_not_count(folder, capsys):
    words = ["ablate", "eszsl", "shapes", "--seeds", "0", "1", "--variant", "scale=none", "--variant", "wrong=-1"]

    def say():
        project.run(*words)
        return capsys.readouterr().out.splitlines()

    first = say()
    assert first[-2].startswith("| scale=none |")
    assert first[-1].endswith("| 0, 1 |")
    assert [line.split(", seed")[0].split("] ")[1] for line in first if line.startswith("[")] == [
        f"eszsl, shapes, {variant}" for variant in ("scale=none", "wrong=-1", "scale=none", "wrong=-1")
    ]
    assert not any(line.startswith("[") for line in say())
    text = PATH.read_text()
    PATH.write_text(text[:-20])
    before = {path: path.stat().st_mtime_ns for path in Path("data/.trained").iterdir()}
    again = say()
    assert again[-4:] == first[-4:]
    # the row is made again, of what was kept
    assert {path: path.stat().st_mtime_ns for path in Path("data/.trained").iterdir()} == before
    keys = [json.loads(line)["key"] for line in text.splitlines()]
    assert sorted(row["key"] for row in rows.read(PATH)) == sorted(keys)


def test_a_choice_that_the_limits_cut_short_is_named(folder, capsys):
    words = ["ablate", "hsva", "shapes", "--seeds", "0", "--validation", "--variant", "epochs=1", "-S", "sad=false"]
    words += ["-S", "classifier.gzsl_epochs=1 classifier.czsl_epochs=1"]
    project.run(*words)
    last = "the last that epochs and classifier.gzsl_epochs and classifier.czsl_epochs allowed"
    said = capsys.readouterr().out
    assert f"epoch 1, {last}  (" in said
    assert said.endswith(f"|\nepochs=1, seed 0: the best was {last}\n")
    # from the rows alone
    project.run(*words)
    assert capsys.readouterr().out.endswith(f"|\nepochs=1, seed 0: the best was {last}\n")


def test_a_figure_of_zero_counts_and_a_missing_one_does_not():
    found = [{"variant": "a", "seed": 0, "H": 0.0}, {"variant": "a", "seed": 1, "H": 2.0}, {"variant": "b", "seed": 0}]
    assert list(ablate.table(found)) == [
        "| variant | H | seeds |",
        "|---|---|---|",
        "| a | 1.0 ± 1.4 | 0, 1 |",
        "| b | - | 0 |",
    ]


def test_mistakes_are_one_line(folder, capsys):
    def said(*words):
        with pytest.raises(SystemExit):
            project.run(*words)
        message = capsys.readouterr().err
        assert "Traceback" not in message
        return message

    assert "did you mean 'without W'?" in said("ablate", "hsva", "shapes", "--only", "without w")
    assert "`dvc exp run -S 'datasets=[cub]'` makes or restores it" in said("ablate", "hsva", "cub")
    assert "--per-gpu: is for --on ray" in said("ablate", "eszsl", "shapes", "--per-gpu", "2")
    assert "--workers 0: should be at least 1" in said("grid", "--on", "ray", "--workers", "0")
