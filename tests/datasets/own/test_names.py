"""Images joined by path, classes by spelling: what is found, what is said, what is refused."""

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets.own import names

OURS = ["images.tar/birds/images/owl/1.jpg", "images.tar/birds/images/owl/2.jpg", "images.tar/birds/images/tit/1.jpg"]
UNIQUE = ["a/owl_1.jpg", "a/owl_2.jpg", "b/tit_1.jpg"]
SHUFFLE = [2, 0, 1]


def shuffled(values):
    return [values[i] for i in SHUFFLE]


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (OURS, ["owl/1.jpg", "owl/2.jpg", "tit/1.jpg"], "its names are those of the images, in the same order"),
        (OURS, ["1.jpg", "2.jpg", "1.jpg"], "rows taken by position; its names agree, but several rows share one"),
        (OURS, shuffled(["/data/owl/1.jpg", "/data/owl/2.jpg", "/data/tit/1.jpg"]), "the last 2 parts of the path"),
        (OURS, shuffled(["C:\\x\\owl\\1.jpg", "C:\\x\\owl\\2.jpg", "C:\\x\\tit\\1.jpg"]), "the last 2 parts"),
        (OURS, shuffled(OURS), "the last 5 parts of the path"),
        (UNIQUE, shuffled(["z/owl_1.jpg", "z/owl_2.jpg", "z/tit_1.jpg"]), "rows found by file name"),
        (UNIQUE, shuffled(["owl_1", "owl_2", "tit_1"]), "rows found by file name without its ending"),
        (UNIQUE, shuffled(["owl_1.png", "owl_2.png", "tit_1.png"]), "rows found by file name without its ending"),
    ],
)
def test_images_are_found_by_the_end_of_their_path(ours, theirs, words):
    order, said = names.images(ours, theirs, "f")
    in_order = "same order" in said or "by position" in said
    wanted = [0, 1, 2] if in_order else np.argsort(SHUFFLE).tolist()
    assert order.tolist() == wanted
    assert words in said


def test_the_same_file_name_in_two_folders_is_told_apart_by_the_folder():
    order, _ = names.images(OURS, ["tit/1.jpg", "owl/2.jpg", "owl/1.jpg"], "f")
    assert order.tolist() == [2, 1, 0]


def test_rows_of_other_images_are_left_out_and_said():
    order, words = names.images(UNIQUE, [*UNIQUE, "c/more.jpg"], "f")
    assert order.tolist() == [0, 1, 2]
    assert "1 more rows are of no image here and are left out" in words


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (UNIQUE, UNIQUE[:2], "f: lacks 1 of 3 images, 'b/tit_1.jpg' first"),
        (UNIQUE, [*UNIQUE, UNIQUE[1]], "f: has 'a/owl_2.jpg' twice, in rows 1 and 3"),
        (UNIQUE, ["x", "y", "z"], "none of its 3 names is that of an image; it has 'x' where 'a/owl_1.jpg' is"),
        (OURS, ["1.jpg", "2.jpg", "1.jpg", "3.jpg"], "none of its 4 names is that of an image"),
        (["", "", ""], UNIQUE, "the images' own are not known; leave them out"),
        (["p/1.jpg", "p/1.jpg"], ["q/2.jpg", "q/1.jpg"], "several are of 'p/1.jpg'; give them in the published order"),
    ],
)
def test_what_cannot_be_joined_is_named(ours, theirs, message):
    with pytest.raises(UserError, match=message):
        names.images(ours, theirs, "f")


def test_objects_of_one_photograph_are_taken_in_their_order():
    order, words = names.images(["p/1.jpg", "p/1.jpg", "p/2.jpg"], ["q/1.jpg", "q/1.jpg", "q/2.jpg"], "f")
    assert order.tolist() == [0, 1, 2]
    assert "in the same order" in words


def test_a_hundred_thousand_images_are_joined():
    many = [f"folder {i % 1000}/{i}.jpg" for i in range(100_000)]
    order, _ = names.images(many, many[::-1], "f")
    assert (order == np.arange(len(many))[::-1]).all()


CLASSES = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "École", "grizzly+bear"]


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (CLASSES, ""),
        (
            ["black footed albatross", "Laysan Albatross", "ecole", "Grizzly Bear"],
            "4 classes are spelt otherwise, such",
        ),
        (["Black-Footed Albatross", "002.Laysan_Albatross", "E\u0301cole", "grizzly+bear"], "1 classes are spelt"),
        ([*CLASSES, "dodo"], "1 more rows are of no class here and are left out"),
    ],
)
def test_classes_are_found_whatever_their_spelling(theirs, words):
    order, said = names.classes(CLASSES, theirs, "f")
    assert order.tolist() == [0, 1, 2, 3]
    assert (said == "") == (words == "")
    assert words in said


def test_classes_that_are_numbers_are_found_as_spreadsheets_write_them():
    order, _ = names.classes(["001", "002", "010"], ["10", "1", "2"], "f")
    assert order.tolist() == [1, 2, 0]


def test_classes_that_differ_in_signs_alone_are_told_apart_by_them():
    order, _ = names.classes(["C", "C++", "D"], ["D", "C++", "C"], "f")
    assert order.tolist() == [2, 1, 0]
    with pytest.raises(UserError, match="lacks the class 'C'"):
        names.classes(["C", "C++", "D"], ["D", "C++", "c"], "f")


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (
            ["Black_footed_Albatros", *CLASSES[1:]],
            "lacks the class '001.Black_footed_Albatross'; the nearest it has is 'B",
        ),
        (CLASSES[:2], r"lacks the class 'grizzly\+bear' \(and 1 more such\).*should have all 4"),
        ([*CLASSES, "école"], r"has class 'École' twice: 'École' \(row 3\) and 'école' \(row 5\)"),
    ],
)
def test_a_class_that_is_missing_or_twice_is_named(theirs, message):
    with pytest.raises(UserError, match=message):
        names.classes(CLASSES, theirs, "f")
