"""The tasks hold what they should and nothing that they must not."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from benchmarks import configs
from pipeline.common import files, params
from pipeline.common.errors import UserError
from pipeline.datasets import index
from pipeline.models.base import registry as models
from pipeline.protocol import tasks, trained
from tests import problems

BENCHMARK = problems.benchmark()


def rows_of(features):
    """The benchmark's rows that N x d features are."""
    return [int(np.flatnonzero((BENCHMARK.features == row).all(1))[0]) for row in features.numpy()]


def test_the_final_task_learns_from_trainval_alone():
    task = tasks.test_task(BENCHMARK, "cpu")
    learnt = rows_of(task.problem.features)
    assert set(BENCHMARK.split[learnt]) == {"trainval"}
    assert len(learnt) == (BENCHMARK.split == "trainval").sum()
    np.testing.assert_array_equal(task.seen[task.problem.labels.numpy()], BENCHMARK.labels[learnt])
    assert set(BENCHMARK.split[task.rows]) == {"test_seen", "test_unseen"}
    classes = np.concatenate([task.seen, task.unseen])
    np.testing.assert_array_equal(classes[task.labels], BENCHMARK.labels[task.rows])
    np.testing.assert_array_equal(task.problem.unseen.numpy(), BENCHMARK.attributes[task.unseen])
    assert task.seen_mask.sum() == len(task.seen) == 20


@pytest.mark.parametrize("fold", [0, 1])
def test_validation_never_touches_a_test_row_or_an_unseen_class(fold):
    task = tasks.validation_task(BENCHMARK, fold, "cpu")
    touched = rows_of(task.problem.features) + list(task.rows)
    assert set(BENCHMARK.split[touched]) == {"trainval"}
    unseen = set(BENCHMARK.labels[BENCHMARK.split == "test_unseen"])
    assert not unseen & set(np.concatenate([task.seen, task.unseen]))
    assert not set(task.seen) & set(task.unseen)
    assert len(task.unseen) == 3


def test_test_rows_marked_for_validation_are_left_out():
    leaky = [np.where(BENCHMARK.split == "test_seen", "train", fold) for fold in BENCHMARK.validation]
    task = tasks.validation_task(dataclasses.replace(BENCHMARK, validation=leaky), 0, "cpu")
    assert set(BENCHMARK.split[rows_of(task.problem.features)]) == {"trainval"}


def test_a_fold_that_is_not_there():
    with pytest.raises(UserError, match=r"selection\.folds: this data set has 2 validation fold"):
        tasks.need_folds(BENCHMARK, 3)


def test_an_unseen_class_without_images_still_competes():
    images = BENCHMARK.labels != tasks.test_task(BENCHMARK, "cpu").unseen[0]
    fewer = tasks.Benchmark(
        BENCHMARK.features[images],
        BENCHMARK.attributes,
        BENCHMARK.labels[images],
        BENCHMARK.split[images],
        [fold[images] for fold in BENCHMARK.validation],
        BENCHMARK.class_names,
    )
    assert len(tasks.test_task(fewer, "cpu").unseen) == 4


def write(folder, features):
    names = [BENCHMARK.class_names[i] for i in BENCHMARK.labels]
    images = [f"a.tar/{i}.jpg" for i in range(len(names))]
    built = index.Index(images, BENCHMARK.labels, names, BENCHMARK.split, BENCHMARK.validation)
    index.write(folder / "index.csv", built)
    files.write_npz(
        folder / "semantics.npz", attributes=BENCHMARK.attributes, class_names=np.array(BENCHMARK.class_names)
    )
    files.write_npy(folder / "features.npy", features)


def test_what_the_stages_wrote_is_read_back(tmp_path):
    write(tmp_path, BENCHMARK.features)
    loaded = tasks.load(tmp_path)
    np.testing.assert_array_equal(loaded.features, BENCHMARK.features)
    np.testing.assert_array_equal(loaded.labels, BENCHMARK.labels)
    np.testing.assert_array_equal(loaded.validation, BENCHMARK.validation)
    assert loaded.class_names == BENCHMARK.class_names
    assert tasks.fingerprint(loaded) == tasks.fingerprint(BENCHMARK)


def test_features_of_another_extraction_are_refused(tmp_path):
    write(tmp_path, BENCHMARK.features[:-1])
    with pytest.raises(UserError, match=r"features\.npy: its shape is \(479, 24\), but index\.csv has 480 rows"):
        tasks.load(tmp_path)


def test_features_that_do_not_fit_a_gpu_stay_beside_it_and_a_line_says_so(monkeypatch, capsys):
    where = tasks.Stored(BENCHMARK.features, np.arange(5, 400, 3), "cuda:0")
    size = 4 * where.shape.numel()
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (2 * size - 1, 1 << 40))
    pinned = []
    monkeypatch.setattr(tasks, "_pinned", lambda shape: pinned.append(torch.empty(shape)) or pinned[-1])
    placed = tasks.placed(where)
    assert (placed.device.type, placed.held) == ("cuda", pinned[0])
    assert re.fullmatch(r"training features \(.*\) stay in the processor's memory, .*\n", capsys.readouterr().out)
    np.testing.assert_array_equal(placed.held[placed.rows], BENCHMARK.features[where.rows])


@pytest.mark.parametrize("name", params.MODELS)
def test_a_model_learns_the_same_from_features_beside_the_device(name, monkeypatch):
    module = models.get(name)
    changes = {"eszsl": {}}.get(name, {"epochs": 2})
    config = configs.config(name, "shapes", changes)
    task = tasks.test_task(BENCHMARK, "cpu")
    beside = tasks.Stored(task.problem.features, np.arange(len(task.problem.features)), "cpu")
    apart = dataclasses.replace(task, problem=dataclasses.replace(task.problem, features=beside))
    chosen = {"epoch": 2, "gzsl_epoch": 1, "czsl_epoch": 1}
    expected, _ = trained.train(task, module, config, chosen, 0, name)
    # as where there are too many for the classifier's inputs to be held
    monkeypatch.setattr("pipeline.models.base.classifier.HELD", 0)
    found, _ = trained.train(apart, module, config, chosen, 0, name)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=1e-5 if key.startswith("gzsl") else 0, msg=key)


def test_what_learns_nothing_holds_no_training_features():
    task = tasks.test_task(BENCHMARK, "cpu", learn=False)
    assert task.problem.features.held is BENCHMARK.features
    assert torch.equal(task.problem.features[:], tasks.test_task(BENCHMARK, "cpu").problem.features)


def test_features_are_hashed_once(monkeypatch):
    fresh = dataclasses.replace(BENCHMARK)
    first = tasks.fingerprint(fresh)
    monkeypatch.setattr(tasks.hashlib, "sha256", lambda: pytest.fail("hashed again"))
    assert tasks.fingerprint(fresh) == first
