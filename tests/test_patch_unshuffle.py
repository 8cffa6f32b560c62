"""unshuffle_patches: the reference's values bit for bit, its gradients no worse, every type, stride and prefix."""

from __future__ import annotations

import pytest
import torch
from oracle import all_equal, assert_no_worse

from sslfast import ops
from sslfast.masking import mask_patches, random_patch_mask, unshuffle_patches
from sslfast.reference import patch_unshuffle as reference

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
EPS = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 4e-3, torch.float16: 5e-4}

# (rows, patches, keep, prefix, width) and why it is there
SIZES = [
    (1, 1, 1, 0, 1),  # nothing is masked
    (1, 1, 0, 0, 3),  # everything is
    (3, 7, 2, 1, 5),  # rows of no whole vectors
    (2, 16, 4, 0, 64),  # whole ones
    (70, 9, 3, 2, 8),  # more rows than one sum takes
    (33, 5, 5, 0, 16),  # one row behind a sum
    (2, 300, 20, 1, 16),  # many places
    (2, 3, 1, 1, 5000),  # wider than what is taken at a time
    (0, 6, 2, 1, 4),  # no rows
    (4, 6, 2, 1, 0),  # no width
]


def make(rows, patches, keep, prefix, width, dtype=torch.float32, device="cpu"):
    parts = [torch.randn(rows, prefix + keep, width), torch.randn(1, 1, width), torch.randn(1, prefix + patches, width)]
    ids_restore = torch.rand(rows, patches).argsort(1)
    return [t.to(device, dtype).requires_grad_() for t in parts], ids_restore.to(device)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_positions", [True, False])
def test_equals_reference(device, size, dtype, with_positions):
    parts, ids_restore = make(*size, dtype=dtype, device=device)
    parts = parts if with_positions else parts[:2]
    prefix = size[3]

    def call(function, parts):
        tokens, mask_token, *positions = parts
        return function(tokens, mask_token, ids_restore, *positions, num_prefix_tokens=prefix)

    ours, plain = call(unshuffle_patches, parts), call(reference.unshuffle_patches, parts)
    assert all_equal([ours], [plain])
    upstream = torch.randn(ours.shape, device=device).to(dtype)
    exact = [p.detach().double().requires_grad_() for p in parts]
    truth = torch.autograd.grad(call(reference.unshuffle_patches, exact), exact, upstream.double())
    gradients = torch.autograd.grad(ours, parts, upstream)
    others = torch.autograd.grad(plain, parts, upstream)
    assert torch.equal(gradients[0], others[0])
    for k, r, g in zip(gradients, others, truth, strict=True):
        scale = g.abs().max().item() if g.numel() else 0.0
        assert_no_worse(k, r, g, EPS[dtype] * (1 + scale))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [5, 64])
def test_half_tokens_beside_float_parameters(device, half, width):
    """What autocast makes of MAE: no copy of the tokens, everything else in float32."""
    parts, ids_restore = make(5, 12, 4, 1, width, device=device)
    tokens = parts[0].detach().to(half).requires_grad_()
    inputs = [tokens, *parts[1:]]

    def call(function, mask_token, positions):
        return function(tokens, mask_token, ids_restore, positions, num_prefix_tokens=1)

    for positions in (parts[2], None):
        ours, plain = (call(f, parts[1], positions) for f in (unshuffle_patches, reference.unshuffle_patches))
        assert ours.dtype == torch.float32
        assert torch.equal(ours, plain)
        wanted = inputs if positions is not None else inputs[:2]
        upstream = torch.randn_like(ours)
        gradients = torch.autograd.grad(ours, wanted, upstream)
        for k, g in zip(gradients, torch.autograd.grad(plain, wanted, upstream), strict=True):
            assert k.dtype == g.dtype
            assert torch.allclose(k, g, rtol=1e-5, atol=1e-5)
    wide = unshuffle_patches(tokens, parts[1].double(), ids_restore, parts[2], num_prefix_tokens=1)
    assert wide.dtype == torch.float64
    mixed = unshuffle_patches(parts[0], parts[1].to(half), ids_restore, num_prefix_tokens=1)
    assert mixed.dtype == torch.float32


def test_undoes_mask_patches(device):
    x = torch.randn(4, 30, 6, device=device)
    token = torch.full((6,), 9.0, device=device)
    kept, mask, ids_restore = mask_patches(x, 0.6)
    assert torch.equal(unshuffle_patches(kept, token, ids_restore), torch.where(mask[..., None], token, x))
    kept, mask, ids_restore = mask_patches(x, 0.6, num_prefix_tokens=2, order="sorted")  # whose ids count the prefix
    assert torch.equal(unshuffle_patches(kept, token, ids_restore), torch.where(mask[..., None], token, x))


def test_any_strides(device):
    (tokens, mask_token, positions), ids_restore = make(4, 10, 3, 1, 6, device=device)
    other = {"num_prefix_tokens": 1}
    expected = unshuffle_patches(tokens, mask_token, ids_restore, positions, **other)
    base = tokens.detach()
    views = [
        base.transpose(0, 1).contiguous().transpose(0, 1),
        base.mT.contiguous().mT,
        torch.cat([base, base], 2)[..., :6],
        torch.cat([base[..., :1], base], 2)[..., 1:],  # not aligned
    ]
    for view in views:
        ours = unshuffle_patches(view, mask_token, ids_restore.T.contiguous().T, positions.mT.contiguous().mT, **other)
        assert torch.equal(ours, expected)
    gradient = torch.randn_like(expected)
    first = torch.autograd.grad(expected, (tokens, mask_token, positions), gradient, retain_graph=True)
    transposed = torch.autograd.grad(
        expected, (tokens, mask_token, positions), gradient.mT.contiguous().mT, retain_graph=True
    )
    assert all_equal(transposed, [t.cpu() for t in first])
    summed = torch.autograd.grad(expected.sum(), (tokens, mask_token, positions))
    assert (summed[0] == 1).all()
    assert (summed[1] == 4 * 7).all()
    assert (summed[2] == 4).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_outputs(device, dtype):
    """Stored past the caches, in memory fresh or reused (csrc/cpu/large_output.h)."""
    (tokens, *others), ids_restore = make(60, 196, 120, 1, 333, device=device)
    tokens = tokens.detach().to(dtype).requires_grad_()
    for _ in range(2):
        results = []
        for function in (unshuffle_patches, reference.unshuffle_patches):
            out = function(tokens, others[0], ids_restore, others[1], num_prefix_tokens=1)
            results.append([out.detach(), *torch.autograd.grad(out, (tokens, *others), out.detach())])
        for k, g in zip(results[0][:2], results[1][:2], strict=True):
            assert torch.equal(k, g)
        for k, g in zip(results[0][2:], results[1][2:], strict=True):
            assert torch.allclose(k, g, rtol=1e-4, atol=1e-3)


def test_same_bits_for_any_number_of_threads():
    (tokens, mask_token, positions), ids_restore = make(100, 196, 49, 1, 64)
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 7):
            torch.set_num_threads(n)
            out = unshuffle_patches(tokens, mask_token, ids_restore, positions, num_prefix_tokens=1)
            results.append([out, *torch.autograd.grad(out, (tokens, mask_token, positions), out.detach())])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all_equal(other, results[0])


def test_sums_of_many_rows_keep_their_precision(device):
    (tokens, mask_token, positions), ids_restore = make(1000, 196, 20, 0, 4, device=device)
    gradient = 1 + torch.rand(1000, 196, 4, device=device)
    out = unshuffle_patches(tokens, mask_token, ids_restore, positions)
    of_token, of_positions = torch.autograd.grad(out, (mask_token, positions), gradient)
    truth = torch.where((ids_restore >= 20)[..., None], gradient, 0.0).double().sum((0, 1))
    assert ((of_token - truth).abs() <= 4e-7 * truth).all()
    truth = gradient.double().sum(0)
    assert ((of_positions - truth).abs() <= 1e-6 * truth).all()


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_gradients_that_are_wanted(device, wanted):
    parts, ids_restore = make(5, 8, 3, 1, 4, dtype=torch.float64, device=device)
    everything = unshuffle_patches(parts[0], parts[1], ids_restore, parts[2], num_prefix_tokens=1)
    expected = torch.autograd.grad(everything, parts, everything.detach())
    some = [p.detach().requires_grad_(i in wanted) for i, p in enumerate(parts)]

    def loss():
        out = unshuffle_patches(some[0], some[1], ids_restore, some[2], num_prefix_tokens=1)
        return (out**2).sum() / 2

    loss().backward()
    for i, (part, g) in enumerate(zip(some, expected, strict=True)):
        assert (part.grad is not None) == (i in wanted)
        assert i not in wanted or torch.equal(part.grad, g)


def test_gradcheck_twice(device):
    parts, ids_restore = make(2, 4, 2, 1, 2, dtype=torch.float64, device=device)

    def call(tokens, mask_token, positions):
        return unshuffle_patches(tokens, mask_token, ids_restore, positions, num_prefix_tokens=1)

    assert torch.autograd.gradcheck(call, parts)
    assert torch.autograd.gradgradcheck(call, parts)
    assert torch.autograd.gradgradcheck(lambda *p: unshuffle_patches(p[0][:, 1:], p[1], ids_restore) ** 2, parts[:2])
    one = [parts[0].detach(), parts[1], parts[2].detach()]
    first = torch.autograd.grad((call(*one) ** 3).sum(), one[1], create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), one[1])[0]
    masked = (ids_restore >= 2).double()
    places = torch.einsum("nl,nld->d", masked, 6 * call(*one)[:, 1:].detach())
    assert torch.allclose(second.flatten(), places)


def test_nan_stays_where_it_is(device):
    (tokens, mask_token, _), ids_restore = make(2, 6, 3, 0, 4, device=device)
    with torch.no_grad():
        tokens[0, 1] = torch.nan
    out = unshuffle_patches(tokens, mask_token, ids_restore)
    assert torch.equal(out.isnan().all(2), (ids_restore == 1) & torch.tensor([[True], [False]], device=device))
    gradient = torch.zeros_like(out)
    gradient[1, ids_restore[1].argmin()] = torch.nan  # at a kept place: not the mask token's
    of_tokens, of_mask_token = torch.autograd.grad(out, (tokens, mask_token), gradient)
    assert of_tokens.isnan().any(2).tolist() == [[False] * 3, [True, False, False]]
    assert torch.equal(of_mask_token, torch.zeros_like(mask_token))


def test_composes(device):
    parts, ids_restore = make(3, 8, 2, 1, 4, device=device)
    tokens, mask_token, positions = (p.detach() for p in parts)
    arguments = (tokens, mask_token.flatten(), positions[0].contiguous(), ids_restore, 1, torch.float32)
    torch.library.opcheck(ops.patch_unshuffle, arguments)
    torch.library.opcheck(
        ops.patch_unshuffle_backward,
        (torch.randn(3, 9, 4, device=device), ids_restore, 2, 1, torch.bfloat16, True, False, True),
    )
    compiled = torch.compile(unshuffle_patches, fullgraph=True)
    for rows, keep in ((3, 2), (5, 4)):
        parts, ids_restore = make(rows, 8, keep, 1, 4, device=device)
        results = []
        for function in (compiled, unshuffle_patches):
            out = function(parts[0], parts[1], ids_restore, parts[2], num_prefix_tokens=1)
            results.append([out.detach(), *torch.autograd.grad((out**2).sum(), parts)])
        assert all_equal(results[0], [t.cpu() for t in results[1]])
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert unshuffle_patches(parts[0], parts[1], ids_restore, num_prefix_tokens=1).dtype == torch.float32
        half = torch.nn.functional.linear(parts[0], torch.eye(4, device=device))
        assert half.dtype == torch.bfloat16
        assert unshuffle_patches(half, parts[1], ids_restore, num_prefix_tokens=1).dtype == torch.float32


@pytest.mark.parametrize("change", ["twice", "negative", "too large"])
def test_ids_that_are_no_permutation(change):
    (tokens, mask_token, _), ids_restore = make(3, 6, 2, 0, 4)
    ids_restore[1, 2] = {"twice": int(ids_restore[1, 3]), "negative": -1, "too large": 6}[change]
    got = {"twice": f"{int(ids_restore[1, 3])} twice", "negative": "-1", "too large": "6"}[change]
    message = f"unshuffle_patches: ids_restore must hold 0 to 5 in every row, each once, got {got} in row 1"
    with pytest.raises(ValueError, match=f"^{message}$"):
        unshuffle_patches(tokens, mask_token, ids_restore)


# ---- bad input

GOOD = {
    "tokens": torch.zeros(2, 3, 4),
    "mask_token": torch.zeros(4),
    "ids_restore": random_patch_mask(2, 8, 0.625, generator=1).ids_restore,
    "positions": torch.zeros(8, 4),
}
KINDS = "a tensor of float32, float64, bfloat16 or float16"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tokens": [1.0]}, TypeError, f"tokens must be {KINDS}, got list"),
        ({"tokens": torch.zeros(2, 3, 4).long()}, TypeError, f"tokens must be {KINDS}, got torch.int64"),
        ({"tokens": torch.zeros(3, 4)}, ValueError, "tokens must have shape (N, L, D), got (3, 4)"),
        ({"tokens": torch.zeros(2, 9, 4)}, ValueError, "tokens must have 0 to 8 tokens a row, got (2, 9, 4)"),
        ({"mask_token": None}, TypeError, f"mask_token must be {KINDS}, got NoneType"),
        ({"mask_token": torch.zeros(3)}, ValueError, "mask_token must have shape (4,), got (3,)"),
        ({"mask_token": torch.zeros(4, 1)}, ValueError, "mask_token must have shape (4,), got (4, 1)"),
        ({"mask_token": torch.zeros(2, 4)}, ValueError, "mask_token must have shape (4,), got (2, 4)"),
        ({"ids_restore": torch.zeros(2, 8)}, TypeError, "ids_restore must be an int64 tensor, got torch.float32"),
        ({"ids_restore": 3}, TypeError, "ids_restore must be an int64 tensor, got int"),
        (
            {"ids_restore": torch.arange(8)[None]},
            ValueError,
            "ids_restore must have shape (N, L) with N = 2 and L >= 1, got (1, 8)",
        ),
        ({"positions": torch.zeros(9, 4)}, ValueError, "positions must have shape (8, 4), got (9, 4)"),
        ({"positions": torch.zeros(2, 8, 4)}, ValueError, "positions must have shape (8, 4), got (2, 8, 4)"),
        ({"positions": torch.zeros(8, 4).int()}, TypeError, f"positions must be {KINDS}, got torch.int32"),
        ({"num_prefix_tokens": -1}, ValueError, "num_prefix_tokens must be at least 0, got -1"),
        ({"num_prefix_tokens": 4}, ValueError, "tokens must have 4 to 12 tokens a row, got (2, 3, 4)"),
        (
            {"mask_token": torch.zeros(4, device="meta")},
            ValueError,
            "mask_token must be on cpu, like tokens, got meta",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        unshuffle_patches(**{**GOOD, **arguments})
    assert str(raised.value) == f"unshuffle_patches: {message}"
