"""The operator linear_cross_entropy: C++ and Triton (interpreted, or native with -m gpu) against the definition."""

from __future__ import annotations

import math

import pytest
import torch
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.reference.linear_cross_entropy import linear_cross_entropy as by_definition

# N, D, V
CASES = [
    pytest.param((1, 1, 1), id="one class"),
    pytest.param((2, 3, 2), id="two classes"),
    pytest.param((70, 24, 150), id="tiles of both sides"),
]
CPU_CASES = [
    pytest.param((600, 20, 1100), id="three strips of several tiles"),
    pytest.param((40, 33, 20000), id="strips of few rows"),
]
# label_smoothing, softcap, z_loss, bias, class weights
TERMS = [
    pytest.param((0.0, None, 0.0, False, False), id="plain"),
    pytest.param((0.0, None, 0.0, True, True), id="bias, class weights"),
    pytest.param((0.1, None, 1e-2, True, False), id="smoothing, z-loss"),
    pytest.param((0.2, 2.0, 1e-2, True, True), id="all"),
]


def problem(case: tuple[int, int, int], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Hidden rows, weight, bias, class weights and targets."""
    size, dim, classes = case
    hidden = torch.randn(size, dim, dtype=torch.float64).to(dtype)
    weight = torch.randn(classes, dim, dtype=torch.float64).to(dtype)
    bias, class_weights = torch.randn(classes, dtype=torch.float64), torch.rand(classes, dtype=torch.float64)
    if dtype != torch.float64:
        bias, class_weights = bias.float(), class_weights.float()
    return hidden, weight, bias, class_weights, torch.randint(0, classes, (size,))


def expected(x: tuple[Tensor, ...], terms, upstream: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Losses of the rows and the gradients of their sum, times ``upstream``, by definition in a dtype."""
    smoothing, softcap, z_loss, has_bias, has_weights = terms
    hidden, weight, bias = (z.to(dtype).requires_grad_() for z in x[:3])
    losses = by_definition(
        hidden,
        weight,
        x[4],
        bias if has_bias else None,
        x[3].to(dtype) if has_weights else None,
        label_smoothing=smoothing,
        softcap=softcap,
        z_loss=z_loss,
    )
    leaves = [hidden, weight, *([bias] if has_bias else [])]
    return [losses.detach(), *torch.autograd.grad((losses * upstream.to(dtype)).sum(), leaves)]


def check(operator, case, terms, dtype: torch.dtype, device: torch.device) -> None:
    smoothing, softcap, z_loss, has_bias, has_weights = terms
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    x = problem(case, dtype)
    size, classes = case[0], case[2]
    upstream = torch.rand(size, dtype=wide)
    truth, same = (expected(x, terms, upstream, each) for each in (torch.float64, wide))
    hidden, weight, bias, class_weights, targets = x
    # Every row twice as far apart, the rows between ignored, and an index that leaves them out.
    spread = torch.full((2 * size, hidden.shape[1]), math.nan, dtype=dtype)
    spread[::2] = hidden
    all_targets = torch.full((2 * size,), -1)
    all_targets[::2] = targets
    index = torch.cat([2 * torch.arange(size), torch.tensor([-1])])
    own = class_weights[targets] if has_weights else torch.ones(size, dtype=wide)
    rest = [bias.to(wide) if has_bias else None]
    numbers = (smoothing, softcap or 0.0, z_loss)

    def run(rows: Tensor, goals: Tensor, at: Tensor | None, spacing: Tensor, needs=(True, True, has_bias)):
        weights = [z.new_zeros(len(goals)).index_copy(0, spacing, z).to(wide) for z in (own * upstream, upstream)]
        args = [rows, weight, goals, at, *rest, *weights, class_weights.to(wide) if has_weights else None]
        moved = [z.to(device) if isinstance(z, Tensor) else z for z in args]
        return [z.cpu() for z in operator(*moved, *numbers, *needs)]

    eps = torch.finfo(wide).eps
    places = torch.arange(size)
    for rows, goals, at, spacing in (
        (hidden, targets, None, places),
        (spread, all_targets, None, 2 * places),
        (spread, torch.cat([targets, targets[:1]]), index, places),
    ):
        nll, lse, sums, positive, top, *grads = run(rows, goals, at, spacing)
        nll, lse, sums, positive, top = (z[spacing] for z in (nll, lse, sums, positive, top))
        losses = nll * own * (1 - smoothing) + z_loss * lse.square()
        if smoothing:
            total = class_weights.sum() if has_weights else classes
            losses = losses + smoothing / classes * (total * lse - sums)
        scale = max(1.0, truth[0].abs().amax().item())
        assert_no_worse(losses, same[0], truth[0], 64 * eps * scale)
        logits = by_logits(x, terms)
        if classes > 1:
            assert torch.equal(positive > top, logits.argmax(1) == targets)
        picked = grads[0][::2] if len(rows) > size else grads[0]
        # A logit of 30 is rounded by 30 eps, which its exponential multiplies; half types round gradients of logits.
        rounding = max(64 * eps * max(1.0, logits.abs().amax().item()), torch.finfo(dtype).eps)
        for found, s, t in zip([picked, *grads[1 : len(truth) - 1]], same[1:], truth[1:], strict=True):
            assert_no_worse(found, s, t, rounding * max(1e-2, t.abs().amax().item()))
        if len(rows) > size:
            assert not grads[0][1::2].any()
        for needs in ((True, False, False), (False, True, False), (False, False, has_bias), (False, False, False)):
            again, *_, d_hidden, d_weight, d_bias = run(rows, goals, at, spacing, needs)
            assert torch.equal(again[spacing], nll)
            assert [len(z) for z in (d_hidden, d_weight, d_bias)] == [
                len(rows) * needs[0],
                classes * needs[1],
                classes * needs[2],
            ]


def by_logits(x: tuple[Tensor, ...], terms) -> Tensor:
    logits = x[0].double() @ x[1].double().T
    return logits + x[2].double() if terms[3] else logits


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("case", CASES + CPU_CASES)
def test_cpu_against_the_definition(case, terms, dtype: torch.dtype) -> None:
    check(ops.linear_cross_entropy, case, terms, dtype, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_against_the_definition(case, terms, dtype: torch.dtype, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy as launcher

    # More than one strip is otherwise taken from 1,025 rows on.
    blocks = _launch.weights
    monkeypatch.setattr(_launch, "one_way_rows", lambda *_: 64)
    monkeypatch.setattr(_launch, "weights", lambda *shape, **_: blocks(*shape) | {"BLOCK_M": 32, "BLOCK_N": 64})
    check(launcher, case, terms, dtype, triton_device)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of infinities in lanes that are masked afterwards
def test_triton_reads_no_row_in_the_place_of_none(triton_device) -> None:
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy as launcher

    hidden, weight = torch.randn(4, 8, device=triton_device), torch.randn(20, 8, device=triton_device)
    hidden[0] = math.nan
    index = torch.tensor([1, 3, -1], device=triton_device)
    targets = torch.tensor([5, 6, 7], device=triton_device)
    rest = (*[None] * 4, 0.0, 0.0, 0.0, True, True, False)
    nll, *_, d_hidden, d_weight, _ = launcher(hidden, weight, targets, index, *rest)
    assert nll[2] == 0
    assert d_weight.isfinite().all()
    assert d_hidden.isfinite().all()
    nll = launcher(hidden, weight, targets, torch.tensor([1, 3, -7], device=triton_device), *rest)[0]
    assert nll[:2].isfinite().all()
    assert not nll[2].isfinite()  # it names no row
    nothing = launcher(hidden[:0], weight, targets, torch.full_like(index, -1), *rest)
    assert not any(z.any() for z in nothing)
    assert nothing[5].shape == (0, 8)


def test_opcheck() -> None:
    x, w, b, target = torch.randn(6, 4), torch.randn(9, 4), torch.randn(9), torch.tensor([0, 8, -1, 3, 3, 1])
    row, index = torch.rand(6), torch.tensor([5, 4, 3, 2, -1, 0])
    for rest in (
        (None, None, None, None, None, 0.0, 0.0, 0.0, True, False, False),
        (index, b, row, row, torch.rand(9), 0.1, 2.0, 0.1, False, True, True),
    ):
        torch.library.opcheck(ops.linear_cross_entropy, (x, w, target, *rest))
    shared = (None, b, row, row, None, 0.1, 2.0, 0.1, True, True, True, torch.randn(2, 6), 20)
    torch.library.opcheck(ops.linear_cross_entropy, (x, w, torch.tensor([0, 9, -1, 3, 9, 1]), *shared))
    for goals in (torch.full((6,), 9), torch.full((5,), 0)):
        with pytest.raises(RuntimeError, match="linear_cross_entropy: "):
            ops.linear_cross_entropy(x, w, goals, *[None] * 5, 0.0, 0.0, 0.0, True, True, True)
