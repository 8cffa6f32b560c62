"""The operators of Sinkhorn-Knopp: C++ on the CPU and Triton (interpreted, or native with -m gpu) by definition."""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import pytest
import torch
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.losses import DINOLoss, IBOTPatchLoss, MSNLoss, SwAVLoss
from sslfast.losses._sinkhorn import sinkhorn_potentials
from sslfast.losses.swav import sinkhorn_knopp
from sslfast.reference.sinkhorn import sinkhorn_assign, sinkhorn_masses, sinkhorn_peaks
from sslfast.reference.swav import sinkhorn_knopp as by_iteration

CPU = SimpleNamespace(
    peaks=ops.sinkhorn_peaks,
    masses=ops.sinkhorn_masses,
    potentials=ops.sinkhorn_potentials,
    assign=ops.sinkhorn_assign,
)
CASES = [
    pytest.param(1, 1, id="one number"),
    pytest.param(5, 33, id="few"),
    pytest.param(40, 150, id="several blocks of samples and of prototypes"),
]
CPU_CASES = [pytest.param(35, 5000, id="several blocks of prototypes")]


def check(operators, n: int, k: int, dtype: torch.dtype, device: torch.device, level: float = 0.0) -> None:
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    scores = (0.3 * torch.randn(n, k + 2, dtype=torch.float64) + level).to(dtype)[:, :k]
    potentials = (3 * torch.randn(k, dtype=torch.float64)).to(wide)
    weights = torch.ones(n, dtype=wide)
    if n > 3:
        scores[2], weights[2] = math.nan, 0  # is not read
    kept = weights != 0
    scale, eps = 20.0, torch.finfo(wide).eps
    there = [z.to(device) for z in (scores, potentials, weights)]
    good = scores.to(device)[kept.to(device)]
    own, exact = scores[kept].to(wide), scores[kept].double()
    truth = [*sinkhorn_peaks(exact, scale), sinkhorn_masses(exact, potentials.double(), scale)]
    same = [*sinkhorn_peaks(own, scale), sinkhorn_masses(own, potentials, scale)]
    found = [*operators.peaks(there[0], there[2], scale), operators.masses(*there, scale)]
    for f, s, t in zip(found, same, truth, strict=True):
        assert_no_worse(f, s, t, 64 * eps * t.abs())
    found = operators.potentials(there[0], there[2], scale, 3)
    by_scores = sinkhorn_assign(exact, found.cpu().double(), scale)
    torch.testing.assert_close(by_scores, by_iteration(exact, 3, 1 / scale), rtol=max(1e-11, 2e3 * eps), atol=1e-9)
    assigned = operators.assign(good, there[1], scale, len(good))
    expected = sinkhorn_assign(exact, potentials.double(), scale)
    assert_no_worse(assigned, sinkhorn_assign(own, potentials, scale), expected, 256 * eps * expected + 1e-37)
    assert torch.equal(operators.assign(good, there[1], scale, len(good) // 2), assigned[: len(good) // 2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("n", "k"), [tuple(p.values) for p in CASES + CPU_CASES], ids=[p.id for p in CASES + CPU_CASES]
)
def test_cpu_against_the_definition(n: int, k: int, dtype: torch.dtype) -> None:
    check(CPU, n, k, dtype, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "k"), [tuple(p.values) for p in CASES], ids=[p.id for p in CASES])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_against_the_definition(n: int, k: int, dtype: torch.dtype, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _prototype_launch, sinkhorn

    monkeypatch.setattr(_prototype_launch, "prototype_rows", lambda _: {"ROWS": 2, "BLOCK": 16})
    monkeypatch.setattr(_prototype_launch, "prototype_run", lambda *_: 48)
    monkeypatch.setattr(_prototype_launch, "sinkhorn_columns", lambda: {"ROWS": 16, "BLOCK": 32})
    monkeypatch.setattr(_prototype_launch, "sinkhorn_assign", lambda _: {"BLOCK": 64})
    check(sinkhorn, n, k, dtype, triton_device)


def test_large_scores_lose_no_digits() -> None:
    check(CPU, 12, 3000, torch.float32, torch.device("cpu"), level=1e4)
    scores = torch.randn(9, 3000, dtype=torch.float64).mul(0.1).add(1e4).float()
    expected = by_iteration(scores.double(), 3, 0.05)
    torch.testing.assert_close(sinkhorn_knopp(scores, 3, 0.05).double(), expected, rtol=1e-4, atol=1e-8)


def test_prototypes_far_below_the_largest_score_are_balanced() -> None:
    scores = 0.1 * torch.randn(12, 5, dtype=torch.float64)
    scores[:, 1] -= 6  # exp(-120) relative to the largest: 0 in float32 but for the column's own maximum
    expected = by_iteration(scores, 3, 0.05)
    assert expected[:, 1].sum() > 1
    torch.testing.assert_close(sinkhorn_knopp(scores.float(), 3, 0.05).double(), expected, rtol=1e-4, atol=1e-6)


def test_samples_of_weight_zero_do_not_count() -> None:
    scores, weights = torch.randn(8, 6), torch.ones(8)
    weights[[1, 5]] = 0
    found = sinkhorn_potentials(scores, 0.1, 3, False, weights)
    torch.testing.assert_close(found, sinkhorn_potentials(scores[weights > 0], 0.1, 3, False))


def test_threads_do_not_change_a_bit() -> None:
    scores, threads = torch.randn(50, 3000), torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(sinkhorn_knopp(scores))
    torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_opcheck() -> None:
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    scores, potentials, weights = torch.randn(6, 5), torch.randn(5), torch.ones(6)
    check_op(ops.sinkhorn_peaks, (scores, weights, 20.0))
    check_op(ops.sinkhorn_peaks, (scores.bfloat16(), None, 20.0))
    check_op(ops.sinkhorn_masses, (scores, potentials, None, 20.0))
    check_op(ops.sinkhorn_potentials, (scores, None, 20.0, 3))
    check_op(ops.sinkhorn_assign, (scores, potentials, 20.0, 4))
    refused: list[tuple[Tensor, Tensor, Tensor | None, str]] = [
        (scores.T, potentials, None, r"scores must be \(N, K\)"),
        (scores, potentials.double(), None, r"potentials must be \(K,\)"),
        (scores, potentials, weights[:2], r"weights must be \(N,\)"),
    ]
    for *args, text in refused:
        with pytest.raises(RuntimeError, match=text):
            ops.sinkhorn_masses(*args, 20.0)
    with pytest.raises(RuntimeError, match="iterations must be at least 1"):
        ops.sinkhorn_potentials(scores, None, 20.0, 0)
    with pytest.raises(RuntimeError, match="rows must be at most"):
        ops.sinkhorn_assign(scores, potentials, 20.0, 7)


def test_a_sample_without_a_score_leaves_no_assignment() -> None:
    scores = torch.randn(5, 4)
    scores[2] = -torch.inf
    assert sinkhorn_knopp(scores).isnan().all()
    scores[2, 1] = 0.0  # one finite score is enough
    assigned = sinkhorn_knopp(scores)
    torch.testing.assert_close(assigned[2], torch.eye(4)[1])
    assert assigned.isfinite().all()


def test_temperatures_that_float32_cannot_divide_by() -> None:
    for call, message in (
        (lambda: sinkhorn_knopp(torch.randn(3, 2), epsilon=1e-40), "sinkhorn_knopp: epsilon"),
        (lambda: SwAVLoss(sinkhorn_epsilon=1e-40), "SwAVLoss: sinkhorn_epsilon"),
        (lambda: DINOLoss(4, student_temp=1e-40), "DINOLoss: student_temp"),
        (lambda: IBOTPatchLoss(4, teacher_temp=1e-40), "IBOTPatchLoss: teacher_temp"),
        (lambda: MSNLoss(temperature=1e-40), "MSNLoss: temperature"),
    ):
        with pytest.raises(ValueError, match=f"^{message} must be at least 1e-8, got 1e-40$"):
            call()
    assert sinkhorn_knopp(torch.randn(3, 2), epsilon=1e-8).isfinite().all()
