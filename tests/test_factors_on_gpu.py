"""Each Triton kernel that takes rows in half types with float32 factors, against float32 unit rows; interpreted on the
CPU. In bfloat16 factors may be of any size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from gpu_operators import HALF, use_several_strips
from torch import Tensor

pytest.importorskip("triton")

from sslfast.kernels import (
    _launch,
    cross_softmax,
    cross_softmax_backward,
    one_way_softmax,
    queue_softmax,
    sigmoid_pairs,
    similarity_softmax,
    similarity_softmax_backward,
)


@pytest.fixture(autouse=True)
def without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
        yield


SIZES = [(1, 1, 1), (5, 9, 7), (70, 30, 64), (67, 150, 200)]  # N, M, D
SCALE = 7.0


def sides(n: int, m: int, d: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows, columns and the factors that make unit vectors of them."""
    spread = 3.0 if dtype == torch.bfloat16 else 0.2
    rows, columns = (torch.randn(k, d) * torch.logspace(-spread, spread, k).unsqueeze(1) for k in (n, m))
    if dtype == torch.float16:
        rows, columns = (z / z.norm(dim=1, keepdim=True) * (1 + torch.rand(len(z), 1)) for z in (rows, columns))
    rows, columns = rows.to(dtype), columns.to(dtype)
    return rows, columns, 1 / rows.float().norm(dim=1), 1 / columns.float().norm(dim=1)


def cross(rows: Tensor, columns: Tensor, *factors: Tensor, need=(True, True)) -> list[Tensor]:
    n, m = len(rows), len(columns)
    rest = (torch.arange(n) * 3 % (m + 1) - 1, torch.tensor([SCALE]))  # columns are positives of several rows
    none = (None, None, None)
    row_lse, col_lse, own, kept = cross_softmax.forward(rows, columns, *rest, *none, 1.0, False, 0, *factors)
    grads = (torch.linspace(-1, 1, n), col_lse, torch.linspace(-2, 2, n))
    vectors = (rest[0], row_lse.clamp_min(-1e30), col_lse, *grads, rest[1])
    return [row_lse, own, *cross_softmax_backward.backward(rows, columns, *vectors, *none, kept, *need, *factors)]


def cross_two_way(rows: Tensor, columns: Tensor, *factors: Tensor, need=(True, True)) -> list[Tensor]:
    n, m = len(rows), len(columns)
    positives = torch.where(torch.arange(n) < m, torch.arange(n), -1)
    rest, none = (positives, torch.tensor([SCALE])), (None, None, None)
    row_lse, col_lse, own, kept = cross_softmax.forward(rows, columns, *rest, *none, 1.0, True, 0, *factors)
    grads = (torch.linspace(-1, 1, n), torch.linspace(-1, 1, m), torch.linspace(-2, 2, n))
    vectors = (rest[0], row_lse.clamp_min(-1e30), col_lse.clamp_min(-1e30), *grads, rest[1])
    products = cross_softmax_backward.backward(rows, columns, *vectors, *none, kept, *need, *factors)
    return [row_lse, col_lse, own, *products]


def pairs(rows: Tensor, columns: Tensor, *factors: Tensor, need=(True, True)) -> list[Tensor]:
    positives = torch.where(torch.arange(len(rows)) < len(columns), torch.arange(len(rows)), -1)
    numbers = (torch.tensor([SCALE]), torch.tensor([-2.0]))
    return list(sigmoid_pairs.sigmoid_pairs(rows, columns, positives, *numbers, 1 / len(rows), *need, *factors))


def queue(rows: Tensor, columns: Tensor, *factors: Tensor, need=(True, True)) -> list[Tensor]:
    return list(queue_softmax.queue_softmax(rows, columns, torch.tensor([SCALE]), *[None] * 4, need[0], *factors))


def one_way(rows: Tensor, columns: Tensor, *factors: Tensor, need=(True, True)) -> list[Tensor]:
    positives = torch.arange(len(rows)) * 3 % len(columns)  # columns are positives of several rows
    weights = torch.linspace(0, 1, len(rows))
    results = one_way_softmax.one_way_softmax(
        rows, columns, positives, torch.tensor([SCALE]), *[None] * 5, weights, *need, *factors
    )
    return list(results)


def similarity(rows: Tensor, columns: Tensor, *factors: Tensor, need=(True, True)) -> list[Tensor]:
    m = len(rows)
    positives = (torch.arange(m) + 1 + torch.arange(m) % max(m - 1, 1)) % m  # several rows may have the same
    positives = torch.where((torch.arange(m) % 4 == 3) | (positives == torch.arange(m)), -1, positives)
    lse, own, kept = similarity_softmax.forward(rows, positives, SCALE, 1.0, 0, *factors[:1])
    grads = (torch.linspace(-1, 1, m), torch.linspace(-2, 2, m))
    vectors = (positives, lse.clamp_min(-1e30), *grads, kept)
    return [lse, own, similarity_softmax_backward.backward(rows, *vectors, SCALE, 1.0, *factors[:1])]


@pytest.fixture
def on_triton_device(triton_device: torch.device) -> Iterator[None]:
    """Tensors that name no device are made where the kernels run."""
    with triton_device:
        yield


OPERATORS = [
    *((operator, True) for operator in (similarity, cross, cross_two_way, one_way, pairs)),
    *((operator, False) for operator in (similarity, cross, cross_two_way, one_way, pairs, queue)),
]


@pytest.mark.parametrize(("operator", "in_registers"), OPERATORS)
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.usefixtures("on_triton_device")
@pytest.mark.usefixtures("rounded_weights")
def test_factors_are_those_of_unit_rows(operator, size, dtype, in_registers, monkeypatch) -> None:
    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    use_several_strips(monkeypatch, (64, 128))
    rows, columns, *factors = sides(*size, dtype)
    units = [z.float() * f.unsqueeze(1) for z, f in zip((rows, columns), factors, strict=True)]
    expected = operator(*units)
    for need in ((True, True), (True, False), (False, True)):
        found = operator(rows, columns, *factors, need=need)
        for f, g in zip(found, expected, strict=True):
            if f.shape != g.shape:
                assert len(f) == 0  # not needed
                continue
            assert f.dtype == torch.float32
            finite = g[g.isfinite()]
            scale = max(finite.abs().max().item() if finite.numel() else 1.0, 1e-3)
            close = torch.finfo(dtype).eps / 2 if f.dim() == 2 else 4e-6  # weights are rounded, and nothing else
            torch.testing.assert_close(f, g, rtol=0 if f.dim() == 2 else 4e-6, atol=close * scale)


@pytest.mark.parametrize(("operator", "in_registers"), OPERATORS)
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.usefixtures("on_triton_device")
def test_few_rows_are_those_of_float32(operator, dtype, in_registers, monkeypatch) -> None:
    """At the precision of half types, which know no tf32; and the fewest that are many are rounded."""
    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    for n, m, few in ((63, 70, True), (64, 70, operator is similarity), (20, 236, operator is similarity)):
        rows, columns, *factors = sides(n, m, 24, dtype)
        units = [z.float() * f.unsqueeze(1) for z, f in zip((rows, columns), factors, strict=True)]
        expected = operator(*units)[-2:]
        with monkeypatch.context() as patch:
            patch.setattr(_launch, "input_precision", lambda rows: dict.fromkeys(HALF, "ieee")[rows.dtype])
            found = operator(rows, columns, *factors)[-2:]
        for f, g in zip(found, expected, strict=True):
            if f.dim() == 2:
                assert ((f - g).norm() <= 1e-6 * g.norm()) == few


def with_labels(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.arange(n, dtype=torch.int32) % 5, torch.arange(m, dtype=torch.int32) % 4, torch.linspace(0.1, 2, n) / m


def labelled_similarity(rows: Tensor, columns: Tensor, *factors: Tensor) -> list[Tensor]:
    m = len(rows)
    positives = torch.where(torch.arange(m) % 4 == 3, torch.arange(m) ^ 1, -1)
    lse, _, kept = similarity_softmax.forward(rows, positives, SCALE, 1.0, 0, *factors[:1])
    vectors = (positives, lse, torch.linspace(-1, 1, m) / m, torch.linspace(-2, 2, m) / m, kept)
    classes, _, weights = with_labels(m, m)
    factor = factors[0] if factors else None
    return [similarity_softmax_backward.backward(rows, *vectors, SCALE, 1.0, factor, classes, weights)]


def labelled_cross(rows: Tensor, columns: Tensor, *factors: Tensor) -> list[Tensor]:
    n, m = len(rows), len(columns)
    positives, number, none = torch.arange(n) * 3 % (m + 1) - 1, torch.tensor([SCALE]), (None, None, None)
    row_lse, col_lse, _, kept = cross_softmax.forward(rows, columns, positives, number, *none, 1.0, False, 0, *factors)
    vectors = (positives, row_lse, col_lse, torch.linspace(-1, 1, n), col_lse, torch.linspace(-2, 2, n), number)
    factors = factors or (None, None)
    rest = (*none, kept, True, True, *factors, *with_labels(n, m))
    return list(cross_softmax_backward.backward(rows, columns, *vectors, *rest))


def labelled_one_way(rows: Tensor, columns: Tensor, *factors: Tensor) -> list[Tensor]:
    n, m = len(rows), len(columns)
    positives, number = torch.arange(n) * 3 % (m + 1) - 1, torch.tensor([SCALE])
    known = (None, torch.zeros(n), torch.linspace(0, 1, n))
    rest = (*known, True, True, *(factors or (None, None)), *with_labels(n, m))
    return list(one_way_softmax.one_way_softmax(rows, columns, positives, number, None, None, None, *rest))[-2:]


@pytest.mark.parametrize("in_registers", [True, False])
@pytest.mark.parametrize("operator", [labelled_similarity, labelled_cross, labelled_one_way])
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.usefixtures("on_triton_device")
def test_weights_with_labels_are_split(operator, in_registers, dtype, monkeypatch) -> None:
    """What is left of their rounding is that of the second part."""
    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    use_several_strips(monkeypatch, (64, 128))
    rows, columns, *factors = sides(134, 150, 24, dtype)
    units = [z.float() * f.unsqueeze(1) for z, f in zip((rows, columns), factors, strict=True)]
    for f, g in zip(operator(rows, columns, *factors), operator(*units), strict=True):
        close = torch.finfo(dtype).eps ** 2 / 4 + 4e-6
        torch.testing.assert_close(f, g, rtol=0, atol=close * g.abs().max().item())


@pytest.mark.parametrize("operator", [cross, cross_two_way])
@pytest.mark.usefixtures("on_triton_device")
@pytest.mark.usefixtures("rounded_weights")
def test_positives_are_not_rounded(operator) -> None:
    """Where all else is far below them; a column's are added up in order."""
    n, d = 12, 64
    rows = (torch.eye(n, d) * torch.linspace(1, 9, n).unsqueeze(1)).to(torch.bfloat16)
    factors = [1 / rows.float().norm(dim=1)] * 2
    unit = rows.float() * factors[0].unsqueeze(1)
    none, number = (None, None, None), torch.tensor([1.0])
    positives = torch.arange(n) // 3 if operator is cross else torch.arange(n)
    weights, nothing = torch.randn(n), torch.zeros(n)
    vectors = (positives, nothing, nothing[:0], nothing, nothing[:0], weights, number, *none, nothing[:0])
    found = cross_softmax_backward.backward(rows, rows, *vectors, True, True, *factors)
    torch.testing.assert_close(found[0], weights.unsqueeze(1) * unit[positives], rtol=1e-6, atol=1e-7)
    expected = torch.zeros(n, d).index_add_(0, positives, weights.unsqueeze(1) * unit)
    torch.testing.assert_close(found[1], expected, rtol=1e-6, atol=1e-7)
