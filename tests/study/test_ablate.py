import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.common import params
from pipeline.common.errors import UserError
from pipeline.models import eszsl
from pipeline.models.base import classifier
from pipeline.protocol import judging, metrics, selection, tasks, trained
from pipeline.study import __main__ as study
from pipeline.study import ablate
from tests import problems

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def given():
    return params.load(ROOT / "params.yaml")


@pytest.mark.parametrize("model", params.MODELS)
@pytest.mark.parametrize("dataset", params.DATASETS)
def test_every_variant_is_a_config_and_no_two_are_the_same(given, model, dataset):
    configs = [ablate.configured(given, model, dataset, text) for text in ablate.VARIANTS[model].values()]
    again = ablate.configured(given, model, dataset)
    assert all(type(config) is type(again) for config in configs)
    # the one as configured occurs among them, under whichever name
    assert again in configs
    # some variants set what is set already
    others = [repr(config) for config in configs if config != again]
    assert len(set(others)) == len(others)


def test_settings_lie_over_params_and_leave_them_alone(given):
    config = ablate.configured(given, "bsegn", "flo", "fem.weight=1 levels=0", "fem.weight=0.1 length=null")
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
        ablate.configured(given, "bsegn", "flo", text)


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
    like_seen = ablate.symptoms(task, Synthesiser(of_seen), head, 0)
    like_unseen = ablate.symptoms(task, Synthesiser(of_unseen), head, 0)
    assert like_seen["unseen_as_seen"] > 95
    assert like_unseen["unseen_as_seen"] < like_seen["unseen_as_seen"] - 30
    total = 3 + classes - 1
    assert like_seen["seen_confidence"] == pytest.approx(100 * 3 / total)
    assert like_seen["unseen_confidence"] == pytest.approx(100 / total)


def test_a_row_holds_the_figures_of_the_pipeline(given):
    benchmark = problems.benchmark()
    config, how = ablate.configured(given, "eszsl", "cub"), selection.Selection(folds=1, checks=1)
    row = ablate.run(benchmark, eszsl, config, how, 0, CPU, "ablate", tested=True)
    chosen, _ = selection.select(benchmark, eszsl, config, how, 0, CPU, "select")
    task = tasks.test_task(benchmark, CPU)
    restored = trained.restore(task, eszsl, config, trained.train(task, eszsl, config, chosen, 0, "train")[0])
    expected = metrics.summary(judging.predictions(task, *restored), chosen["constant"])
    assert {name: row[name] for name in expected} == expected
    assert row["validation_H"] == chosen["validation"]["H"]
    assert not {"T1", "H"} & set(ablate.run(benchmark, eszsl, config, how, 0, CPU, "ablate", tested=False))


def test_what_is_made_is_not_made_again_and_a_torn_line_does_not_count(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tasks, "load", lambda folder: problems.benchmark())
    made = []
    run = ablate.run
    monkeypatch.setattr(ablate, "run", lambda *args: made.append(args[6]) or run(*args))

    def say(*words):
        study.main(["ablate", "eszsl", "cub", *words])
        return capsys.readouterr().out.splitlines()

    with pytest.raises(SystemExit):
        say("--seeds", "0")
    assert "`dvc exp run -S 'datasets=[cub]'` makes or restores it" in capsys.readouterr().err
    (tmp_path / "data/cub").mkdir(parents=True)
    (tmp_path / "data/cub/features.npy").touch()
    table = say("--seeds", "0", "1", "--variant", "scale=none", "--variant", "wrong=-1")
    assert made == [
        "eszsl, cub, scale=none, seed 0",
        "eszsl, cub, wrong=-1, seed 0",
        "eszsl, cub, scale=none, seed 1",
        "eszsl, cub, wrong=-1, seed 1",
    ]
    assert table[-2].startswith("| scale=none |")
    assert table[-1].endswith("| 0, 1 |")
    assert "± 0.0" in table[-1]
    path = tmp_path / "results/ablations/cub-eszsl.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines)[:-20])
    assert say("--seeds", "0", "1", "--variant", "scale=none", "--variant", "wrong=-1")[-4:] == table[-4:]
    assert len(made) == 5


def test_a_figure_of_zero_counts_and_a_missing_one_does_not():
    rows = [{"variant": "a", "seed": 0, "H": 0.0}, {"variant": "a", "seed": 1, "H": 2.0}, {"variant": "b", "seed": 0}]
    assert list(ablate.table(rows)) == [
        "| variant | H | seeds |",
        "|---|---|---|",
        "| a | 1.0 ± 1.4 | 0, 1 |",
        "| b | - | 0 |",
    ]


def test_unknown_variants_are_one_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        study.main(["ablate", "hsva", "cub", "--only", "without w"])
    message = capsys.readouterr().err
    assert "did you mean 'without W'?" in message
    assert "Traceback" not in message
