"""Min-max scaling of features, kept with a model's weights."""

import torch

from pipeline.models.base.rows import BLOCK


class MinMax(torch.nn.Module):
    """Scale each dimension to [0, 1], as fitted on trainval features; other features may leave that range."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("low", torch.zeros(width))
        self.register_buffer("span", torch.ones(width))

    def fit(self, features):
        """Take the range of N x width features, a tensor or `rows`; a constant dimension is scaled by one."""
        lows, highs = zip(*((block.amin(0), block.amax(0)) for block in features.split(BLOCK)), strict=True)
        low, high = torch.stack(lows).amin(0), torch.stack(highs).amax(0)
        self.low.copy_(low)
        self.span.copy_(torch.where(high > low, high - low, torch.ones_like(low)))

    def forward(self, features):
        """N x width features -> the same, scaled."""
        return (features - self.low).div_(self.span)
