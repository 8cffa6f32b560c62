"""The mean that spec_augment masks with: its order of summing, the same bits over arrays, gradients, padding of NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import spec_augment
from sslfast.reference import spec_augment as reference

MASKS = {"n_freq_masks": 2, "freq_mask_param": 7, "n_time_masks": 3, "time_mask_param": 12}
TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize("padded", [False, True])
def test_mean(device, mode, padded):
    spec = torch.randn(3, 2, 10, 40, device=device, dtype=torch.float64)
    lengths = torch.tensor([40, 25, 0], device=device) if padded else None
    options = {**MASKS, "lengths": lengths, "mode": mode, "generator": 2}
    masked = spec_augment(spec.new_zeros(spec.shape), **{**options, "mask_value": 1.0}) == 1
    out = spec_augment(spec, mask_value="mean", **options)
    for r in range(3):
        n = 40 if lengths is None else int(lengths[r])
        for c in range(2):
            if mode == "compat":
                mean = torch.cat(
                    [spec[i, :, :, : int(lengths[i]) if padded else 40].flatten() for i in range(3)]
                ).mean()
            else:
                mean = spec[r, c, :, :n].mean() if n else spec.new_zeros(())
            expected = torch.where(masked[r, c], mean, spec[r, c])
            assert torch.allclose(out[r, c], expected, rtol=1e-12)
    where = {"lengths": lengths.cpu() if padded else None, "mode": mode, "mask_value": "mean", "seed": 2}
    assert torch.allclose(reference.spec_augment(spec.cpu(), **MASKS, **where), out.cpu(), rtol=1e-12)
    spec.requires_grad_()
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda x: spec_augment(x, mask_value="mean", **options), spec, fast_mode=True)
    low = spec.detach().to(torch.bfloat16)
    expected = spec_augment(low.float(), mask_value="mean", **options).to(torch.bfloat16)
    assert torch.equal(spec_augment(low, mask_value="mean", **options), expected)


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_the_mean_has_the_same_bits_over_arrays(device, dtype, mode):
    for shape in ((3, 2, 20, 77), (2, 80, 301), (9, 50), (2, 3, 1, 1), (0, 8, 30), (2, 0, 5), (2, 2, 3, 5, 8)):
        spec = (torch.randn(shape) * 30 + 5).to(dtype)
        for lengths in (None, (torch.arange(shape[0]) * shape[-1] // 2).clamp(max=shape[-1])):
            if len(shape) == 2 and lengths is not None:
                continue
            given = {**MASKS, "mask_value": "mean", "mode": mode}
            there = None if lengths is None else lengths.to(device)
            expected = spec_augment(spec.to(device), **given, lengths=there, generator=4)
            there = None if lengths is None else lengths.numpy()
            array = host.spec_augment(spec.numpy(), **given, lengths=there, seed=4, threads=2)
            assert all_equal([torch.from_numpy(array)], [expected])
            changed = spec.numpy().copy()
            host.spec_augment(changed, **given, lengths=there, seed=4, inplace=True)
            assert np.array_equal(changed, array)


def line_sum(line):
    """Of an array's last dimension: 32 lanes add every 32nd number in turn, then halves of the lanes are added."""
    lanes = np.zeros((*line.shape[:-1], 32), line.dtype)
    for begin in range(0, line.shape[-1], 32):
        part = line[..., begin : begin + 32]
        lanes[..., : part.shape[-1]] += part
    while lanes.shape[-1] > 1:
        lanes = lanes[..., : lanes.shape[-1] // 2] + lanes[..., lanes.shape[-1] // 2 :]
    return lanes[..., 0]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "shape", [(3, 2, 21, 77), (2, 1, 80, 1300), (70, 1, 2, 40), (2, 3, 1, 1), (2, 2, 0, 5), (1, 1, 3, 0)]
)
def test_the_order_of_the_mean(device, shape, dtype):
    """The sum of bins' sums of frames, whatever the device, the strides, the padding and the threads."""
    rows, channels, bins, frames = shape
    spec = (torch.randn(shape) * 30 + 5).to(dtype)
    wide = spec.to(torch.float64 if dtype == torch.float64 else torch.float32).numpy()
    for lengths in (None, torch.arange(rows) * frames // 2):
        own = [frames] * rows if lengths is None else lengths.clamp(max=frames).tolist()
        sums = np.stack([line_sum(line_sum(row[..., :n])) for row, n in zip(wide, own, strict=True)])
        counts = np.maximum(np.array(own) * bins, 1).astype(wide.dtype)[:, None]
        count = max(sum(own) * channels * bins, 1)
        means = torch.from_numpy(sums / counts).to(dtype).flatten()
        mean = torch.from_numpy(line_sum(sums.reshape(-1)) / wide.dtype.type(count)[None]).to(dtype)
        there = None if lengths is None else lengths.to(device)
        padded = torch.nn.functional.pad(spec, (0, 9), value=torch.nan).to(device)
        given = there if there is not None else torch.full((rows,), frames, device=device)
        for laid, known in (
            (spec.to(device), there),
            (spec.to(device).mT.contiguous().mT, there),
            (spec.to(device).permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0), there),
            (padded, given.clamp(max=frames)),
            (padded[..., :frames], there),
        ):
            assert all_equal([ops.spec_mean(laid, known, False)], [means])
            assert all_equal([ops.spec_mean(laid, known, True)], [mean.expand(rows * channels)])


def test_the_mean_is_precise(device):
    spec = torch.rand(3, 1, 80, 3000, device=device) * 20 - 5
    exact = spec.double().mean((-2, -1)).flatten()
    ours = ops.spec_mean(spec, None, False)
    assert ((ours - exact).abs() <= (spec.mean((-2, -1)).flatten() - exact).abs() + 1e-6).all()


@pytest.mark.parametrize("mode", ["exact", "compat"])
def test_nan_in_the_padding_reaches_no_frame(device, mode):
    lengths = torch.tensor([30, 12, 0])
    padding = (torch.arange(30) >= lengths[:, None])[:, None]
    clean = torch.randn(3, 8, 30)
    for value in (float("nan"), float("inf")):
        spec = torch.where(padding, value, clean)
        options = {**MASKS, "mask_value": "mean", "mode": mode}
        there = spec.to(device, copy=True).requires_grad_()
        out = spec_augment(there, **options, lengths=lengths.to(device), generator=1)
        expected = spec_augment(clean, **options, lengths=lengths, generator=1)
        assert torch.equal(out.cpu()[~padding.expand(out.shape)], expected[~padding.expand(out.shape)])
        (grad,) = torch.autograd.grad(torch.where(padding.to(device), 0, out).square().sum(), there)
        assert grad.isfinite().all()
        assert (grad.cpu()[padding.expand(grad.shape)] == 0).all()
        array = host.spec_augment(spec.numpy(), **options, lengths=lengths.numpy(), seed=1)
        np.testing.assert_array_equal(array, out.detach().cpu().numpy())
