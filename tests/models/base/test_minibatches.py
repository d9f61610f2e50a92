"""Rows of minibatches: none twice, each set as likely as any other, whatever the sizes."""

from itertools import combinations

import pytest
import torch

from pipeline.models.base import minibatches


def drawn(batches, size, images, seed=0):
    return minibatches.rows(batches, size, images, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("size", "images"), [(1, 1), (2, 2), (5, 6), (50, 7057), (64, 3)])
def test_no_row_occurs_twice(size, images):
    rows = drawn(40, size, images)
    assert rows.shape == (40, min(size, images))
    assert rows.min() >= 0
    assert rows.max() < images
    assert all(len(set(batch)) == len(batch) for batch in rows.tolist())


def test_every_set_is_as_likely_as_any_other():
    sets = [tuple(sorted(batch)) for batch in drawn(30000, 3, 6).tolist()]
    counts = torch.tensor([sets.count(which) for which in combinations(range(6), 3)]).double()
    # twenty sets of 1,500 each; the chi-squared distribution of 19 degrees is below 44 in 999 of 1,000 draws
    assert ((counts - 1500) ** 2 / 1500).sum() < 44


def test_a_minibatch_does_not_know_the_last():
    first, second = drawn(20000, 2, 4).view(10000, 2, 2).unbind(1)
    met = (first[:, :, None] == second[:, None]).any(2).double().mean()
    # a permutation of all images dealt out in turn would never meet a row again
    assert abs(met - 0.5) < 0.02


def test_the_seed_decides():
    assert torch.equal(drawn(5, 4, 30), drawn(5, 4, 30))
    assert not torch.equal(drawn(5, 4, 30), drawn(5, 4, 30, seed=1))
