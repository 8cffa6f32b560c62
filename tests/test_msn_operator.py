"""msn_rows and msn_gradient_: C++ on the CPU and Triton (interpreted, or native with -m gpu) against the definition."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops

SCALE, FACTOR = 10.0, 0.25
# Views, samples, prototypes.
CASES = [
    pytest.param(1, 1, 1, id="one number"),
    pytest.param(2, 5, 7, id="rows that fill no tile"),
    pytest.param(3, 30, 70, id="several chunks of anchors"),
]
CPU_CASES = [pytest.param(2, 40, 4100, id="several blocks of prototypes")]
Operators = tuple[Callable, Callable]


def on_cpu(device: torch.device) -> Operators:
    return ops.msn_rows, ops.msn_gradient_


def on_triton(device: torch.device) -> Operators:
    from sslfast.kernels import msn

    return msn.rows, msn.gradient_


def by_definition(logits: Tensor, targets: Tensor, levels: Tensor | None) -> list[Tensor]:
    """Losses, sums of shares, and the gradient of the losses' sum and of levels times the shares."""
    y = (SCALE * logits).requires_grad_()
    log_p = y.log_softmax(1)
    losses = -(targets.repeat(len(logits) // len(targets), 1) * log_p).sum(1)
    shares = log_p.exp().sum(0)
    goal = losses.sum() if levels is None else losses.sum() + (levels * shares).sum()
    return [losses.detach(), shares.detach(), torch.autograd.grad(goal, y)[0] * FACTOR]


def inputs(views: int, n: int, k: int, dtype: torch.dtype, spread: float = 1.0) -> list[Tensor]:
    logits = spread * torch.randn(views * n, k, dtype=torch.float64)
    targets = torch.randn(n, k, dtype=torch.float64).mul(3).softmax(1)
    return [logits.to(dtype), targets.to(dtype), -torch.rand(k, dtype=torch.float64).to(dtype) * 9]


def check(operators: Operators, case, dtype: torch.dtype, device: torch.device, spread: float = 1.0) -> None:
    rows, gradient_ = operators
    logits, targets, levels = inputs(*case, dtype, spread)
    for level in (levels, None):
        numbers = (logits, targets, level)
        truth = by_definition(*(None if z is None else z.double() for z in numbers))
        same = by_definition(*numbers)
        own, q, own_level = (None if z is None else z.clone().to(device) for z in numbers)
        losses, stats, shares = rows(own, q, SCALE, True)
        assert torch.equal(own.cpu(), logits)
        again, _, nothing = rows(own, q, SCALE, False)
        assert torch.equal(again, losses)
        assert nothing.numel() == 0
        gradient_(own, q, stats, own_level, SCALE, FACTOR)
        for found, plain, true in zip((losses, shares, own), same, truth, strict=True):
            assert_no_worse(found, plain, true, 64 * torch.finfo(dtype).eps * max(1.0, true.abs().max().item()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES + CPU_CASES], ids=[p.id for p in CASES + CPU_CASES])
def test_cpu_against_the_definition(case, dtype: torch.dtype) -> None:
    check(on_cpu(torch.device("cpu")), case, dtype, torch.device("cpu"))


@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES], ids=[p.id for p in CASES])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of what is masked afterwards
def test_triton_against_the_definition(case, triton_device: torch.device, monkeypatch) -> None:
    from sslfast.kernels import _prototype_launch

    monkeypatch.setattr(_prototype_launch, "msn_rows", lambda _: {"ROWS": 4, "BLOCK": 32, "num_warps": 1})
    monkeypatch.setattr(
        _prototype_launch, "msn_shares", lambda *_: {"CHUNK": 32, "ROWS": 16, "BLOCK": 16, "num_warps": 1}
    )
    check(on_triton(triton_device), case, torch.float32, triton_device)


def falls_short_of_no_prototype(operators: Operators, device: torch.device) -> None:
    """Logits so far apart that most shares underflow: losses are exact, and what has no share has no gradient."""
    logits, targets, levels = inputs(2, 6, 40, torch.float32, 1e3)
    check(operators, (2, 6, 40), torch.float32, device, 1e3)
    logits[:, 3] = -1e4
    levels[3] = 0.0  # what the loss makes of a sum of 0
    own = logits.clone().to(device)
    losses, stats, shares = operators[0](own, targets.to(device), SCALE, True)
    assert shares[3] == 0
    operators[1](own, targets.to(device), stats, levels.to(device), SCALE, 1.0)
    assert losses.isfinite().all()
    torch.testing.assert_close(own[:, 3].cpu(), -targets[:, 3].repeat(2))


def test_shares_that_underflow() -> None:
    falls_short_of_no_prototype(on_cpu(torch.device("cpu")), torch.device("cpu"))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_shares_that_underflow(triton_device: torch.device) -> None:
    falls_short_of_no_prototype(on_triton(triton_device), triton_device)


def passes_nan_on(operators: Operators, device: torch.device) -> None:
    """A NaN is one in its own loss and gradient, and in every sum of shares, as its row has a share of all."""
    logits, targets, _ = (z.to(device) for z in inputs(2, 4, 40, torch.float32))
    logits[5, 7] = math.nan
    losses, stats, shares = operators[0](logits, targets, SCALE, True)
    assert torch.equal(losses.isnan().cpu(), torch.arange(8) == 5)
    assert shares.isnan().all()
    operators[1](logits, targets, stats, None, SCALE, 1.0)
    assert torch.equal(logits.isnan().all(1).cpu(), torch.arange(8) == 5)


def test_nan_is_passed_on() -> None:
    passes_nan_on(on_cpu(torch.device("cpu")), torch.device("cpu"))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_nan_is_passed_on(triton_device: torch.device) -> None:
    passes_nan_on(on_triton(triton_device), triton_device)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_is_the_loss_on_a_gpu(triton_device: torch.device, monkeypatch) -> None:
    """msn_loss with the launchers in the place of the C++ operators."""
    from sslfast.kernels import msn
    from sslfast.losses import msn_loss

    anchors, prototypes, targets = (torch.randn(n, 8).to(triton_device) for n in (12, 20, 6))
    leaves = anchors.requires_grad_(), prototypes.requires_grad_()
    expected = msn_loss(anchors, targets, prototypes)
    monkeypatch.setattr(ops, "msn_rows", msn.rows)
    monkeypatch.setattr(ops, "msn_gradient_", msn.gradient_)
    found = msn_loss(anchors, targets, prototypes)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves))


def test_threads_do_not_change_a_bit() -> None:
    logits, targets, levels = inputs(3, 90, 600, torch.float32)
    threads, results = torch.get_num_threads(), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        own = logits.clone()
        found = ops.msn_rows(own, targets, SCALE, True)
        ops.msn_gradient_(own, targets, found[1], levels, SCALE, FACTOR)
        results.append([*found, own])
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_opcheck() -> None:
    logits, targets, levels = inputs(2, 3, 5, torch.float32)
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    for need_shares in (True, False):
        check_op(ops.msn_rows, (logits, targets, SCALE, need_shares))
    stats = ops.msn_rows(logits, targets, SCALE, False)[1]
    for level in (levels, None):
        check_op(ops.msn_gradient_, (logits.clone(), targets, stats, level, SCALE, FACTOR))
    for bad, text in (
        (lambda: ops.msn_rows(logits.half(), targets.half(), SCALE, True), "must be float32, or float64"),
        (lambda: ops.msn_rows(logits.T, targets.T, SCALE, True), "contiguous"),
        (lambda: ops.msn_rows(logits[:5], targets, SCALE, True), "divide the anchors"),
        (lambda: ops.msn_gradient_(logits, targets, stats[:, :2], None, SCALE, 1.0), "those of msn_rows"),
        (lambda: ops.msn_gradient_(logits, targets, stats, levels[:2], SCALE, 1.0), "levels must be"),
    ):
        with pytest.raises(RuntimeError, match=text):
            bad()
