"""Features that are too many to lie on the device, or to lie in memory twice: rows come when they are asked for.

Each class here reads like an N x d tensor as far as models ask: `len`, `shape`, `device`, `[rows]` and `split`.
"""

import numpy as np
import torch

BLOCK = 4096
"""Rows that are read, encoded or expanded at a time."""


class _Rows:
    """What all have in common; a subclass gives `shape`, `device` and `[rows]`."""

    def __len__(self):
        return self.shape[0]

    def split(self, size):
        """Blocks of `size` rows in turn, the last one shorter."""
        return (self[start : start + size] for start in range(0, len(self), size))


class Stored(_Rows):
    """Rows of N' x d float32 outside of the device: a memory map, or a tensor in the processor's memory.

    held: N' x d; rows: N int64, which of them, in this order; device: where they are brought
    """

    def __init__(self, held, rows, device):
        self.held, self.rows, self.device = held, rows, torch.device(device)
        self.shape = torch.Size((len(rows), held.shape[1]))

    def __getitem__(self, at):
        rows = self.rows[at.cpu().numpy() if torch.is_tensor(at) else at]
        if torch.is_tensor(self.held):
            return self.held[torch.from_numpy(rows)].to(self.device)
        return torch.from_numpy(np.asarray(self.held[rows])).to(self.device)


class Scaled(_Rows):
    """`features`, a tensor or one of these, as `scale` gives them, so that no second copy lies in memory."""

    def __init__(self, features, scale):
        self.features, self.scale = features, scale
        self.shape, self.device = features.shape, features.device

    def __getitem__(self, at):
        return self.scale(self.features[at])


class Joined(_Rows):
    """The rows of `first` and then those of `second`, both of one width and on one device."""

    def __init__(self, first, second):
        self.first, self.second, self.device = first, second, second.device
        self.shape = torch.Size((len(first) + len(second), second.shape[1]))

    def __getitem__(self, at):
        if isinstance(at, slice):
            at = torch.arange(len(self), device=self.device)[at]
        of_first = at < len(self.first)
        rows = self.second.new_empty(*at.shape, self.shape[1])
        rows[of_first] = self.first[at[of_first]]
        rows[~of_first] = self.second[at[~of_first] - len(self.first)]
        return rows


def encoded(model, features):
    """N x d_x features, a tensor or one of these -> the N x k that the model makes of them, block by block."""
    return torch.cat([model.encode(block) for block in features.split(BLOCK)])
