"""What is read back from an exported folder that is not as `save` wrote it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.common.errors import UserError
from pipeline.predict import bundle, export
from pipeline.protocol import tasks
from tests.report import made_up

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["eszsl", "hsva"])
def exported(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    made_up.dataset(root / "data/shapes")
    made_up.photographs(root)
    config = made_up.hsva() if request.param == "hsva" else None
    made_up.run(root / "runs/shapes/0", tasks.load(root / "data/shapes"), request.param, config, oracle=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        export.export("shapes", 0, root / "export")
    return root / "export"


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "export")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: [about], r"bundle\.json: should be a JSON object; export it again"),
        (lambda about: about | {"model": "hsvb"}, r"bundle\.json: model: 'hsvb' is not one of hsva, bsegn, eszsl"),
        (lambda about: about | {"config": None}, r"bundle\.json: config: None should be a mapping"),
        (lambda about: about | {"width": about["width"] + 1}, r"model\.safetensors: does not fit bundle\.json .*size"),
    ],
)
def test_a_wrong_bundle_is_named(folder, change, message):
    path = folder / "bundle.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=message):
        bundle.load(folder).model(CPU)


def test_each_tensor_that_is_missing_is_named(folder):
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        save_file({other: tensor for other, tensor in tensors.items() if other != name}, folder / "model.safetensors")
        with pytest.raises(UserError, match=rf"model\.safetensors: .*{name.removeprefix('model.')}.*; export it again"):
            bundle.load(folder).model(CPU)
