"""similarity_softmax: C++ on the CPU and Triton (interpreted, or native with -m gpu) against the definition."""

from __future__ import annotations

import functools
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.reference.similarity_softmax import label_sums, similarity_softmax

INF = float("inf")

# M, D, scale, norm of the rows, and what max_norm says of it.
CASES = [
    pytest.param(2, 1, 2.0, 1.0, 1.0, id="one negative each, D = 1"),
    pytest.param(3, 5, -4.0, 1.0, 1.0, id="negative scale"),
    pytest.param(70, 24, 10.0, 1.0, 1.0, id="one tile and a bit"),
    pytest.param(70, 24, 10.0, 1.0, INF, id="the same without a bound"),
    pytest.param(150, 33, 200.0, 1.0, INF, id="temperature 0.005: exp underflows beside the maximum"),
    pytest.param(130, 130, 3.0, 4.0, INF, id="rows not normalised, D above a block"),
    pytest.param(300, 20, 5.0, 1.0, 1.0, id="several tiles in a strip of the Triton backward"),
]
WIDE_CASES = [
    pytest.param(70, 200, 10.0, 1.0, 1.0, id="a gradient of 256 columns in registers"),
    pytest.param(40, 384, 50.0, 1.0, INF, id="one of 512"),
]
CPU_CASES = [
    pytest.param(5, 7, -4.0, 1.0, 1.0, id="too narrow for panels of bf16"),
    pytest.param(300, 513, 20.0, 1.0, INF, id="odd D, of several blocks"),
    pytest.param(1300, 40, 5.0, 1.0, 1.0, id="several tiles in rows and columns"),
    pytest.param(1300, 8, -300.0, 1.0, INF, id="several tiles, rows far below the tile's maximum"),
]


def problem(size: int, dim: int, norm: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows in float64, any other row as positive (not mutual), and gradients for both outputs."""
    rows = norm * F.normalize(torch.randn(size, dim, dtype=torch.float64), dim=1)
    positives = torch.randint(0, size - 1, (size,))
    positives += positives >= torch.arange(size)
    positives[size // 2 :: 3] = -1  # rows without one
    grads = torch.randn(2, size, dtype=torch.float64)
    if size == 2:
        grads[0] = 0  # no negatives: the log-sum-exp is a constant -inf
    return rows, positives, grads[0], grads[1]


def by_definition(rows: Tensor, positives: Tensor, scale: float, grad_lse: Tensor, grad_positive: Tensor, *labels):
    rows = rows.clone().requires_grad_()
    lse, positive_logits = similarity_softmax(rows, positives, scale)
    finite_lse, finite_logits = (torch.where(t.isfinite(), t, 0) for t in (lse, positive_logits))
    total = (finite_lse * grad_lse + finite_logits * grad_positive).sum()
    if labels:
        total = total - (label_sums(rows, positives, scale, labels[0]) * labels[1]).sum()
    total.backward()
    return lse.detach(), positive_logits.detach(), rows.grad


def check(forward, backward, case, dtype: torch.dtype, device: torch.device, keeps=(0,)) -> None:
    size, dim, scale, norm, max_norm = case
    rows, positives, grad_lse, grad_positive = (t.to(device) for t in problem(size, dim, norm))
    rows = rows.to(dtype).double()  # the truth is about the rounded rows
    truth = by_definition(rows, positives, scale, grad_lse, grad_positive)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    same = by_definition(rows.to(wide), positives, scale, grad_lse.to(wide), grad_positive.to(wide))
    x = rows.to(dtype)
    eps = torch.finfo(wide).eps
    reach = abs(scale) * norm**2  # the largest logit; rounding it is what makes exp(logit) differ
    rounding = max(eps * 16 * max(reach, 1), torch.finfo(dtype).eps)  # half types round the weights for the product
    for keep in keeps:
        lse, positive_logits, kept = forward(x, positives, scale, max_norm, keep)
        assert kept.shape == (keep,)
        grad = backward(x, positives, lse, grad_lse.to(wide), grad_positive.to(wide), kept, scale, max_norm)
        assert_no_worse(lse, same[0], truth[0], 8 * eps * max(reach, 10))
        assert_no_worse(positive_logits, same[1], truth[1], 4 * eps * reach)
        assert_no_worse(grad, same[2], truth[2], truth[2].abs().amax() * rounding)
    # Labels in groups of 1 to size; rows have weights of their own, and a positive's place is the positive's.
    for groups in {1, 1 + size // 5}:
        labels = torch.randint(0, groups, (size,), dtype=torch.int32).to(device) - 1
        weights = torch.randn(size, dtype=torch.float64).to(device)
        grads = grad_lse, grad_positive, labels, weights
        _, _, truth = by_definition(rows, positives, scale, *grads)
        _, _, same = by_definition(rows.to(wide), positives, scale, *(g.to(wide) for g in grads[:2]), labels, weights)
        grad = backward(
            *(x, positives, lse, grad_lse.to(wide), grad_positive.to(wide), kept, scale, max_norm, None),
            *(labels, weights.to(wide)),
        )
        assert_no_worse(grad, same, truth, truth.abs().amax() * rounding)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES + CPU_CASES], ids=[p.id for p in CASES + CPU_CASES])
def test_cpu_against_the_definition(case, dtype: torch.dtype) -> None:
    size = case[0]
    keeps = (0, size**2 // 3, size**2)  # no tile, some and all
    functions = (ops.similarity_softmax_forward, ops.similarity_softmax_backward)
    check(*functions, case, dtype, torch.device("cpu"), keeps)


def test_a_row_without_negatives_alone() -> None:
    for dtype in (torch.bfloat16, torch.float32):
        lse, logits, kept = ops.similarity_softmax_forward(
            torch.ones(1, 9, dtype=dtype), torch.tensor([-1]), 1.0, 3.0, 1
        )
        assert lse == logits == -INF
        args = (torch.tensor([-1]), lse, torch.zeros(1), torch.zeros(1), kept, 1.0, 3.0)
        assert torch.equal(ops.similarity_softmax_backward(torch.ones(1, 9, dtype=dtype), *args), torch.zeros(1, 9))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("group", "in_registers"), [(1, True), (2, False)])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES], ids=[p.id for p in CASES])
@pytest.mark.usefixtures("rounded_weights")
def test_triton_against_the_definition(case, group, in_registers, dtype, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.similarity_softmax import forward
    from sslfast.kernels.similarity_softmax_backward import backward

    # A group of tiles a program is otherwise used from 8,193 rows on, and a strip has 2,048 rows.
    forward_table, weights_table = _launch.similarity_forward, _launch.weights
    blocks = {"BLOCK_M": 32, "BLOCK_N": 64}
    monkeypatch.setattr(_launch, "similarity_forward", lambda *shape: forward_table(*shape) | {"GROUP": group})
    monkeypatch.setattr(_launch, "similarity_in_registers", lambda *shape: in_registers)
    monkeypatch.setattr(_launch, "weights_strip", lambda *shape: (64, 128))
    monkeypatch.setattr(_launch, "weights", lambda *shape, **_: weights_table(*shape) | blocks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
        check(forward, backward, case, dtype, triton_device)


@pytest.mark.parametrize(
    ("case", "dtype", "arch", "precision"),
    [
        pytest.param(*(case.values, dtype, arch, precision), id=f"{case.id}-{dtype}-{arch}-{precision}")
        for i, case in enumerate(WIDE_CASES)
        for dtype, arch, precision in (
            *((dtype, arch, "ieee") for arch in (0, 9)[: i + 1] for dtype in (torch.bfloat16, torch.float16)),
            *((torch.float32, 0, precision) for precision in ("ieee", "tf32")),
        )  # up to 256 columns the architectures share their blocks
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
@pytest.mark.usefixtures("rounded_weights")
def test_triton_wide_rows_in_registers(case, dtype, arch, precision, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch, similarity_softmax_backward
    from sslfast.kernels.similarity_softmax import forward

    if triton_device.type == "cpu":  # the tables of others than the device's run in the interpreter only
        monkeypatch.setattr(_launch, "arch", lambda _: arch)
        monkeypatch.setattr(_launch, "input_precision", lambda _: precision)  # which multiplies without rounding
    for labels in (False, True):
        assert _launch.similarity_in_registers(*case[:2], dtype.itemsize, labels, precision)
    check(forward, similarity_softmax_backward.backward, case, dtype, triton_device)


def test_both_of_torchs_switches_of_tf32() -> None:
    pytest.importorskip("triton")
    from sslfast.kernels import _launch

    float32, half, before = torch.empty(1), torch.empty(1, dtype=torch.bfloat16), torch.get_float32_matmul_precision()
    try:
        for precision, found in (("high", "tf32"), ("medium", "tf32"), ("highest", "ieee")):
            torch.set_float32_matmul_precision(precision)
            assert (_launch.input_precision(float32), _launch.input_precision(half)) == (found, "ieee")
        for allowed, found in ((True, "tf32"), (False, "ieee")):
            torch.backends.cuda.matmul.allow_tf32 = allowed
            assert (_launch.input_precision(float32), _launch.input_precision(half)) == (found, "ieee")
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_triton_strips_of_their_own_size(dtype: torch.dtype) -> None:
    from sslfast.kernels.similarity_softmax import forward
    from sslfast.kernels.similarity_softmax_backward import backward

    device = torch.device("cuda")
    for max_norm in (1.0, INF):  # 6 strips, the first with two tiles right of the diagonal
        check(forward, backward, (10500, 200, 5.0, 1.0, max_norm), dtype, device)
    rows, positives, grad_lse, grad_positive = (t.to(device) for t in problem(5000, 200, 1.0))
    x = rows.to(dtype)
    lse, _, kept = forward(x, positives, 5.0, 1.0, 0)
    arguments = (x, positives, lse, grad_lse.float(), grad_positive.float(), kept, 5.0, 1.0)
    assert torch.equal(backward(*arguments), backward(*arguments))


# bf16: our own products. float32 with D = 1: torch's product of one term, in any order.
@pytest.mark.parametrize(("dtype", "dim"), [(torch.bfloat16, 33), (torch.float32, 1)])
def test_threads_do_not_change_a_bit(dtype: torch.dtype, dim: int) -> None:
    rows, positives, grad_lse, grad_positive = problem(900, dim, 1.0)
    rows = rows.to(dtype)
    grads = (grad_lse.float(), grad_positive.float())
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        lse, logits, kept = ops.similarity_softmax_forward(rows, positives, 3.0, INF, 300_000)
        labels = torch.arange(900, dtype=torch.int32) % 50
        grad = ops.similarity_softmax_backward(rows, positives, lse, *grads, kept, 3.0, INF, None, labels, grads[0])
        results.append(torch.cat([lse, logits] if dim == 1 else [lse, logits, grad.flatten()]))
    torch.set_num_threads(threads)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("bad", [float("nan"), INF])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_and_inf_reach_the_rows_they_should(bad: float, dtype: torch.dtype) -> None:
    rows = F.normalize(torch.randn(20, 9), dim=1).to(dtype)
    rows[3, 8] = bad
    positives = torch.arange(20).roll(10)
    expected, _ = similarity_softmax(rows.float(), positives, 2.0)
    assert not expected.isfinite().all()
    for max_norm in (1.0, INF):
        lse, *_ = ops.similarity_softmax_forward(rows, positives, 2.0, max_norm, 0)
        assert torch.equal(lse.isfinite(), expected.isfinite())


def test_analytic_values() -> None:
    # All rows equal: every logit is the scale.
    rows = torch.ones(6, 1)
    positives = torch.arange(6).roll(3)
    lse, logits, _ = ops.similarity_softmax_forward(rows, positives, 2.5, 1.0, 0)
    torch.testing.assert_close(lse, torch.full((6,), 2.5 + math.log(4)))
    torch.testing.assert_close(logits, torch.full((6,), 2.5))


def test_labels_and_numbers_of_kept_logits_are_checked() -> None:
    rows, positives, *grads = problem(4, 2, 1.0)
    for keep in (-1, 17):
        with pytest.raises(RuntimeError, match=r"keep must be in \[0, N M\]"):
            ops.similarity_softmax_forward(rows, positives, 1.0, INF, keep)
    lse, _, kept = ops.similarity_softmax_forward(rows, positives, 1.0, INF, 0)
    for labels, weights in ((torch.zeros(4, dtype=torch.int32), None), (torch.zeros(4, dtype=torch.int64), lse)):
        with pytest.raises(RuntimeError, match="labels must be int32, one a row and a column, and go with"):
            ops.similarity_softmax_backward(rows, positives, lse, *grads, kept, 1.0, INF, None, labels, weights)
    labels, weights = torch.zeros(4, dtype=torch.int32), lse[:3]
    with pytest.raises(RuntimeError, match="label_weights must be"):
        ops.similarity_softmax_backward(rows, positives, lse, *grads, kept, 1.0, INF, None, labels, weights)


def test_positives_out_of_range_are_refused() -> None:
    rows = torch.randn(4, 2)
    for positives in ([1, 0, 3, 4], [1, 0, 3, -2], [1, 0, 3, 3]):
        with pytest.raises(RuntimeError, match="positives must index another row or be -1"):
            ops.similarity_softmax_forward(rows, torch.tensor(positives), 1.0, INF, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("keep", [0, 81])
def test_opcheck(dtype: torch.dtype, keep: int) -> None:
    rows, positives, *grads = problem(9, 11, 1.0)
    grads = [g.to(torch.float64 if dtype == torch.float64 else torch.float32) for g in grads]
    rows = rows.to(dtype)
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    check_op(ops.similarity_softmax_forward, (rows, positives, 2.0, 1.0, keep))
    lse, _, kept = ops.similarity_softmax_forward(rows, positives, 2.0, 1.0, keep)
    check_op(ops.similarity_softmax_backward, (rows, positives, lse, *grads, kept, 2.0, 1.0))
    labels = torch.arange(9, dtype=torch.int32) % 2
    backward = (rows, positives, lse, *grads, kept, 2.0, 1.0, None, labels, lse)
    check_op(ops.similarity_softmax_backward, backward)
    check_op(ops.similarity_softmax_backward, (*backward, True, True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2, 7, 512, 1300])
@pytest.mark.parametrize("kept_share", [0.0, 0.3])
def test_half_of_the_rows_has_the_gradient_of_all(dtype: torch.dtype, size: int, kept_share: float) -> None:
    """Tiles of 256 rows: the middle is within one, between two, and within the last of several."""
    rows, positives, *grads = problem(size, 40, 1.0)
    grads = [g.to(torch.float64 if dtype == torch.float64 else torch.float32) for g in grads]
    rows, middle = rows.to(dtype), size // 2
    lse, _, kept = ops.similarity_softmax_forward(rows, positives, 5.0, 1.0, int(kept_share * size**2))
    arguments = (rows, positives, lse, *grads, kept, 5.0, 1.0, None, None, None)
    whole = ops.similarity_softmax_backward(*arguments)
    first = ops.similarity_softmax_backward(*arguments, True, False)
    second = ops.similarity_softmax_backward(*arguments, False, True)
    assert torch.equal(first[:middle], whole[:middle])
    assert torch.equal(second[middle:], whole[middle:])
    if size == 1300:  # of the tiles of the other half nothing is made
        assert not torch.equal(first[middle:], whole[middle:])
        assert not torch.equal(second[:middle], whole[:middle])
