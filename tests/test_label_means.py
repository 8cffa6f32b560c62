"""label_means, the C++ of SupCon against references, and the plain torch that a GPU runs instead."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslfast import ops
from sslfast.losses import _supcon_references


def drawn(n: int, m: int, d: int, labels: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Unit rows and columns and their labels, which may be any numbers, also such that only one side has."""
    names = torch.randint(-(2**62), 2**62, (labels,))
    sides = (torch.nn.functional.normalize(torch.randn(size, d, dtype=dtype), dim=1) for size in (n, m))
    return *sides, *(names[torch.randint(labels, (size,))] for size in (n, m))


# N, M, D, labels: one of each; nearly all single; few labels; several threads.
CASES = [(1, 1, 1, 1), (30, 40, 5, 200), (50, 33, 17, 40), (64, 256, 130, 9), (300, 500, 200, 70)]


@pytest.mark.parametrize(("n", "m", "d", "labels"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_operator_is_what_a_gpu_runs(n: int, m: int, d: int, labels: int, dtype: torch.dtype) -> None:
    rows, columns, of_rows, of_columns = drawn(n, m, d, labels, dtype)
    found = ops.label_means(rows, columns, of_rows, of_columns, 10.0)
    mean, counts, partners, row_classes, col_classes, share, label_weights, poison = found
    expected = _supcon_references._in_torch([rows, columns], of_rows, of_columns, None, 10.0)
    left_out, single, true_mean, true_rows, true_columns, *shares = expected
    same = of_rows[:, None] == of_columns
    assert torch.equal(counts, same.sum(1))
    assert torch.equal(partners, left_out)
    assert torch.equal(counts == 1, single)
    assert torch.equal(row_classes[:, None] == col_classes, same)
    assert torch.equal(true_rows[:, None] == true_columns, same)
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(mean, true_mean, rtol=0.0, atol=100 * rounding)
    for ours, theirs in zip((share, label_weights, poison), shares, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=4 * rounding, atol=0.0)


def test_without_a_shared_label() -> None:
    rows, columns, *_ = drawn(3, 4, 5, 1, torch.float32)
    found = ops.label_means(rows, columns, torch.arange(3), torch.arange(4, 8), 10.0)
    mean, counts, partners, row_classes, col_classes, share, label_weights, poison = found
    assert not any(t.any() for t in (mean, counts, share, label_weights, poison))
    assert (partners == -1).all()
    assert (row_classes == -1).all()
    assert col_classes.unique().numel() == 4


@pytest.mark.parametrize("side", [0, 1])
def test_a_nan_poisons(side: int) -> None:
    rows, columns, *_ = drawn(3, 4, 5, 1, torch.float32)
    (rows, columns)[side][2, 1] = math.nan
    assert ops.label_means(rows, columns, torch.arange(3), torch.arange(4, 8), 10.0)[-1].isnan()


def test_opcheck() -> None:
    torch.library.opcheck(ops.label_means, (*drawn(4, 6, 3, 3, torch.float32), 10.0))
    torch.library.opcheck(ops.label_means, (*drawn(4, 6, 3, 3, torch.float64), 10.0))
