"""The operator linear_cross_entropy: C++ and Triton (interpreted, or native with -m gpu) against the definition."""

from __future__ import annotations

import itertools
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


def check_shards(operator, terms, device: torch.device, dtype: torch.dtype, ends: tuple[int, ...]) -> None:
    """Classes in shards: what each makes once it knows what the others have is what one makes of all."""
    smoothing, softcap, z_loss, has_bias, _ = terms
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    hidden, weight, bias, _, targets = (z.to(device) for z in problem((40, 24, ends[-1]), dtype))
    numbers, needs = (smoothing, softcap or 0.0, z_loss), (True, True, has_bias)
    total = torch.rand(40, device=device, dtype=wide)
    targets[3] = -1

    def run(own: slice, elsewhere: Tensor | None = None, classes: int = 0, needs=needs):
        goals = torch.where((targets >= own.start) & (targets < own.stop), targets - own.start, own.stop - own.start)
        goals = goals.masked_fill(targets < 0, -1)
        sides = (hidden, weight[own].contiguous(), goals, None, bias[own].contiguous() if has_bias else None)
        return operator(*sides, total, total, None, *numbers, *needs, elsewhere, classes)

    shards = [slice(*each) for each in itertools.pairwise((0, *ends))]
    nothing = torch.full((2, 40), -math.inf, device=device, dtype=wide)
    first = [run(own, nothing, ends[-1], needs=(False,) * 3) for own in shards]
    nll, lse, sums, positive, top, d_hidden, d_weight, d_bias = run(slice(0, ends[-1]))
    has, here = targets >= 0, [(targets >= own.start) & (targets < own.stop) for own in shards]
    rounding = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
    close = {"rtol": min(rounding, 1e-5), "atol": min(rounding, 1e-5)}
    if smoothing:
        torch.testing.assert_close(sum(z[2] for z in first), sums, **close)
    torch.testing.assert_close(sum(torch.where(at, z[3], 0.0) for at, z in zip(here, first, strict=True)), positive)
    torch.testing.assert_close(torch.stack([z[4] for z in first]).amax(0), top, **close)
    # What each has beside the target.
    rests = [
        torch.where(at, z[1] + (-torch.expm1(-z[0])).log(), z[1]).masked_fill(~has, -math.inf)
        for at, z in zip(here, first, strict=True)
    ]
    found = []
    for i, own in enumerate(shards):
        others = torch.stack(rests[:i] + rests[i + 1 :]).logsumexp(0)
        found.append(run(own, torch.stack([others, positive]), ends[-1]))
        torch.testing.assert_close(found[-1][0], nll, **close)
        torch.testing.assert_close(found[-1][1], lse, **close)
        assert not found[-1][0][~has].any()
    close = {"rtol": rounding, "atol": rounding * max(1.0, d_hidden.abs().amax().item())}
    torch.testing.assert_close(sum(z[5] for z in found), d_hidden, **close)
    torch.testing.assert_close(torch.cat([z[6] for z in found]), d_weight, **close)
    torch.testing.assert_close(torch.cat([z[7] for z in found]), d_bias, **close)


SHARED = [TERMS[0], TERMS[2], pytest.param((0.2, 2.0, 1e-2, True, False), id="capped")]
SHARDS = [pytest.param((37, 150), id="two shards"), pytest.param((70, 71, 150), id="three shards")]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ends", SHARDS)
@pytest.mark.parametrize("terms", SHARED)
def test_cpu_with_classes_elsewhere(terms, ends, dtype: torch.dtype) -> None:
    check_shards(ops.linear_cross_entropy, terms, torch.device("cpu"), dtype, ends)


@pytest.mark.parametrize(
    ("terms", "ends", "dtype"),
    [
        pytest.param(SHARED[1].values[0], (37, 150), torch.float32, id="smoothing, z-loss"),
        pytest.param(SHARED[2].values[0], (20, 21, 50), torch.float32, id="capped, three shards"),
        pytest.param(SHARED[0].values[0], (20, 21, 50), torch.bfloat16, id="bfloat16, three shards"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_with_classes_elsewhere(terms, ends, dtype: torch.dtype, triton_device) -> None:
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy as launcher

    check_shards(launcher, terms, triton_device, dtype, ends)


@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of infinities in lanes that are masked afterwards
def test_triton_weighs_no_stray_target_with_classes_elsewhere(softcap: float, triton_device) -> None:
    """A target of no rank whose row has no weight leaves the gradients as they are; with one it makes them NaN."""
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy as launcher

    hidden, weight = torch.randn(6, 8, device=triton_device), torch.randn(9, 8, device=triton_device)
    targets = torch.tensor([2, 9, 8, 10, -1, 0], device=triton_device)  # the second is elsewhere, the fourth nowhere
    said = torch.randn(2, 6, device=triton_device)
    said[1, 3] = math.nan
    given = torch.rand(6, device=triton_device) + 0.1
    numbers = (0.1, softcap, 1e-2, True, True, False)

    def run(goals: Tensor) -> tuple[Tensor, ...]:
        return launcher(hidden, weight, goals, None, None, given, given, None, *numbers, said, 20)

    nll, *_, d_hidden, d_weight, _ = run(targets)
    assert nll.isnan().nonzero().tolist() == [[3]]
    assert d_hidden.isnan().any(1).nonzero().tolist() == [[3]]
    assert d_weight.isnan().all()
    given[3] = 0
    nll, *_, d_hidden, d_weight, _ = run(targets)
    assert nll.isnan().nonzero().tolist() == [[3]]
    _, *_, without_hidden, without_weight, _ = run(targets.masked_fill(targets == 10, -1))
    torch.testing.assert_close([d_hidden, d_weight], [without_hidden, without_weight])
    assert not d_hidden[3].any()


def test_what_does_not_go_with_classes_elsewhere(triton_device) -> None:
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy as launcher

    numbers, weights = "num_classes goes with elsewhere, is no less", torch.rand(9)
    for class_weights, elsewhere, classes, text in (
        (None, None, 9, numbers),
        (None, torch.zeros(2, 6), 0, numbers),
        (None, torch.zeros(2, 6), 8, numbers),
        (weights, torch.zeros(2, 6), 9, numbers),
        (None, torch.zeros(2, 5), 9, r"elsewhere must be \(2, R\)"),
        (None, torch.zeros(2, 6).double(), 9, r"elsewhere must be \(2, R\)"),
        (None, torch.zeros(6, 2).T, 9, r"elsewhere must be \(2, R\)"),
    ):
        for operator, device in ((ops.linear_cross_entropy, "cpu"), (launcher, triton_device)):
            tensors = (
                torch.randn(6, 4),
                torch.randn(9, 4),
                torch.zeros(6, dtype=torch.int64),
                class_weights,
                elsewhere,
            )
            x, w, goals, given, there = (None if z is None else z.to(device) for z in tensors)
            with pytest.raises(RuntimeError, match=f"linear_cross_entropy: {text}"):
                operator(x, w, goals, *[None] * 4, given, 0.0, 0.0, 0.0, True, True, True, there, classes)


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
