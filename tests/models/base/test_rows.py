"""Rows that come when they are asked for are those of the tensor that they stand for."""

import numpy as np
import pytest
import torch

from pipeline.models.base.rows import Joined, Scaled, Stored, encoded
from pipeline.models.base.scaling import MinMax

WHOLE = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
ORDER = np.array([5, 0, 7, 3, 9, 2, 11, 20, 29])


def stored(tmp_path):
    np.save(tmp_path / "features.npy", WHOLE.numpy())
    return Stored(np.load(tmp_path / "features.npy", mmap_mode="r"), ORDER, "cpu"), WHOLE[ORDER]


def scale():
    scale = MinMax(4)
    scale.fit(WHOLE)
    return scale


def kinds(tmp_path):
    lying, whole = stored(tmp_path)
    return {
        "memory map": (lying, whole),
        "memory": (Stored(WHOLE, ORDER, "cpu"), whole),
        "scaled": (Scaled(lying, scale()), scale()(whole)),
        "joined": (Joined(lying, WHOLE[:3] + 1), torch.cat([whole, WHOLE[:3] + 1])),
        "joined, scaled": (Joined(Scaled(lying, scale()), WHOLE[:3]), torch.cat([scale()(whole), WHOLE[:3]])),
    }


@pytest.mark.parametrize("kind", ["memory map", "memory", "scaled", "joined", "joined, scaled"])
def test_they_read_like_the_tensor(tmp_path, kind):
    rows, tensor = kinds(tmp_path)[kind]
    assert (len(rows), rows.shape, rows.device.type) == (len(tensor), tensor.shape, "cpu")
    for at in (slice(None), slice(0, 0), slice(2, 9), slice(None, None, 3), torch.tensor([8, 1, 1]), torch.tensor([])):
        at = at.long() if torch.is_tensor(at) else at
        assert torch.equal(rows[at], tensor[at])
    grid = torch.tensor([[0, 8], [3, 3]])
    assert torch.equal(rows[grid], tensor[grid])
    parts = list(rows.split(4))
    assert list(map(len, parts)) == list(map(len, tensor.split(4)))
    assert torch.equal(torch.cat(parts), tensor)


def test_what_is_changed_leaves_the_features_as_they_are(tmp_path):
    rows, tensor = stored(tmp_path)
    rows[torch.tensor([0])].zero_()
    Scaled(rows, scale())[:].zero_()
    assert torch.equal(rows[:], tensor)


def test_a_scale_is_fitted_alike(tmp_path):
    rows, tensor = stored(tmp_path)
    one, other = MinMax(4), MinMax(4)
    one.fit(rows)
    other.fit(tensor)
    assert torch.equal(one.low, tensor.amin(0))
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))


def test_encoding_goes_block_by_block(tmp_path, monkeypatch):
    rows, tensor = stored(tmp_path)
    monkeypatch.setattr("pipeline.models.base.rows.BLOCK", 4)
    seen = []

    class Model:
        def encode(self, features):
            seen.append(len(features))
            return features * 2

    assert torch.equal(encoded(Model(), rows), tensor * 2)
    assert seen == [4, 4, 1]
