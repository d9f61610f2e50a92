"""What `precision: auto` comes to on processors and GPUs that are not here."""

import pytest
import torch

from pipeline.models.base import precision
from tests import configs
from tests.models.bsegn import small as bsegn
from tests.models.hsva import small as hsva

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def processor(monkeypatch):
    """A function that puts a processor of these instructions in this one's place."""

    def put(*instructions):
        found = dict.fromkeys(precision.INSTRUCTIONS, False) | dict.fromkeys(instructions, True)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)

    return put


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [(("avx2",), "float32"), (("avx512_f",), "float32"), (("avx512_bf16",), "bfloat16"), (("amx_bf16",), "bfloat16")],
)
def test_auto_is_bfloat16_where_the_processor_has_instructions_for_it(processor, instructions, expected):
    processor(*instructions)
    assert precision.resolved("auto", CPU) == expected
    for asked in ("float32", "bfloat16", None):
        assert precision.resolved(asked, CPU) == asked


def test_without_the_library_of_products_in_bfloat16_auto_is_float32(processor, monkeypatch):
    processor("avx512_bf16")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert precision.resolved("auto", CPU) == "float32"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2\n\nflags\t\t: avx512_bf16x\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", False),
        (None, False),
    ],
)
def test_an_older_pytorch_has_the_kernel_asked(tmp_path, monkeypatch, text, expected):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    if text is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cpuinfo").write_text(text)
    assert precision._has_instructions(tmp_path) is expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")])
def test_auto_asks_the_generation_of_the_gpu_itself(monkeypatch, capability, expected):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability)
    assert precision.resolved("auto", GPU) == expected
    assert asked == [GPU]


def test_a_gpu_that_is_elsewhere_is_taken_for_one_that_has_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert precision.resolved("auto", torch.device("cuda")) == "bfloat16"
    assert precision.resolved("auto", torch.device("meta")) == "float32"


@pytest.mark.parametrize("instruction", ["avx2", "avx512_bf16"])
@pytest.mark.parametrize("model", ["hsva", "bsegn"])
def test_a_training_takes_what_auto_comes_to_and_says_it_in_a_line(processor, capsys, model, instruction):
    """It then is the training of the precision by its name."""
    processor(instruction)
    expected = precision.resolved("auto", CPU)
    epochs = {}
    for asked in ("auto", expected):
        if model == "hsva":
            network, made = hsva.build(precision=asked)
            trainer = network.trainer(made, 0)
        else:
            _, trainer = bsegn.begin(bsegn.problem(), configs.bsegn(precision=asked))
        said = capsys.readouterr().out
        epochs[asked] = trainer.epoch()
        assert (f"{model}: precision auto is {expected}, for " in said) == (asked == "auto")
        assert said.count("\n") == (asked == "auto")
    assert epochs["auto"] == epochs[expected]
