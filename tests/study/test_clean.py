from pathlib import Path

import pytest

from pipeline.protocol import store
from pipeline.study import rows
from tests.study import project

LISTED = """shapes, eszsl: selection: 1, 0.0 MiB, asked for
shapes, eszsl: selection: 1, 0.0 MiB, not asked for
shapes, eszsl: training: 1, 0.0 MiB, asked for
shapes, eszsl: training: 1, 0.0 MiB, not asked for
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return project.make(tmp_path)


def test_what_no_params_ask_for_is_listed_and_removed_when_told(folder, capsys):
    project.run("clean")
    assert capsys.readouterr().out == "data/.trained: holds nothing\n"
    project.run("grid", "--models", "eszsl")
    asked = project.kept(folder)
    project.run("ablate", "eszsl", "shapes", "--seeds", "0", "--variant", "scale=none")
    half, begun = (store.FOLDER / f".{'a' * 32}.half"), Path("checkpoints") / ("b" * 32)
    for path in (half, begun):
        path.mkdir(parents=True)
        (path / "file").write_bytes(bytes(1 << 20))
    everything = project.kept(folder)
    capsys.readouterr()
    project.run("clean")
    out = capsys.readouterr().out
    assert out.startswith("checkpoints: 1, 1.0 MiB, not asked for\nhalves, left by a kill: 1, 1.0 MiB, not asked for\n")
    assert LISTED in out
    assert "not asked for: 4 of 6, " in out
    assert project.kept(folder) == everything != asked
    project.run("clean", "--yes")
    assert "removed: 4 of 6, " in capsys.readouterr().out
    assert project.kept(folder) == asked
    assert not half.exists()
    assert not begun.exists()
    # its rows are results, and stay
    assert len(rows.read(Path("results/ablations/shapes-eszsl.jsonl"))) == 1


def test_what_a_training_is_now_at_is_left_alone(folder, capsys):
    name = "a" * 32
    begun = Path("checkpoints") / name
    begun.mkdir(parents=True)
    lock = store.Lock(store.FOLDER / f".{name}.lock")
    assert lock.take()
    project.run("clean", "--yes")
    assert begun.exists()
    lock.give()
    project.run("clean", "--yes")
    assert not begun.exists()
