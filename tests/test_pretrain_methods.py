"""The encoders and the three methods: shapes, what a loss looks at, keyed draws."""

import pytest
import torch

pytest.importorskip("lightning")

from sslfast.pretrain.encoders import SmallResNet, patchify, unpatchify
from sslfast.pretrain.image_data import ImageData
from sslfast.pretrain.mae import _patch_statistics
from sslfast.pretrain.methods import build
from sslfast.pretrain.pretraining import pixel_mask
from sslfast.pretrain.settings import resolve
from sslfast.pretrain.simclr import erase_patches


def tiny_data(channels=1, size=8):
    images = torch.randint(0, 256, (40, channels, size, size), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    return ImageData("digits", images[:30], images[30:], None, None, ())


def method(name, channels=1, size=8, **settings):
    config = resolve({"method": name, "data": "digits", "width": 8, "image_size": size, **settings})
    return build(config, tiny_data(channels, size), steps_per_epoch=1)


# Sides: 8 keeps its resolution, 28 is no multiple of the stride, 64 has a fourth stage, 128 the large stem.
@pytest.mark.parametrize(("size", "cells"), [(8, 2), (28, 4), (64, 4), (128, 4)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_resnet_feature_map_and_features(size, cells, norm):
    network = SmallResNet(3, size, width=8, norm=norm, pool_grid=2)
    images = torch.randn(2, 3, size, size)
    assert network.feature_map(images).shape == (2, network.map_channels, cells, cells)
    assert network(images).shape == (2, network.dim)
    assert network.dim == 4 * network.map_channels


def test_patches_go_back_to_the_image():
    images = torch.randn(2, 3, 12, 12)
    assert patchify(images, 4).shape == (2, 9, 48)
    assert torch.equal(unpatchify(patchify(images, 4), 4, 12), images)
    assert torch.equal(patchify(images, 4)[0, 5].view(3, 4, 4), images[0, :, 4:8, 8:12])


@pytest.mark.parametrize("name", ["simclr", "masked-pixels", "mae"])
@pytest.mark.parametrize("channels", [1, 3])
def test_loss_depends_on_the_seed_alone_and_reaches_every_weight(name, channels):
    module = method(name, channels)
    images = tiny_data(channels).train[:8]
    loss = module.loss(images, seed=3)
    loss.backward()
    without = [n for n, p in module.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []
    torch.rand(5)
    assert torch.equal(module.loss(images, seed=3), loss)
    assert not torch.equal(module.loss(images, seed=4), loss)


def of_patches(patches: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return patches.gather(1, ids.unsqueeze(-1).expand(-1, -1, patches.shape[2]))


@pytest.mark.parametrize(
    ("name", "size", "patch_size"), [("mae", 8, 2), ("masked-pixels", 8, 2), ("masked-pixels", 28, 4)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_losses_and_gradients_are_those_of_plain_torch(name, size, patch_size, channels):
    module = method(name, channels, size, patch_size=patch_size).eval()
    images = tiny_data(channels, size).train[:8]
    loss = module.loss(images, seed=5)
    loss.backward()
    ours = {key: parameter.grad.clone() for key, parameter in module.named_parameters()}
    module.zero_grad()
    pixels, predicted, drawn = module.predict(images, seed=5)
    if name == "mae":
        target = of_patches(patchify(pixels, patch_size), drawn)
        mean, std = _patch_statistics(target)
        plain = (predicted - (target - mean) / std).square().mean()
    else:
        hidden = pixel_mask(drawn, patch_size, size)
        plain = ((predicted - pixels).square().mean(dim=1, keepdim=True) * hidden).sum() / hidden.sum()
    plain.backward()
    assert torch.allclose(loss, plain, rtol=1e-5)
    for key, parameter in module.named_parameters():
        assert torch.allclose(ours[key], parameter.grad, rtol=1e-4, atol=1e-6), key


# The attention heads of encoder and decoder divide their dimensions, 2 * width and max(32, width).
@pytest.mark.parametrize("width", [2, 30, 32, 34, 50])
def test_mae_takes_every_even_width(width):
    assert torch.isfinite(method("mae", width=width).loss(tiny_data().train[:4], seed=1))


def test_masked_pixels_loss_counts_hidden_pixels_alone():
    module = method("masked-pixels", size=28, patch_size=4)
    images = tiny_data(size=28).train[:4]
    pixels, predicted, drawn = module.predict(images, seed=1)
    mask = pixel_mask(drawn, 4, 28)
    expected = (predicted - pixels)[mask.expand_as(pixels)].square().mean()
    assert torch.allclose(module.loss(images, seed=1), expected, rtol=1e-5)
    share = mask.float().mean().item()
    assert share == pytest.approx(1 - int(49 * 0.5) / 49)
    hidden, filled = module.reconstruct(images, seed=1)
    kept = ~mask.expand_as(pixels)
    assert torch.equal(hidden[kept], pixels[kept])
    assert hidden[~kept].abs().max() == 0
    assert torch.equal(filled[kept], pixels[kept])
    assert torch.equal(filled[~kept], predicted[~kept])


def test_masked_pixels_network_does_not_see_what_is_hidden():
    module = method("masked-pixels").eval()
    images = tiny_data().train[:4]
    _, before, mask = module.predict(images, seed=1)
    changed = images.where(~pixel_mask(mask, 2, 8), 255 - images)
    _, after, _ = module.predict(changed, seed=1)
    assert torch.equal(before, after)


def test_mae_network_does_not_see_masked_patches_and_its_target_is_normalised():
    module = method("mae").eval()
    images = tiny_data().train[:4]
    pixels, before, ids = module.predict(images, seed=1)
    mask = torch.zeros(4, 16, dtype=torch.bool).scatter(1, ids, True)
    assert mask.sum() == ids.numel() == before.shape[0] * before.shape[1]  # no kept patch, none twice
    patches = patchify(pixels, 2)
    inverted = patchify(255 - images.float(), 2).where(mask.unsqueeze(-1), patchify(images.float(), 2))
    changed = unpatchify(inverted, 2, 8).round().to(torch.uint8)
    _, after, ids_again = module.predict(changed, seed=1)
    assert torch.equal(ids, ids_again)
    assert torch.allclose(before, after, atol=1e-6)
    mean, std = _patch_statistics(of_patches(patches, ids))
    expected = (before - (of_patches(patches, ids) - mean) / std).square().mean()
    assert torch.allclose(module.loss(images, seed=1), expected, rtol=1e-5)
    hidden, filled = (patchify(shown, 2) for shown in module.reconstruct(images, seed=1))
    assert torch.equal(hidden, patches.masked_fill(mask.unsqueeze(-1), 0.0))
    assert torch.equal(filled[~mask], patches[~mask])
    assert torch.allclose(of_patches(filled, ids), before * std + mean)


def test_erasing_blanks_the_share_of_patches():
    config = resolve({"method": "simclr", "data": "digits", "erase_ratio": 0.25})
    views = erase_patches(torch.ones(5, 1, 8, 8), config, seed=2)
    assert (views == 0).flatten(1).sum(1).tolist() == [16] * 5
    untouched = resolve({"method": "simclr", "data": "digits", "erase_ratio": 0.0})
    assert erase_patches(views, untouched, seed=2) is views
