"""Evidence maps: exact where the value is linear, refused where there is no map, right on the original photograph."""

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.common.errors import UserError
from pipeline.vision import backbone, evidence, features

CPU = torch.device("cpu")
CONFIG = features.Config("images", "float32", "full", 64, 2, "fail")


def network(arch, **overrides):
    config = backbone.Config(arch=arch, weights="", pretrained=False, **overrides)
    model = backbone.create(config)
    return features.Network(model, backbone.view(model, config), CONFIG, CPU)


def noise(view, count=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, view.size, view.size), dtype=torch.uint8, generator=generator)


# at a size at which the last map is fine enough
CONVOLUTIONAL = ["test_resnet", "test_efficientnet", "test_nfnet"]
OTHERS = ["test_vit", "test_vit2", "test_vit3", "test_vit4", "test_convnext", "test_mambaout"]


@pytest.mark.parametrize("arch", CONVOLUTIONAL + OTHERS)
def test_features_are_those_without_maps_and_every_map_has_places(arch):
    plain = network(arch, size=224)
    spatial = evidence.Spatial(plain)
    pixels = noise(plain.view)
    held, found = spatial(pixels)
    assert torch.equal(found, plain.forward(pixels))
    weight = torch.randn(found.shape[1], 2, generator=torch.Generator().manual_seed(2))
    maps = spatial.maps(held, found, lambda extracted: extracted @ weight)
    assert maps.shape == (3, 2, *spatial.grid)
    assert (maps.flatten(2).std(2) > 0).all()
    # an image's maps are its own, whatever stands beside it in the batch
    alone = spatial.maps(*spatial(pixels[1:2]), lambda extracted: extracted @ weight)
    torch.testing.assert_close(alone[0], maps[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("arch", CONVOLUTIONAL)
def test_the_map_of_a_linear_value_of_mean_pooled_features_sums_to_it(arch):
    spatial = evidence.Spatial(network(arch, size=224))
    held, found = spatial(noise(spatial.network.view))
    weight = torch.randn(found.shape[1], 4, generator=torch.Generator().manual_seed(2))
    maps = spatial.maps(held, found, lambda extracted: extracted @ weight + 7)
    torch.testing.assert_close(maps.sum((2, 3)), found @ weight, rtol=1e-4, atol=1e-5)
    # cell by cell: the value of each cell's activations, a share of the mean
    cells = torch.cat([spatial._cells(of_batch) for of_batch in held])
    if cells.shape[-1] == len(weight):
        each = torch.einsum("mhwc,ct->mthw", cells, weight) / cells.shape[1] / cells.shape[2]
        torch.testing.assert_close(maps, each, rtol=1e-4, atol=1e-5)


def test_a_map_follows_what_the_value_depends_on():
    """Features that are the sums of the left and the right half of the picture have maps of those halves alone."""

    class Halves(torch.nn.Module):
        num_features = 3
        output_fmt = "NCHW"

        def forward_features(self, x):
            return torch.nn.functional.avg_pool2d(x, 8)

        def forward_head(self, x):
            return torch.cat([x[..., :4].sum((2, 3)), x[..., 4:].sum((2, 3))], 1)

        def forward(self, x):
            return self.forward_head(self.forward_features(x))

    plain = network("test_resnet", size=64)
    spatial = evidence.Spatial(features.Network(Halves(), plain.view, CONFIG, CPU))
    held, found = spatial(noise(plain.view))
    left, right = spatial.maps(held, found, lambda found: torch.stack([found[:, 0], found[:, 3]], 1)).unbind(1)
    assert left[..., :4].all()
    assert not left[..., 4:].any()
    assert right[..., 4:].all()
    assert not right[..., :4].any()


@pytest.mark.parametrize(("arch", "reason"), [("pit_ti_224", "no feature map"), ("coat_tiny", "no feature map")])
def test_a_backbone_without_places_is_refused_in_a_line(arch, reason):
    with pytest.raises(UserError, match=reason) as caught:
        evidence.Spatial(network(arch))
    assert "\n" not in str(caught.value)


def test_of_small_pictures_an_earlier_and_finer_map_is_taken():
    plain = network("test_resnet", size=64)
    spatial = evidence.Spatial(plain)
    pixels = noise(plain.view)
    held, found = spatial(pixels)
    assert min(spatial.grid) == 8  # the last one is 2 x 2
    assert torch.equal(found, plain.forward(pixels))
    weight = torch.randn(found.shape[1], 1, generator=torch.Generator().manual_seed(2))
    maps = spatial.maps(held, found, lambda extracted: extracted @ weight)
    assert maps.shape == (3, 1, 8, 8)
    assert (maps.flatten(2).std(2) > 0).all()


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (97, 61), (61, 1500), (1500, 61), (224, 224), (64, 64)])
@pytest.mark.parametrize(
    ("mode", "crop"),
    [("center", 0.875), ("center", 1.0), ("squash", 0.9), ("squash", 1.0), ("border", 1.0), ("border", 0.9)],
)
def test_the_window_is_what_the_network_sees(size, mode, crop):
    """Seen by a picture whose colours say where each pixel lies."""
    config = backbone.Config(arch="test_resnet", weights="", pretrained=False, size=96, crop=crop)
    model = backbone.create(config)
    model.pretrained_cfg["crop_mode"] = mode
    view = backbone.view(model, config)
    width, height = size
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = (255 * (np.arange(width) + 0.5) / width)[None, :].round()
    ramp[..., 1] = (255 * (np.arange(height) + 0.5) / height)[:, None].round()
    ramp[..., 2] = 255
    pixels = view.pixels(Image.fromarray(ramp)).numpy()
    left, top, right, bottom = view.window(width, height)
    inside = pixels[2] > 250
    steps = (np.arange(view.size) + 0.5) / view.size
    across, down = left + steps * (right - left), top + steps * (bottom - top)
    # beyond the photograph the view fills up
    expected = ((across > 0) & (across < width))[None, :] & ((down > 0) & (down < height))[:, None]
    assert (inside == expected).mean() > 0.97
    both = inside & expected
    both[0], both[-1], both[:, 0], both[:, -1] = False, False, False, False
    found = pixels[0] / 255 * width, pixels[1] / 255 * height
    limits = (0.02 * width + 1, 0.02 * height + 1)
    assert np.abs(found[0] - across[None, :])[both].max() < limits[0]
    assert np.abs(found[1] - down[:, None])[both].max() < limits[1]
