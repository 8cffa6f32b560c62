"""masked_feature_loss against the definition."""

from __future__ import annotations

import math

import pytest
import torch
from feature_examples import make
from loss_oracle import assert_compiles, assert_half_is_like_reference, assert_like_reference, with_grads
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.losses import MaskedFeatureLoss, masked_feature_loss
from sslfast.masking import mask_indices
from sslfast.reference.masked_feature import feature_targets
from sslfast.reference.masked_patch import pixel_losses


def definition(pred: Tensor, layers: list[Tensor], mask: Tensor, kind="smooth_l1", beta=1.0, scale=None, **norms):
    target = feature_targets([layer.to(pred) for layer in layers], **norms)
    losses = pixel_losses(pred, target, kind, beta)
    losses = losses.mean(-1) if scale is None else losses.sum(-1) * scale
    return losses[mask].sum() / mask.sum().clamp_min(1)


NORMS = [(a, b) for a in (None, "layer", "instance") for b in (None, "layer", "instance")]


@pytest.mark.parametrize(("norm_layers", "norm_targets"), NORMS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("kind", "beta"), [("mse", 1.0), ("smooth_l1", 0.3), ("l1", 1.0)])
def test_against_the_definition(kind, beta, layers, norm_layers, norm_targets, device):
    for size in ((3, 7, 20), (2, 40, 130), (1, 1, 1)):
        pred, teacher, mask = make(*size, layers=layers)
        options = {"kind": kind, "beta": beta, "norm_layers": norm_layers, "norm_targets": norm_targets}
        there = [layer.to(device) for layer in teacher]

        def ours(p, there=there, mask=mask, options=options):
            return masked_feature_loss(p, there, mask.to(device), **options)

        def reference(p, teacher=teacher, mask=mask, options=options):
            return definition(p, teacher, mask, **options)

        assert_like_reference(ours, reference, [pred], device, factor=64.0)
        if device.type == "cpu":
            wide = [layer.double() for layer in teacher]
            found = with_grads(lambda p, t=wide, m=mask, o=options: masked_feature_loss(p, t, m, **o), pred.double())
            torch.testing.assert_close(found, with_grads(reference, pred.double()), rtol=1e-10, atol=1e-10)


def test_micro_batches_add_up_to_the_mean(device):
    """num_items, as a number and as a tensor: the mean of a batch, in parts of unlike numbers of tokens."""
    pred, teacher, mask = make(layers=2)
    teacher = [layer.to(device) for layer in teacher]
    for dtype in (torch.float32, torch.bfloat16):
        leaf, there = pred.to(device, dtype), mask.to(device)
        whole = with_grads(lambda p, m=there: masked_feature_loss(p, teacher, m, scale=0.3), leaf)
        for count in (int(mask.sum()), mask.sum().to(device)):

            def parts(p, count=count, m=there):
                criterion = MaskedFeatureLoss(scale=0.3)
                cut = [slice(0, 1), slice(1, 3)]
                return sum(criterion(p[s], [layer[s] for layer in teacher], m[s], num_items=count) for s in cut)

            torch.testing.assert_close(with_grads(parts, leaf), whole)
    nothing = {"num_items": torch.zeros(1, device=device)}
    if torch.device(device).type == "cpu":
        with pytest.raises(ValueError, match=r"^masked_feature_loss: num_items must be positive, got 0\.0$"):
            masked_feature_loss(pred, teacher, mask, **nothing)
    else:  # nobody waits for it
        assert masked_feature_loss(pred.to(device), teacher, mask.to(device), **nothing).item() == 0.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norm_layers", [None, "layer", "instance"])
def test_half_types(dtype, norm_layers, device):
    pred, teacher, mask = make(layers=2, dtype=dtype)

    def ours(p):
        there = [layer.to(device) for layer in teacher]
        return masked_feature_loss(p, there, mask.to(device), norm_layers=norm_layers, norm_targets="layer")

    def reference(p):
        return definition(p, teacher, mask, norm_layers=norm_layers, norm_targets="layer")

    assert_half_is_like_reference(ours, reference, [pred], device)


# ---- which tokens count


@pytest.mark.parametrize("norm_layers", [None, "layer", "instance"])
@pytest.mark.parametrize("layers", [1, 2])
def test_every_way_to_say_which_tokens_count(layers, norm_layers, device):
    pred, teacher, _ = make(4, 9, 6, layers)
    mask = torch.rand(4, 9).argsort(1) < 3
    ids = mask.nonzero()[:, 1].view(4, 3).to(device)
    pred, mask, teacher = pred.to(device), mask.to(device), [layer.to(device) for layer in teacher]
    flat = mask_indices(mask).indices
    options = {"norm_layers": norm_layers, "norm_targets": "layer", "scale": 0.7}
    expected = with_grads(lambda p: masked_feature_loss(p, teacher, mask, **options), pred)
    ways = [
        lambda p: masked_feature_loss(p.gather(1, ids[..., None].expand(-1, -1, 6)), teacher, ids=ids, **options),
        lambda p: masked_feature_loss(p.flatten(0, 1)[flat], teacher, ids=flat, **options),
        lambda p: masked_feature_loss(p, teacher, ids=flat[:20], **options),
        lambda p: masked_feature_loss(p, teacher, ids=ids, **options),
    ]
    for way in ways:
        torch.testing.assert_close(with_grads(way, pred), expected, rtol=1e-6, atol=1e-9)
    none = masked_feature_loss(pred, teacher, mask, reduction="none", **options)
    torch.testing.assert_close(none[mask].mean(), expected[0])
    assert not none[~mask].any()
    total = masked_feature_loss(pred, teacher, mask, reduction="sum", **options)
    torch.testing.assert_close(total, expected[0] * 12)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_one_and_all_masked(dtype, layers, device):
    pred, teacher, mask = make(layers=layers, dtype=dtype)
    one = torch.zeros_like(mask)
    one[1, 3] = True
    for some in (torch.zeros_like(mask), one, torch.ones_like(mask)):
        leaf = pred.clone().to(device).requires_grad_()
        there = [layer.to(device) for layer in teacher]
        loss = masked_feature_loss(leaf, there, some.to(device), norm_layers="layer")
        loss.backward()
        expected = with_grads(lambda p, m=some: definition(p, teacher, m, norm_layers="layer"), pred.double())
        torch.testing.assert_close(loss.detach().cpu().double(), expected[0], rtol=1e-5, atol=0)
        torch.testing.assert_close(leaf.grad.cpu().double(), expected[1], rtol=1e-2, atol=1e-6)
    assert masked_feature_loss(pred[:0], [t[:0] for t in teacher], mask[:0]).item() == 0.0


@pytest.mark.parametrize("layers", [1, 2])
def test_nan_stays_where_it_is(layers, device):
    pred, teacher, mask = make(layers=layers)
    there = [layer.to(device) for layer in teacher]
    options = {"norm_layers": "layer", "norm_targets": "layer"}
    clean = with_grads(lambda p: masked_feature_loss(p, there, mask.to(device), **options), pred.to(device))
    spoiled = [layer.masked_fill(~mask[..., None], math.nan).to(device) for layer in teacher]
    dirty = pred.masked_fill(~mask[..., None], math.nan).to(device)
    found = with_grads(lambda p: masked_feature_loss(p, spoiled, mask.to(device), **options), dirty)
    assert all(torch.equal(f, c) for f, c in zip(found, clean, strict=True))
    there[-1][0, 0, 1] = math.nan
    assert masked_feature_loss(pred.to(device), there, mask.to(device), **options).isnan()


def test_ids_out_of_range_are_never_read(device):
    layers = [torch.randn(2, 3, 5, device=device)] * 2
    ids = torch.tensor([6, 0, -1, -2, 2**62], device=device)
    found = ops.feature_targets(layers, ids, None, None, True, True, 1e-5)
    assert found.isnan().any(1).tolist() == [True, False, False, True, True]
    assert not found[2].any()


def test_moments_of_long_samples(device):
    """Sums of many tokens lose nothing, and a feature far from 0 keeps its variance."""
    layers = [(100.0 + torch.randn(2, 5000, 40)).to(device)]
    means, scales = ops.feature_moments(layers, 1e-5)
    wide = layers[0].cpu().double()
    var, mean = torch.var_mean(wide, dim=1, correction=0)
    same = torch.var_mean(layers[0].cpu(), dim=1, correction=0)
    assert_no_worse(means[0], same[1], mean, 2e-5)
    assert_no_worse(scales[0], (same[0] + 1e-5).rsqrt(), (var + 1e-5).rsqrt(), 1e-6)


# ---- autograd, strides, compilation


def test_incoming_gradients_and_second_derivatives():
    pred, teacher, mask = make(layers=2)
    for dtype in (torch.float32, torch.bfloat16):
        leaf = pred.to(dtype, copy=True).requires_grad_()
        loss = masked_feature_loss(leaf, teacher, mask, scale=0.5)
        (once,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        (scaled,) = torch.autograd.grad(8 * loss, leaf, retain_graph=True)
        assert torch.equal(scaled, 8 * once)
        (first,) = torch.autograd.grad(loss, leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="masked_feature_loss: second derivatives are not supported"):
            first.float().square().sum().backward()
    with torch.no_grad():
        assert not masked_feature_loss(leaf, teacher, mask).requires_grad


def test_strides_and_threads():
    pred, teacher, mask = make(4, 30, 64, 3)
    for norm in ("layer", "instance"):
        options = {"norm_layers": norm, "norm_targets": "layer"}
        plain = masked_feature_loss(pred, teacher, mask, **options)
        turned = [layer.transpose(0, 1).contiguous().transpose(0, 1) for layer in teacher]
        columns = [layer.mT.contiguous().mT for layer in teacher]
        for other in (turned, columns):
            assert torch.equal(masked_feature_loss(pred, other, mask, **options), plain)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(3)
            assert torch.equal(masked_feature_loss(pred, teacher, mask, **options), plain)
        finally:
            torch.set_num_threads(threads)


def test_compiles_and_passes_opcheck(device):
    pred, teacher, mask = make(layers=2)
    pred, mask, teacher = pred.to(device), mask.to(device), [layer.to(device) for layer in teacher]
    ids = mask_indices(mask).indices
    options = {"norm_layers": "instance", "norm_targets": "layer", "scale": 0.5}
    assert_compiles(lambda p: masked_feature_loss(p, teacher, mask, **options), pred)
    blocks = [torch.zeros(3, 7, dtype=torch.int64, device=device)] * 2
    assert_compiles(
        lambda p: masked_feature_loss(torch.cat([p, p]), teacher[0], ids=blocks, norm_targets="layer"), pred
    )
    means, scales = ops.feature_moments(teacher, 1e-5)
    torch.library.opcheck(ops.feature_moments, (teacher, 1e-5))
    torch.library.opcheck(ops.feature_targets, (teacher, ids, means, scales, False, True, 1e-5))


def test_module():
    pred, teacher, mask = make(layers=2)
    criterion = MaskedFeatureLoss("mse", norm_layers="layer", scale=0.1)
    expected = masked_feature_loss(pred, teacher, mask, kind="mse", norm_layers="layer", scale=0.1)
    assert torch.equal(criterion(pred, teacher, mask), expected)
    assert "norm_layers='layer', norm_targets=None, scale=0.1" in repr(criterion)
    wide = [layer.double() for layer in teacher]
    assert masked_feature_loss(pred, wide, mask).dtype == torch.float64
    assert masked_feature_loss(pred, wide[0], mask).dtype == torch.float64
