"""The products of similarity tiles on the CPU: bf16 rows and their factors, in every operator, at odd sizes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops

INF = math.inf
SCALE = 5.0

# N, M, D. Below D = 8 bf16 rows are widened, as all are on a CPU without bf16 products: the same results, here of
# several tiles too.
SIZES = [
    (1, 1, 1),
    (5, 3, 1),
    (300, 1100, 1),
    (3, 5, 2),
    (5, 9, 7),
    (1, 70, 8),
    (65, 64, 33),
    (300, 130, 64),
    (7, 600, 513),
    (260, 1100, 20),
    (1030, 520, 9),
]


def sides(n: int, m: int, d: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows of any norm in bf16, and the factors that make unit vectors of them."""
    rows, columns = ((3 * torch.randn(size, d)).to(torch.bfloat16) for size in (n, m))
    return rows, columns, *(1 / z.float().norm(dim=1).clamp_min(1e-3) for z in (rows, columns))


def similarity(rows: Tensor, columns: Tensor, *factors: Tensor) -> list[Tensor]:
    del columns
    nobody = torch.full((len(rows),), -1)
    factors = factors[:1]
    lse, _, kept = ops.similarity_softmax_forward(rows, nobody, SCALE, INF, 0, *factors)
    grad = torch.linspace(-1, 1, len(rows)) if len(rows) > 1 else torch.zeros(1)
    args = (lse, grad, torch.zeros_like(grad), kept)
    return [lse, ops.similarity_softmax_backward(rows, nobody, *args, SCALE, INF, *factors)]


def cross(rows: Tensor, columns: Tensor, *factors: Tensor) -> list[Tensor]:
    positives = torch.arange(len(rows)) % len(columns)
    rest = (torch.tensor([SCALE]), None, None, None)
    two_way = len(rows) > 1
    row_lse, col_lse, own, kept = ops.cross_softmax_forward(rows, columns, positives, *rest, INF, two_way, 0, *factors)
    grads = (torch.linspace(-1, 1, len(rows)), torch.linspace(2, 1, len(col_lse)), torch.ones(len(rows)))
    grads[0][row_lse == -INF] = 0
    grads[1][col_lse == -INF] = 0
    args = (row_lse, col_lse, *grads, *rest, kept, True, True)
    return [row_lse, col_lse, own, *ops.cross_softmax_backward(rows, columns, positives, *args, *factors)]


def pairs(rows: Tensor, columns: Tensor, *factors: Tensor) -> list[Tensor]:
    positives = torch.arange(len(rows)) % len(columns)
    numbers = torch.tensor([SCALE]), torch.tensor([-2.0])
    return list(ops.sigmoid_pairs(rows, columns, positives, *numbers, 1.0, True, True, *factors))


def queue(rows: Tensor, columns: Tensor, *factors: Tensor) -> list[Tensor]:
    return list(ops.queue_softmax(rows, columns, torch.tensor([SCALE]), *[None] * 4, True, *factors))


def one_way(rows: Tensor, columns: Tensor, *factors: Tensor) -> list[Tensor]:
    positives = torch.arange(len(rows)) * 3 % len(columns)  # columns are positives of several rows
    results = ops.one_way_softmax(rows, columns, positives, torch.tensor([SCALE]), *[None] * 6, True, True, *factors)
    return list(results)


OPERATORS = pytest.mark.parametrize("operator", [similarity, cross, one_way, pairs, queue])
Operator = Callable[..., list[Tensor]]


@OPERATORS
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bf16_rows_with_factors_are_float32_unit_rows(operator: Operator, size) -> None:
    rows, columns, *factors = sides(*size)
    units = [z.float() * f.unsqueeze(1) for z, f in zip((rows, columns), factors, strict=True)]
    for found, expected in zip(operator(rows, columns, *factors), operator(*units), strict=True):
        assert found.dtype == torch.float32
        weights = found.dim() == 2  # the one thing that is rounded to bf16
        close = 4e-3 if weights else 2e-6
        scale = expected[expected.isfinite()].abs().max().item() if expected.isfinite().any() else 1.0
        torch.testing.assert_close(found, expected, rtol=0 if weights else 4e-6, atol=close * max(scale, 1e-3))


@OPERATORS
def test_without_factors_rows_are_taken_as_they_are(operator: Operator) -> None:
    rows, columns, *_ = sides(40, 70, 24)
    rows, columns = rows / 8, columns / 8
    for found, expected in zip(operator(rows, columns), operator(rows.float(), columns.float()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=4e-3 * expected.abs().max().item())


@OPERATORS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_wrong_factors_are_refused(operator: Operator, dtype: torch.dtype) -> None:
    rows, columns, *factors = sides(6, 6, 9)
    bad = {torch.float32: [factors], torch.bfloat16: [[f[:5] for f in factors], [f.double() for f in factors]]}
    for wrong in bad[dtype]:
        with pytest.raises(RuntimeError, match="factors must be float32, one a row or column, and go with bfloat16"):
            operator(rows.to(dtype), columns.to(dtype), *wrong)


def test_opcheck_with_factors() -> None:
    rows, columns, *factors = sides(6, 7, 9)
    check = functools.partial(torch.library.opcheck, raise_exception=True)
    positives, number, one, two = torch.arange(6), torch.tensor([2.0]), torch.ones(6), torch.ones(7)
    nobody = torch.full((6,), -1)
    check(ops.similarity_softmax_forward, (rows, nobody, 2.0, 1.0, 36, factors[0]))
    lse, _, kept = ops.similarity_softmax_forward(rows, nobody, 2.0, 1.0, 36, factors[0])
    check(ops.similarity_softmax_backward, (rows, nobody, lse, one, one, kept, 2.0, 1.0, factors[0]))
    args = (rows, columns, positives, number, None, None, None, 1.0, True, 42, *factors)
    check(ops.cross_softmax_forward, args)
    row_lse, col_lse, _, kept = ops.cross_softmax_forward(*args)
    args = (rows, columns, positives, row_lse, col_lse, one, two, one, number, None, None, None, kept, True, False)
    check(ops.cross_softmax_backward, (*args, *factors))
    check(ops.sigmoid_pairs, (rows, columns, positives, number, number, 1.0, True, False, *factors))
    check(ops.queue_softmax, (rows, columns, number, *[None] * 4, True, *factors))
    check(ops.one_way_softmax, (rows, columns, positives, number, *[None] * 6, True, False, *factors))


@pytest.fixture
def restored_threads() -> Iterator[None]:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@OPERATORS
@pytest.mark.parametrize("size", [(300, 1100, 65), (7, 600, 513)], ids=str)
def test_threads_do_not_change_a_bit(operator: Operator, size, restored_threads) -> None:
    rows, columns, *factors = sides(*size)
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(torch.cat([t.flatten() for t in operator(rows, columns, *factors)]))
    assert all(torch.equal(results[0], other) for other in results[1:])


@OPERATORS
def test_nan_and_inf_are_not_hidden_by_the_panels(operator: Operator) -> None:
    for bad in (math.nan, INF):
        rows, columns, *_ = sides(20, 70, 9)
        rows[3, 8] = bad
        results = operator(rows, columns)
        assert not results[0].isfinite().all()
        good = operator(rows[4:5].contiguous(), columns)
        assert all(t.isfinite().all() or operator is similarity for t in good)


@pytest.mark.parametrize("temperature", [0.5, 0.05])
@pytest.mark.parametrize("noise", [1.0, 0.3, 0.1, 0.0])
def test_gradients_keep_their_precision_late_in_training(noise: float, temperature: float) -> None:
    """L2 error at losses from 5 to 1e-5, where a positive subtracted after rounding would be 300 % off."""
    z = torch.randn(128, 256)
    rows = torch.cat([z, z + noise * torch.randn(128, 256)]).to(torch.bfloat16)
    factors = 1 / rows.float().norm(dim=1)
    positives = torch.arange(256).roll(128)
    unit = (rows.double() * (1 / rows.double().norm(dim=1, keepdim=True))).requires_grad_()
    logits = (unit @ unit.T / temperature).fill_diagonal_(-INF)
    F.cross_entropy(logits, positives).backward()

    lse, own, kept = ops.similarity_softmax_forward(rows, positives, 1 / temperature, 1.0, 0, factors)
    share = torch.sigmoid(lse - own) / 256
    args = (rows, positives, lse, share, -share, kept, 1 / temperature, 1.0, factors)
    grad = ops.similarity_softmax_backward(*args).double()
    error = torch.linalg.vector_norm(grad - unit.grad) / torch.linalg.vector_norm(unit.grad)
    assert error < 2.5e-3


def test_the_weight_that_dominates_a_row_is_not_rounded() -> None:
    """Rows in twos that are nearly the same, and far from all others: each weighs little but the other of the two."""
    z = F.normalize(torch.randn(150, 512), dim=1)
    rows = torch.stack([z, z + 0.01 * torch.randn(150, 512)], dim=1).flatten(0, 1).to(torch.bfloat16)
    factors = 1 / rows.float().norm(dim=1)
    nobody, share = torch.full((300,), -1), torch.linspace(1, 2, 300)
    for half in (slice(None), torch.arange(300).view(150, 2).T.flatten()):  # within tiles, and between them
        own, unit = rows[half].contiguous(), rows[half].float() * factors[half].unsqueeze(1)
        lse, _, kept = ops.similarity_softmax_forward(own, nobody, 40.0, 1.0, 0, factors[half])
        args = (nobody, lse, share, torch.zeros(300), kept, 40.0, 1.0)
        found = ops.similarity_softmax_backward(own, *args, factors[half])
        expected = ops.similarity_softmax_backward(unit, *args)
        torch.testing.assert_close(found, expected, rtol=0, atol=3e-5 * expected.abs().max().item())


@pytest.mark.parametrize("size", [(1, 1, 1), (5, 9, 7), (70, 30, 64), (300, 1100, 65)], ids=str)
def test_positives_are_not_rounded(size) -> None:
    """The gradient of the positives alone, several of which are one column."""
    rows, columns, *factors = sides(*size)
    n, m, _ = size
    positives = torch.arange(n) * 3 % (m + 1) - 1
    weights = torch.randn(n)
    rest = (torch.tensor([SCALE]), None, None, None)
    row_lse, col_lse, _, kept = ops.cross_softmax_forward(rows, columns, positives, *rest, INF, False, 0, *factors)
    args = (row_lse.nan_to_num(), col_lse, torch.zeros(n), col_lse, weights, *rest, kept)
    q, k = (z.double() * f.double().unsqueeze(1) for z, f in zip((rows, columns), factors, strict=True))
    has = positives >= 0
    expected = torch.zeros_like(q), torch.zeros_like(k)
    expected[0][has] = weights[has].double().unsqueeze(1) * k[positives[has]]
    expected[1].index_add_(0, positives[has], weights[has].double().unsqueeze(1) * q[has])
    for need in ((True, True), (True, False), (False, True)):
        found = ops.cross_softmax_backward(rows, columns, positives, *args, *need, *factors)
        for f, g, needed in zip(found, expected, need, strict=True):
            torch.testing.assert_close(f.double(), g if needed else g[:0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1, 8), (5, 9, 8), (13, 130, 9), (65, 64, 33), (300, 1101, 65)], ids=str)
@pytest.mark.parametrize("classes", [1, 3, 200])
def test_weights_of_one_label_are_not_rounded(size, classes: int, restored_threads) -> None:
    """The gradient of the labels alone, of few entries or of all, of rows and of columns, on one thread and on more."""
    rows, columns, *factors = sides(*size)
    n, m, _ = size
    labels = [(7 * torch.arange(k) % classes).to(torch.int32) for k in (n, m)]
    weights, nobody, scale = torch.randn(n), torch.full((n,), -1), torch.tensor([SCALE])
    q, k = (z.double() * f.double().unsqueeze(1) for z, f in zip((rows, columns), factors, strict=True))

    shares = -weights.double().unsqueeze(1) * (labels[0].unsqueeze(1) == labels[1])
    empty, zeros = torch.empty(0), torch.zeros(n)
    args = (zeros, empty, zeros, empty, zeros, scale, None, None, None, empty, True, True)
    two_sided = -(weights + weights.unsqueeze(1)).double() * (labels[0].unsqueeze(1) == labels[0])
    own = two_sided.fill_diagonal_(0)
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found = ops.cross_softmax_backward(rows, columns, nobody, *args, *factors, *labels, weights)
        for f, g in zip(found, (shares @ k, shares.T @ q), strict=True):
            torch.testing.assert_close(f.double(), g, rtol=1e-5, atol=2e-5 * g.abs().max().item())
        one_sided = (zeros, zeros, zeros, empty, 1.0, 1.0, *factors[:1], labels[0], weights)
        grad = ops.similarity_softmax_backward(rows, nobody, *one_sided)
        g = own @ q
        torch.testing.assert_close(grad.double(), g, rtol=1e-5, atol=2e-5 * g.abs().max().item())


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="the sums are torch's on this CPU")
@pytest.mark.parametrize("depth", [128, 512])
def test_large_scales_take_finer_sums(depth: int) -> None:
    """Similarities of about 1 are off by what their last rounding leaves and little more: in order, 1.0 to 4.1e-7."""
    rows = F.normalize(torch.randn(300, depth), dim=1).to(torch.bfloat16)
    args = (torch.arange(300), torch.tensor([128.0]), None, None, None, 1.01, False, 0)
    _, _, found, _ = ops.cross_softmax_forward(rows, rows, *args)
    error = found.double() / 128 - rows.double().square().sum(dim=1)
    assert error.square().mean().sqrt() < 9e-8
