"""counted_both_ways: sums and gradients of both directions from one pass are those of a pass for each."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslfast.losses import _strips
from sslfast.losses._counted import counted_sums
from sslfast.losses._counted_both_ways import counted_both_ways

N, D = 23, 6


@pytest.mark.parametrize("needed", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("with_ids", [False, True])
def test_is_a_pass_for_each(
    with_ids: bool, needed: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    for name in ("_HELD", "_HELD_GPU"):
        monkeypatch.setattr(_strips, name, 5 * N)  # several strips, the last of them shorter
    values = [torch.randn(N, D, device=device) for _ in range(2)]
    positives = torch.randperm(N, device=device)
    ids = [torch.arange(N, device=device) % 7 if with_ids else None for _ in range(2)]
    limits, scale = 3 * torch.randn(N, device=device), torch.full((1,), 2.0, device=device)
    weights = torch.randn(2, N, device=device)
    own = positives.argsort()

    def apart(rows: Tensor, columns: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        options = (scale, "local")
        return (
            counted_sums("f", rows, columns, positives, *ids, limits, *options),
            counted_sums("f", columns, rows, own, *ids[::-1], limits[own], *options),
        )

    results = []
    for function in (lambda *z: counted_both_ways("f", *z, positives, *ids, limits, scale), apart):
        leaves = [z.clone().requires_grad_(need) for z, need in zip(values, needed, strict=True)]
        (row_sums, row_counts), (col_sums, col_counts) = function(*leaves)
        wanted = [z for z in leaves if z.requires_grad]
        grads = torch.autograd.grad((weights[0] * row_sums).sum() + (weights[1] * col_sums).sum(), wanted)
        results.append([row_sums, row_counts, col_sums, col_counts, *grads])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
    assert 0 < results[0][1].min() < results[0][1].max() < N
