"""label_means, the C++ of SupCon against references, and the plain torch that a GPU runs instead."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslfast import ops
from sslfast.losses._label_means import LabelMeans, _in_torch, label_means


def drawn(n: int, m: int, d: int, labels: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Unit rows and columns and their labels, which may be any numbers, also such that only one side has."""
    names = torch.randint(-(2**62), 2**62, (labels,))
    sides = (torch.nn.functional.normalize(torch.randn(size, d, dtype=dtype), dim=1) for size in (n, m))
    return *sides, *(names[torch.randint(labels, (size,))] for size in (n, m))


# N, M, D, labels: one of each; nearly all single; few labels; several threads.
CASES = [(1, 1, 1, 1), (30, 40, 5, 200), (50, 33, 17, 40), (64, 256, 130, 9), (300, 500, 200, 70)]


def check(found: LabelMeans, expected: LabelMeans, same: Tensor) -> None:
    rounding = torch.finfo(found.mean.dtype).eps
    assert torch.equal(found.counts, expected.counts)
    assert torch.equal(found.partners, expected.partners)
    for classes in (found, expected):
        assert torch.equal(classes.row_classes[:, None] == classes.col_classes, same)
    torch.testing.assert_close(found.mean, expected.mean, rtol=0.0, atol=100 * rounding)
    for name in ("share", "label_weights", "poison"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=4 * rounding, atol=0.0)


@pytest.mark.parametrize(("n", "m", "d", "labels"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["others", "copies", "itself"])
def test_the_operator_is_what_a_gpu_runs(n: int, m: int, d: int, labels: int, dtype: torch.dtype, kind: str) -> None:
    rows, columns, of_rows, of_columns = drawn(n, m, d, labels, dtype)
    copies = torch.randint(-1, m, (n,)) if kind == "copies" else None
    given = (rows, columns, of_rows, of_columns) if kind != "itself" else (columns, columns, of_columns, None)
    found = label_means(*given, copies, 10.0)
    itself = kind == "itself"
    expected = LabelMeans(*_in_torch(*given[:3], of_columns, copies, itself, 10.0))
    same = given[2][:, None] == of_columns
    check(found, expected, same)
    if kind == "itself":
        same.fill_diagonal_(False)
    elif copies is not None:
        same &= torch.arange(m) != copies[:, None]
    assert torch.equal(found.counts, same.sum(1))
    mean = (10.0 * given[0].double() @ columns.double().T * same).sum(1) / same.sum(1).clamp_min(1)
    torch.testing.assert_close(found.mean.double(), mean, rtol=0.0, atol=200 * torch.finfo(dtype).eps)


def test_without_a_shared_label() -> None:
    rows, columns, *_ = drawn(3, 4, 5, 1, torch.float32)
    found = ops.label_means(rows, columns, torch.arange(3), torch.arange(4, 8), None, False, 10.0)
    mean, counts, partners, row_classes, col_classes, share, label_weights, poison = found
    assert not any(t.any() for t in (mean, counts, share, label_weights, poison))
    assert (partners == -1).all()
    assert (row_classes == -1).all()
    assert col_classes.unique().numel() == 4


@pytest.mark.parametrize("side", [0, 1])
def test_a_nan_poisons(side: int) -> None:
    rows, columns, *_ = drawn(3, 4, 5, 1, torch.float32)
    (rows, columns)[side][2, 1] = math.nan
    assert ops.label_means(rows, columns, torch.arange(3), torch.arange(4, 8), None, False, 10.0)[-1].isnan()


def test_opcheck() -> None:
    torch.library.opcheck(ops.label_means, (*drawn(4, 6, 3, 3, torch.float32), torch.tensor([2, -1, 0, 5]), False, 1.0))
    torch.library.opcheck(ops.label_means, (*drawn(4, 4, 3, 3, torch.float64), None, True, 1.0))


def test_autocast_changes_nothing_on_a_gpu() -> None:
    rows, columns, of_rows, of_columns = drawn(50, 33, 17, 40, torch.float32)
    given = (rows, columns, of_rows, of_columns, None, False, 10.0)
    expected = _in_torch(*given)
    with torch.autocast("cpu", torch.bfloat16):
        found = _in_torch(*given)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_gpu_runs_what_is_tested_here() -> None:
    assert torch._C._dispatch_has_kernel_for_dispatch_key("sslfast::label_means", "CUDA")
