"""spec_augment: the reference bit for bit in every type, in place and not, strides, gradients, NaN, both faces."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import spec_augment
from sslfast.reference import spec_augment as reference

MASKS = {"n_freq_masks": 2, "freq_mask_param": 7, "n_time_masks": 3, "time_mask_param": 12}

# (shape, arguments) and why it is there
SIZES = [
    ((1, 1, 1, 1), {}),  # one cell
    ((3, 1, 20, 50), {}),
    ((2, 3, 9, 300), {}),  # channels; more frames than threads of a block
    ((2, 1, 8, 30), {"freq_mask_param": 100, "time_mask_param": 1000}),  # wider than the axes
    ((2, 2, 8, 30), {"p": 0.1}),  # widths of at most 3
    ((2, 1, 8, 30), {"n_time_masks": 0}),
    ((2, 1, 8, 30), {"n_freq_masks": 0}),
    ((2, 1, 8, 30), {"n_freq_masks": 0, "n_time_masks": 0}),  # nothing
    ((2, 1, 8, 30), {"n_freq_masks": 32, "n_time_masks": 32}),  # the most
    ((3, 2, 8, 30), {"iid": False}),
    ((0, 1, 8, 30), {}),  # no rows
    ((2, 1, 0, 5), {}),  # no bins
    ((2, 1, 5, 0), {}),  # no frames
]
TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize(("shape", "arguments"), SIZES)
def test_equals_reference(device, shape, arguments, mode):
    spec = torch.randn(shape)
    for draws in (
        {"seed": 7},
        {"seed": -1, "row_offset": 2**40},
        {"seed": 3, "sample_ids": torch.arange(shape[0]) * 5},
    ):
        for lengths in (None, (torch.arange(shape[0]) * shape[-1] // 2 - 1).clamp(0, shape[-1])):
            options = {**MASKS, **arguments, "mode": mode, "mask_value": 2.5, "lengths": lengths}
            expected = reference.spec_augment(spec, **options, **draws)
            there = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in (options | draws).items()}
            there["generator"] = there.pop("seed")
            assert all_equal([spec_augment(spec.to(device), **there)], [expected])
            changed = spec.to(device, copy=True)
            assert spec_augment(changed, inplace=True, **there) is changed
            assert all_equal([changed], [expected])
            arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in (options | draws).items()}
            array = host.spec_augment(spec.numpy(), threads=2, **arrays)
            assert all_equal([torch.from_numpy(array)], [expected])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mask_value", [0.0, -1.25, 1 / 3])
def test_types_and_strides(device, dtype, mask_value):
    base = torch.randn(6, 40, 30, 2, device=device).to(dtype)
    options = {**MASKS, "mask_value": mask_value, "generator": 5}
    for spec in (base[..., 0], base[:, ::3, ::2, 1], base[..., 0].mT, base[0, ..., 0], base, base.movedim(3, 1)):
        four = spec[None, None] if spec.dim() == 2 else spec[:, None] if spec.dim() == 3 else spec
        arguments = {k: v for k, v in options.items() if k != "generator"}
        expected = reference.spec_augment(four.cpu(), seed=5, **arguments).view(spec.shape)
        ours = spec_augment(spec, **options)
        assert ours.is_contiguous()
        assert all_equal([ours], [expected])
        changed = base.clone().as_strided(spec.size(), spec.stride(), spec.storage_offset())
        untouched = changed._base.clone() if changed._base is not None else None
        spec_augment(changed, inplace=True, **options)
        assert all_equal([changed], [expected])
        assert untouched is not None
        if dtype != torch.bfloat16:
            array = spec.cpu().numpy()
            assert all_equal([torch.from_numpy(host.spec_augment(array, seed=5, **arguments))], [expected])


def test_more_dimensions(device):
    spec = torch.randn(2, 3, 2, 9, 20, device=device)
    expected = spec_augment(spec.flatten(1, 2), **MASKS, generator=1).view(spec.shape)
    assert torch.equal(spec_augment(spec, **MASKS, generator=1), expected)
    assert np.array_equal(host.spec_augment(spec.cpu().numpy(), **MASKS, seed=1), expected.cpu())
    assert torch.equal(spec_augment(spec, inplace=True, **MASKS, generator=1), expected)


def test_padding_is_never_touched(device):
    spec = torch.randn(4, 20, 60, device=device)
    lengths = torch.tensor([60, 31, 1, 0], device=device)
    out = spec_augment(spec, lengths=lengths, mask_value=9.0, **MASKS, generator=1)
    for row, before, n in zip(out, spec, lengths.tolist(), strict=True):
        assert torch.equal(row[:, n:], before[:, n:])
    assert (out[0] == 9).any()


def test_nan_in_masked_cells_is_gone(device):
    spec = torch.zeros(3, 20, 60, device=device)
    masked = spec_augment(spec, mask_value=1.0, **MASKS, generator=1) == 1
    poisoned = spec.masked_fill(masked, torch.nan).requires_grad_()
    out = spec_augment(poisoned, mask_value=1.0, **MASKS, generator=1)
    assert torch.equal(out, masked.float())
    (grad,) = torch.autograd.grad(out.sum(), poisoned)
    assert torch.equal(grad, (~masked).float())


def test_gradients(device):
    spec = torch.randn(2, 8, 30, device=device, dtype=torch.float64, requires_grad=True)
    value = torch.tensor(0.3, device=device, dtype=torch.float64, requires_grad=True)

    def call(spec, value):
        return spec_augment(spec, mask_value=value, **MASKS, generator=3)

    assert torch.autograd.gradcheck(call, (spec, value))
    assert torch.autograd.gradgradcheck(call, (spec, value))
    grad = torch.randn(2, 30, 8, device=device, dtype=torch.float64).mT  # another layout than the output's
    expected = torch.where(call(spec * 0 + 5, value * 0) == 0, 0, grad)
    assert torch.equal(torch.autograd.grad(call(spec, value), spec, grad)[0], expected)
    for shaped in (spec, spec[0], spec[:, None]):  # in place within a graph
        hidden = shaped * 2
        out = spec_augment(hidden, inplace=True, mask_value=0.5, **MASKS, generator=3)
        assert out is hidden
        (ours,) = torch.autograd.grad(out.square().sum(), spec)
        copy = spec_augment(shaped * 2, mask_value=0.5, **MASKS, generator=3)
        assert torch.equal(ours, torch.autograd.grad(copy.square().sum(), spec)[0])
    with pytest.raises(ValueError, match="spec must be no leaf that requires a gradient where inplace"):
        spec_augment(spec, inplace=True, **MASKS)


def test_composes(device):
    spec = torch.randn(2, 1, 8, 30, device=device)
    seed = torch.tensor(1)
    arguments = (seed, None, None, None, 0.5, 2, 3, 2, 5, 1.0, False, 0, 0)
    torch.library.opcheck(ops.spec_augment, (spec, *arguments))
    torch.library.opcheck(ops.spec_augment_, (spec.clone(), *arguments))
    _, intervals = ops.spec_augment(spec, *arguments)
    torch.library.opcheck(ops.spec_zero, (spec, intervals, 2))
    torch.library.opcheck(ops.spec_mean, (spec, torch.tensor([30, 7], device=device), False))
    spec.requires_grad_()
    for options in ({}, {"mask_value": "mean"}, {"mode": "compat", "iid": False}):
        compiled = torch.compile(lambda x, o=options: spec_augment(x, **MASKS, **o, generator=4), fullgraph=True)
        ours, expected = compiled(spec), spec_augment(spec, **MASKS, **options, generator=4)
        assert torch.equal(ours, expected)
        grads = [torch.autograd.grad(out.square().sum(), spec)[0] for out in (ours, expected)]
        assert torch.allclose(*grads)
    with torch.no_grad():
        compiled = torch.compile(lambda x: spec_augment(x, inplace=True, **MASKS, generator=4), fullgraph=True)
        assert torch.equal(compiled(spec.detach().clone()), spec_augment(spec, **MASKS, generator=4))


def test_faces_take_the_same_arguments():
    def arguments(function):
        kept = inspect.signature(function).parameters.items()
        return [(n, p.kind, p.default) for n, p in kept if n not in ("seed", "generator", "threads")]

    assert arguments(host.spec_augment) == arguments(spec_augment)


def test_the_array_is_changed_only_in_place():
    array = np.random.default_rng(1).standard_normal((2, 8, 30)).astype(np.float32)
    before = array.copy()
    out = host.spec_augment(array, **MASKS, seed=1)
    assert np.array_equal(array, before)
    assert host.spec_augment(array, inplace=True, **MASKS, seed=1) is array
    assert np.array_equal(array, out)
    array.setflags(write=False)
    with pytest.raises(ValueError, match="spec must be writeable and viewable"):
        host.spec_augment(array, inplace=True, **MASKS, seed=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"spec": [1.0]},
            TypeError,
            "spec must be a float16, bfloat16, float32 or float64 tensor, got list",
        ),
        (
            {"spec": torch.ones(2, 3, dtype=torch.int64)},
            TypeError,
            "spec must be a float16, bfloat16, float32 or float64 tensor, got torch.int64",
        ),
        ({"spec": torch.ones(3)}, ValueError, "spec must have shape (..., F, T) below 2^31, got (3,)"),
        ({"n_freq_masks": 33}, ValueError, "n_freq_masks must be in [0, 32], got 33"),
        ({"n_time_masks": -1}, ValueError, "n_time_masks must be in [0, 32], got -1"),
        ({"freq_mask_param": 1.0}, TypeError, "freq_mask_param must be an int, got float"),
        ({"time_mask_param": -2}, ValueError, "time_mask_param must be in [0, 2147483647], got -2"),
        ({"p": 1.5}, ValueError, "p must be a probability in [0, 1], got 1.5"),
        ({"mode": "hf"}, ValueError, "mode must be 'exact' or 'compat', got 'hf'"),
        ({"lengths": torch.ones(2)}, TypeError, "lengths must be an integer tensor, got torch.float32"),
        ({"lengths": torch.arange(3)}, ValueError, "lengths must have shape (2,), one a row, got (3,)"),
        ({"mask_value": None}, TypeError, "mask_value must be a number, got NoneType"),
        ({"iid": "no"}, TypeError, "iid must be a bool, got 'no'"),
        ({"inplace": 1}, TypeError, "inplace must be a bool, got 1"),
        ({"mode": ["exact"]}, ValueError, "mode must be 'exact' or 'compat', got ['exact']"),
    ],
)
def test_bad_input(arguments, error, message):
    defaults = {"spec": torch.zeros(2, 8, 30), **MASKS}
    with pytest.raises(error) as raised:
        spec_augment(**{**defaults, **arguments})
    assert str(raised.value) == f"spec_augment: {message}"
    on_arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in {**defaults, **arguments}.items()}
    with pytest.raises(error) as raised:
        host.spec_augment(**on_arrays, seed=1)
    expected = message.replace("tensor", "array").replace("torch.", "").replace("bfloat16, ", "")
    assert str(raised.value) == f"spec_augment: {expected}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mask_value": "median"}, ValueError, "mask_value must be a number, a tensor or \"mean\", got 'median'"),
        (
            {"mask_value": torch.ones(2)},
            ValueError,
            "mask_value must be a floating-point tensor of one element, got torch.float32 of shape (2,)",
        ),
        (
            {"spec": torch.zeros(2, 3, 4, 5, 6).transpose(1, 2), "inplace": True},
            ValueError,
            "spec must be viewable as (N, C, F, T) where inplace, got strides (360, 30, 120, 6, 1)",
        ),
        (
            {"spec": torch.zeros(1, 4, 6, requires_grad=True), "inplace": True},
            ValueError,
            "spec must be no leaf that requires a gradient where inplace, got one",
        ),
        (
            {"spec": torch.zeros(1, 4, 6).expand(3, 4, 6), "inplace": True},
            ValueError,
            "spec must not be expanded where inplace, got strides (0, 6, 1)",
        ),
    ],
)
def test_bad_input_of_tensors(arguments, error, message):
    with pytest.raises(error) as raised:
        spec_augment(**{"spec": torch.zeros(2, 8, 30), **MASKS, **arguments})
    assert str(raised.value) == f"spec_augment: {message}"
