"""queue_softmax: C++ on the CPU and Triton (interpreted, or native with -m gpu) against the definition."""

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
from sslfast.reference.queue_softmax import queue_softmax

# N, K, D, scale
CASES = [
    pytest.param(1, 1, 1, 2.0, id="one of everything"),
    pytest.param(5, 30, 7, -4.0, id="negative scale"),
    pytest.param(70, 600, 24, 10.0, id="blocks and a bit of rows, runs of the queue"),
    pytest.param(20, 90, 33, 200.0, id="temperature 0.005: exp underflows beside the maximum"),
    pytest.param(17, 70, 300, 5.0, id="a mean of 512 columns in registers"),
    pytest.param(9, 40, 530, 5.0, id="D above a slice of the mean"),
]
CPU_CASES = [pytest.param(1100, 600, 12, 14.0, id="several tiles in rows and columns")]


def check(function, case, dtype: torch.dtype, device: torch.device) -> None:
    size, length, dim, scale = case
    rows, queue = (F.normalize(torch.randn(n, dim, dtype=torch.float64), dim=1).to(dtype) for n in (size, length))
    truth = queue_softmax(rows.double(), queue.double(), scale)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    same = queue_softmax(rows.to(wide), queue.to(wide), scale)
    number = torch.tensor([scale], dtype=wide, device=device)
    nothing_left_out = [None] * 4
    lse, mean = function(rows.to(device), queue.to(device), number, *nothing_left_out, True)
    eps = torch.finfo(wide).eps
    assert_no_worse(lse, same[0], truth[0], 8 * eps * max(abs(scale), 10))
    rounding = max(eps * 16 * max(abs(scale), 1), torch.finfo(dtype).eps)  # half types round the weights
    assert_no_worse(mean, same[1], truth[1], rounding * truth[1].abs().amax())
    alone, nothing = function(rows.to(device), queue.to(device), number, *nothing_left_out, False)
    torch.testing.assert_close(alone, lse, rtol=4 * eps, atol=4 * eps)
    assert nothing.shape == (0, dim)

    logits = scale * rows.double() @ queue.double().T
    limits = logits.quantile(0.7, dim=1) + 1e-4  # between two logits
    limits[0] = -math.inf  # nothing to sum
    left_out = [torch.randint(-1, length, (size,)), torch.arange(size) % 3, torch.arange(length) % 2, limits]
    for excluded in ([left_out[0], None, None, None], [None, *left_out[1:]], left_out):
        truth = queue_softmax(rows.double(), queue.double(), scale, *excluded)
        narrow = [t.to(wide) if t is not None and t.is_floating_point() else t for t in excluded]
        same = queue_softmax(rows.to(wide), queue.to(wide), scale, *narrow)
        there = [None if t is None else t.to(device) for t in narrow]
        lse, mean = function(rows.to(device), queue.to(device), number, *there, True)
        assert_no_worse(lse, same[0], truth[0], 8 * eps * max(abs(scale), 10))
        assert_no_worse(mean, same[1], truth[1], rounding * max(truth[1].abs().amax(), 1e-3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES + CPU_CASES], ids=[p.id for p in CASES + CPU_CASES])
def test_cpu_against_the_definition(case, dtype: torch.dtype) -> None:
    check(ops.queue_softmax, case, dtype, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES], ids=[p.id for p in CASES])
@pytest.mark.usefixtures("rounded_weights")
def test_triton_against_the_definition(case, dtype: torch.dtype, triton_device) -> None:
    from sslfast.kernels.queue_softmax import queue_softmax as launcher

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
        check(launcher, case, dtype, triton_device)


def test_a_run_of_the_queue_is_never_empty() -> None:
    pytest.importorskip("triton")
    from sslfast.kernels._launch import queue_run

    for programs in (1, 16, 700):
        for length in (1, 64, 513, 65536):
            run = queue_run(programs, length, 64)
            assert run % 64 == 0
            assert run >= 512
            assert programs == 700 or math.ceil(length / run) * programs <= 512


def softmax(rows: Tensor, queue: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    result: tuple[Tensor, Tensor] = ops.queue_softmax(
        rows, queue, torch.tensor([scale], dtype=rows.dtype), None, None, None, None, True
    )
    return result


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_inf_reach_the_rows_they_should(bad: float) -> None:
    rows, queue = torch.randn(20, 4), torch.randn(30, 4)
    rows[3, 1] = bad
    lse, mean = softmax(rows, queue, 2.0)
    finite = torch.arange(20) != 3
    assert torch.equal(lse.isfinite(), finite)
    assert torch.equal(mean.isfinite().all(1), finite)
    rows[3, 1] = 0
    queue[7, 2] = math.nan
    lse, mean = softmax(rows, queue, 2.0)
    assert lse.isnan().all()
    assert mean.isnan().any(1).all()


def test_analytic_values() -> None:
    # Two entries, one exactly opposite: weights sigmoid(+-2 scale).
    queue = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    lse, mean = softmax(queue[:1], queue, 1.5)
    torch.testing.assert_close(lse, torch.tensor([math.log(math.exp(1.5) + math.exp(-1.5))]))
    torch.testing.assert_close(mean, torch.tensor([[math.tanh(1.5), 0.0]]))


def test_threads_do_not_change_a_bit() -> None:
    rows, queue = torch.randn(300, 1), torch.randn(1500, 1)  # D = 1: torch's product has one term, in any order
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(softmax(rows, queue, 3.0)[0])
    torch.set_num_threads(threads)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_opcheck() -> None:
    rows, queue = torch.randn(2, 9, 3)
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    ids = torch.arange(9)
    for need_mean, excluded in ((True, (None, None, None, None)), (False, (ids, ids, ids, torch.zeros(9)))):
        check_op(ops.queue_softmax, (rows, queue, torch.tensor([2.0]), *excluded, need_mean))
    with pytest.raises(RuntimeError, match="queue must have the dtype and the width of rows"):
        softmax(rows, queue.double(), 2.0)
