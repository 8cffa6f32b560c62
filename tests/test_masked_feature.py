"""masked_feature_loss against the definition, and with the numbers of data2vec, I-JEPA and V-JEPA."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import assert_compiles, assert_half_is_like_reference, assert_like_reference, with_grads
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.losses import MaskedFeatureLoss, masked_feature_loss
from sslfast.masking import mask_indices
from sslfast.reference.masked_feature import feature_targets
from sslfast.reference.masked_patch import pixel_losses


def make(samples: int = 3, length: int = 7, width: int = 20, layers: int = 1, dtype: torch.dtype = torch.float32):
    """Predictions, layers of a teacher far from 0, and a mask."""
    pred = torch.randn(samples, length, width, dtype=torch.float64).to(dtype)
    teacher = [(3.0 + torch.randn(samples, length, width, dtype=torch.float64)).to(dtype) for _ in range(layers)]
    mask = torch.rand(samples, length) < 0.5
    mask[0, 0] = True
    mask[-1, -1] = samples * length == 1
    return pred, teacher, mask


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
    found = masked_feature_loss(pred.to(device), teacher, mask.to(device), num_items=torch.zeros(1, device=device))
    assert found.item() == 0.0


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


# ---- the formulas of the peers


@pytest.mark.parametrize("layers", [1, 3])
def test_data2vec_audio_normalises_the_mean_over_time(layers, device):
    """fairseq's ``instance_norm_target_layer`` with ``instance_norm_targets``, of features (T, B, C)."""
    pred, teacher, mask = make(2, 9, 6, layers=layers)
    made = [F.instance_norm(layer.transpose(1, 2)) for layer in teacher]
    y = F.instance_norm(sum(made) / len(made)).transpose(1, 2)
    expected = F.mse_loss(pred[mask], y[mask], reduction="none").sum(-1).mean() / 6**0.5
    lying = [layer.transpose(0, 1).contiguous().to(device).transpose(0, 1) for layer in teacher]
    norms = {"norm_layers": "instance", "norm_targets": "instance", "scale": 6**-0.5}
    found = masked_feature_loss(pred.to(device), lying, mask.to(device), kind="mse", **norms)
    torch.testing.assert_close(found.cpu(), expected)


def data2vec(x: Tensor, layers: list[Tensor], mask: Tensor, loss_beta: float, norm: str) -> Tensor:
    """Data2VecAudioModel.forward and the criterion's division; layers (T, B, C), x the projected masked rows."""
    results = layers
    if norm == "instance":
        results = [F.instance_norm(tl.permute(1, 2, 0)).transpose(1, 2) for tl in results]
    else:
        results = [F.layer_norm(tl, tl.shape[-1:]).transpose(0, 1) for tl in results]
    y = sum(results) / len(results)
    y = F.layer_norm(y, y.shape[-1:])[mask]
    if loss_beta == 0:
        loss = F.mse_loss(x, y, reduction="none").sum(dim=-1)
    else:
        loss = F.smooth_l1_loss(x, y, reduction="none", beta=loss_beta).sum(dim=-1)
    return loss.sum() * (1 / math.sqrt(x.size(-1))) / loss.numel()


@pytest.mark.parametrize("norm", ["instance", "layer"])
@pytest.mark.parametrize("loss_beta", [0.0, 0.25])
def test_numbers_of_data2vec(loss_beta, norm):
    _, teacher, mask = make(layers=4, dtype=torch.float64)
    layers = [layer.transpose(0, 1).contiguous() for layer in teacher]  # fairseq's (T, B, C)
    x = torch.randn(int(mask.sum()), 20, dtype=torch.float64)
    indices = mask_indices(mask).indices[: len(x)]
    options = {"kind": "smooth_l1" if loss_beta else "mse", "beta": loss_beta or 1.0}

    def ours(x):
        views = [layer.transpose(0, 1) for layer in layers]
        norms = {"norm_layers": norm, "norm_targets": "layer"}
        return masked_feature_loss(x, views, ids=indices, scale=20**-0.5, **norms, **options)

    expected = with_grads(lambda x: data2vec(x, layers, mask, loss_beta, norm), x)
    torch.testing.assert_close(with_grads(ours, x), expected, rtol=1e-10, atol=1e-12)


def apply_masks(x: Tensor, masks: list[Tensor]) -> Tensor:
    return torch.cat([torch.gather(x, 1, m.unsqueeze(-1).repeat(1, 1, x.size(-1))) for m in masks], dim=0)


@pytest.mark.parametrize("contexts", [1, 2])
def test_numbers_of_ijepa(contexts):
    _, (h,), _ = make(dtype=torch.float64)
    masks_pred = [torch.stack([torch.randperm(7)[:3] for _ in range(3)]) for _ in range(4)]
    z = torch.randn(4 * contexts * 3, 3, 20, dtype=torch.float64)

    def ijepa(z):
        """forward_target and loss_fn, with repeat_interleave_batch."""
        y = apply_masks(F.layer_norm(h, (h.size(-1),)), masks_pred)
        y = torch.cat([torch.cat([y[i * 3 : (i + 1) * 3]] * contexts, dim=0) for i in range(4)], dim=0)
        return F.smooth_l1_loss(z, y)

    expected = with_grads(ijepa, z)
    found = with_grads(lambda z: masked_feature_loss(z, h, ids=masks_pred, norm_targets="layer"), z)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    each = masked_feature_loss(z, h, ids=masks_pred, norm_targets="layer", reduction="none")
    assert each.shape == z.shape[:2]
    torch.testing.assert_close(each.mean(), expected[0])


def test_numbers_of_vjepa():
    _, (h,), _ = make(dtype=torch.float64)
    masks = torch.stack([torch.randperm(7)[:4] for _ in range(3)])
    z = torch.randn(3, 4, 20, dtype=torch.float64)
    target = apply_masks(F.layer_norm(h, (h.size(-1),)), [masks])
    expected = with_grads(lambda z: torch.mean(torch.abs(z - target) ** 1.0) / 1.0, z)
    for ids in (masks, [masks]):
        found = with_grads(lambda z, i=ids: masked_feature_loss(z, h, ids=i, kind="l1", norm_targets="layer"), z)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


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


P, T, M = torch.zeros(2, 4, 3), torch.zeros(2, 4, 3), torch.ones(2, 4).bool()
ONE = torch.zeros(2, 1).long()
BAD = [
    ((P.int(), T, M), {}, TypeError, "pred must be a floating-point tensor, got torch.int32"),
    ((P, 3, M), {}, TypeError, "targets must be a tensor or a list of them, got int"),
    ((P, T[0], M), {}, ValueError, "targets must have shape (N, L, D), got (4, 3)"),
    ((P, [], M), {}, ValueError, "targets must have 1 to 48 layers, got 0"),
    (
        (P, [T, T[:1]], M),
        {},
        ValueError,
        "targets[1] must be torch.float32 of shape (2, 4, 3) on cpu, like targets[0], "
        "got torch.float32 of shape (1, 4, 3) on cpu",
    ),
    (
        (P, T.clone().requires_grad_(), M),
        {},
        ValueError,
        "targets must not require a gradient, as targets are constants: detach them",
    ),
    ((P[:1], T, M), {}, ValueError, "pred must have shape (2, 4, 3), got (1, 4, 3)"),
    ((P, T, M.float()), {}, TypeError, "mask must be a bool tensor, got torch.float32"),
    ((P, T, M.T), {}, ValueError, "mask must have shape (2, 4), got (4, 2)"),
    ((P, T), {}, ValueError, "either mask or ids must be given, got neither"),
    ((P, T), {"ids": ONE + 4}, ValueError, "ids must be in [-1, 3], tokens of targets, got 4"),
    ((P, T), {"ids": 3}, TypeError, "ids must be an int64 tensor or a list of them, got int"),
    ((P, [T, None], M), {}, TypeError, "targets[1] must be a floating-point tensor, got NoneType"),
    ((P, T), {"ids": []}, ValueError, "ids must have at least 1 block, got 0"),
    ((P, T), {"ids": [ONE.int()]}, TypeError, "ids[0] must be an int64 tensor, got torch.int32"),
    (
        (P, T),
        {"ids": [ONE, ONE[:1]]},
        ValueError,
        "ids[1] must have shape (2, R), R the same in every block, got (1, 1)",
    ),
    ((P, T), {"ids": [ONE, ONE - 2]}, ValueError, "ids[1] must be in [-1, 3], tokens of targets, got -2"),
    (
        (P, T),
        {"ids": [ONE]},
        ValueError,
        "pred must have shape (K * 2, 1, D), a row for each of ids, got (2, 4, 3)",
    ),
    ((P, T, M), {"kind": "huber"}, ValueError, "kind must be 'mse', 'l1' or 'smooth_l1', got 'huber'"),
    ((P, T, M), {"norm_layers": "batch"}, ValueError, "norm_layers must be None, 'instance' or 'layer', got 'batch'"),
    ((P, T, M), {"norm_targets": "group"}, ValueError, "norm_targets must be None, 'instance' or 'layer', got 'group'"),
    (
        (P, T, M),
        {"norm_targets": ["layer"]},
        ValueError,
        "norm_targets must be None, 'instance' or 'layer', got ['layer']",
    ),
    ((P, T, M), {"num_items": 0}, ValueError, "num_items must be positive, got 0"),
    (
        (P, T, M),
        {"num_items": 3, "reduction": "sum"},
        ValueError,
        "num_items goes with reduction='mean', got 'sum'",
    ),
    ((P, T, M), {"scale": 0.0}, ValueError, "scale must be positive, got 0.0"),
    ((P, T, M), {"eps": -1.0}, ValueError, "eps must be positive, got -1.0"),
    ((P, T, M), {"beta": "1"}, TypeError, "beta must be a number, got str"),
    ((P, T, M), {"reduction": "all"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'all'"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "message"), BAD)
def test_bad_input(args, kwargs, error, message):
    with pytest.raises(error) as raised:
        masked_feature_loss(*args, **kwargs)
    assert str(raised.value) == f"masked_feature_loss: {message}"
