"""Prediction and export, from photographs as files, in a process of its own where it matters what it needs."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.predict import bundle, classes, export
from pipeline.predict import photographs as photos
from pipeline.predict.predictor import Predictor
from pipeline.protocol import reading, tasks
from tests.report import made_up

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    made_up.dataset(root / "data/shapes")
    made_up.photographs(root)
    return root


def made(source, root, model, config=None):
    shutil.copytree(source, root, dirs_exist_ok=True)
    made_up.run(root / "runs/shapes/0", tasks.load(root / "data/shapes"), model, config, oracle=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        export.export("shapes", 0, root / "export")
    return root


@pytest.fixture(scope="module")
def eszsl(photographs, tmp_path_factory):
    return made(photographs, tmp_path_factory.mktemp("eszsl"), "eszsl")


@pytest.fixture(scope="module")
def hsva(photographs, tmp_path_factory):
    return made(photographs, tmp_path_factory.mktemp("hsva"), "hsva", made_up.hsva())


@pytest.fixture(scope="module")
def bsegn(photographs, tmp_path_factory):
    return made(photographs, tmp_path_factory.mktemp("bsegn"), "bsegn", made_up.bsegn())


@pytest.fixture(params=["eszsl", "hsva", "bsegn"])
def root(request):
    return request.getfixturevalue(request.param)


def guesses(root, **options):
    """The first guess for every test photograph, and the arrays that the evaluate stage wrote."""
    judged = files.read_npz(root / "runs/shapes/0/predictions.npz")
    kept = bundle.load(root / "export")
    predictor = Predictor(kept, CPU, **options)
    paths = [str(root / f"photographs/{row}.jpg") for row in judged["rows"]]
    found = list(photos.stream(kept, predictor, paths, 3, 0))
    assert [path for path, *_ in found] == paths
    return [of_image[0] for _, of_image, _ in found], judged


def new_classes(root, path, rename="new {}"):
    """The unseen classes once more under other names, as a user would write them: not of length one."""
    semantics = files.read_npz(root / "data/shapes/semantics.npz")
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["class_name", *semantics["attribute_names"]])
        for i in range(made_up.SEEN, made_up.CLASSES):
            writer.writerow([rename.format(semantics["class_names"][i]), *(7 * semantics["attributes"][i])])
    return path


@pytest.mark.parametrize(("among", "column"), [("all", "gzsl"), ("unseen", "czsl")])
def test_photographs_get_the_classes_that_evaluate_gave_them(root, among, column):
    found, judged = guesses(root, among=among)
    names = files.read_npz(root / "data/shapes/semantics.npz")["class_names"]
    shown = judged[column] >= 0
    same = [guess.name == names[c] for guess, c, known in zip(found, judged[column], shown, strict=True) if known]
    # a last bit may differ between batches of another size
    assert np.mean(same) > 0.97


def test_probabilities_sum_to_one(root):
    kept = bundle.load(root / "export")
    predictor = Predictor(kept, CPU)
    of_image = predictor(torch.from_numpy(np.load(root / "data/shapes/features.npy")[:5]), 99)
    assert all(len(found) == made_up.CLASSES for found in of_image)
    assert all(sum(guess.probability for guess in found) == pytest.approx(1, abs=1e-5) for found in of_image)


def test_twins_of_unseen_classes_are_found_as_those_are(root, tmp_path):
    about = bundle.load(root / "export").about
    new = classes.read_classes(new_classes(root, tmp_path / "new.csv"), about)
    twins, judged = guesses(root, new=new, among="new")
    known, _ = guesses(root, among="unseen")
    of_unseen = judged["czsl"] >= 0
    same = [a.name == f"new {b.name}" for a, b, keep in zip(twins, known, of_unseen, strict=True) if keep]
    assert {guess.kind for guess in twins} == {"new"}
    # the classifier of generative models is trained anew, on samples in another order
    assert np.mean(same) > (0.99 if about.model == "eszsl" else 0.8)


def test_the_template_is_a_table_of_new_classes(root, tmp_path):
    kept = bundle.load(root / "export")
    path = tmp_path / "new.csv"
    path.write_text(classes.template(kept))
    names, semantics = classes.read_classes(path, kept.about)
    assert names == [f"like {kept.about.seen[0]}"]
    assert torch.allclose(semantics[0], kept.tensors["seen"][0], atol=1e-3)
    # the first column may be called as in the table of one's own photographs
    path.write_text(path.read_text().replace("class_name", "class"))
    assert classes.read_classes(path, kept.about)[0] == names


@pytest.mark.parametrize(("mark", "comma"), [(",", "."), (";", ","), ("\t", ",")])
@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_new_classes_are_read_as_spreadsheets_write_them(eszsl, tmp_path, mark, comma, end):
    about = bundle.load(eszsl / "export").about
    lines = [["class_name", *about.attributes], ["x", *(f"{i}{comma}5" for i in range(5))]]
    path = tmp_path / "new.csv"
    path.write_bytes(("\ufeff" + "".join(mark.join(line) + end for line in lines)).encode())
    names, semantics = classes.read_classes(path, about)
    assert names == ["x"]
    assert (semantics[0] / semantics[0, 0]).tolist() == pytest.approx([1, 3, 5, 7, 9])


def test_the_temperature_is_that_of_the_labels():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    # scores a hundred times smaller than the logits that the labels were drawn from
    assert reading.temperature(logits / 100, labels).item() == pytest.approx(0.01, rel=0.1)


def test_new_classes_join_the_others(root, tmp_path):
    about = bundle.load(root / "export").about
    new = classes.read_classes(new_classes(root, tmp_path / "new.csv"), about)
    predictor = Predictor(bundle.load(root / "export"), CPU, new)
    assert len(predictor.candidates.names) == made_up.CLASSES + 3
    of_image = predictor(torch.from_numpy(np.load(root / "data/shapes/features.npy")[:2]), 99)
    assert {guess.kind for guess in of_image[0]} == {"seen", "unseen", "new"}


def test_calibration_takes_the_constant_off_seen_classes(eszsl):
    kept = bundle.load(eszsl / "export")
    predictor = Predictor(kept, CPU, calibrated=True)
    seen = len(kept.about.seen)
    assert predictor.handicap[:seen].tolist() == pytest.approx([kept.about.constant] * seen)
    assert not predictor.handicap[seen:].any()


def test_attributes_that_speak_for_a_class_are_its_own(root):
    """None that the class has less of than the average class, whatever the candidates; the number is the product."""
    kept = bundle.load(root / "export")
    unseen, every = kept.tensors["unseen"], torch.cat([kept.tensors["seen"], kept.tensors["unseen"]])
    features = torch.from_numpy(np.load(root / "data/shapes/features.npy"))
    for among in ("all", "unseen"):
        predictor = Predictor(kept, CPU, among=among)
        inputs = predictor.model.encode(features)
        read = (inputs - kept.tensors["reading.centre"]) @ kept.tensors["reading.weight"].T
        for of_image, shown in zip(predictor(features, 3), read, strict=True):
            for guess in of_image:
                own = predictor.candidates.semantics[guess.at] - every.mean(0)
                expected = {
                    name: (more * by).item()
                    for name, more, by in zip(kept.about.attributes, shown, own, strict=True)
                    if more > 0 and by > 0
                }
                named = dict(guess.attributes)
                assert len(named) == min(3, len(expected))
                assert named == pytest.approx({name: expected[name] for name in named})
                assert not named or min(named.values()) >= sorted(expected.values())[-len(named)] - 1e-7
    assert len(unseen) == len(predictor.candidates.names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,attribute 0\nx,1\n", "should have a column class_name"),
        ("class_name,attribute 0\nx,1\n", "lacks 4 columns, such as 'attribute 1'"),
        ("class_name,{},colour\nx,1,1,1,1,1,1\n", "has no use for 'colour'"),
        ("class_name,{}\nx,1,1,red,1,1\n", r"line 2 \('x'\), column 'attribute 2': 'red' should be a number"),
        ("class_name,{}\nx,1,1,yes,1,1\n", "'yes' should be a number"),
        (
            "class_name,{}\nx,1,1,10 cm,1,1\n",
            "column 'attribute 2' is in 'cm'; the numbers .* without a unit, or all in",
        ),
        ("class_name,{}\nx,1%,1%,1%,1%,1\n", "column 'attribute 0' is in '%'"),
        ("class_name,{}\nx,1%,1,1,1,1\ny,0.1,1,1,1,1\n", "'0.1' has no unit, most of the column in '%'; write one"),
        ("class_name,{}\nx,1_0,1,1,1,1\n", "'1_0' is no single number"),
        ("class_name,{}\nx,1e400,1,1,1,1\n", "'1e400' is beyond the numbers"),
        ("class_name,{}\nx,1-2,1,1,1,1\n", "'1-2' is a range"),
        ("class_name,{}\nx,1e300,1e300,1,1,1\n", "nor beyond what"),
        ("class_name,{}\nx,0,0,0,0,0\n", "not all zero"),
        ("class_name,{}\nx,1,1,nan,1,1\n", "'nan' is missing"),
        ("class_name,{}\nx,1,1,1,1\n", "line 2: has 5 cells; the header has 6"),
        ('class_name,{}\n"x,1,1,1,1,1\n' + "y,1,1,1,1,1\n" * 20_000, "cannot be read from line 2 on"),
        ("class_name,{}\nclass <0>,1,1,1,1,1\n", "a name that no other class has"),
        ("class_name,{}\nx,1,1,1,1,1\nx,1,1,1,1,2\n", "line 3: class 'x'"),
        ("", "should have a column class_name"),
    ],
)
def test_wrong_new_classes_are_one_line(eszsl, tmp_path, text, words):
    path = tmp_path / "new.csv"
    path.write_text(text.format(",".join(f"attribute {i}" for i in range(5))))
    with pytest.raises(UserError, match=words) as caught:
        classes.read_classes(path, bundle.load(eszsl / "export").about)
    assert str(path) in str(caught.value)


def test_new_classes_as_spreadsheets_write_them(eszsl, tmp_path):
    about, path = bundle.load(eszsl / "export").about, tmp_path / "new.csv"
    titles = [f"attribute {i}" for i in range(5)]
    rows = ("x", 0.1, 0.25, 0, 0.5, 1), ("y", 1, 0.5, 0.25, 0, 0)
    path.write_text("class_name," + ",".join(titles) + "\n" + "\n".join(",".join(map(str, row)) for row in rows))
    names, expected = classes.read_classes(path, about)
    percent = [[name, *(f"{100 * value:g} %" for value in values)] for name, *values in rows]
    commas = [[name, *(str(value).replace(".", ",") for value in values)] for name, *values in rows]
    for number, (cells, mark, encoding) in enumerate(
        [(percent, ",", "utf-8-sig"), (commas, ";", "utf-8"), (commas, "\t", "utf-16"), (rows, ",", "utf-8")]
    ):
        lines = [mark.join(map(str, line)) for line in (["class", *titles, "", ""], *([*row, "", ""] for row in cells))]
        path.write_text(("sep=;\n" if mark == ";" else "") + "\n".join(lines) + "\n", encoding=encoding)
        found, values = classes.read_classes(path, about)
        assert found == names
        torch.testing.assert_close(values, expected, rtol=1e-6, atol=0, msg=f"{number}")


def test_an_exported_folder_needs_nothing_else(hsva, tmp_path):
    """Another process, in an empty folder, where neither DVC nor the project's data can be had."""
    (tmp_path / "dvc.py").write_text("raise ImportError('not here')")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    photo = str(hsva / "photographs/0.jpg")
    command = [sys.executable, "-m", "pipeline.predict", "--model", str(hsva / "export"), "--json", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "-", str(broken)], cwd=tmp_path, env=environment, input=f"{photo}\n", capture_output=True, text=True
    )
    assert done.stderr.count("\n") == 1, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["photo"] == photo
    assert len(first["classes"]) == 5
    assert first["classes"][0].keys() == {"class", "kind", "probability", "attributes"}
    assert second["photo"] == str(broken)
    assert "error" in second
    assert done.returncode == 1


def test_a_run_and_its_export_hold_the_same(hsva, monkeypatch):
    monkeypatch.chdir(hsva)
    ours, exported = bundle.of_run("shapes", 0), bundle.load("export")
    assert ours.about == exported.about
    assert ours.config == exported.config
    assert ours.tensors.keys() == exported.tensors.keys()
    assert all(torch.equal(ours.tensors[name], exported.tensors[name]) for name in ours.tensors)


def test_a_run_on_published_features_cannot_see_photographs(hsva, tmp_path, monkeypatch):
    tree = yaml.safe_load((hsva / "params.yaml").read_text())
    tree["features"]["source"] = "published"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="shapes was learned on published features"):
        bundle.of_run("shapes", 0)


def test_a_run_on_features_of_a_file_cannot_see_photographs(hsva, tmp_path, monkeypatch):
    tree = yaml.safe_load((hsva / "params.yaml").read_text())
    tree["shapes"]["files"]["features"] = "mine.npy"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"shapes was learned on features of mine\.npy, and no backbone here"):
        bundle.of_run("shapes", 0)


def test_an_export_names_its_semantics(hsva):
    assert json.loads((hsva / "export/bundle.json").read_text())["semantics"] == "made up"
    assert "(semantics: made up)" in (hsva / "export/README.md").read_text()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_guesses(root, tmp_path):
    kept = bundle.load(root / "export")
    features = torch.from_numpy(np.load(root / "data/shapes/features.npy"))
    new = classes.read_classes(new_classes(root, tmp_path / "new.csv"), kept.about)
    for given in (None, new):
        here, there = (Predictor(kept, torch.device(name), given)(features, 1) for name in ("cpu", "cuda"))
        same = [a[0].name == b[0].name for a, b in zip(here, there, strict=True)]
        # samples for new classes come from another random stream
        assert np.mean(same) > (0.99 if given is None or kept.about.model == "eszsl" else 0.7)


def test_the_folder_holds_safetensors_json_and_a_card_alone(hsva):
    assert {path.name for path in (hsva / "export").iterdir()} == {
        "README.md",
        "backbone.safetensors",
        "bundle.json",
        "model.safetensors",
    }
    card = (hsva / "export/README.md").read_text()
    metrics = files.read_json(hsva / "runs/shapes/0/metrics.json")
    assert f"{metrics['H']:.1f}" in card
    assert str(hsva) not in card + (hsva / "export/bundle.json").read_text()


def test_a_folder_that_is_no_export_is_one_line(tmp_path, hsva):
    with pytest.raises(UserError, match=r"holds no bundle\.json"):
        bundle.load(tmp_path)
    about = files.read_json(hsva / "export/bundle.json")
    files.write_json(tmp_path / "bundle.json", about | {"format": 99})
    with pytest.raises(UserError, match="format 99, this program reads 2"):
        bundle.load(tmp_path)
    files.write_json(tmp_path / "bundle.json", about)
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"model\.safetensors: not a readable"):
        bundle.load(tmp_path)


def test_folders_and_lists_of_photographs(hsva, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("2.jpg", "1.PNG", "notes.txt"):
        (tmp_path / "a" / name).write_bytes(b"")
    inside = [str(tmp_path / "a/1.PNG"), str(tmp_path / "a/2.jpg")]
    assert photos.listed([str(tmp_path / "a"), "-"], iter(["x.jpg\n", "\n"])) == [*inside, "x.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no photographs"):
        photos.listed([str(tmp_path / "empty")])
