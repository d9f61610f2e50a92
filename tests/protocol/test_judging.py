"""Scores looked at block by block give what all of them at once would."""

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.models.base import classifier, rows
from pipeline.protocol import judging, metrics, tasks
from tests import problems, scored


class Doubling(torch.nn.Module):
    """Encodes to half of the features' width, and expands to all of it."""

    def encode(self, features):
        return features[:, ::2] * 2

    def expand(self, inputs):
        return torch.cat([inputs, inputs.square()], 1)


def case(classes, seen, images=7000, width=8, seed=0, coarse=False):
    """A task, its heads, and all of its scores: M x C over all classes and of unseen images over unseen classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator).numpy()
    features = torch.randn(images, width, generator=generator)
    weight = torch.randn(classes, width, generator=generator)
    if coarse:  # so that scores are whole numbers, and many of them equal
        features, weight = features.sign(), weight.round()
    stored = rows.Stored(features.numpy(), np.arange(images), "cpu")
    task = tasks.Task(np.arange(seen), np.arange(seen, classes), None, stored, labels, np.arange(images))
    gzsl = classifier.Head(weight, torch.zeros(classes))
    czsl = classifier.Head(weight[seen:].flip(0).contiguous(), torch.arange(classes - seen) % 2.0)
    model = Doubling()
    inputs = model.encode(features)
    over_all = classifier.scores(gzsl, inputs, model.expand).numpy()
    over_unseen = classifier.scores(czsl, inputs[torch.from_numpy(labels >= seen)], model.expand).numpy()
    return task, (model, gzsl, czsl), over_all, over_unseen


def assert_same(found, expected):
    for field in dataclasses.fields(metrics.Predictions):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), field.name)
    np.testing.assert_array_equal(found.gzsl, expected.gzsl)
    assert metrics.summary(found, 0.5) == metrics.summary(expected, 0.5)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("hold", [False, True])
def test_in_blocks_as_all_at_once(coarse, hold):
    task, heads, over_all, over_unseen = case(60, 40, coarse=coarse)
    expected = scored.predictions(over_all, task.labels, task.seen_mask, over_unseen, top=5)
    if coarse:
        assert (np.sort(over_all, 1)[:, -1] == np.sort(over_all, 1)[:, -2]).mean() > 0.2
    np.testing.assert_array_equal(expected.gzsl, over_all.argmax(1))
    inputs = judging.Inputs(task, heads[0], hold)
    for _ in range(2):
        assert_same(judging.predictions(task, *heads, inputs, top=5), expected)


def test_many_classes_are_scored_for_fewer_images_at_a_time(monkeypatch):
    task, heads, over_all, over_unseen = case(60, 40, coarse=True)
    monkeypatch.setattr(judging, "SCORES", 60 * 100)
    assert judging._at_once(heads[1]) == 100
    expected = scored.predictions(over_all, task.labels, task.seen_mask, over_unseen, top=5)
    assert_same(judging.predictions(task, *heads, top=5), expected)
    found = torch.cat(list(judging.blocks(task, heads[0], heads[1])))
    np.testing.assert_array_equal(found, over_all)


@pytest.mark.parametrize("held", [1 << 30, 7000 * 4 * 4, 0])
def test_what_does_not_fit_is_encoded_anew(monkeypatch, held):
    task, heads, over_all, over_unseen = case(60, 40)
    monkeypatch.setattr(classifier, "HELD", held)
    inputs = judging.Inputs(task, heads[0], hold=True)
    read = []
    monkeypatch.setattr(
        heads[0], "encode", lambda features: read.append(len(features)) or Doubling.encode(None, features)
    )
    expected = scored.predictions(over_all, task.labels, task.seen_mask, over_unseen)
    assert_same(judging.predictions(task, *heads, inputs), expected)
    assert read == ([] if held else [4096, 2904])


def test_the_best_of_equals_are_the_first_ones():
    scores = torch.tensor([[1.0, 2, 2, 2, 0], [3, 3, 3, 3, 3], [0, 1, 2, 3, 4]])
    classes, highest = judging._top(scores, 2)
    assert classes.tolist() == [[1, 2], [0, 1], [4, 3]]
    assert highest.tolist() == [[2, 2], [3, 3], [4, 3]]


def test_a_score_that_is_no_number_is_told():
    task, (model, gzsl, czsl), *_ = case(60, 40, images=30)
    task.features.held[7, 0] = np.nan
    with pytest.raises(UserError, match=r"row 7: its scores are not finite"):
        judging.predictions(task, model, gzsl, czsl)


def test_more_than_one_model_sees_the_same_images():
    task = tasks.test_task(problems.benchmark(), "cpu")
    blocks = list(task.features.split(50))
    assert torch.equal(torch.cat(blocks), task.features[:])
    np.testing.assert_array_equal(task.features[:], problems.benchmark().features[task.rows])
