"""The command under a result makes params.yaml of the last commit what it was for that result."""

import copy
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from pipeline.common import params
from pipeline.report import command

ROOT = Path(__file__).parents[2]
NASTY = [
    "/a b/res'101.mat",
    'x"y\\',
    "http://a.b/c?d=e&f=g",
    "null",
    "1e-5x",
    "12",
    "a,b",
    "",
    "é",
    "{x}",
    "$x",
    "a: b",
]


@pytest.fixture
def committed():
    return yaml.safe_load((ROOT / params.FILE).read_text())


def changed(tree):
    """Params as a user may have them."""
    tree = copy.deepcopy(tree)
    tree["bsegn"]["cub"] |= {"lr": 0.003, "latent": 64, "widths": {"encoder": 256, "fem": 12}}
    tree["bsegn"]["common"]["length"] = None
    tree["cub"]["sources"]["features"]["url"] = [*NASTY, "~x", "C:\\dir\\"]
    tree["cub"]["sources"]["images"]["md5"] = None
    del tree["cub"]["splits"]["seed"]
    tree["features"]["source"] = "published"
    tree["backbone"]["mean"] = {"red": 0.4, "green": 0.5, "blue": 0.1}
    tree["finetune"]["epochs"] = 20
    return tree


def words(text):
    """The overrides of a command, as a shell gives them."""
    given = shlex.split(text)
    assert given[:3] == ["dvc", "exp", "run"]
    assert given[3::2] == ["-S"] * (len(given[3:]) // 2)
    return given[4::2]


def test_the_command_makes_the_params_again(committed, tmp_path):
    tree = changed(committed)
    shutil.copy(ROOT / params.FILE, tmp_path)
    overrides = words(command.command(tree, "bsegn", "cub", [0, 1], committed))
    apply_overrides(tmp_path / params.FILE, overrides)
    again = yaml.safe_load((tmp_path / params.FILE).read_text())
    assert again == tree | {"model": "bsegn", "datasets": ["cub"], "seeds": [0, 1]}


def test_what_decides_nothing_of_the_result_is_left_out(committed):
    tree = copy.deepcopy(committed)
    tree["run"]["threads"] = 1
    tree["sun"]["splits"]["val_seen"] = 0.5
    tree["hsva"]["cub"]["lr"] = 1.0
    tree["bsegn"]["sun"]["lr"] = 1.0
    assert words(command.command(tree, "bsegn", "cub", [0], committed)) == [
        "model=bsegn",
        "datasets=[cub]",
        "seeds=[0]",
    ]


def test_a_rate_as_dvc_writes_it_is_the_same_rate(committed):
    """`-S bsegn.awa1.lr=1e-05` leaves a text for YAML 1.1."""
    tree = copy.deepcopy(committed)
    tree["bsegn"]["awa1"]["lr"] = "1e-05"
    assert command.overrides(tree, committed, command.decisive("bsegn", "awa1")) == []


def test_without_git_the_command_says_what_it_knows(committed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert command.committed() is None
    text = command.command(changed(committed), "bsegn", "cub", [0], None)
    assert text == "dvc exp run -S model=bsegn -S 'datasets=[cub]' -S 'seeds=[0]'"
    monkeypatch.setenv("PATH", "")
    assert command.committed() is None


def test_committed_is_what_the_last_commit_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    Path(params.FILE).write_text("model: hsva\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    Path(params.FILE).write_text("model: bsegn\n")
    assert command.committed() == {"model": "hsva"}
