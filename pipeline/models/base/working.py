"""The networks a training computes with, and its steps: bfloat16 copies of weights, memory that is kept for gradients.

Autocast alone rounds a weight anew in each step that multiplies by it, whether it has moved or not, and widens its
gradient into new memory, of which every page is fetched and zeroed: that takes longer than the product it is for.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """As PyTorch's, of N x d_in inputs; with `memory`, its weight's gradient is written into that in every step.

    Then it may be applied once between two steps of the optimiser, for a second gradient overwrites the first, and
    its gradient is computed whether it is asked for or not: see `Working.still`.
    """

    memory = None

    def forward(self, inputs):
        """N x d_in -> N x d_out."""
        if self.memory is None or not (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(inputs)
        return _Linear.apply(inputs, self.weight, self.bias, self.memory)


class _Linear(torch.autograd.Function):
    """`F.linear`, whose backward products autocast does not reach: all are of the weight's type."""

    @staticmethod
    def forward(ctx, inputs, weight, bias, memory):
        inputs = inputs.to(weight.dtype)
        ctx.save_for_backward(inputs, weight)
        ctx.memory = memory
        return F.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx, gradient):
        inputs, weight = ctx.saved_tensors
        to_inputs = gradient @ weight if ctx.needs_input_grad[0] else None
        return to_inputs, product(gradient.T, inputs, ctx.memory), gradient.sum(0), None


def product(left, right, memory):
    """The product of two matrices, in `memory` and of its type, or, where that is None, in new memory."""
    if memory is None:
        return left @ right
    return torch.mm(left.to(memory.dtype), right.to(memory.dtype), out=memory)


class Working:
    """Twins of networks for a training to compute with, and steps of the parameters of the networks themselves.

    net: holds the networks, on their device, with the weights they begin with
    precision: float32 or bfloat16

    `self.net` is the twin. In float32 it has the same parameters. In bfloat16 it has copies of all matrices, which
    follow each step of these; under autocast it gives what the network itself gives there, bit for bit. Buffers are
    shared. On a processor its `Linear`s keep the memory of their gradients. `self.still` is a twin with the same
    weights, for which no gradient is ever computed.
    """

    def __init__(self, net, precision):
        matrices = [parameter for parameter in net.parameters() if _is_matrix(parameter)]
        self.copies = {}
        if precision == "bfloat16":
            self.copies = {matrix: nn.Parameter(matrix.detach().bfloat16()) for matrix in matrices}
            for matrix in matrices:
                matrix.grad = torch.empty_like(matrix)
        self.net = _twin(net, lambda parameter: self.copies.get(parameter, parameter))
        self.still = _twin(self.net, lambda parameter: parameter.detach())
        for layer in self.net.modules():
            if isinstance(layer, Linear) and layer.weight.device.type == "cpu" and _is_matrix(layer.weight):
                layer.memory = torch.empty_like(layer.weight)

    def minimise(self, loss, *optimisers):
        """A step of these optimisers on a loss; no other parameter's gradient is computed."""
        used = [[self.copies.get(parameter, parameter) for parameter in parameters(one)] for one in optimisers]
        gradients = torch.autograd.grad(loss, [tensor for tensors in used for tensor in tensors])
        for optimiser, tensors in zip(optimisers, used, strict=True):
            self.step(optimiser, gradients[: len(tensors)])
            gradients = gradients[len(tensors) :]

    def step(self, optimiser, gradients):
        """A step of an optimiser by gradients for its parameters, of the type they come in."""
        kept = []
        for parameter, gradient in zip(parameters(optimiser), gradients, strict=True):
            if parameter in self.copies:
                kept.append((parameter.grad, gradient))
            else:
                parameter.grad = gradient.to(parameter.dtype)
        _copy(kept)
        optimiser.step()
        self._follow(parameters(optimiser))

    def reload(self):
        """Follow weights that were moved by other than a step: a checkpoint was loaded."""
        self._follow(self.copies)

    def _follow(self, moved):
        _copy([(self.copies[parameter], parameter) for parameter in moved if parameter in self.copies])


def parameters(optimiser):
    """What an optimiser of one group moves."""
    return optimiser.param_groups[0]["params"]


@torch.no_grad()
def _copy(pairs):
    """Write each pair's second tensor into its first, in the type of that."""
    if pairs:
        torch._foreach_copy_(*zip(*pairs, strict=True))


def _twin(net, of):
    """A network of the same code and buffers that has `of(parameter)` in each parameter's place."""
    memo = {id(parameter): of(parameter) for parameter in net.parameters()}
    return copy.deepcopy(net, memo | {id(buffer): buffer for buffer in net.buffers()})


def _is_matrix(parameter):
    """Whether products by it are worth a copy; a row or column is rounded in no time."""
    return sum(size > 1 for size in parameter.shape) > 1
