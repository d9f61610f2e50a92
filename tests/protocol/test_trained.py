import json

import pytest
import torch
from safetensors.torch import save_file

from pipeline.common.errors import UserError
from pipeline.models import bsegn, eszsl
from pipeline.protocol import tasks, trained
from tests import configs, problems
from tests.report import made_up


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "does not say its model and config"),
        ({"model": "eszsl"}, "does not say its model and config"),
        ({"model": "eszsl", "config": "{"}, r"its config is not valid JSON \(.*\); `dvc repro` makes one that is"),
        ({"model": "eszsl", "config": "[]"}, r"config: \[\] should be a mapping"),
        ({"model": "else", "config": "{}"}, "model: 'else' is not one of hsva, bsegn, eszsl"),
    ],
)
def test_a_file_that_does_not_say_what_it_holds_is_named(tmp_path, metadata, message):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(UserError, match=message) as caught:
        trained.read(path)
    assert str(path) in str(caught.value)


def test_a_missing_head_is_one_line(tmp_path):
    task = tasks.test_task(problems.benchmark(), torch.device("cpu"))
    width, size = task.problem.features.shape[1], task.problem.seen.shape[1]
    path = tmp_path / "model.safetensors"
    model = eszsl.Model(width, size, 0, 0, None)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    save_file(state, path, {"model": "eszsl", "config": json.dumps(made_up.ESZSL)})
    with pytest.raises(UserError, match=r"does not fit the data set \('gzsl\.weight'\)"):
        trained.read(path).restore(task)


@pytest.mark.parametrize("count", [0, -3])
def test_a_model_that_would_synthesise_nothing_is_one_line(tmp_path, count):
    task = tasks.test_task(problems.benchmark(), torch.device("cpu"))
    config = configs.bsegn(synthetic=None, proportion=1.0)
    width, size = task.problem.features.shape[1], task.problem.seen.shape[1]
    model = bsegn.Model(width, size, len(task.seen), len(task.unseen), config)
    model.synthetic.fill_(count)
    path = tmp_path / "model.safetensors"
    trained.write(path, "bsegn", config, {f"model.{name}": tensor for name, tensor in model.state_dict().items()})
    with pytest.raises(UserError, match=rf"does not fit the data set \(synthetic: {count}, should be at least 1\)"):
        trained.read(path).restore(task)
