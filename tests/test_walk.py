"""The pipeline as a user walks it: one clone, in this order, with the commands that the READMEs tell.

Each of those commands is in one of three tables here, so that one which nothing runs is noticed.
"""

import argparse
import csv
import importlib
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from PIL import Image

from pipeline import schema
from pipeline.common import params
from pipeline.study import __main__ as study
from pipeline.study import ablate, search, trainings
from tests import readme
from tests.walk import SMALL, Clone, ran

BIRDS = "dvc exp run -S 'datasets=[folder]' -S 'folder.sources.images.url=[/home/me/birds]'"
LAUNCHED = 'LAUNCH="torchrun --nproc-per-node 4 --no-python" dvc repro'
SHOW = "dvc exp show --only-changed --drop '.*(_std|_cal)'"
COMPARE = "python -m pipeline.study compare NAME-OF-AN-EXPERIMENT"
ABLATE = "python -m pipeline.study ablate hsva shapes --seeds 0 --only 'as configured' 'without W'"
STUDIES = [
    "python -m pipeline.study grid --datasets shapes --models eszsl --seeds 0 1",
    "python -m pipeline.study search hsva shapes --trials 2",
    "python -m pipeline.study status",
    "python -m pipeline.study table",
    "python -m pipeline.study clean",
]
SHARE, ON_ANOTHER_COMPUTER = "dvc remote add --default ours /mnt/ours", "dvc repro --allow-missing"
AGAIN = "dvc repro --force --single-item download@folder && dvc repro"
# run in this order by the tests below, each as it stands or with what is said there
WALKED = {
    "make",
    "dvc exp run -S model=bsegn",
    "dvc exp run -S 'seeds=[0,1,2]'",
    SHOW,
    COMPARE,
    ABLATE,
    "dvc metrics diff",
    "dvc plots show",
    "dvc exp run --queue -S 'model=eszsl,hsva,bsegn' -S 'seeds=[0,1,2]'",
    "dvc exp run --run-all",
    "python -m pipeline.predict photo.jpg",
    "python -m pipeline.predict --explain evidence photo.jpg",
    "python -m pipeline.predict --template > new_classes.csv",
    "python -m pipeline.predict --classes new_classes.csv photo.jpg",
    LAUNCHED,
    BIRDS,
    AGAIN,
    *STUDIES,
    SHARE,
    "dvc push",
    "dvc pull --allow-missing",
    ON_ANOTHER_COMPUTER,
}
# runs all tests, this one too: that is what CI does
BY_CI = {"make test"}
# these want a network or hours: what they set is checked as the first stage, or the program itself, does
CHECKED = [command for command in readme.commands() if command not in WALKED | BY_CI]

slow = pytest.mark.slow
HEAVY = {"finetune@shapes", "features@shapes", "semantics@shapes", "splits@shapes", "download@shapes"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Clone(tmp_path_factory.mktemp("clone"), SMALL.items())


def test_every_command_of_the_readmes_is_run():
    assert {*WALKED, *BY_CI} <= set(readme.commands())
    kinds = r"dvc exp run\b|python -m (pipeline\.study (ablate|search)|benchmarks\.\w+)\b|[A-Z]+=\("
    assert [command for command in CHECKED if not re.match(kinds, command)] == []


def metrics(clone):
    return json.loads((clone.folder / "results/metrics.json").read_text())["shapes"]


@slow
def test_one_command_runs_everything(clone):
    # the environment is this one, which `make` finds ready
    environment = Path(sys.prefix)
    ready = (environment / "ready").exists()
    if ready:
        (clone.folder / ".venv").symlink_to(environment)
        # `.venv/` in .gitignore is a folder, and no link
        (clone.folder / ".git/info/exclude").write_text(".venv\n")
    output = clone.say("make" if ready else "dvc repro")
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


@slow
def test_a_second_time_there_is_nothing_to_do(clone):
    output = clone.run("dvc", "repro")
    assert ran(output) == set()
    assert "Data and pipelines are up to date." in output


@slow
def test_a_better_message_reruns_nothing_and_other_decoding_what_follows_from_it(clone):
    for path in (clone.folder / "pipeline/common").glob("*.py"):
        path.write_text(f"{path.read_text()}# edited\n")
    assert ran(clone.run("dvc", "repro")) == set()
    images = clone.folder / "pipeline/vision/images.py"
    images.write_text(f"{images.read_text()}# edited\n")
    changed = ran(clone.run("dvc", "repro", "--dry"))
    # a dry run makes no features, so it cannot tell that those of another decoding would lead to other trainings
    assert {"features@shapes", "report"} <= changed
    assert not {"semantics@shapes", "splits@shapes", "download@shapes"} & changed
    clone.run("git", "checkout", "pipeline")


@slow
def test_switching_the_model_extracts_nothing_and_back_reruns_nothing(clone):
    hsva = metrics(clone)
    output = clone.say("dvc exp run -S model=bsegn")
    assert ran(output) == {"check", "select@shapes-0", "train@shapes-0", "evaluate@shapes-0", "report"}
    assert metrics(clone) != hsva
    assert "shapes.H" in clone.say("dvc metrics diff")
    output = clone.run("dvc", "exp", "run", "-S", "model=hsva", "-n", "with-hsva")
    assert ran(output) == set()
    assert metrics(clone) == hsva


@slow
def test_more_seeds_run_those_seeds_alone(clone):
    output = clone.say("dvc exp run -S 'seeds=[0,1,2]'")
    stages = {f"{stage}@shapes-{seed}" for stage in ("select", "train", "evaluate") for seed in (1, 2)}
    assert ran(output) == {"check", "report"} | stages
    assert metrics(clone)["H_std"] >= 0


@slow
def test_another_data_sets_params_rerun_nothing(clone):
    clone.edit("params.yaml", "    wrong: 0 ", "    wrong: -1 ")
    assert ran(clone.run("dvc", "repro")) == {"check"}
    clone.run("git", "checkout", "params.yaml")


@slow
def test_a_backbone_of_ones_own(clone):
    shutil.copy(clone.folder / "data/shapes/backbone.safetensors", clone.folder / "weights/mine.safetensors")
    options = ("-S", "backbone.weights=weights/mine.safetensors", "-S", "shapes.finetune.epochs=0", "-S", "seeds=[0]")
    output = clone.run("dvc", "exp", "run", *options, "-n", "own-backbone")
    assert {"weights@shapes", "finetune@shapes"} <= ran(output)
    # these weights are those that fine-tuning ended with, so the features are the same and nothing follows
    assert not {"select@shapes-0", "report"} & ran(output)


@slow
def test_experiments_can_be_compared(clone):
    assert "shapes.H" in clone.say(SHOW)
    rows = experiments(clone)
    name = next(row["Experiment"] for row in rows if row["model"] == "bsegn")
    assert "shapes: bsegn -> hsva, 1 seed in both (0)" in clone.say(COMPARE.replace("NAME-OF-AN-EXPERIMENT", name))
    assert {row["model"] for row in rows} == {"hsva", "bsegn"}
    assert all(row["shapes.H"] for row in rows)
    assert "file://" in clone.say("dvc plots show")
    page = (clone.folder / "dvc_plots/index.html").read_text()
    assert "Seen-unseen curve" in page
    shutil.rmtree(clone.folder / "dvc_plots")


def experiments(clone):
    """A row an experiment, as `dvc exp show` knows them."""
    table = clone.run("dvc", "exp", "show", "--csv")
    return [row for row in csv.DictReader(io.StringIO(table)) if row["Experiment"]]


@slow
def test_a_queue_of_models_runs_in_copies(clone):
    clone.run("git", "checkout", "-f", ".")
    output = clone.say("dvc exp run --queue -S 'model=eszsl,hsva,bsegn' -S 'seeds=[0,1,2]'")
    assert output.count("Queued experiment") == 3
    clone.say("dvc exp run --run-all")
    rows = [row for row in experiments(clone) if row["model"] == "eszsl"]
    assert len(rows) == 1
    assert float(rows[0]["shapes.H"]) >= 0


@slow
def test_workers_that_a_launcher_starts_extract_the_same(clone):
    clone.run("git", "checkout", "-f", ".")
    clone.run("dvc", "repro")
    features = clone.folder / "data/shapes/features.npy"
    before = features.read_bytes()
    output = clone.say(LAUNCHED.replace("4", "2") + " --force --single-item features@shapes")
    assert ran(output) == {"features@shapes"}
    assert features.read_bytes() == before


@slow
def test_a_photograph_is_named_among_new_classes_too(clone):
    Image.new("RGB", (90, 60), (200, 30, 30)).save(clone.folder / "photo.jpg")
    assert "photo.jpg" in clone.say("python -m pipeline.predict photo.jpg")
    assert "photo.jpg" in clone.say("python -m pipeline.predict --explain evidence photo.jpg")
    assert {path.name for path in (clone.folder / "evidence").iterdir()} == {"photo.jpg.evidence.png", "evidence.html"}
    clone.say("python -m pipeline.predict --template > new_classes.csv")
    assert "photo.jpg" in clone.say("python -m pipeline.predict --classes new_classes.csv photo.jpg")


@slow
def test_a_variant_is_compared_with_what_is_configured(clone):
    lines = clone.say(ABLATE + " -S epochs=2").splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in table[-2:]] == ["as configured", "without W"]
    # below it stands at most what so few epochs were too few for
    below = lines[lines.index(table[-1]) + 1 :]
    assert all(line.endswith("allowed") and "the best was the last" in line for line in below)


@slow
def test_a_study_leaves_what_the_pipeline_takes(clone):
    # as the first stages left them, whatever experiments came since
    clone.run("git", "checkout", "-f", ".")
    clone.edit("params.yaml", "model: hsva #", "model: eszsl #")
    clone.run("dvc", "repro", "--no-run-cache", "features@shapes", "semantics@shapes", "splits@shapes")
    said = [clone.say(command + " --only lr" * ("search" in command)) for command in STUDIES]
    assert "[2/2] eszsl, shapes, seed 1: T1 " in said[0]
    assert "grid: done, 2 of 2 ended" in said[2] or "search" in said[2]
    assert "| Shapes | ESZSL |" in said[3]
    stages = [f"{stage}@shapes-0" for stage in ("select", "train", "evaluate")]
    again = ["dvc", "repro", "--no-run-cache", "--force", "--single-item", *stages]
    assert clone.run(*again).count("taken from data/.trained/") == 2
    lock = (clone.folder / "dvc.lock").read_bytes()
    shutil.rmtree(clone.folder / "data/.trained")
    assert "taken from" not in clone.run(*again)
    assert (clone.folder / "dvc.lock").read_bytes() == lock


@slow
def test_what_was_made_is_shared_without_the_photographs(clone, tmp_path):
    clone.run("git", "checkout", "-f", ".")
    clone.run("dvc", "repro")
    clone.say(SHARE.replace("/mnt/ours", str(tmp_path / "ours")))
    clone.say("dvc push")
    clone.commit("Shared")
    other = tmp_path / "other"
    clone.run("git", "clone", "-q", ".", str(other))
    there = Clone.at(other)
    there.say("dvc pull --allow-missing")
    assert not (other / "data/shapes/raw").exists()
    output = there.say(ON_ANOTHER_COMPUTER)
    assert ran(output) == set()
    assert "Data and pipelines are up to date." in output
    assert (other / "results/report.html").exists()


@slow
def test_a_run_is_exported(clone):
    clone.run("python", "-m", "pipeline.predict.export")
    exported = next((clone.folder / "export").glob("**/bundle.json")).parent
    assert "photo.jpg" in clone.run("python", "-m", "pipeline.predict", "--model", str(exported), "photo.jpg")


@slow
def test_photographs_of_ones_own(clone, tmp_path):
    for kind in range(8):
        folder = tmp_path / "birds/images" / f"bird {kind}"
        folder.mkdir(parents=True)
        for i in range(10):
            Image.effect_noise((40, 40), 40 + i).convert("RGB").point(lambda v, k=kind: v // (k % 4 + 1)).save(
                folder / f"{i}.png"
            )
    traits = "".join(f"bird {kind},{kind % 4},{kind // 4},{kind % 3 + 1}\n" for kind in range(8))
    (tmp_path / "birds/classes.csv").write_text(f"class,darkness,large,tail\n{traits}")
    small = " -S backbone.arch=resnet10t -S backbone.pretrained=false -S backbone.size=32 -S model=eszsl"
    output = clone.say(BIRDS.replace("/home/me/birds", str(tmp_path / "birds")) + small)
    assert "report" in ran(output)
    assert json.loads((clone.folder / "results/metrics.json").read_text()).keys() == {"folder"}
    Image.new("RGB", (40, 40)).save(tmp_path / "birds/images/bird 1/one more.png")
    assert {"download@folder", "features@folder", "evaluate@folder-0"} <= ran(clone.say(AGAIN))


def said(command):
    """The words of one command, after the lines that set variables for it."""
    arrays = [array for array in CHECKED if re.match(r"[A-Z]+=", array)]
    # programs that say what they are given
    speaking = [f'{program}() {{ printf "%s\\0" "$@"; }}' for program in ("dvc", "python")]
    script = ["D=/published W=/weights", *speaking, *arrays, command]
    done = subprocess.run(["bash", "-ec", "\n".join(script)], check=True, capture_output=True, text=True)
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("command", [command for command in CHECKED if command.startswith("dvc")])
def test_params_of_what_takes_hours_are_sound(command, tmp_path):
    words = said(command)
    overrides = [value for flag, value in itertools.pairwise(words) if flag == "-S"]
    assert len(words) == 2 + 2 * len(overrides)
    shutil.copy(readme.ROOT / "params.yaml", tmp_path)
    # a second time too, for a command may be given again
    for _ in range(2):
        apply_overrides(tmp_path / "params.yaml", overrides)
        given = params.load(tmp_path / "params.yaml")
        schema.check(given)
    assert given.tree != params.load(readme.ROOT / "params.yaml").tree


@pytest.mark.parametrize("command", [command for command in CHECKED if " ablate " in command])
def test_variants_of_what_takes_hours_are_sound(command):
    args = study.parse(said(command)[2:])
    assert ablate.wanted(params.load(readme.ROOT / "params.yaml"), args)


@pytest.mark.parametrize("command", [command for command in CHECKED if " search " in command])
def test_searches_of_what_takes_hours_are_sound(command):
    args = study.parse(said(command)[2:])
    base = trainings.configured(params.load(readme.ROOT / "params.yaml"), args.model, args.dataset, *args.set)
    assert search.space(args.model, base, args.only)


class Parsed(Exception):
    """A program's words were taken, and it would begin."""


@pytest.mark.parametrize("command", [command for command in CHECKED if " benchmarks." in command])
def test_benchmarks_that_take_minutes_are_sound(command, monkeypatch):
    _, module, *words = said(command)
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser):
        parse(parser, words)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    with pytest.raises(Parsed):
        importlib.import_module(module).main()
