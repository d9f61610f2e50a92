"""Where in a photograph a value came from: followed back to the backbone's last feature map, gradient times activation.

For a value that is linear in mean-pooled features the map is exact: it sums to the value less that of an empty map.
"""

import torch

from pipeline.common.errors import UserError

LEAST = 2
"""Cells a side: fewer tell no place from another."""


class Spatial:
    """A `features.Network` cut in two before its pooling: a feature map of each image, and features of the map.

    The cut is the last map that the features depend on as a whole: of a convolutional network and of a transformer
    that pools its patches, the output of its last layer; of one that reads its class token, the input of its last
    block, for that block's other outputs lead nowhere. Raises UserError where there is no map of 2 x 2 cells or more.
    """

    def __init__(self, network):
        self.network, self.model, self.device = network, network.model, network.device
        self.model.requires_grad_(False)
        self.last = self._last_block()
        side, generator = network.view.size, torch.Generator().manual_seed(0)
        noise = torch.randint(256, (1, 3, side, side), dtype=torch.uint8, generator=generator)
        try:
            held, features = self._forward(noise)
            self.grid = tuple(self._cells(held).shape[1:3])
            whole = self.features(held)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise self._refused(f"it has no feature map ({' '.join(str(error).split())[:100]})") from None
        if min(self.grid) < LEAST:
            raise self._refused("its last feature map is {} x {} cells".format(*self.grid))
        if not torch.allclose(whole, features, rtol=1e-2, atol=1e-3):
            raise self._refused("its features do not come of its last feature map alone")
        if not self.maps(held, lambda found: found[:, :8].sum(1, keepdim=True)).any():
            raise self._refused("its features depend on no place of its last feature map")

    def _refused(self, reason):
        name = type(self.model).__name__
        return UserError(
            f"no evidence maps of this backbone, a {name}: {reason}; convolutional networks and transformers of image"
            " patches have them"
        )

    def _last_block(self):
        """The block before whose input the map is taken, where the features are those of one token."""
        pool = getattr(self.model, "global_pool", "")
        return self.model.blocks[-1] if pool == "token" and hasattr(self.model, "blocks") else None

    def __call__(self, pixels):
        """M x 3 x size x size uint8 -> (activations, features M x d float32), on the device, without gradients."""
        parts = [self._forward(batch) for batch in pixels.split(self.network.batch)]
        held, features = zip(*parts, strict=True)
        return torch.cat(held), torch.cat(features)

    @torch.no_grad()
    def _forward(self, pixels):
        given = self.network.view.normalise(pixels.to(self.device, non_blocking=True), self.network.dtype)
        if self.last is None:
            held = self.model.forward_features(given)
            return held, self.model.forward_head(held).float()
        kept = []
        hook = self.last.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            features = self.model(given).float()
        finally:
            hook.remove()
        return kept[0], features

    def features(self, held):
        """What the network makes of activations, with a gradient: M x d float32."""
        if self.last is None:
            return self.model.forward_head(held).float()
        after = self.last(held)
        norm = getattr(self.model, "norm", torch.nn.Identity())
        return self.model.forward_head(norm(after)).float()

    def maps(self, held, values):
        """Activations of M images -> M x T x h x w maps of the values that `values` makes, M x T, of M x d features.

        Positive where the place speaks for the value. A batch is followed back once for each of the T values.
        """
        with torch.enable_grad():
            held = held.detach().clone().requires_grad_()
            found = values(self.features(held))
            maps = []
            for at in range(found.shape[1]):
                (gradient,) = torch.autograd.grad(found[:, at].sum(), held, retain_graph=at + 1 < found.shape[1])
                maps.append(self._cells((gradient * held.detach()).float()).sum(-1))
        return torch.stack(maps, 1)

    def _cells(self, held):
        """Activations as M x h x w x channels."""
        if held.ndim == 4:
            channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC" or (
                held.shape[1] != self.model.num_features == held.shape[-1]
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
