"""Pictures and page of --explain, by its command line and from an exported folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report import drawing
from tests.predict.test_predict import eszsl, hsva, photographs  # noqa: F401

ROOT = Path(__file__).parents[2]


def run(*arguments, cwd):
    command = [sys.executable, "-m", "pipeline.predict", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, errors="replace", check=False
    )


def test_each_photograph_gets_a_picture_and_all_a_page_and_json_the_boxes(hsva, tmp_path):  # noqa: F811
    photos = [hsva / "photographs/0.jpg", hsva / "photographs/50.jpg"]
    # another file of the same name, and a photograph that no network sees the whole of
    (tmp_path / "other").mkdir()
    Image.open(photos[1]).resize((300, 120)).save(tmp_path / "other/0.jpg")
    photos.append(tmp_path / "other/0.jpg")
    plain = run("--model", hsva / "export", "--json", *photos, cwd=tmp_path)
    found = run("--model", hsva / "export", "--json", "--explain", tmp_path / "seen/here", *photos, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    lines, without = ([json.loads(line) for line in shown.stdout.splitlines()] for shown in (found, plain))
    sizes = (40, 40), (40, 40), (300, 120)
    for line, size in zip(lines, sizes, strict=True):
        first = line["classes"][0]
        boxes = [first.pop("box"), *first["attribute_boxes"].values()]
        assert set(first.pop("attribute_boxes")) == set(first["attributes"])
        for left, top, right, bottom in filter(None, boxes):
            assert 0 <= left < right <= size[0]
            assert 0 <= top < bottom <= size[1]
        assert any(boxes)
    # the middle of the long one is all that was seen
    assert lines == without
    assert sorted(path.name for path in (tmp_path / "seen/here").iterdir()) == [
        "0.jpg-2.evidence.png",
        "0.jpg.evidence.png",
        "50.jpg.evidence.png",
        "evidence.html",
    ]
    for path in (tmp_path / "seen/here").glob("*.png"):
        with Image.open(path) as image:
            image.load()
            assert image.width > 640
    page = (tmp_path / "seen/here/evidence.html").read_text()
    assert page.count("<figure>") == 3
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "the strongest region" in page


def test_a_folder_that_cannot_be_written_is_told_before_anything_long(eszsl, tmp_path):  # noqa: F811
    (tmp_path / "taken").write_text("")
    found = run("--model", eszsl / "export", "--explain", "taken/in", eszsl / "photographs/0.jpg", cwd=tmp_path)
    assert found.returncode == 1
    assert found.stderr.startswith("error: taken/in: cannot be written")
    assert found.stderr.count("\n") == 1
    assert not found.stdout


def test_a_photograph_whose_name_is_no_text_is_on_the_page(eszsl, tmp_path):  # noqa: F811
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    shutil.copy(eszsl / "photographs/0.jpg", odd)
    found = run("--model", eszsl / "export", "--explain", "seen", odd, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "\N{REPLACEMENT CHARACTER}.jpg" in (tmp_path / "seen/evidence.html").read_text()


def test_a_map_lies_where_the_window_is():
    cells = np.zeros((2, 2))
    cells[0, 1] = 3
    cells[1, 0] = -9
    placed = drawing.place(cells, (20, 0, 60, 40), (80, 40))
    assert placed.strength.max() == 1
    assert placed.peak == (50, 10)
    assert not placed.strength[:, :20].any()
    assert not placed.strength[:, 60:].any()
    left, top, right, bottom = placed.box()
    assert 38 <= left < right == 60
    assert 0 == top < bottom <= 22
    assert placed.box((160, 80)) == (2 * left, 2 * top, 2 * right, 2 * bottom)


def test_a_map_on_which_nothing_speaks_has_no_box():
    placed = drawing.place(-np.ones((3, 3)), (0, 0, 30, 30), (30, 30))
    assert placed.box() is None
    assert placed.peak is None
    assert drawing.panel(Image.new("RGB", (30, 30)), placed).size == (30, 30)


@pytest.mark.parametrize("size", [(1, 320), (320, 1), (2, 320), (3, 3)])
def test_a_thin_photograph_is_drawn_too(size):
    placed = drawing.place(np.ones((7, 7)), (0, 0, *size), size)
    assert drawing.panel(Image.new("RGB", size), placed).size == size
    assert placed.box() == (0, 0, *size)


@pytest.mark.parametrize("window", [(-10, 5, 40, 25), (3, 3, 27, 17), (0, 0, 30, 20)])
def test_a_window_beyond_the_photograph_is_drawn_to_its_edge(window):
    photo = Image.new("RGB", (30, 20), "green")
    placed = drawing.place(np.eye(4), window, photo.size)
    assert drawing.panel(photo, placed).size == photo.size
    left, top, right, bottom = placed.box()
    assert 0 <= left < right <= 30
    assert 0 <= top < bottom <= 20
