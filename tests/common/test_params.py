"""Every kind of mistake in params.yaml is told in one line that names the key and what would be right."""

import dataclasses
import difflib
import shutil
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from pipeline.common import params
from pipeline.common.errors import UserError

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Inner:
    share: Annotated[float, params.Share] = 0.5


@dataclasses.dataclass(frozen=True)
class Schema:
    epochs: Annotated[int, params.AtLeastOne]
    lr: float
    kind: Literal["swd", "mcd"]
    fast: bool = False
    size: int | None = None
    inner: Inner = dataclasses.field(default_factory=Inner)


GOOD = {"epochs": 3, "lr": 0.1, "kind": "swd"}


def test_a_good_section_is_built_in_the_schemas_types():
    built = params.build(Schema, GOOD | {"lr": "1e-4", "inner": {"share": 1}}, "file: key")
    assert built == Schema(3, 1e-4, "swd", inner=Inner(1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "file: key.epochs: 0 is out of range; it should be at least 1"),
        ({"epochs": True}, "file: key.epochs: True should be a whole number"),
        ({"epochs": 1.5}, "file: key.epochs: 1.5 should be a whole number"),
        ({"lr": "fast"}, "file: key.lr: 'fast' should be a number"),
        ({"lr": None}, "file: key.lr: None should be a number"),
        ({"kind": "sdw"}, "file: key.kind: 'sdw' is not one of swd, mcd; did you mean 'swd'?"),
        ({"fast": 1}, "file: key.fast: 1 should be true or false"),
        ({"size": "big"}, "file: key.size: 'big' should be a whole number"),
        ({"epoch": 3}, "file: key.epoch: unknown key; did you mean 'epochs'?"),
        ({"inner": {"share": 2}}, "file: key.inner.share: 2.0 is out of range; it should be at least 0 and at most 1"),
        ({"inner": [1]}, "file: key.inner: [1] should be a mapping of keys to values"),
    ],
)
def test_a_bad_value_is_named(change, message):
    with pytest.raises(UserError) as raised:
        params.build(Schema, GOOD | change, "file: key")
    assert str(raised.value) == message


def test_an_override_changes_its_line_alone(tmp_path):
    """`dvc exp run -S` writes the file anew: it is kept in DVC's own layout, so that a diff shows what changed."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(tmp_path / "params.yaml", ["model=bsegn", "seeds=[0,1]", "features.batch=4"])
    before, after = ((folder / "params.yaml").read_text().splitlines() for folder in (ROOT, tmp_path))
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert len(changed) == 5, changed


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match=r"file: key\.lr: missing; key should hold epochs, lr, kind"):
        params.build(Schema, {"epochs": 3, "kind": "swd"}, "file: key")


def write(tmp_path, **changes):
    tree = {"model": "eszsl", "datasets": ["shapes"], "seeds": [0], "shapes": {}, "eszsl": {"common": {}, "shapes": {}}}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (tree | changes).items() if value is not None}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "hvsa"}, "model: 'hvsa' is not one of hsva, bsegn, eszsl; did you mean 'hsva'?"),
        ({"model": None}, "'model' is missing"),
        ({"datasets": ["cup"]}, r"datasets\[0\]: 'cup' is not one of .*did you mean 'cub'"),
        ({"datasets": "shapes"}, "datasets: 'shapes' should be a list"),
        ({"datasets": []}, r"datasets: \[\] should be a list of at least one value"),
        ({"seeds": [0, 0]}, r"seeds: \[0, 0\] names a value twice"),
        ({"seeds": [-1]}, r"seeds\[0\]: -1 is out of range"),
        ({"shapes": None}, "'shapes' is missing"),
        ({"eszsl": {"common": {}}}, r"'eszsl\.shapes' is missing: eszsl has no key 'shapes'"),
        ({"bakcbone": {}}, "'bakcbone' is no section of this pipeline; did you mean 'backbone'"),
    ],
)
def test_the_top_level_is_checked(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        params.load(write(tmp_path, **changes))


def test_files_that_are_no_params(tmp_path):
    with pytest.raises(UserError, match="run from the folder that holds it"):
        params.load(tmp_path / "params.yaml")
    path = tmp_path / "params.yaml"
    path.write_text("a: [")
    with pytest.raises(UserError, match="not valid YAML"):
        params.load(path)
    path.write_text("just text")
    with pytest.raises(UserError, match="holds no keys"):
        params.load(path)


def test_a_section_is_laid_over_what_is_common():
    given = params.Params({"m": {"common": {"lr": 1, "inner": {"share": 0.1}}, "cub": {"epochs": 2, "inner": {}}}})
    over = params.Params({"m": {"common": GOOD, "cub": {"epochs": 9, "inner": {"share": 0}}}})
    assert over.layered("m.common", "m.cub", Schema) == Schema(9, 0.1, "swd", inner=Inner(0.0))
    with pytest.raises(UserError, match=r"params\.yaml: m\.cub \(over m\.common\)\.kind: missing"):
        given.layered("m.common", "m.cub", Schema)
