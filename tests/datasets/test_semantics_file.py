"""Semantics of a user's own: joined by class, checked, normalised, named; or beside the data set's own."""

import json
import types

import numpy as np
import pytest

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.datasets import semantics, semantics_file
from pipeline.datasets.base import Listing, Semantics, normalised
from tests.datasets.own import writers

CLASSES = ["001.Barn_Owl", "002.Great_Tit", "003.Emu"]
VECTORS = np.random.default_rng(0).normal(size=(3, 5))
ORDER = [2, 0, 1]


def write(path, vectors, names):
    if path.suffix == ".csv":
        return writers.csv(path, vectors, names)
    ending = path.name.partition(".")[2]
    return writers.NAMED[ending](path, vectors, class_names=np.array(names))


@pytest.mark.parametrize("ending", ["csv", *writers.NAMED])
def test_every_format_is_joined_by_class_and_normalised(tmp_path, ending):
    path = tmp_path / f"clip.{ending}"
    write(path, VECTORS[ORDER], [CLASSES[i] for i in ORDER])
    found, words = semantics_file.build(path, CLASSES)
    np.testing.assert_array_equal(found.attributes, normalised(VECTORS))
    assert found.class_names == CLASSES
    assert found.source == path.name
    assert words == "rows found by the classes' names"
    semantics.check(found)


def test_an_npy_is_taken_by_position_and_that_is_said(tmp_path):
    np.save(tmp_path / "clip.npy", VECTORS)
    found, words = semantics_file.build(tmp_path / "clip.npy", CLASSES)
    np.testing.assert_array_equal(found.attributes, normalised(VECTORS))
    assert words == "rows taken by position, the file names no classes"


def test_a_table_as_pandas_and_spreadsheets_write_it(tmp_path):
    path = tmp_path / "clip.csv"
    path.write_text(",0,1\nBarn Owl,0.5,1\nGreat Tit,1e-3,-2\nEmu,3,0\n")
    found, words = semantics_file.build(path, CLASSES)
    np.testing.assert_array_equal(found.attributes, normalised([[0.5, 1], [1e-3, -2], [3, 0]]))
    assert found.attribute_names == []
    assert "3 classes are spelt otherwise, such as 'Barn Owl' for '001.Barn_Owl'" in words
    path.write_text("class;wing;tail\nBarn Owl;0,5;1\nGreat Tit;0,001;-2\nEmu;3;0\n")
    again, _ = semantics_file.build(path, CLASSES)
    np.testing.assert_array_equal(again.attributes, found.attributes)
    assert again.attribute_names == ["wing", "tail"]


def test_the_same_vector_twice_is_said(tmp_path):
    writers.npz(tmp_path / "clip.npz", VECTORS[[0, 1, 0]], names=np.array(CLASSES))
    _, words = semantics_file.build(tmp_path / "clip.npz", CLASSES)
    assert "never told apart if unseen: 001.Barn_Owl, 003.Emu" in words


WRONG = {
    "missing": (
        "class,a\nBarn Owl,1\nGreat Tit,2\nEmus,2\n",
        "lacks the class '003.Emu'; the nearest it has is 'Emus'",
    ),
    "twice": ("class,a\nBarn Owl,1\nGreat Tit,2\nEmu,2\nbarn_owl,1\n", "class '001.Barn_Owl' twice: 'Barn Owl' .row 1"),
    "all zero": ("class,a,b\nBarn Owl,1,1\nGreat Tit,0,0\nEmu,2,2\n", "class '002.Great_Tit' is all zero"),
    "not finite": (
        "class,a,b\nBarn Owl,1,1\nGreat Tit,nan,0\nEmu,2,2\n",
        "Great.Tit.* (not finite|is missing)",
    ),
    "out of scale": (
        "class,a\nBarn Owl,1e-200\nGreat Tit,1\nEmu,2\n",
        "class '001.Barn_Owl' has values out of all scale",
    ),
    "no number": (
        "class,a,b\nBarn Owl,1,x\nGreat Tit,1,0\nEmu,2,2\n",
        "line 2 .'Barn Owl'., column 'b': 'x' should be a number",
    ),
    "gap": ("class,a,b\nBarn Owl,1,\nGreat Tit,1,0\nEmu,2,2\n", "line 2 .'Barn Owl'., column 'b': '' is missing"),
    "no header": ("Barn Owl,0.5,0.1\nGreat Tit,1,0\nEmu,2,2\n", "its first line holds numbers; it should be a header"),
    "no columns": ("class\nBarn Owl\nGreat Tit\nEmu\n", "should have a header, then a row a class"),
    "nothing": ("", "should have a header, then a row a class"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(tmp_path, case):
    text, message = WRONG[case]
    (tmp_path / "clip.csv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        semantics_file.build(tmp_path / "clip.csv", CLASSES)
    assert str(tmp_path / "clip.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_few_by_position(tmp_path):
    np.save(tmp_path / "clip.npy", VECTORS[:2])
    with pytest.raises(UserError, match="its array is 2 x 5; it should be 3 rows"):
        semantics_file.build(tmp_path / "clip.npy", CLASSES)


MODULE = types.SimpleNamespace(
    listing=lambda raw: Listing(["", "", ""], np.arange(3), CLASSES),
    semantics=lambda raw, choice: Semantics(normalised(np.eye(3) + 0.1), CLASSES, ["a", "b", "c"]),
)


def test_without_a_file_the_choice_is_named():
    found, words = semantics_file.chosen(MODULE, "raw", "attributes", None, None)
    assert (found.source, words) == ("attributes", "")


def test_two_stand_side_by_side_each_of_length_one_first(tmp_path):
    np.savez(tmp_path / "clip.npz", vectors=1000 * VECTORS[ORDER], class_names=[CLASSES[i] for i in ORDER])
    found, _ = semantics_file.chosen(MODULE, "raw", "attributes", tmp_path / "clip.npz", 0.3)
    own, added = normalised(np.eye(3) + 0.1), normalised(VECTORS)
    semantics.check(found)
    np.testing.assert_allclose(
        found.attributes @ found.attributes.T, 0.7 * own @ own.T + 0.3 * added @ added.T, atol=1e-12
    )
    assert found.source == "attributes (0.7) beside clip.npz (0.3)"
    assert found.attribute_names[:4] == ["a", "b", "c", "clip.npz 1"]
    semantics.write(tmp_path / "semantics.npz", found)
    assert files.read_npz(tmp_path / "semantics.npz")["source"] == found.source


def test_metadata_of_safetensors_that_is_no_list_is_left_alone(tmp_path):
    import torch
    from safetensors.torch import save_file

    more = {"format": "pt", "made": json.dumps({"by": "me"}), "class_names": json.dumps(CLASSES)}
    save_file({"vectors": torch.tensor(VECTORS)}, tmp_path / "clip.safetensors", more)
    assert semantics_file.class_names(tmp_path / "clip.safetensors") == CLASSES
