"""Where in a photograph a value came from: followed back to the backbone's last feature map, gradient times activation.

For a value that is linear in mean-pooled features the map is exact: it sums to the value less that of an empty map.
"""

import torch

from pipeline.common.errors import UserError

LEAST = 2
"""Cells a side: fewer tell no place from another."""
FINE = 7
"""Cells a side that are fine enough; where the last map has fewer, as of small pictures, an earlier one is taken."""


class Spatial:
    """A `features.Network` whose feature map of each image is kept, to follow a value back to it.

    The map is the last that the features depend on as a whole: of a convolutional network and of a transformer that
    pools its patches, the output of its last layer; of one that reads its class token, the input of its last block, for
    that block's other outputs lead nowhere. Where it is coarser than `FINE`, the last stage before it that is not, or
    the finest. Raises UserError where there is no map of 2 x 2 cells or more.
    """

    def __init__(self, network):
        self.network, self.model, self.device = network, network.model, network.device
        self.model.requires_grad_(False)
        self.stage = None
        side, generator = network.view.size, torch.Generator().manual_seed(0)
        noise = torch.randint(256, (1, 3, side, side), dtype=torch.uint8, generator=generator)
        try:
            self.grid = self._grid(noise)
            if min(self.grid) < FINE:
                self._refine(noise)
            held, features = self(noise)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise self._refused(f"it has no feature map ({' '.join(str(error).split())[:100]})") from None
        if min(self.grid) < LEAST:
            raise self._refused("its last feature map is {} x {} cells".format(*self.grid))
        if not torch.allclose(network.forward(noise), features, rtol=1e-2, atol=1e-3):
            raise self._refused("its features do not come of its last feature map alone")
        if not self.maps(held, features, lambda found: found[:, :8].sum(1, keepdim=True)).any():
            raise self._refused("its features depend on no place of its last feature map")

    def _refused(self, reason):
        name = type(self.model).__name__
        return UserError(
            f"no evidence maps of this backbone, a {name}: {reason}; convolutional networks and transformers of image"
            " patches have them"
        )

    def _grid(self, noise):
        (held,), _ = self(noise)
        return tuple(self._cells(held).shape[1:3])

    def _refine(self, noise):
        """Take the last stage whose map is fine enough, or else the finest."""
        finest, grid = None, self.grid
        for stage in reversed(list(getattr(self.model, "feature_info", []))):
            self.stage = self.model.get_submodule(stage["module"])
            found = self._grid(noise)
            if min(found) > min(grid):
                finest, grid = self.stage, found
            if min(grid) >= FINE:
                break
        self.stage, self.grid = finest, grid

    def __call__(self, pixels):
        """M x 3 x size x size uint8 -> (activations of each batch, features M x d float32 with a gradient to them)."""
        parts = [self._forward(batch) for batch in pixels.split(self.network.batch)]
        held, features = zip(*parts, strict=True)
        return held, torch.cat(features)

    @torch.enable_grad()
    def _forward(self, pixels):
        given = self.network.view.normalise(pixels.to(self.device, non_blocking=True), self.network.dtype)
        if self.stage is None and not self._reads_token():
            held = self.model.forward_features(given).detach().requires_grad_()
            # later layers may work in place
            return held, self.model.forward_head(held.clone()).float()
        kept = []

        def cut(value):
            kept.append(value.detach().requires_grad_())
            return kept[0].clone()

        if self.stage is None:
            hook = self.model.blocks[-1].register_forward_pre_hook(lambda _, inputs: (cut(inputs[0]), *inputs[1:]))
        else:
            hook = self.stage.register_forward_hook(lambda _, inputs, output: cut(output))
        try:
            features = self.model(given).float()
        finally:
            hook.remove()
        return kept[0], features

    def _reads_token(self):
        return getattr(self.model, "global_pool", "") == "token" and hasattr(self.model, "blocks")

    def maps(self, held, features, values):
        """M x T x h x w maps of the values that `values` makes, M x T, of the M x d features; as called.

        Positive where the place speaks for the value. Each of the T values is followed back once.
        """
        with torch.enable_grad():
            found = values(features)
        maps = []
        for at in range(found.shape[1]):
            gradients = torch.autograd.grad(found[:, at].sum(), held, retain_graph=True)
            cells = [
                self._cells((gradient * activation.detach()).float()).sum(-1)
                for gradient, activation in zip(gradients, held, strict=True)
            ]
            maps.append(torch.cat(cells))
        return torch.stack(maps, 1)

    def _cells(self, held):
        """Activations as M x h x w x channels."""
        if held.ndim == 4:
            channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC" or (
                self.stage is None and held.shape[1] != self.model.num_features == held.shape[-1]
            )
            return held if channels_last else held.movedim(1, -1)
        if held.ndim != 3:
            raise ValueError(f"its last layer gives {held.ndim} dimensions")
        held = held[:, getattr(self.model, "num_prefix_tokens", 0) :]
        rows, columns = getattr(getattr(self.model, "patch_embed", None), "grid_size", None) or (
            2 * (round(held.shape[1] ** 0.5),)
        )
        if rows * columns != held.shape[1]:
            raise ValueError(f"{held.shape[1]} tokens are no grid of patches")
        return held.unflatten(1, (rows, columns))
