"""SUN, from archives of the published layout with the real annotations."""

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets import sun
from pipeline.sources import archives
from tests.datasets import published


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    published.needs("SUNAttributeDB", "xlsa17/SUN")
    folder = tmp_path_factory.mktemp("sun")
    annotations = {
        f"SUNAttributeDB/{path.name}": path.read_bytes() for path in (published.SHARED / "SUNAttributeDB").iterdir()
    }
    published.tgz(folder / "SUNAttributeDB.tar.gz", annotations)
    images = {f"images/{name}": published.pixel() for name in reversed(published.image_files("SUN"))}
    published.tgz(folder / "SUNAttributeDB_Images.tar.gz", images)
    names = published.image_files("SUN")
    classes = ["_".join(name.split("/")[1:-1]) for name in names]
    order = [str(cell[0]) for cell in published.att_splits("SUN")["allclasses_names"].ravel()]
    published.res101(
        folder / "res101.mat",
        [order.index(name) + 1 for name in classes],
        [f"/somewhere/SUN/images/{name}" for name in names],
    )
    published.xlsa17(folder / "xlsa17.zip", "SUN", folder / "res101.mat")
    return published.fill(
        folder / "raw",
        images=folder / "SUNAttributeDB_Images.tar.gz",
        annotations=folder / "SUNAttributeDB.tar.gz",
        splits=folder / "xlsa17.zip",
    )


def test_rows_split_and_folds_are_the_published_ones(raw):
    index = published.built(sun, raw)
    assert index.images == [f"images.tar/images/{name}" for name in published.image_files("SUN")]
    published.assert_split_as_published(index, "SUN", published.att_splits("SUN"))
    published.assert_folds_as_published(index, "SUN")
    reader = archives.Images(raw)
    assert reader.read(index.images[-1]) == published.pixel()


def test_class_means_equal_the_published_matrix(raw):
    built = sun.semantics(raw, "attributes")
    difference = np.abs(built.attributes - published.att_splits("SUN")["att"].T).max()
    print(f"largest difference of SUN's attributes: {difference:.1e}")
    assert difference < 1e-12
    assert built.attribute_names[0] == "sailing/ boating"
    assert np.abs(sun.semantics(raw, "published").attributes - built.attributes).max() < 1e-12


def test_published_features_are_checked_against_the_images(raw, tmp_path):
    assert sun.published(raw).shape == (14340, 7)
    names = published.image_files("SUN")
    published.res101(tmp_path / "res101.mat", np.tile(np.arange(1, 718), 20), names[1:] + names[:1])
    published.xlsa17(tmp_path / "xlsa17.zip", "SUN", tmp_path / "res101.mat")
    other = published.fill(
        tmp_path / "raw", annotations=published.SHARED / "SUNAttributeDB", splits=tmp_path / "xlsa17.zip"
    )
    for step in (sun.published, lambda raw: sun.splits(raw, None)):
        with pytest.raises(UserError, match=r"row 0 is 'a/abbey/sun_aaok.*' where 'a/abbey/sun_aakb.*' is expected"):
            step(other)
