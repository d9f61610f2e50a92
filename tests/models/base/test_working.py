"""Copies of weights and kept gradients: beside autocast, which rounds anew, they change no digit and cast no weight."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.models.base.working import Linear, Working
from pipeline.models.bsegn import trainer as bsegn_trainer
from pipeline.models.hsva import trainer as hsva_trainer
from tests import configs
from tests.models.bsegn import small as bsegn
from tests.models.hsva import small as hsva


class Reference:
    """In the place of `Working`: the networks as they are, under autocast, by PyTorch's own layers."""

    def __init__(self, net, precision):
        self.net = self.still = net

    def minimise(self, loss, *optimisers):
        moved = [parameter for one in optimisers for parameter in one.param_groups[0]["params"]]
        for parameter, gradient in zip(moved, torch.autograd.grad(loss, moved), strict=True):
            parameter.grad = gradient
        for one in optimisers:
            one.step()

    def step(self, optimiser, gradients):
        for parameter, gradient in zip(optimiser.param_groups[0]["params"], gradients, strict=True):
            parameter.grad = gradient.float()
        optimiser.step()


def trained(model, epochs=2, **changes):
    """Terms of each epoch of a small training, and the weights it ends with."""
    if model == "hsva":
        network, made = hsva.build(**changes)
        trainer, nets = network.trainer(made, 0), [network]
    else:
        network, trainer = bsegn.begin(bsegn.problem(), configs.bsegn(**changes))
        nets = [network, trainer.encoder, trainer.critic, trainer.fem]
    terms = [trainer.epoch() for _ in range(epochs)]
    return terms, [value.detach().clone() for net in nets for value in net.parameters()]


NARROW = {"encoder": 1, "generator": 24, "critic": 1, "cycle1": 16, "cycle2": 1, "fem": 18}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("hsva", {}),
        ("hsva", {"sad": False}),
        ("hsva", {"networks": {"hidden": 1, "latent": 1}, "discrepancy": "mcd"}),
        ("bsegn", {}),
        ("bsegn", {"fem": {"shared": True}}),
        ("bsegn", {"fem": {"training": "frozen"}, "cycle": {"fakes": True}}),
        ("bsegn", {"seen_latents": "prior", "widths": NARROW}),
    ],
    ids=str,
)
def test_a_training_is_that_of_autocast_bit_for_bit(monkeypatch, precision, model, changes):
    terms, weights = trained(model, precision=precision, **changes)
    for module in (hsva_trainer, bsegn_trainer):
        monkeypatch.setattr(module, "Working", Reference)
    expected, beside = trained(model, precision=precision, **changes)
    assert terms == expected
    assert all(torch.equal(*pair) for pair in zip(weights, beside, strict=True))


class Casts(TorchDispatchMode):
    """Notes the shapes of all tensors that are made bfloat16, or float32 of that, in new memory."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._to_copy.default:
            self.shapes.append(tuple(args[0].shape))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", ["hsva", "bsegn"])
def test_no_weight_and_no_gradient_is_cast_in_a_step(model):
    if model == "hsva":
        network, made = hsva.build(precision="bfloat16")
        trainer = network.trainer(made, 0)
        step = trainer.minibatch
    else:
        _, trainer = bsegn.begin(bsegn.problem(), configs.bsegn(precision="bfloat16", batch=13))
        step = trainer.iteration
    weights = {tuple(matrix.shape) for matrix in trainer.working.copies}
    draws = next(trainer.draws(1))
    with Casts() as casts:
        step(draws)
    assert casts.shapes
    assert weights & set(casts.shapes) == set()


def small():
    """Two layers, and a twin in bfloat16."""
    torch.manual_seed(0)
    net = nn.Sequential(Linear(5, 6), nn.ReLU(), Linear(6, 1))
    return net, Working(net, "bfloat16")


def test_copies_are_of_matrices_and_follow_their_own_steps_alone():
    net, working = small()
    assert set(working.copies) == {net[0].weight}
    assert working.net[0].weight.dtype is torch.bfloat16
    assert working.net[2].weight is net[2].weight
    assert working.net[0].bias is net[0].bias
    inputs, narrow = torch.randn(4, 5), working.net[0].weight
    parts = [torch.optim.Adam(net[place].parameters(), fused=True) for place in (0, 2)]
    for part in (parts[1], parts[0]):
        before, version = net[0].weight.detach().clone(), narrow._version
        with torch.autocast("cpu", torch.bfloat16):
            loss = working.net(inputs).float().square().sum()
        working.minimise(loss, part)
        assert (narrow._version != version) == (part is parts[0])
        assert torch.equal(narrow, net[0].weight.bfloat16())
        assert torch.equal(before, net[0].weight) == (part is parts[1])
        assert net[0].weight.dtype is torch.float32
    with torch.no_grad():
        net[0].weight.fill_(3)
    working.reload()
    assert working.net[0].weight.eq(3).all()


def test_in_float32_the_twin_has_the_very_weights_and_the_network_stays_as_it_was():
    net, _ = small()
    working = Working(net, "float32")
    assert all(mine is own for mine, own in zip(working.net.parameters(), net.parameters(), strict=True))
    assert net[0].memory is None
    assert working.net[0].memory.shape == net[0].weight.shape
    # twice between two steps, which only a layer without kept memory may be
    gradient = torch.autograd.grad((net(torch.ones(1, 5)) + net(torch.ones(1, 5))).sum(), net[0].weight)[0]
    once = torch.autograd.grad(net(torch.ones(1, 5)).sum(), net[0].weight)[0]
    torch.testing.assert_close(gradient, 2 * once)


def test_what_stands_still_hands_gradients_to_its_inputs_alone_and_moves_with_its_weights():
    _, working = small()
    inputs = torch.randn(4, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        one, other = working.net(inputs), working.still(inputs)
    assert torch.equal(one, other)
    assert torch.autograd.grad(other.float().sum(), inputs)[0].abs().sum() > 0
    assert not any(value.requires_grad for value in working.still.parameters())
    assert working.still[0].memory is None
    with torch.no_grad():
        working.net[0].weight.zero_()
    assert working.still[0].weight.eq(0).all()


def test_a_kept_gradient_is_that_of_the_plain_layer():
    torch.manual_seed(1)
    layer = Linear(7, 3)
    kept = copy.deepcopy(layer)
    kept.memory = torch.full_like(layer.weight, torch.nan)
    inputs = torch.randn(5, 7, requires_grad=True)
    for given in (inputs, inputs.detach()):
        wanted = [*layer.parameters(), *([given] if given.requires_grad else [])]
        expected = torch.autograd.grad(F.linear(given, layer.weight, layer.bias).square().sum(), wanted)
        wanted = [*kept.parameters(), *([given] if given.requires_grad else [])]
        got = torch.autograd.grad(kept(given).square().sum(), wanted)
        assert all(torch.equal(*pair) for pair in zip(got, expected, strict=True))
        assert got[0].data_ptr() == kept.memory.data_ptr()
