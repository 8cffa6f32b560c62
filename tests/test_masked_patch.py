"""masked_patch_loss against the definition, against the formulas of its peers, and where patches are odd or absent."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
from loss_oracle import assert_half_is_like_reference, assert_like_reference, with_grads
from masked_patch_cases import make
from oracle import assert_no_worse

from sslfast.losses import masked_patch_loss
from sslfast.masking import mask_indices, random_patch_mask
from sslfast.reference.masked_patch import masked_patch_loss as reference
from sslfast.reference.masked_patch import patchify

# Shape of the images, patch, order of pixels.

CASES = [
    pytest.param((2, 3, 8, 12), (4, 4), "pqc", id="squares"),
    pytest.param((2, 3, 8, 12), (4, 2), "cpq", id="channel by channel"),
    pytest.param((3, 1, 6, 6), (3, 3), "pqc", id="grey"),
    pytest.param((1, 5, 4, 14), (4, 7), "pqc", id="five channels, odd sides"),
    pytest.param((2, 3, 4, 8, 8), (2, 4, 4), "pqc", id="tubelets"),
    pytest.param((2, 2, 6, 4, 4), (3, 2, 4), "cpq", id="tubelets, channel by channel"),
    pytest.param((2, 3, 32, 32), (16, 16), "pqc", id="the usual patch"),
    pytest.param((1, 3, 64, 128), (64, 64), "pqc", id="more pixels than shared memory holds"),
]
KINDS = [("mse", 1.0), ("l1", 1.0), ("smooth_l1", 0.5)]
NORMS = [None, "patch", "channel"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("kind", "beta"), KINDS)
@pytest.mark.parametrize(("shape", "patch", "order"), CASES)
def test_against_the_definition(shape, patch, order, kind, beta, norm, device):
    pred, images, mask = make(shape, patch)
    options = {"kind": kind, "beta": beta, "order": order}
    there = images.to(device), mask.to(device)

    def ours(p):
        return masked_patch_loss(p, *there, patch, norm_pix=norm or False, **options)

    def definition(p):
        return reference(p, images.to(p), mask, patch, norm_pix=norm, **options)

    # A target on the other side of the prediction turns the gradient of l1, for ours and for plain torch alike.
    assert_like_reference(ours, definition, [pred], device, factor=32.0 if kind == "mse" else 64.0)
    if device.type == "cpu":
        images = images.double()
        there = images, mask
        for found, expected in zip(with_grads(ours, pred.double()), with_grads(definition, pred.double()), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("kind", "norm"), [("mse", "patch"), ("smooth_l1", "channel"), ("mse", None)])
def test_half_types(dtype, kind, norm, device):
    pred, images, mask = make((2, 3, 8, 12), (4, 4), dtype)

    def ours(p):
        return masked_patch_loss(p, images.to(device), mask.to(device), 4, norm_pix=norm or False, kind=kind)

    def definition(p):
        return reference(p, images.double(), mask, (4, 4), norm_pix=norm, kind=kind)

    assert_half_is_like_reference(ours, definition, [pred], device)


def test_bytes_are_normalised_as_torchvision_does(device):
    pred, _, mask = make((2, 3, 8, 8), (4, 4))
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = images.float() / 255
    scaled = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    there = [t.to(device) for t in (pred, images, mask)]
    found = masked_patch_loss(*there, 4, mean=mean, std=std)
    torch.testing.assert_close(found.cpu(), reference(pred, scaled, mask, (4, 4)))
    torch.testing.assert_close(masked_patch_loss(*there, 4).cpu(), reference(pred, pixels, mask, (4, 4)))
    there[1] = pixels.to(device)
    found = masked_patch_loss(*there, 4, mean=mean, std=std, norm_pix="channel")
    torch.testing.assert_close(found.cpu(), reference(pred, scaled, mask, (4, 4), norm_pix="channel"))
    many = torch.randint(0, 256, (2, 20, 4, 4), dtype=torch.uint8)
    pred, mask = torch.randn(2, 1, 320), torch.ones(2, 1, dtype=torch.bool)
    found = masked_patch_loss(pred.to(device), many.to(device), mask.to(device), 4, mean=0.5, std=0.25)
    torch.testing.assert_close(found.cpu(), reference(pred, (many / 255 - 0.5) / 0.25, mask, (4, 4)))


# ---- which patches count


def test_every_way_to_say_which_patches_count(device):
    pred, images, _ = make((4, 3, 12, 12), (4, 4))
    drawn = random_patch_mask(4, 9, 0.6, generator=1)
    pred, images, mask = (t.to(device) for t in (pred, images, drawn.mask))
    ids = drawn.ids_restore.argsort(1)[:, 3:].to(device)
    flat = mask_indices(mask).indices
    expected = with_grads(lambda p: masked_patch_loss(p, images, mask, 4, norm_pix=True), pred)

    def gathered(p):
        return masked_patch_loss(
            p.gather(1, ids[..., None].expand(-1, -1, 48)), images, ids=ids, patch_size=4, norm_pix=True
        )

    def listed(p):
        return masked_patch_loss(p.flatten(0, 1)[flat], images, ids=flat, patch_size=4, norm_pix=True)

    ways = [
        gathered,
        listed,
        lambda p: masked_patch_loss(p, images, mask.view(4, 3, 3), 4, norm_pix=True),
        lambda p: masked_patch_loss(p, images, ids=flat[:30], patch_size=4, norm_pix=True),
        lambda p: masked_patch_loss(p, images, ids=ids, patch_size=4, norm_pix=True),
    ]
    for way in ways:
        for f, e in zip(with_grads(way, pred), expected, strict=True):
            torch.testing.assert_close(f, e, rtol=1e-6, atol=1e-9)


def test_reductions(device):
    pred, images, mask = (t.to(device) for t in make((3, 3, 8, 8), (4, 4)))
    target = patchify(images, (4, 4))
    each = (pred - target).square().mean(-1) * mask
    none = masked_patch_loss(pred, images, mask, 4, reduction="none")
    torch.testing.assert_close(none, each)
    torch.testing.assert_close(masked_patch_loss(pred, images, mask, 4, reduction="sum"), each.sum())
    ids = torch.tensor([[3, -1], [0, 2], [-1, -1]], device=device)
    compact = masked_patch_loss(pred[:, :2], images, ids=ids, patch_size=4, reduction="none")
    expected = (pred[:, :2] - target.gather(1, ids.clamp_min(0)[..., None].expand(-1, -1, 48))).square().mean(-1)
    torch.testing.assert_close(compact, expected * (ids >= 0))
    upstream = torch.randn_like(none)
    for dtype in (torch.float32, torch.bfloat16):
        leaf = pred.to(dtype).requires_grad_()
        losses = masked_patch_loss(leaf, images, mask, 4, reduction="none")
        (found,) = torch.autograd.grad(losses, leaf, upstream)
        direct = 2 * (leaf.detach().float() - target) / 48 * (upstream * mask)[..., None]
        torch.testing.assert_close(found, direct.to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-6, atol=1e-7)


@pytest.mark.parametrize("masked", ["nothing", "one", "all"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("as_image", [False, True])
def test_nothing_masked_one_masked_all_masked(as_image, dtype, masked, device):
    pred, images, mask = make((2, 3, 8, 8), (4, 4), dtype)
    pred = images.roll(1, 0) if as_image else pred
    mask[:] = masked == "all"
    mask[1, 2] = masked != "nothing"
    leaf = pred.clone().to(device).requires_grad_()
    loss = masked_patch_loss(leaf, images.to(device), mask.to(device), 4, norm_pix=True)
    loss.backward()
    expected = with_grads(lambda p: reference(p, images.double(), mask, (4, 4), norm_pix="patch"), pred.double())
    torch.testing.assert_close(loss.detach().cpu().double(), expected[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(leaf.grad.cpu().double(), expected[1], rtol=1e-2, atol=1e-5)
    assert mask.any() or (loss.item() == 0.0 and not leaf.grad.any())
    empty = masked_patch_loss(pred[:0].to(device), images[:0].to(device), mask[:0].to(device), 4)
    assert empty.item() == 0.0


@pytest.mark.parametrize("as_image", [False, True])
def test_nan_and_infinity(as_image, device):
    """In a patch that does not count they are not read; in one that does they are not hidden."""
    pred, images, mask = make((2, 3, 8, 8), (4, 4))
    if as_image:
        pred = torch.randn(2, 3, 8, 8)
    clean = with_grads(lambda p: masked_patch_loss(p, images.to(device), mask.to(device), 4), pred.to(device))
    hidden = (~mask).view(2, 2, 2).repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1)
    dirty_images = images.masked_fill(hidden, math.nan).to(device)
    dirty = pred.masked_fill(hidden if as_image else ~mask[..., None], math.inf).to(device)
    found = with_grads(lambda p: masked_patch_loss(p, dirty_images, mask.to(device), 4), dirty)
    assert all(torch.equal(f, c) for f, c in zip(found, clean, strict=True))
    images[0, 1, 2, 2] = math.nan
    for norm, kind in itertools.product((False, True, "channel"), ("mse", "l1", "smooth_l1")):
        loss = masked_patch_loss(pred.to(device), images.to(device), mask.to(device), 4, norm_pix=norm, kind=kind)
        assert loss.isnan()


@pytest.mark.parametrize("norm", ["patch", "channel"])
def test_flat_patches(norm, device):
    """A patch of one colour has a target of 0, or what rounding leaves of it."""
    pred, images, mask = make((2, 3, 8, 8), (4, 4))
    images[:] = torch.tensor([0.1, 0.7, 0.3]).view(3, 1, 1) if norm == "channel" else 0.1
    found = masked_patch_loss(pred.to(device), images.to(device), mask.to(device), 4, norm_pix=norm)
    torch.testing.assert_close(found.cpu(), pred[mask].square().mean(), rtol=1e-3, atol=0)
    exact = masked_patch_loss(pred.double(), torch.full_like(images, 0.5), mask, 4, norm_pix=norm)
    torch.testing.assert_close(exact, pred[mask].double().square().mean(), rtol=1e-12, atol=0)


def test_bright_patches_keep_their_contrast(device):
    """The variance is a sum of squared distances, never a difference of squares."""
    pred, images, mask = make((2, 3, 8, 8), (4, 4))
    images = (1000.0 + 0.05 * images).float()
    truth = reference(pred.double(), images.double(), mask, (4, 4), norm_pix="patch")
    same = reference(pred, images, mask, (4, 4), norm_pix="patch")
    found = masked_patch_loss(pred.to(device), images.to(device), mask.to(device), 4, norm_pix=True)
    assert_no_worse(found, same, truth, 1e-4)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_many_channels_have_the_targets_of_few(kind):
    """More channels than the operator scales are scaled before it, in float64 for a prediction of it."""
    images = (torch.rand(2, 17, 4, 4) * 255).to(kind)
    pred, mask = torch.randn(2, 4, 17 * 4, dtype=torch.float64), torch.ones(2, 4, dtype=torch.bool)
    call = functools.partial(masked_patch_loss, mask=mask, patch_size=2, order="cpq", mean=0.3, std=0.7)
    whole = with_grads(lambda p: call(p, images), pred)
    few = [with_grads(lambda p, c=c: call(p[..., 4 * c : 4 * c + 4], images[:, c : c + 1]), pred) for c in range(17)]
    for found, parts in zip(whole, zip(*few, strict=True), strict=True):
        torch.testing.assert_close(found, sum(parts) / 17, rtol=1e-13, atol=1e-14)
