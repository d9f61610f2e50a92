import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.common import files, tensorfile
from pipeline.protocol import tasks
from pipeline.report import aggregate, contents, embedding, page, photographs
from tests.report import made_up


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    made_up.dataset(root / "data/shapes")
    made_up.photographs(root)
    made_up.run(root / "runs/shapes/0", tasks.load(root / "data/shapes"))
    return root


def test_examples_are_small_jpegs_of_the_class(root):
    run = aggregate.load("eszsl", "shapes", 0, root / "runs")
    predictions = files.read_npz(run.folder / "predictions.npz")
    names = [f"class <{i}>" for i in range(made_up.CLASSES)]
    best, worst = photographs.extremes(run, predictions, names, root / "data/shapes")
    assert not {judged.name for judged in best} & {judged.name for judged in worst}
    assert len(best) + len(worst) == 3
    assert best[0].gzsl >= worst[-1].gzsl
    for judged in (*best, *worst):
        for example in judged.examples:
            kind, _, text = example.address.partition(",")
            assert kind == "data:image/jpeg;base64"
            assert max(Image.open(io.BytesIO(base64.b64decode(text))).size) <= photographs.SIDE


def test_mistakes_come_by_turns_and_right_ones_last():
    rows, taken = np.arange(7), np.array([5, 8, 8, 8, 9, 9, 5])
    wrong = photographs._examples(rows, taken, 5, 6, True)
    assert wrong == [(1, 8), (4, 9), (2, 8), (5, 9), (3, 8), (0, 5)]
    right = photographs._examples(rows, taken, 5, 3, False)
    assert right == [(0, 5), (6, 5), (1, 8)]


def test_thumbnails_are_square():
    address = photographs.thumbnail(Image.new("RGB", (400, 100), "red"))
    image = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    assert image.size == (100, 100)


def test_principal_axes_against_numpy():
    import torch

    generator = np.random.default_rng(0)
    for width in (6, 700):
        # two strong directions and noise
        points = generator.normal(size=(60, 2)) * [9, 4] @ generator.normal(size=(2, width))
        points += 0.01 * generator.normal(size=points.shape)
        centre, axes, shares = embedding.principal(torch.from_numpy(points))
        _, values, vectors = np.linalg.svd(points - points.mean(0), full_matrices=False)
        expected = values[:2] ** 2 / (values**2).sum()
        assert shares == pytest.approx(tuple(expected), rel=1e-6)
        assert np.abs((vectors[:2] * axes.numpy().T).sum(1)) == pytest.approx([1, 1], abs=1e-6)
        assert np.allclose(centre.numpy(), points.mean(0))


def test_spaced_keeps_both_ends():
    assert embedding.spaced(range(10), 4) == [0, 3, 6, 9]
    assert embedding.spaced([1, 2], 8) == [1, 2]


def test_what_spoke_for_a_guess_is_shown_on_the_photograph(tmp_path, monkeypatch):
    made_up.dataset(tmp_path / "data/shapes")
    made_up.photographs(tmp_path)
    benchmark = tasks.load(tmp_path / "data/shapes")
    made_up.run(tmp_path / "runs/shapes/0", benchmark, "hsva", made_up.hsva(), oracle=False)
    monkeypatch.chdir(tmp_path)
    found = contents.gather("shapes", [aggregate.load("hsva", "shapes", 0)])
    examples = [example for judged in (*found.best, *found.worst) for example in judged.examples]
    assert examples
    for example in examples:
        of_photo, of_map = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))).convert("RGB"), float)
            for text in (example.address, example.looked)
        )
        # the photographs are grey stripes, and what speaks is coloured
        assert np.ptp(of_photo, axis=2).mean() < 20 < np.ptp(of_map, axis=2).max()
    shown = page.page("hsva", [found])
    assert shown.count("what on it spoke for") == len(examples)
    assert "the strongest region" in shown
    # features that no backbone here made have no maps
    tensorfile.write(tmp_path / "data/shapes/backbone.safetensors", {}, {"arch": "none"})
    found = contents.gather("shapes", [aggregate.load("hsva", "shapes", 0)])
    assert not any(example.looked for judged in (*found.best, *found.worst) for example in judged.examples)
