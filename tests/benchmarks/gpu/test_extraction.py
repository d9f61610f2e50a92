"""Features compared and timed, on the processor with a small network: a difference that is there is found."""

import pytest
import torch

from benchmarks.gpu import extraction

CPU = torch.device("cpu")


@pytest.fixture
def made():
    return extraction.compared(CPU, extraction.SMALL)


def test_the_same_network_is_no_different_and_a_perturbed_one_is(made):
    networks, pixels = made
    assert len(pixels) == extraction.SMALL.compared
    before = extraction.differences(networks, pixels)["the device in float32"]
    assert (before["largest"], before["mean"]) == (0, 0)
    with torch.no_grad():
        first = next(networks["the device in float32"].model.parameters())
        first[0] += 0.1
    after = extraction.differences(networks, pixels)["the device in float32"]
    assert after["largest"] > after["mean"] > 1e-4
    assert after["least_cosine"] < 1 - 1e-6


def test_differences_are_those_of_the_numbers():
    class Shifted:
        def __init__(self, *shift):
            self.shift = torch.tensor(shift)

        def forward(self, pixels):
            return pixels + self.shift

    found = extraction.differences(
        {"a": Shifted(0.0, 0.0), "b": Shifted(0.0, -0.5)}, torch.tensor([[3.0, 4.0], [3.0, 0.5]])
    )
    assert found["a"]["root_mean_square"] == pytest.approx((34.25 / 4) ** 0.5)
    assert found["b"]["largest"] == 0.5
    assert found["b"]["mean"] == 0.25
    # of the second: (3, 0.5) and (3, 0)
    assert found["b"]["least_cosine"] == pytest.approx(9 / (9.25**0.5 * 3))


def test_all_of_it_in_both_types():
    found = extraction.run(print, "cpu", extraction.SMALL)
    assert found["tf32"] is False
    assert found["against"]["the device in bfloat16"]["largest"] > 0
    assert found["against"]["the device in bfloat16"] == found["against"]["the processor in bfloat16"]
    for dtype, rates in found["rates"].items():
        assert rates["dtype"] == dtype
        assert min(rates[name] for name in ("decode", "forward", "stage", "plain", "peak_gib")) > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_float32_is_that_of_the_processor_but_for_its_last_digits():
    found = extraction.run(print, "cuda", extraction.SMALL)
    scale = found["against"]["the processor in float32"]["root_mean_square"]
    assert found["against"]["the device in float32"]["largest"] < 1e-3 * scale
    assert found["rates"]["float32"]["peak_device_gib"] > 0
