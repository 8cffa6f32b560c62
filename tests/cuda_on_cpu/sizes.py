"""Sizes at which a CUDA kernel goes another way, and which would tell a CPU nothing: against the CPU's own kernels by
the NumPy face, or against exact sums.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslfast import host
from sslfast.masking import apply_mask_token, mask_nodes, mask_spans, permutation_mask, unshuffle_patches


def equal(ours: tuple[torch.Tensor, ...], theirs: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(a.numpy(), b) for a, b in zip(ours, theirs, strict=True))


def test_spans_of_rows_beyond_shared_memory():
    ids = torch.randint(5, 900, (2, 33_000))
    numbers = {"mask_token_id": 3, "vocab_size": 900}
    assert equal(mask_spans(ids, generator=1, **numbers), host.mask_spans(ids.numpy(), seed=1, **numbers))


def test_orders_of_several_tiles_of_words():
    ids = torch.randint(5, 900, (1, 1030))
    ours = permutation_mask(ids, mask_token_id=3, mode="exact", generator=1)
    theirs = host.permutation_mask(ids.numpy(), mask_token_id=3, mode="exact", seed=1)
    assert equal(ours, theirs)


@pytest.mark.parametrize("width", [1, 33])
def test_more_partial_sums_than_are_folded_at_once(width):
    """257 chunks of 128 tokens, and of as many places of nodes."""
    x = torch.randint(-4, 5, (257, 128, width)).float()
    mask = torch.rand(257, 128) < 0.5
    token = torch.zeros(width, requires_grad=True)
    (sums,) = torch.autograd.grad(apply_mask_token(x, mask, token), token, x)
    assert torch.equal(sums, x[mask].sum(0))
    nodes = x.flatten(0, 1)
    token = torch.zeros(width, requires_grad=True)
    masked = mask_nodes(nodes, 0.5, replace_rate=0.0, mask_token=token, generator=1)
    (sums,) = torch.autograd.grad(masked.x, token, nodes)
    assert torch.equal(sums, nodes[masked.mask].sum(0))


def test_gradients_of_decoders_with_more_rows_than_are_folded_at_once():
    """8200 rows, 32 a chunk."""
    restore = torch.rand(8200, 3).argsort(1)
    tokens, token = torch.zeros(8200, 2, 2, requires_grad=True), torch.zeros(2, requires_grad=True)
    positions = torch.zeros(3, 2, requires_grad=True)
    grad = torch.randint(-4, 5, (8200, 3, 2)).float()
    out = unshuffle_patches(tokens, token, restore, positions)
    of_tokens, of_token, of_positions = torch.autograd.grad(out, (tokens, token, positions), grad)
    assert torch.equal(of_token, grad[restore == 2].sum(0))
    assert torch.equal(of_positions, grad.sum(0))
    assert torch.equal(of_tokens, grad.gather(1, restore.argsort(1)[:, :2, None].expand(-1, -1, 2)))
