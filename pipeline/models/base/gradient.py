"""What a trained model computes keeps no gradients, but for one who asks by what in its input a value came about."""

import functools

import torch


def of_input_alone(method):
    """Run a model's `encode` or `expand` without gradients, unless its input requires one, as for evidence maps."""

    @functools.wraps(method)
    def run(self, inputs):
        with torch.set_grad_enabled(torch.is_grad_enabled() and inputs.requires_grad):
            return method(self, inputs)

    return run
