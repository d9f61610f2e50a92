"""A training step that a GPU replays as one graph, so that launching its hundreds of small kernels no longer counts."""

import warnings

import torch

WARM = 3
"""Calls that run as they are before the capture: libraries set themselves up, optimisers make their state."""


class Captured:
    """Calls `step(*tensors)`, which returns one tensor; on CUDA by replaying a captured graph.

    `step` must read its changing inputs from the tensors alone, draw no random numbers, ask no tensor for its value,
    and use optimisers that are `capturable`. Where the capture fails, a line says so and every call runs as it is.
    After tensors that `step` uses were replaced (a checkpoint was loaded), call `forget`.
    """

    def __init__(self, step, device):
        self.step, self.device = step, device
        self.works = device.type == "cuda"
        self.forget()

    def forget(self):
        """Capture anew."""
        self.calls, self.graph = 0, None

    def __call__(self, *tensors):
        if not self.works:
            return self.step(*tensors)
        if self.calls < WARM:
            self.calls += 1
            return self._aside(tensors)
        if self.graph is None and not self._capture(tensors):
            return self.step(*tensors)
        for mine, given in zip(self.inputs, tensors, strict=True):
            mine.copy_(given)
        self.graph.replay()
        return self.output.clone()

    def _aside(self, tensors):
        """On a stream of its own, as a capture will be."""
        current, stream = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream), warnings.catch_warnings():
            # that a capturable optimiser runs uncaptured is as it should be here
            warnings.filterwarnings("ignore", ".*capturable=True")
            output = self.step(*tensors)
        current.wait_stream(stream)
        return output

    def _capture(self, tensors):
        """Record the step without running it; whether that worked."""
        self.inputs = [tensor.clone() for tensor in tensors]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self.device), torch.cuda.graph(graph):
                self.output = self.step(*self.inputs)
        except RuntimeError as error:
            self.works = False
            reason = str(error).splitlines()[0]
            print(f"training on {self.device} without a captured graph, which is slower: {reason}", flush=True)
            return False
        self.graph = graph
        return True
