"""AWA1, whose images are not distributed: published features with labels that fit the real split."""

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets import awa1
from tests.datasets import published
from tests.datasets.test_awa2 import base_zip


def labels():
    """N labels from one such that each row's class fits the real split and the real validation rows."""
    content = published.att_splits("AWA1")
    names = [str(cell[0]) for cell in content["allclasses_names"].ravel()]
    result = np.zeros(30475, dtype=int)

    def deal(rows, file):
        stated = (published.SHARED / "xlsa17/AWA1" / file).read_text().split()
        result[rows] = np.resize([names.index(name) + 1 for name in stated], len(rows))

    deal(content["test_unseen_loc"].ravel().astype(int) - 1, "testclasses.txt")
    deal(content["test_seen_loc"].ravel().astype(int) - 1, "trainvalclasses.txt")
    deal(content["train_loc"].ravel().astype(int) - 1, "trainclasses1.txt")
    deal(content["val_loc"].ravel().astype(int) - 1, "valclasses1.txt")
    return result


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    published.needs("AwA2-base", "xlsa17/AWA1")
    folder = tmp_path_factory.mktemp("awa1")
    base_zip(folder / "AwA2-base.zip")
    published.res101(folder / "res101.mat", labels(), [f"/x/{row}.jpg" for row in range(30475)], width=2048 // 256)
    published.xlsa17(folder / "xlsa17.zip", "AWA1", folder / "res101.mat")
    return published.fill(
        folder / "raw", ["published"], annotations=folder / "AwA2-base.zip", splits=folder / "xlsa17.zip"
    )


def test_split_and_folds_are_the_published_ones(raw):
    index = published.built(awa1, raw)
    assert index.images == [""] * 30475
    published.assert_split_as_published(index, "AWA1", published.att_splits("AWA1"))
    published.assert_folds_as_published(index, "AWA1")
    # the file's own val_loc names the same rows as the first fold
    rows = published.att_splits("AWA1")["val_loc"].ravel().astype(int) - 1
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(index.validation[0] == "val_unseen"))


def test_the_continuous_matrix_equals_the_published_one(raw):
    difference = np.abs(awa1.semantics(raw, "attributes").attributes - published.att_splits("AWA1")["att"].T).max()
    print(f"largest difference of AWA1's attributes: {difference:.1e}")
    assert difference < 1e-12


def test_features_come_row_by_row(raw):
    assert awa1.published(raw).shape == (30475, 8)


def test_without_features_the_message_says_what_is_missing(raw, tmp_path):
    published.xlsa17(tmp_path / "xlsa17.zip", "AWA1")
    other = published.fill(tmp_path / "raw", splits=tmp_path / "xlsa17.zip")
    with pytest.raises(UserError, match=r"holds no AWA1/res101\.mat"):
        awa1.listing(other)
