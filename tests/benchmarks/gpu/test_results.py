"""The JSON that several calls fill: merged, never half-written, failures beside what was found before."""

import json
import math

import pytest

from benchmarks.gpu.results import Results
from pipeline.common import files
from pipeline.common.errors import UserError


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "gpu.json", "a device")


def test_calls_fill_one_file(results, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu", "features", "-S", "a=1 b=2"])
    results.keep("features", {"largest": 1e-6})
    Results(results.path, "another").keep("hsva", {"ratio": 2.0})
    held = json.loads(results.path.read_text())
    assert {name: entry["found"] for name, entry in held["steps"].items()} == {
        "features": {"largest": 1e-6},
        "hsva": {"ratio": 2.0},
    }
    assert [entry["device"] for entry in held["steps"].values()] == ["a device", "another"]
    assert held["steps"]["features"]["command"] == "python -m benchmarks.gpu features -S 'a=1 b=2'"
    assert {"torch", "python", "date"} <= held["steps"]["features"].keys()


def test_a_failure_takes_nothing_away_and_is_forgotten_after_a_success(results):
    results.keep("hsva", {"ratio": 2.0})
    results.fail("hsva", "no memory")
    assert results.found("hsva") == {"ratio": 2.0}
    assert results.read()["failed"]["hsva"]["why"] == "no memory"
    results.keep("hsva", {"ratio": 3.0})
    assert results.found("hsva") == {"ratio": 3.0}
    assert results.read()["failed"] == {}


def test_a_kill_while_it_is_written_leaves_the_file_before(results, monkeypatch):
    results.keep("features", {"largest": 1.0})
    before = results.path.read_bytes()

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        results.keep("features", {"largest": 2.0})
    assert results.path.read_bytes() == before


def test_numbers_that_are_not_finite_are_kept_as_text(results):
    results.keep("bsegn", {"losses": [math.nan, (1.0, -math.inf)], 3: None})
    assert results.found("bsegn") == {"losses": ["nan", [1.0, "-inf"]], "3": None}


@pytest.mark.parametrize("text", ["{", "[]", '{"steps": {}}', '{"steps": [], "failed": {}}'])
def test_a_file_of_something_else_is_refused_and_left(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"other\.json: .* remove it, or name another by --out"):
        Results(path, "a device")
    assert path.read_text() == text
