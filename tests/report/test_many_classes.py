"""A page about 20,000 classes stays small, and says what it leaves out."""

import re

import numpy as np
import pytest
import torch

from pipeline.common import files
from pipeline.protocol import evaluation, tasks
from pipeline.report import aggregate, embedding, figures, sections
from tests import problems, scored

CLASSES, UNSEEN = 20_000, 4_000


@pytest.fixture(scope="module")
def run():
    """What evaluation writes of 60,000 images, half of which are right and few of whose mistakes are alike."""
    generator = np.random.default_rng(0)
    names = [f"n{i:08d} a class with a name" for i in range(CLASSES)]
    labels = np.arange(3 * CLASSES) % CLASSES
    guess = np.where(generator.random(len(labels)) < 0.5, labels, generator.integers(0, CLASSES, len(labels)))
    among = np.where(
        generator.random(len(labels)) < 0.5, labels, generator.integers(CLASSES - UNSEEN, CLASSES, len(labels))
    )
    czsl = np.where(labels < CLASSES - UNSEEN, -1, among)
    task = tasks.Task(np.arange(CLASSES - UNSEEN), np.arange(CLASSES - UNSEEN, CLASSES), None, None, labels, None)
    rows = evaluation.per_class(names, task, labels, guess, czsl), evaluation.confusion(names, labels, guess, czsl)
    per_class, confusion = ([{key: str(value) for key, value in row.items()} for row in of] for of in rows)
    return aggregate.Run("eszsl", "folder", 0, None, {}, {}, [], [], [], per_class, confusion)


def test_the_table_of_confusion_keeps_what_is_right_and_the_commonest_mistakes(run, monkeypatch):
    for protocol in ("gzsl", "czsl"):
        kinds = [row["actual"] == row["predicted"] for row in run.confusion if row["protocol"] == protocol]
        assert len(kinds) - sum(kinds) <= evaluation.PAIRS
    names, labels = ["a", "b", "c"], np.array([0, 0, 0, 0, 1, 1, 2, 2])
    guess = np.array([0, 1, 1, 2, 1, 0, 0, 0])
    monkeypatch.setattr(evaluation, "PAIRS", 2)
    rows = evaluation.confusion(names, labels, guess, np.full(8, -1))
    assert [(row["actual"], row["predicted"], row["images"]) for row in rows] == [
        ("a", "a", 1),
        ("a", "b", 2),
        ("b", "b", 1),
        ("c", "a", 2),
    ]


def test_charts_are_small_and_say_what_they_leave_out(run):
    accuracies, confusion = sections._accuracies(run), sections._confusion(run)
    assert len(accuracies) < 400_000
    assert accuracies.count('class="bar ') == figures.BARS
    assert "Drawn: 1,000 of the 20,000 classes" in accuracies
    assert "4,000 unseen classes" in accuracies
    assert "16,000 seen classes" in accuracies
    assert len(confusion) < 1_000_000
    share = int(re.search(r"Drawn: 100 of 4,000 classes, .* what (\d+)% of their images were taken for", confusion)[1])
    assert 45 < share < 65
    listed, wrong = re.search(
        r"of the ([\d,]+) commonest of ([\d,]+) mistakes on unseen", sections._confused(run)
    ).groups()
    assert int(listed.replace(",", "")) < int(wrong.replace(",", "")) < 3 * UNSEEN


def test_a_full_matrix_leaves_out_its_rarest_cells(monkeypatch):
    per_class = [{"class_name": name, "domain": "unseen", "images": "10", "czsl": "50.0"} for name in "ab"]
    confusion = [("a", "a", 7), ("a", "b", 3), ("b", "a", 1), ("b", "b", 9)]
    rows = [{"protocol": "czsl", "actual": a, "predicted": p, "images": str(n)} for a, p, n in confusion]
    run = aggregate.Run("eszsl", "cub", 0, None, {}, {}, [], [], [], per_class, rows)
    chart, left_out = figures.confusion(run)
    assert (chart.count('class="cell'), left_out) == (4, "")
    monkeypatch.setattr(figures, "CELLS", 3)
    chart, left_out = figures.confusion(run)
    assert chart.count('class="cell') == 3
    assert "2 of 2 classes" in left_out
    assert "95% of their" in left_out


def test_the_map_looks_at_the_classes_that_it_shows_alone():
    benchmark = problems.benchmark(seen=40, unseen=12)
    task = tasks.test_task(benchmark, torch.device("cpu"), learn=False)
    read = []

    class Model(torch.nn.Module):
        def encode(self, features):
            read.append(len(features))
            return features

        def classifier_set(self, problem, seed):
            assert (len(problem.seen), len(problem.unseen)) == (3, 3)
            read.append(len(problem.features))
            counted = torch.arange(3).repeat_interleave(4)
            return problem.features[torch.arange(24) % 3], torch.cat([counted, counted + 3])

    drawn = embedding.build(task, Model(), benchmark.class_names, list(range(52)), 0, most=3)
    assert sum(read) < 3 * 20 * 3
    shown = [cloud.name for cloud in drawn.unseen]
    assert shown == [benchmark.class_names[c] for c in embedding.spaced(sorted(task.unseen), 3)]
    assert all(len(cloud.made) == 4 for cloud in (*drawn.unseen, *drawn.seen))
    # images of the class itself
    for cloud in drawn.seen:
        images = (task.labels == list(task.seen).index(benchmark.class_names.index(cloud.name))).sum()
        assert len(cloud.real) == images


def test_under_100_bytes_an_image_are_written(tmp_path):
    generator = np.random.default_rng(0)
    benchmark = problems.benchmark(images=200)
    task = tasks.test_task(benchmark, "cpu")
    scores = generator.normal(size=(len(task.labels), 24)).astype(np.float32)
    of_unseen = ~task.seen_mask[task.labels]
    judged = scored.predictions(scores, task.labels, task.seen_mask, scores[of_unseen][:, 20:], top=5)
    evaluation.write(tmp_path, benchmark, task, judged, {})
    assert (tmp_path / "predictions.npz").stat().st_size < 100 * len(task.labels)
    written = files.read_npz(tmp_path / "predictions.npz")
    classes = np.concatenate([task.seen, task.unseen])
    np.testing.assert_array_equal(written["gzsl"], classes[scores.argmax(1)])
    np.testing.assert_array_equal(written["top"][:, 0], written["gzsl"])
    np.testing.assert_array_equal(written["top"], classes[np.argsort(-scores, 1, kind="stable")[:, :5]])
    np.testing.assert_array_equal(written["labels"], benchmark.labels[written["rows"]])
    np.testing.assert_array_equal(written["czsl"][of_unseen], task.unseen[scores[of_unseen][:, 20:].argmax(1)])
    assert (written["czsl"][~of_unseen] == -1).all()
