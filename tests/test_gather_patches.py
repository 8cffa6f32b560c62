"""gather_patches: the reference bit for bit, for one list of places or several that overlap; gradients of any ids."""

from __future__ import annotations

import re

import pytest
import torch
from oracle import all_equal, assert_no_worse

from sslfast import ops
from sslfast.masking import apply_mask_token, gather_patches, ijepa_masks, random_patch_mask
from sslfast.reference import patch_gather as reference

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
EPS = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 4e-3, torch.float16: 5e-4}

# (rows, patches, places, lists, width) and why it is there
SIZES = [
    (1, 1, 1, 1, 1),
    (3, 7, 2, 4, 5),  # rows of no whole vectors
    (2, 196, 36, 4, 64),  # I-JEPA
    (4, 9, 40, 1, 16),  # more places than patches
    (2, 20, 33, 2, 300),  # more than a warp looks at, and wider than it holds
    (300, 3, 2, 2, 4),
    (0, 5, 2, 3, 4),  # no rows
    (3, 5, 0, 2, 4),  # no places
    (3, 5, 2, 2, 0),  # no width
]


def make(rows, patches, places, lists, width, dtype=torch.float32, device="cpu"):
    x = torch.randn(rows, patches, width).to(device, dtype).requires_grad_()
    return x, [torch.randint(patches, (rows, places), device=device) for _ in range(lists)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_reference(device, size, dtype):
    x, ids = make(*size, dtype=dtype, device=device)
    ours, plain = gather_patches(x, ids), reference.gather_patches(x, ids)
    assert all_equal([ours], [plain.cpu()])
    upstream = torch.randn(ours.shape, device=device).to(dtype)
    exact = x.detach().double().requires_grad_()
    (truth,) = torch.autograd.grad(reference.gather_patches(exact, ids), exact, upstream.double())
    (k,), (r,) = torch.autograd.grad(ours, x, upstream), torch.autograd.grad(plain, x, upstream)
    scale = truth.abs().max().item() if truth.numel() else 0.0
    assert_no_worse(k, r, truth, EPS[dtype] * (1 + scale))


def test_one_list(device):
    x = torch.randn(4, 20, 6, device=device, requires_grad=True)
    ids_keep = random_patch_mask(4, 20, 0.6, device=device).ids_keep
    kept = gather_patches(x, ids_keep)
    assert torch.equal(kept, reference.gather_patches(x, ids_keep))
    assert torch.equal(gather_patches(x, [ids_keep]), kept)
    assert torch.equal(gather_patches(x, (ids_keep,)), kept)
    upstream = torch.randn_like(kept)
    (ours,) = torch.autograd.grad(kept, x, upstream)  # unique ids: copies
    index = ids_keep[..., None].expand(-1, -1, 6)
    assert torch.equal(ours, torch.zeros_like(x).scatter(1, index, upstream))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_other_types(device, dtype):
    x = torch.randint(0, 99, (3, 5, 2), device=device).to(dtype)
    ids = torch.randint(5, (3, 4), device=device)
    assert all_equal([gather_patches(x, ids)], [reference.gather_patches(x, ids).cpu()])


def test_any_strides(device):
    x, ids = make(4, 12, 5, 2, 6, device=device)
    expected = gather_patches(x, ids)
    base = x.detach()
    for view in (
        base.transpose(0, 1).contiguous().transpose(0, 1),
        base.mT.contiguous().mT,
        torch.cat([base[..., :1], base], 2)[..., 1:],
    ):
        assert torch.equal(gather_patches(view, [i.T.contiguous().T for i in ids]), expected)
    assert torch.equal(gather_patches(base, ids[0].T.contiguous().T), expected[:4])
    gradient = torch.randn_like(expected)
    (first,) = torch.autograd.grad(expected, x, gradient, retain_graph=True)
    (other,) = torch.autograd.grad(expected, x, gradient.mT.contiguous().mT, retain_graph=True)
    assert torch.equal(first, other)
    (summed,) = torch.autograd.grad(expected.sum(), x)
    counts = torch.zeros(4, 12, device=device)
    for each in ids:
        counts.scatter_add_(1, each, torch.ones(4, 5, device=device))
    assert torch.equal(summed, counts[..., None].expand_as(x))


def test_same_bits_for_any_number_of_threads():
    x, ids = make(64, 196, 36, 4, 64)
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 7):
            torch.set_num_threads(n)
            out = gather_patches(x, ids)
            results.append([out, *torch.autograd.grad(out, x, out.detach())])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all_equal(other, results[0])


def test_gradcheck_twice(device):
    x, ids = make(2, 4, 3, 2, 2, dtype=torch.float64, device=device)
    assert torch.autograd.gradcheck(lambda x: gather_patches(x, ids), x)
    assert torch.autograd.gradgradcheck(lambda x: gather_patches(x, ids) ** 2, x)


def test_nan_elsewhere_never_leaks(device):
    x = torch.randn(3, 8, 4, device=device)
    ids = torch.tensor([[0, 2, 4]] * 3, device=device)
    x[:, 1::2] = torch.nan
    x.requires_grad_()
    out = gather_patches(x, [ids, ids])
    assert out.isfinite().all()
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient[0, :, 0].tolist() == [2, 0, 2, 0, 2, 0, 0, 0]


def test_composes(device):
    x, ids = make(3, 8, 4, 2, 5, device=device)
    whole = torch.cat(ids)
    torch.library.opcheck(ops.patch_gather, (x.detach(), whole))
    torch.library.opcheck(ops.patch_sum, (torch.randn(6, 4, 5, device=device), whole, 3, 8))
    compiled = torch.compile(gather_patches, fullgraph=True)
    for rows in (3, 5):
        x, ids = make(rows, 8, 4, 2, 5, device=device)
        results = []
        for function in (compiled, gather_patches):
            out = function(x, ids)
            results.append([out.detach(), *torch.autograd.grad((out**2).sum(), x)])
        assert all_equal(results[0], [t.cpu() for t in results[1]])
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert torch.equal(gather_patches(x, ids), out)


@pytest.mark.parametrize("wrong", [-2, 8, 2**62])
def test_ids_out_of_range(wrong):
    ids = torch.zeros(2, 3, dtype=torch.int64)
    ids[1, 2] = wrong
    message = f"gather_patches: ids must be in [0, L) with L = 8, or -1 for none, got {wrong}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        gather_patches(torch.zeros(2, 8, 4), ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_none_is_zero_and_gets_no_gradient(device, dtype):
    x = torch.randn(5, 9, 6, device=device).to(dtype).requires_grad_()
    ids = [torch.randint(-1, 9, (5, 7), device=device), torch.full((5, 7), -1, device=device)]
    ours, expected = gather_patches(x, ids), reference.gather_patches(x, ids)
    assert torch.equal(ours, expected)
    assert not ours[5:].any()
    weights = torch.randint(-2, 3, ours.shape, device=device).to(dtype)  # sums of few small integers are exact
    grads = [torch.autograd.grad((out * weights).sum(), x)[0] for out in (ours, expected)]
    assert torch.equal(*grads)
    broken = torch.where(torch.arange(9, device=device)[:, None] == 3, torch.nan, x)
    ids = torch.where(ids[0] == 3, -1, ids[0])
    assert torch.isfinite(gather_patches(broken, ids)).all()


def test_contexts_of_different_lengths_are_gathered():
    masks = ijepa_masks(6, pad=True, generator=3)
    (context,) = masks.masks_enc
    assert (context < 0).any()
    tokens = gather_patches(torch.ones(6, 196, 4), masks.masks_enc)
    assert torch.equal(tokens[..., 0] != 0, context >= 0)


def test_complex_has_no_gradient():
    x = torch.ones(1, 2, 2, dtype=torch.complex64, requires_grad=True)
    ids = torch.zeros(1, 1, dtype=torch.int64)
    mask = torch.zeros(1, 2, dtype=torch.bool)
    for out in (gather_patches(x, ids), apply_mask_token(x, mask, torch.zeros(2))):
        with pytest.raises(RuntimeError, match="expected float32, float64, bfloat16 or float16"):
            out.real.sum().backward()


@pytest.mark.gpu
def test_ids_out_of_range_are_zero_on_a_gpu():
    x = torch.ones(1, 8, 4, device="cuda", requires_grad=True)
    out = gather_patches(x, torch.tensor([[0, -1, 8, 7]], device="cuda"))
    assert out[0, :, 0].tolist() == [1, 0, 0, 1]
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient[0, :, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 1]


# ---- bad input

IDS = torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, "x must be a tensor, got list"),
        ({"x": torch.zeros(2, 4)}, ValueError, "x must have shape (N, L, D), got (2, 4)"),
        (
            {"x": torch.zeros(2, 8, 3, dtype=torch.complex128)},
            TypeError,
            "x must have elements of at most 8 bytes, got torch.complex128",
        ),
        ({"ids": 3}, TypeError, "ids must be a tensor or a list of tensors, got int"),
        ({"ids": "12"}, TypeError, "ids must be a tensor or a list of tensors, got str"),
        ({"ids": []}, ValueError, "ids must hold at least one tensor, got an empty list"),
        ({"ids": IDS.int()}, TypeError, "ids must be an int64 tensor, got torch.int32"),
        ({"ids": [IDS, [0]]}, TypeError, "ids[1] must be an int64 tensor, got list"),
        ({"ids": IDS[0]}, ValueError, "ids must have shape (N, K) with N = 2, got (3,)"),
        ({"ids": IDS[:1]}, ValueError, "ids must have shape (N, K) with N = 2, got (1, 3)"),
        ({"ids": [IDS, IDS[:, :2]]}, ValueError, "ids[1] must have shape (2, 3), like ids[0], got (2, 2)"),
        ({"ids": IDS.to("meta")}, ValueError, "ids must be on cpu, got meta"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        gather_patches(**{"x": torch.zeros(2, 8, 4), "ids": IDS, **arguments})
    assert str(raised.value) == f"gather_patches: {message}"
