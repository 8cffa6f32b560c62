"""The operator linear_cross_entropy with classes elsewhere, on other ranks: C++ and Triton (interpreted, or native with
-m gpu) against what one makes of all.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from test_linear_cross_entropy_operator import TERMS, problem
from torch import Tensor

from sslfast import ops


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
