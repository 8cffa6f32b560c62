"""masked_code_loss: BEiT's number from the masked patches alone."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import with_grads
from torch import Tensor

from sslfast.losses import MaskedCodeLoss, masked_code_loss
from sslfast.masking import block_mask, mask_indices


def problem(prefix: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Hidden states (3, prefix + 6, 5), a head of 11 entries, codes, and a mask."""
    hidden, weight, bias = (torch.randn(*size, dtype=dtype) for size in ((3, prefix + 6, 5), (11, 5), (11,)))
    mask = torch.tensor([[1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1]]).bool()
    return hidden, weight, bias, torch.randint(0, 11, (3, 6)), mask


def beit(hidden: Tensor, weight: Tensor, bias: Tensor, codes: Tensor, mask: Tensor, prefix: int, **options) -> Tensor:
    """VisionTransformerForMaskedImageModeling.forward and the loss of its engine."""
    outputs = F.linear(hidden[:, prefix:][mask], weight, bias)
    return torch.nn.CrossEntropyLoss(**options)(outputs, codes[mask])


@pytest.mark.parametrize("prefix", [0, 1, 3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_numbers_of_beit(prefix, reduction):
    *leaves, codes, mask = problem(prefix)
    options = {"reduction": reduction, "label_smoothing": 0.1}
    expected = with_grads(lambda *z: beit(*z, codes, mask, prefix, **options), *leaves)
    call = functools.partial(masked_code_loss, num_prefix_tokens=prefix, **options)
    elsewhere = codes.masked_fill(~mask, 10**6)  # not looked at
    indices = mask_indices(mask).indices
    ways = [
        lambda h, w, b: call(h, w, codes, mask, b),
        lambda h, w, b: call(h, w, elsewhere, mask, b),
        lambda h, w, b: call(h, w, codes.view(3, 2, 3), mask.view(3, 2, 3), b),
        lambda h, w, b: call(h, w, codes.int(), bias=b, indices=indices),
        lambda h, w, b: call(h, w, elsewhere, bias=b, indices=indices[:7].flip(0)),
        lambda h, w, b: MaskedCodeLoss(**options, num_prefix_tokens=prefix)(h, w, codes, mask, b),
    ]
    for way in ways:
        torch.testing.assert_close(with_grads(way, *leaves), expected)


def test_a_loss_for_each_patch_and_metrics():
    hidden, weight, bias, codes, mask = problem(1)
    logits = F.linear(hidden[:, 1:], weight, bias)
    expected = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view(3, 6)
    call = functools.partial(masked_code_loss, hidden, weight, codes, bias=bias, num_prefix_tokens=1)
    torch.testing.assert_close(call(mask, reduction="none"), expected * mask)
    indices = mask_indices(mask).indices[:8]
    found = call(indices=indices, reduction="none", return_metrics=True)
    torch.testing.assert_close(found.loss[:6], expected[mask])
    assert not found.loss[6:].any()
    out = call(mask, return_metrics=True)
    torch.testing.assert_close(out.accuracy, (logits[mask].argmax(1) == codes[mask]).float().mean())
    assert out.num_targets == mask.sum()


def test_nothing_one_and_all_masked():
    hidden, weight, bias, codes, mask = problem(1)
    leaves = [z.requires_grad_() for z in (hidden, weight, bias)]
    call = functools.partial(masked_code_loss, hidden, weight, codes, bias=bias, num_prefix_tokens=1)
    for found in (call(torch.zeros_like(mask)), call(indices=torch.full((3,), -1))):
        assert found == 0
        assert all(not g.any() for g in torch.autograd.grad(found, leaves))
    one = torch.zeros_like(mask)
    one[2, 4] = True
    for some in (one, torch.ones_like(mask)):
        torch.testing.assert_close(call(some), beit(*leaves, codes, some, 1))


def test_what_is_not_masked_may_be_nan():
    *leaves, codes, mask = problem(1)
    spoiled = leaves[0].clone()
    spoiled[:, 1:][~mask] = math.nan
    spoiled[:, 0] = math.nan
    call = functools.partial(masked_code_loss, codes=codes, mask=mask, num_prefix_tokens=1)
    expected = with_grads(lambda h, w, b: call(h, w, bias=b), *leaves)
    torch.testing.assert_close(with_grads(lambda h, w, b: call(h, w, bias=b), spoiled, *leaves[1:]), expected)


def test_compiles_whole_and_takes_block_masks():
    hidden, weight, bias, codes, _ = problem(1, torch.float32)
    mask = block_mask(3, (2, 3), 3, min_patches=1, generator=1)
    indices = mask_indices(mask).indices
    call = functools.partial(masked_code_loss, hidden, weight, codes.view(3, 2, 3), bias=bias, num_prefix_tokens=1)
    compiled = torch.compile(lambda mask: call(mask), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(mask), call(mask))
    compiled = torch.compile(lambda indices: call(indices=indices), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(indices), call(mask))


H, W, C, M = torch.randn(2, 4, 3), torch.randn(9, 3), torch.zeros(2, 3).long(), torch.ones(2, 3).bool()
ONE = torch.tensor([0])
BAD = [
    ((H[0], W, C, M), {}, ValueError, "hidden must have shape (N, 1 + L, D), got (4, 3)"),
    ((H, W[:, 1:], C, M), {}, ValueError, "weight must have shape (V, 3), a row a class, got (9, 2)"),
    ((H, W, C.float(), M), {}, TypeError, "codes must be an integer tensor, got torch.float32"),
    ((H, W, C.T, M), {}, ValueError, "codes must have shape (2, 3), one a patch, got (3, 2)"),
    ((H, W, C + 9, M), {}, ValueError, "codes must be in [0, 8], got 9"),
    ((H, W, C, M.float()), {}, TypeError, "mask must be a bool tensor, got torch.float32"),
    ((H, W, C, M.T), {}, ValueError, "mask must have shape (2, 3), got (3, 2)"),
    ((H, W, C), {}, ValueError, "either mask or indices must be given, got neither"),
    ((H, W, C, M), {"indices": ONE}, ValueError, "either mask or indices must be given, got both"),
    ((H, W, C), {"indices": ONE.int()}, TypeError, "indices must be an int64 tensor, got torch.int32"),
    ((H, W, C), {"indices": ONE[None]}, ValueError, "indices must have shape (R,), got (1, 1)"),
    ((H, W, C), {"indices": ONE + 6}, ValueError, "indices must be in [-1, 5], patches of hidden, got 6"),
    ((H, W, C, M), {"reduction": "all"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'all'"),
    ((H, W, C, M), {"num_items": 0}, ValueError, "num_items must be positive, got 0"),
    ((H, W, C, M), {"num_prefix_tokens": -1}, ValueError, "num_prefix_tokens must be at least 0, got -1"),
    ((H, W, C, M), {"return_metrics": 1}, TypeError, "return_metrics must be a bool, got 1"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "message"), BAD)
def test_bad_input(args, kwargs, error, message):
    with pytest.raises(error) as raised:
        masked_code_loss(*args, **{"num_prefix_tokens": 1, **kwargs})
    assert str(raised.value) == f"masked_code_loss: {message}"
