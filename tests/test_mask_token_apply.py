"""apply_mask_token: torch.where bit for bit, gradients no worse, nothing masked ever read."""

from __future__ import annotations

import pytest
import torch
from oracle import all_equal, assert_no_worse

from sslfast import ops
from sslfast.masking import apply_mask_token
from sslfast.reference import mask_token_apply as reference

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
EPS = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 4e-3, torch.float16: 5e-4}

# (rows, length, width) and why it is there
SIZES = [
    (1, 1, 1),
    (3, 7, 5),  # rows of no whole vectors
    (2, 64, 64),  # exactly the rows of one sum
    (2, 129, 16),  # more than two of them
    (600, 70, 8),  # more sums than one block folds
    (2, 3, 5000),  # several blocks of columns
    (0, 6, 4),
    (4, 0, 4),
    (4, 6, 0),
]


def make(rows, length, width, dtype=torch.float32, device="cpu", share=0.5):
    x, token = torch.randn(rows, length, width), torch.randn(width)
    mask = torch.rand(rows, length) < share
    return x.to(device, dtype).requires_grad_(), mask.to(device), token.to(device, dtype).requires_grad_()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_equals_reference(device, size, dtype, share):
    x, mask, token = make(*size, dtype=dtype, device=device, share=share)
    ours, plain = apply_mask_token(x, mask, token), reference.apply_mask_token(x, mask, token)
    assert all_equal([ours], [plain.cpu()])
    upstream = torch.randn(size, device=device).to(dtype)
    exact = [t.detach().double().requires_grad_() for t in (x, token)]
    truth = torch.autograd.grad(reference.apply_mask_token(exact[0], mask, exact[1]), exact, upstream.double())
    gradients = torch.autograd.grad(ours, (x, token), upstream)
    others = torch.autograd.grad(plain, (x, token), upstream)
    assert torch.equal(gradients[0], others[0])
    scale = truth[1].abs().max().item() if truth[1].numel() else 0.0
    assert_no_worse(gradients[1], others[1], truth[1], EPS[dtype] * (1 + scale))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_other_types(device, dtype):
    x, token = torch.randint(0, 99, (3, 5, 2), device=device).to(dtype), torch.ones(2, device=device)
    mask = torch.rand(3, 5, device=device) < 0.5
    assert all_equal([apply_mask_token(x, mask, token)], [reference.apply_mask_token(x, mask, token).cpu()])


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_tokens_and_a_float_parameter(device, half):
    """The result has the dtype of x; the parameter's gradient is not rounded to it."""
    x, mask, token = make(40, 50, 16, device=device)
    y = x.detach().to(half).requires_grad_()
    out = apply_mask_token(y, mask, token)
    assert out.dtype == half
    upstream = torch.randn(out.shape, device=device).to(half)
    of_y, of_token = torch.autograd.grad(out, (y, token), upstream)
    assert (of_y.dtype, of_token.dtype) == (half, torch.float32)
    expected = torch.where(mask[..., None], upstream, 0.0).double().sum((0, 1))
    assert torch.allclose(of_token.double(), expected, rtol=1e-5, atol=1e-5)


def test_shapes(device):
    x, mask, token = make(4, 12, 6, device=device)
    expected = apply_mask_token(x, mask, token)
    assert torch.equal(apply_mask_token(x, mask, token.reshape(1, 1, 6)), expected)
    grid = apply_mask_token(x.reshape(4, 3, 4, 6), mask.reshape(4, 3, 4), token)
    assert torch.equal(grid, expected.reshape(4, 3, 4, 6))
    assert torch.equal(apply_mask_token(x[0], mask[0], token), expected[0])
    maps = x.detach().mT.reshape(4, 6, 3, 4).contiguous()  # (N, C, H, W)
    there_and_back = apply_mask_token(maps.permute(0, 2, 3, 1), mask.reshape(4, 3, 4), token).permute(0, 3, 1, 2)
    assert torch.equal(there_and_back.flatten(2).mT, expected)
    (gradient,) = torch.autograd.grad(grid.sum(), x)
    assert torch.equal(gradient, (~mask)[..., None].expand_as(x).float())


def test_any_strides(device):
    x, mask, token = make(4, 12, 6, device=device)
    expected = apply_mask_token(x, mask, token)
    base = x.detach()
    for view in (
        base.transpose(0, 1).contiguous().transpose(0, 1),
        base.mT.contiguous().mT,
        torch.cat([base, base], 2)[..., :6],
        torch.cat([base[..., :1], base], 2)[..., 1:],  # not aligned
    ):
        masks = (mask, mask.T.contiguous().T, torch.stack([mask, ~mask], 2)[..., 0])
        assert all(torch.equal(apply_mask_token(view, each, token), expected) for each in masks)
    spread = torch.stack([token, token], 1)[:, 0]
    assert torch.equal(apply_mask_token(base[:1].expand(4, 12, 6), mask[:1].expand(4, 12), spread)[3], expected[0])
    gradient = torch.randn_like(expected)
    first = torch.autograd.grad(expected, (x, token), gradient, retain_graph=True)
    other = torch.autograd.grad(expected, (x, token), gradient.mT.contiguous().mT, retain_graph=True)
    assert all_equal(other, [t.cpu() for t in first])
    of_x, of_token = torch.autograd.grad(expected.sum(), (x, token))
    assert torch.equal(of_x, (~mask)[..., None].expand_as(x).float())
    assert (of_token == mask.sum()).all()


def test_large_outputs(device):
    """Stored past the caches, in memory fresh or reused (csrc/cpu/large_output.h)."""
    x, mask, token = make(60, 196, 1217, device=device)
    for _ in range(2):
        out = apply_mask_token(x, mask, token)
        assert torch.equal(out, reference.apply_mask_token(x, mask, token))
        gradient = torch.randn_like(out)
        of_x, of_token = torch.autograd.grad(out, (x, token), gradient)
        assert torch.equal(of_x, torch.where(mask[..., None], 0.0, gradient))
        assert torch.allclose(of_token, gradient[mask].sum(0), rtol=1e-4, atol=1e-3)


def test_same_bits_for_any_number_of_threads():
    x, mask, token = make(64, 196, 64)
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 7):
            torch.set_num_threads(n)
            out = apply_mask_token(x, mask, token)
            alone = apply_mask_token(x.detach(), mask, token)
            of_token = torch.autograd.grad(alone, token, alone.detach())
            results.append([out, *torch.autograd.grad(out, (x, token), out.detach()), *of_token])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all_equal(other, results[0])
    assert torch.equal(results[0][2], results[0][3])


def test_sums_of_many_rows_keep_their_precision(device):
    """One rounding a block of rows, none of what the blocks add up to."""
    x, mask, token = make(1000, 196, 4, device=device)
    gradient = 1 + torch.rand(x.shape, device=device)
    (of_token,) = torch.autograd.grad(apply_mask_token(x.detach(), mask, token), token, gradient)
    truth = torch.where(mask[..., None], gradient, 0.0).double().sum((0, 1))
    assert ((of_token - truth).abs() <= 4e-7 * truth).all()


def test_masked_values_never_leak(device):
    x, mask, token = make(3, 16, 8, device=device)
    with torch.no_grad():
        x[mask] = torch.nan
    out = apply_mask_token(x, mask, token)
    assert out.isfinite().all()
    of_x, of_token = torch.autograd.grad((out**2).sum(), (x, token))
    assert of_x.isfinite().all()
    assert (of_x[mask] == 0).all()
    assert of_token.isfinite().all()
    gradient = torch.ones_like(out).masked_fill(mask[..., None], torch.nan)
    of_x, of_token = torch.autograd.grad(apply_mask_token(x, mask, token), (x, token), gradient)
    assert (of_x[mask] == 0).all()
    assert of_token.isnan().all()
    gradient = torch.ones_like(out).masked_fill(~mask[..., None], torch.nan)
    of_x, of_token = torch.autograd.grad(apply_mask_token(x, mask, token), (x, token), gradient)
    assert of_x[~mask].isnan().all()
    assert (of_token == mask.sum()).all()


def test_gradcheck_twice(device):
    x, mask, token = make(2, 4, 3, dtype=torch.float64, device=device)
    assert torch.autograd.gradcheck(lambda x, t: apply_mask_token(x, mask, t), (x, token))
    assert torch.autograd.gradgradcheck(lambda x, t: apply_mask_token(x, mask, t) ** 2, (x, token))
    for fixed in ((x.detach(), token), (x, token.detach())):
        (only,) = [t for t in fixed if t.requires_grad]
        (first,) = torch.autograd.grad((apply_mask_token(fixed[0], mask, fixed[1]) ** 3).sum(), only, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), only)
        count = mask.sum() if only is token else (~mask)[..., None]
        assert torch.allclose(second, 6 * only * count)


def test_composes(device):
    x, mask, token = make(3, 8, 4, device=device)
    torch.library.opcheck(ops.mask_token_apply, (x.detach(), mask, token.detach()))
    torch.library.opcheck(ops.mask_token_apply_backward, (x.detach(), mask, False, True))
    compiled = torch.compile(apply_mask_token, fullgraph=True)
    for rows in (3, 5):
        x, mask, token = make(rows, 8, 4, device=device)
        results = []
        for function in (compiled, apply_mask_token):
            out = function(x, mask, token)
            results.append([out.detach(), *torch.autograd.grad((out**2).sum(), (x, token))])
        assert all_equal(results[0], [t.cpu() for t in results[1]])
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert torch.equal(apply_mask_token(x, mask, token), out)


# ---- bad input

GOOD = {"x": torch.zeros(2, 3, 4), "mask": torch.ones(2, 3, dtype=torch.bool), "mask_token": torch.zeros(4)}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, "x must be a tensor, got list"),
        ({"mask": [True]}, TypeError, "mask must be a tensor, got list"),
        ({"mask_token": 0.0}, TypeError, "mask_token must be a tensor, got float"),
        (
            {"x": torch.zeros(2, 3, 4, dtype=torch.complex128)},
            TypeError,
            "x must have elements of at most 8 bytes, got torch.complex128",
        ),
        ({"mask": torch.ones(2, 3)}, TypeError, "mask must be bool, True where masked, got torch.float32"),
        ({"x": torch.zeros(3)}, ValueError, "x must have shape (..., L, D), got (3,)"),
        ({"mask": GOOD["mask"][:1]}, ValueError, "mask must have shape (2, 3), like x, got (1, 3)"),
        ({"mask": GOOD["mask"].reshape(2, 3, 1)}, ValueError, "mask must have shape (2, 3), like x, got (2, 3, 1)"),
        ({"mask_token": torch.zeros(3)}, ValueError, "mask_token must have shape (4,), got (3,)"),
        ({"mask_token": torch.zeros(3, 4)}, ValueError, "mask_token must have shape (4,), got (3, 4)"),
        ({"mask_token": torch.zeros(4, device="meta")}, ValueError, "mask_token must be on cpu, like x, got meta"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        apply_mask_token(**{**GOOD, **arguments})
    assert str(raised.value) == f"apply_mask_token: {message}"
