import sys

from pipeline import files, record


def test_a_stage_that_ends_well_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        "model: eszsl\ndatasets: [shapes]\nseeds: [0]\nshapes: {}\neszsl: {shapes: {}}\n"
    )
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "stages/train.py"), "--dataset", "shapes", "--seed", "3"])
    record.recorded(lambda: None)()
    found = files.read_json(record.FOLDER / "train-shapes-3.json")
    assert (found["stage"], found["of"], found["model"]) == ("train", ["shapes", "3"], "eszsl")
    # this process holds torch or numpy: more than 10 MB, less than a terabyte, whatever the platform's unit
    assert 1e7 < found["memory"] < 1e12
    assert 0 <= found["seconds"] < 60


def test_a_stage_that_fails_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "stages/train.py"), "--dataset", "shapes", "--seed", "3"])

    def fail():
        raise ValueError

    try:
        record.recorded(fail)()
    except ValueError:
        assert not record.FOLDER.exists()
    else:
        raise AssertionError("the error was swallowed")


def test_other_programs_leave_no_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest"])
    record.recorded(lambda: None)()
    assert not record.FOLDER.exists()
