"""The operator of every query's similarities with keys of its own, and its plain torch passes, which a GPU runs."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast.losses import _hard

TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
NORMALIZE = pytest.mark.parametrize("normalize", [True, False])
# Queries, keys of each, width: one of each; no whole vector; vectors and a rest; some threads' worth.
SIZES = pytest.mark.parametrize("size", [(1, 1, 1), (5, 3, 1), (4, 1, 7), (3, 2, 45), (6, 5, 64), (130, 4, 200)])


def tensors(size: tuple[int, int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Queries in the dtype of accumulation, keys, and a gradient of the similarities."""
    n, k, d = size
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.randn(n, d, dtype=wide), torch.randn(n, k, d).to(dtype), torch.randn(n, k, dtype=wide)


def definition(query: Tensor, keys: Tensor, grad: Tensor, normalize: bool) -> list[Tensor]:
    """Similarities, and the gradients of queries and keys, in float64."""
    leaves = [z.double().requires_grad_() for z in (query, keys)]
    rows = F.normalize(leaves[1], dim=2) if normalize else leaves[1]
    similarities = (leaves[0].unsqueeze(1) * rows).sum(dim=2)
    return [similarities.detach(), *torch.autograd.grad(similarities, leaves, grad.double())]


def both_passes(
    query: Tensor, keys: Tensor, grad: Tensor, normalize: bool, needs: tuple[bool, bool] = (True, True)
) -> list[Tensor]:
    similarities, inverse_norms = ops.own_similarities(query, keys, normalize)
    saved = (similarities, inverse_norms) if normalize else (None, None)
    return [similarities, *ops.own_similarities_backward(grad, query, keys, *saved, *needs)]


def assert_near(found: list[Tensor], query: Tensor, keys: Tensor, grad: Tensor, normalize: bool) -> None:
    """To the precision of the queries' dtype, beside the largest term of each sum; the keys' gradient is rounded once
    more.
    """
    n, k, d = keys.shape
    factors = keys.double().norm(dim=2).clamp_min(1e-12).reciprocal() if normalize else torch.ones(n, k)
    weights = (grad * factors).abs().unsqueeze(2)
    largest_key = keys.double().abs().amax(dim=2, keepdim=True)
    of_keys = weights * query.abs().amax(dim=1)[:, None, None]
    largest = [of_keys.squeeze(2) * largest_key.squeeze(2) / grad.abs(), (weights * largest_key).amax(dim=1), of_keys]
    expected = definition(query, keys, grad, normalize)
    for z, truth, like, terms in zip(found, expected, (query, query, keys), largest, strict=True):
        assert z.dtype == like.dtype
        halves = like.dtype in (torch.bfloat16, torch.float16)
        rounding = truth.abs() * torch.finfo(like.dtype).eps + 2**-24 if halves else 0.0
        assert ((z - truth).abs() <= 4 * (d + k) ** 0.5 * torch.finfo(query.dtype).eps * terms + rounding).all()


@SIZES
@TYPES
@NORMALIZE
def test_against_the_definition(size: tuple[int, int, int], dtype: torch.dtype, normalize: bool) -> None:
    query, keys, grad = tensors(size, dtype)
    assert_near(both_passes(query, keys, grad, normalize), query, keys, grad, normalize)


@TYPES
@NORMALIZE
def test_strided_inputs(dtype: torch.dtype, normalize: bool) -> None:
    """Rows apart, keys before queries, and one list of keys that all queries share."""
    query, keys, grad = tensors((7, 3, 21), dtype)
    apart = torch.stack([query, -query], dim=1)[:, 0]
    swapped = keys.transpose(0, 1).contiguous().transpose(0, 1)
    packed = both_passes(query, keys, grad, normalize)
    for a, b in zip(packed, both_passes(apart, swapped, grad, normalize), strict=True):
        assert torch.equal(a, b)
    shared = keys[:1].expand(7, 3, 21)
    assert_near(both_passes(apart, shared, grad, normalize), query, shared, grad, normalize)


@TYPES
@NORMALIZE
def test_one_sided_gradients(dtype: torch.dtype, normalize: bool) -> None:
    query, keys, grad = tensors((6, 3, 37), dtype)
    _, of_query, of_keys = both_passes(query, keys, grad, normalize)
    _, found, none = both_passes(query, keys, grad, normalize, (True, False))
    assert torch.equal(found, of_query)
    assert none.shape == (0, 3, 37)
    _, none, found = both_passes(query, keys, grad, normalize, (False, True))
    assert torch.equal(found, of_keys)
    assert none.shape == (0, 37)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_below_the_least_norm_the_divisor_is_constant(dtype: torch.dtype) -> None:
    query, keys, grad = tensors((3, 2, 20), dtype)
    keys[0, 0] = 0.0
    keys[1, 1] *= 1e-14
    assert_near(both_passes(query, keys, grad, True), query, keys, grad, True)
    similarities, _, of_keys = both_passes(query, keys, grad, True)
    assert similarities[0, 0] == 0
    torch.testing.assert_close(of_keys[0, 0], 1e12 * grad[0, 0] * query[0])
    torch.testing.assert_close(of_keys[1, 1], 1e12 * grad[1, 1] * query[1])


@NORMALIZE
def test_a_nan_stays_with_its_row(normalize: bool) -> None:
    query, keys, grad = tensors((3, 2, 20), torch.float32)
    keys[1, 0, 5] = torch.nan  # the gradient of a row that is taken as it is does not depend on it
    similarities, of_query, of_keys = both_passes(query, keys, grad, normalize)
    assert similarities.isnan().tolist() == [[False, False], [True, False], [False, False]]
    assert of_query.isnan().any(dim=1).tolist() == [False, True, False]
    assert of_keys.isnan().any(dim=2).tolist() == [[False, False], [normalize, False], [False, False]]


def test_threads_do_not_change_the_result() -> None:
    query, keys, grad = tensors((300, 5, 128), torch.float32)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(both_passes(query, keys, grad, True))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@TYPES
@NORMALIZE
@pytest.mark.parametrize("several", [True, False])
def test_what_a_gpu_runs(dtype: torch.dtype, normalize: bool, several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows at once, and three at once, the last part shorter."""
    query, keys, grad = tensors((37, 5, 12), dtype)
    keys[3, 1] = 0.0
    if several:
        monkeypatch.setattr(_hard, "_NUMBERS", 3 * 5 * 12)
        monkeypatch.setattr(_hard, "_PARTS", 37)
    similarities, inverse_norms = _hard._in_torch(query, keys, normalize)
    saved = (similarities, inverse_norms) if normalize else (None, None)
    assert inverse_norms.shape == ops.own_similarities(query, keys, normalize)[1].shape
    finite = dtype != torch.float16 or not normalize  # the gradient of a zero row is too large for float16
    for needs in ((True, True), (True, False), (False, True)):
        grads = _hard._backward_in_torch(grad, query, keys, *saved, *needs)
        expected = both_passes(query, keys, grad, normalize, needs)
        for a, b in zip((similarities, *grads), expected, strict=True):
            assert a.shape == b.shape
            torch.testing.assert_close(a, b)
            assert not finite or b.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixed_precisions(dtype: torch.dtype) -> None:
    """Keys of the other precision, and keys whose last dimension is not contiguous, take a copy."""
    other = torch.float32 if dtype == torch.float64 else torch.float64
    query, keys, grad = tensors((5, 3, 9), dtype)
    packed = both_passes(query, keys.to(other).to(dtype), grad, True)
    leaves = [query.clone(), torch.stack([keys, keys], dim=-1)[..., 0].to(other)]
    leaves = [z.requires_grad_() for z in leaves]
    similarities = _hard.own_similarities("f", leaves[0], leaves[1], True)
    grads = torch.autograd.grad(similarities, leaves, grad)
    assert grads[1].dtype == other
    for a, b in zip((similarities.detach(), *grads), packed, strict=True):
        torch.testing.assert_close(a.to(dtype), b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@NORMALIZE
def test_registered(dtype: torch.dtype, normalize: bool) -> None:
    query, keys, grad = tensors((5, 3, 9), dtype)
    torch.library.opcheck(ops.own_similarities, (query, keys, normalize))
    saved = ops.own_similarities(query, keys, normalize) if normalize else (None, None)
    for needs in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(ops.own_similarities_backward, (grad, query, keys, *saved, *needs))


@pytest.mark.parametrize(
    ("query", "keys", "text"),
    [
        (torch.ones(2, 3), torch.ones(2, 1, 4), "query must be (N, D) and keys (N, K, D)"),
        (torch.ones(2, 3), torch.ones(2, 1, 3).double(), "query must be float64 with"),
        (torch.ones(2, 3), torch.ones(2, 3, 2).transpose(1, 2), "rows of query and keys must be contiguous"),
    ],
)
def test_refused(query: Tensor, keys: Tensor, text: str) -> None:
    with pytest.raises(RuntimeError, match="^" + re.escape(f"own_similarities: {text}")):
        ops.own_similarities(query, keys, True)
