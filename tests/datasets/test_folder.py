"""A user's own folder: what is handled, and what is refused in one line."""

import dataclasses
import unicodedata
import zipfile

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets import folder, semantics, splits
from pipeline.datasets.base import Source
from pipeline.sources import archives, download

CONFIG = folder.SplitConfig(val_seen=0.25, seed=0, unseen=0.3, test_seen=0.2, val_unseen=0.3, folds=1)
BIRDS = ["Barn Owl", "Ökologischer Zaunkönig", "鷹", "gull", "wren's", "crow", "tit", "swift", "kite", "emu"]


def table(rows=None, header="class,wing,nocturnal,diet", names=BIRDS):
    rows = rows or {
        name: f"{10 + i},{'yes' if i % 3 else 'no'},{('seed', 'fish', 'mice')[i % 3]}" for i, name in enumerate(names)
    }
    return header + "\n" + "".join(f"{name},{cells}\n" for name, cells in rows.items())


def photographs(counts=None):
    """Path in the folder -> bytes, each image's its own; 10 of each bird unless counts say otherwise."""
    counts = dict.fromkeys(BIRDS, 10) | (counts or {})
    return {
        f"images/{name}/photo {i:02d}.{('jpg', 'PNG', 'webp', 'jpeg')[i % 4]}": f"{name} {i}".encode()
        for name, count in counts.items()
        for i in range(count)
    }


def write(place, files, text):
    files = files | ({"classes.csv": text.encode() if isinstance(text, str) else text} if text is not None else {})
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


def raw_of(tmp_path, files=None, text=None):
    """What the download stage makes of a folder."""
    place = write(tmp_path / "my birds", files or photographs(), text or table())
    download.fill(tmp_path / "raw", {"images": Source(str(place)), "classes": None}, tmp_path / "store", ["images"])
    return tmp_path / "raw"


def built(raw, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    return splits.build(folder.listing(raw), folder.splits(raw, config), config)


def test_a_folder_is_listed_by_class_and_path(tmp_path):
    raw = raw_of(tmp_path)
    listing = folder.listing(raw)
    assert listing.class_names == BIRDS
    assert listing.labels.tolist() == np.repeat(np.arange(10), 10).tolist()
    reader = archives.Images(raw)
    assert [reader.read(image).decode() for image in listing.images[:2]] == ["Barn Owl 0", "Barn Owl 1"]
    assert listing.images[0] == "images.tar/my birds/images/Barn Owl/photo 00.jpg"


def test_an_archive_is_read_as_the_folder_is(tmp_path):
    raw = raw_of(tmp_path)
    with zipfile.ZipFile(tmp_path / "birds.zip", "w") as file:
        for name, content in (photographs() | {"__MACOSX/images/gull/._photo 00.jpg": b"x"}).items():
            # macOS stores accents as characters of their own
            file.writestr("top/" + unicodedata.normalize("NFD", name), content)
    (tmp_path / "classes.csv").write_text(table(), encoding="utf-8")
    sources = {"images": Source(str(tmp_path / "birds.zip")), "classes": Source(str(tmp_path / "classes.csv"))}
    download.fill(tmp_path / "other", sources, tmp_path / "store", ["images"])
    first, second = folder.listing(raw), folder.listing(tmp_path / "other")
    np.testing.assert_array_equal(first.labels, second.labels)
    for left, right in zip(built(raw).split, built(tmp_path / "other").split, strict=True):
        assert left == right


def test_measurements_words_and_presence_become_attributes(tmp_path):
    found = folder.semantics(raw_of(tmp_path), "attributes")
    words = ["diet: fish", "diet: mice", "diet: seed"]
    assert found.attribute_names == ["wing: large", "wing: small", "nocturnal", *words]
    semantics.check(found)
    # the widest wing, not nocturnal, seeds: 1, 0, 0 and 1 among the diets
    np.testing.assert_allclose(found.attributes[9] * np.sqrt(2), [1, 0, 0, 0, 0, 1])
    np.testing.assert_allclose(found.attributes[8] / found.attributes[8, 2], [8 / 9, 1 / 9, 1, 0, 1, 0])


def test_numbers_from_zero_say_how_strongly(tmp_path):
    rows = {name: f"{i * 10},{i % 2}" for i, name in enumerate(BIRDS)} | {BIRDS[0]: "0,1"}
    found = folder.semantics(raw_of(tmp_path, text=table(rows, "class,red,song")), "attributes")
    assert found.attribute_names == ["red", "song"]
    np.testing.assert_allclose(found.attributes[3] / found.attributes[3, 1], [3 / 9, 1])


def test_stated_classes_are_kept_and_may_have_no_images(tmp_path):
    stated = {name: f"{10 + i},{'unseen' if i in (1, 4) else 'Seen'}" for i, name in enumerate(BIRDS)}
    raw = raw_of(tmp_path, photographs({BIRDS[4]: 0}), table(stated, "class,wing,Split"))
    index = built(raw)
    assert set(index.labels[index.split == "test_unseen"]) == {1}
    assert len(index.images) == 90
    assert len(folder.semantics(raw, "attributes").class_names) == 10


def test_drawn_classes_are_the_share_and_the_same_each_time(tmp_path):
    raw = raw_of(tmp_path, photographs({BIRDS[4]: 0}))
    first, again, other = built(raw), built(raw), built(raw, seed=1)
    # three of ten: the one without images, and two drawn
    assert len(set(first.labels[first.split == "test_unseen"])) == 2
    np.testing.assert_array_equal(first.split, again.split)
    assert (first.split != other.split).any()


def test_test_seen_is_stratified_and_a_single_image_is_trained_on(tmp_path):
    raw = raw_of(
        tmp_path,
        photographs({BIRDS[0]: 1, BIRDS[1]: 2}),
        table({name: f"{10 + i},{'unseen' if i > 7 else 'seen'}" for i, name in enumerate(BIRDS)}, "class,wing,split"),
    )
    index = built(raw)
    counts = np.bincount(index.labels[index.split == "test_seen"], minlength=10)
    assert counts.tolist() == [0, 1, 2, 2, 2, 2, 2, 2, 0, 0]


def test_copies_of_a_photograph_stay_on_one_side(tmp_path):
    files = photographs()
    for name in BIRDS:
        same = [path for path in files if f"/{name}/" in path]
        files |= dict.fromkeys(same[:5], f"copies of {name}".encode())
    raw = raw_of(tmp_path, files)
    index, reader = built(raw), archives.Images(raw)
    homes = {}
    for image, part in zip(index.images, index.split, strict=True):
        homes.setdefault(reader.read(image), set()).add(part)
    assert max(map(len, homes.values())) == 1


def test_folds_share_no_class(tmp_path):
    index = built(raw_of(tmp_path), folds=3)
    classes = [set(index.labels[fold == "val_unseen"]) for fold in index.validation]
    assert [len(found) for found in classes] == [2, 2, 2]
    assert len(set.union(*classes)) == 6


def test_thousands_of_classes(tmp_path):
    names = [f"species {i}" for i in range(3000)]
    text = table({name: f"{i},{i * 7 % 13}" for i, name in enumerate(names, start=1)}, "class,a,b")
    (tmp_path / "raw").mkdir()
    with zipfile.ZipFile(tmp_path / "raw/images.zip", "w") as file:
        file.writestr("classes.csv", text)
        for i, name in enumerate(names * 3):
            file.writestr(f"images/{name}/{i}.jpg", f"{i}")
    index = built(tmp_path / "raw", test_seen=0.25)
    assert len(index.images) == 9000
    assert (index.split == "test_seen").sum() == 2100


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_tables_as_spreadsheets_write_them(tmp_path, end):
    lines = table().splitlines()
    semicolons = end.join(line.replace(",", ";") for line in lines)
    raw = raw_of(tmp_path, text=("\ufeff" + semicolons + f"{end};;;{end}").encode("utf-8"))
    assert folder.table(raw).names == BIRDS
    assert folder.table(raw).titles == ["wing", "nocturnal", "diet"]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_decimal_commas_are_numbers_but_in_names(tmp_path, mark):
    names = ["3,5", *BIRDS[1:]]
    rows = "".join(f"{name}{mark}{i - 5},5{mark}{i}\n" for i, name in enumerate(names))
    files = photographs({BIRDS[0]: 0}) | {"images/3,5/a.jpg": b"x"}
    raw = raw_of(tmp_path, files, f"class{mark}wing{mark}legs\n{rows}")
    assert folder.listing(raw).class_names == names
    found = folder.semantics(raw, "attributes")
    assert found.attribute_names == ["wing: large", "wing: small", "legs"]
    assert found.taken[0]["taken"] == "a measurement, -5.5 to 4.5"


def test_a_constant_attribute_is_left_out_and_alike_classes_are_said(tmp_path, capsys):
    rows = {name: f"{i + 1},7" for i, name in enumerate(BIRDS)} | {BIRDS[0]: "4,7.0"}
    found = folder.semantics(raw_of(tmp_path, text=table(rows, "class,wing,legs")), "attributes")
    assert found.attribute_names == ["wing: large", "wing: small"]
    said = capsys.readouterr().out
    assert "legs: 7 for every class -> left out" in said
    assert "never told apart if unseen: Barn Owl, gull" in said


NUMBERS = {name: f"{10 + i}" for i, name in enumerate(BIRDS)}
WRONG_TABLES = {
    "no table": (b" ", "should have a header, at least two classes"),
    "not utf-8": ("class,wing\nÖl,1\nB,2\nC,3\n".encode("latin-1"), "is not UTF-8 text"),
    "short line": ("class,wing,legs\na,1,2\nb,1\n", "line 3: has 2 cells; the header has 3"),
    "class twice": ("class,wing\na,1\nb,2\na,3\n", "line 4: class 'a' stands in line 2 too"),
    "column twice": ("class,wing,wing\na,1,2\nb,2,3\n", "column 'wing' stands twice"),
    "no name": ("class,wing\na,1\n,2\n", "line 3: '' is no name of a class"),
    "name with a slash": ("class,wing\na,1\na/b,2\n", "line 3: 'a/b' is no name of a class"),
    "bad split": (
        "class,wing,split\na,1,seen\nb,2,maybe\n",
        r"line 3 .*, column 'split': 'maybe' should be seen or",
    ),
    "open quote": ('class,wing\na,1\n"b,2\n' + "c,3\n" * 40_000, "cannot be read from line 3 on .* its second one"),
    "half a split": (
        "class,wing,split\na,1,seen\nb,2,\n",
        r"line 3 .*, column 'split': '' should be seen or",
    ),
}


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_a_wrong_table_is_one_line(tmp_path, case):
    text, message = WRONG_TABLES[case]
    with pytest.raises(UserError, match=message) as caught:
        folder.table(raw_of(tmp_path, text=text))
    assert "\n" not in str(caught.value)


WRONG_ATTRIBUTES = {
    "gap": (NUMBERS | {"gull": ""}, r"line 5 \('gull'\), column 'wing': '' is missing; every cell needs a value"),
    "not a number": (NUMBERS | {"gull": "nan"}, r"line 5 \('gull'\), column 'wing': 'nan' is missing"),
    "mixed": (NUMBERS | {"gull": "wide"}, "'wide' is a word; most of the column is numbers"),
    "all the same": (dict.fromkeys(BIRDS, "3"), "no attribute differs between classes"),
    "none": (dict.fromkeys(BIRDS, "1") | {"gull": "0"}, "class 'gull' has none of the attributes"),
}


@pytest.mark.parametrize("case", WRONG_ATTRIBUTES)
def test_wrong_attributes_are_one_line(tmp_path, case):
    rows, message = WRONG_ATTRIBUTES[case]
    with pytest.raises(UserError, match=message):
        folder.semantics(raw_of(tmp_path, text=table(rows, "class,wing")), "attributes")


def apart(unseen_row):
    """Unseen emu, alone in having an attribute that no seen class has."""
    rows = {name: f"{i % 2},{1 - i % 2},0,seen" for i, name in enumerate(BIRDS)}
    return table(rows | {"emu": unseen_row}, "class,a,b,c,split")


WRONG_FOLDERS = {
    "no common attribute": ({}, apart("0,0,1,unseen"), {}, "unseen class 'emu' has no attribute in common with any"),
    "class without a row": ({"images/ostrich/a.jpg": b"1"}, None, {}, "has no row for the folder 'ostrich'"),
    "stated seen without images": (
        {},
        table({name: f"{i},seen" for i, name in enumerate([*BIRDS, "moa"])}, "class,wing,split"),
        {},
        "class 'moa' is to be seen but has no images",
    ),
    "none unseen": (
        {},
        table({name: f"{i},seen" for i, name in enumerate(BIRDS)}, "class,wing,split"),
        {},
        "0 of 10 classes would",
    ),
    "all unseen": ({}, None, {"unseen": 0.95}, "10 of 10 classes would be unseen"),
    "too many folds": ({}, None, {"folds": 4}, "4 fold\\(s\\) of 2 validation classes need more than the 7 seen"),
    "same file in two classes": (
        {"images/gull/z.jpg": b"same", "images/crow/z.jpg": b"same"},
        None,
        {},
        "are the same file in two classes",
    ),
}


@pytest.mark.parametrize("case", WRONG_FOLDERS)
def test_wrong_folders_are_one_line(tmp_path, case):
    files, text, changes, message = WRONG_FOLDERS[case]
    raw = raw_of(tmp_path, photographs() | files, text)
    with pytest.raises(UserError, match=message) as caught:
        built(raw, **changes)
    # what is wrong in the folder is copied again only when asked for
    assert str(caught.value).count(folder.AGAIN) == (case != "too many folds")


def test_one_image_in_every_class_cannot_be_tested(tmp_path):
    with pytest.raises(UserError, match="every seen class has one image only"):
        built(raw_of(tmp_path, photographs(dict.fromkeys(BIRDS, 1))))


def test_files_of_other_kinds_are_named_and_deeper_ones_taken(tmp_path, capsys):
    more = {"images/gull/notes.txt": b"x", "images/gull/raw.heic": b"x", "images/gull/deep/a.jpg": b"x"}
    assert len(folder.listing(raw_of(tmp_path, photographs() | more)).images) == 102
    said = capsys.readouterr().out
    assert "left out: 1 txt ('" in said
    assert "notes.txt" in said
    assert "1 images are of folders within a class's" in said


def test_the_whole_may_lie_in_a_folder_called_images_too(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    more = {"images/gull/deep/a.jpg": b"x", "images/notes.txt": b"x"}
    with zipfile.ZipFile(tmp_path / "raw/images.zip", "w") as file:
        for name, content in (photographs() | more | {"classes.csv": table().encode()}).items():
            file.writestr(f"images/{name}", content)
    assert len(folder.listing(tmp_path / "raw").images) == 101
    said = capsys.readouterr().out
    assert "deep/a.jpg" in said
    assert "notes.txt" in said
    with zipfile.ZipFile(tmp_path / "raw/images.zip", "a") as file:
        file.writestr("images/images/ostrich/a.jpg", b"x")
    with pytest.raises(UserError, match="has no row for the folder 'ostrich'"):
        folder.listing(tmp_path / "raw")


def test_a_table_of_names_alone_makes_no_semantics(tmp_path):
    text = table(dict.fromkeys(BIRDS, "seen"), "class,split")
    with pytest.raises(UserError, match=r"has no attribute column; give it one, or folder\.files\.semantics a file"):
        folder.semantics(raw_of(tmp_path, text=text), "attributes")


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no images/<class>/<image>"):
        folder.listing(raw_of(tmp_path, {"photos/gull/a.jpg": b"x"}))


def test_a_table_beside_nothing_is_missed(tmp_path):
    place = write(tmp_path / "birds", photographs(), None)
    download.fill(tmp_path / "raw", {"images": Source(str(place))}, tmp_path / "store", ["images"])
    with pytest.raises(UserError, match=r"holds no classes\.csv"):
        folder.listing(tmp_path / "raw")


def test_a_class_folder_without_a_photograph_is_an_error_and_no_unseen_class(tmp_path):
    files = {name: data for name, data in photographs().items() if "/gull/" not in name}
    raw = raw_of(tmp_path, files | {"images/gull/notes.txt": b"x", "images/gull/movie.mov": b"x"})
    with pytest.raises(UserError, match=r"the folder 'gull' gives no photograph: it holds 1 mov, 1 txt"):
        folder.listing(raw)


def test_an_empty_class_folder_is_an_error(tmp_path):
    files = {name: data for name, data in photographs().items() if "/gull/" not in name}
    (tmp_path / "my birds/images/gull").mkdir(parents=True)
    with pytest.raises(UserError, match=r"the folder 'gull' gives no photograph: it holds nothing"):
        folder.listing(raw_of(tmp_path, files))


def test_a_class_without_a_folder_is_unseen(tmp_path):
    files = {name: data for name, data in photographs().items() if "/gull/" not in name}
    made = built(raw_of(tmp_path, files))
    assert "gull" not in made.class_names


def test_hidden_and_systems_files_are_no_ones(tmp_path, capsys):
    more = {
        "images/.ipynb_checkpoints/a-checkpoint.jpg": b"x",
        "images/gull/.hidden.jpg": b"x",
        "images/gull/Thumbs.db": b"x",
        "images/Thumbs.db": b"x",
    }
    assert len(folder.listing(raw_of(tmp_path, photographs() | more)).images) == 100
    assert "4 hidden or the system's own" in capsys.readouterr().out


def test_a_photograph_without_a_known_ending_is_known_by_its_bytes(tmp_path):
    more = {"images/gull/IMG_0001": b"\xff\xd8\xff\xe0" + bytes(40), "images/gull/a.HEIC": b"x"}
    assert len(folder.listing(raw_of(tmp_path, photographs() | more)).images) == 102
