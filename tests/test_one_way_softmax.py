"""one_way_softmax: C++ on the CPU and Triton (interpreted, or native with -m gpu) against the definition."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from loss_regimes import Regime, problem, rounding_of_weights
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.reference.cross_softmax import cross_softmax, label_sums
from sslfast.reference.one_way_softmax import one_way_softmax

# N, M, D, scale
CASES = [
    pytest.param(1, 1, 4, 2.0, id="a positive and nothing else"),
    pytest.param(5, 3, 1, -4.0, id="negative scale, D = 1, rows without a positive"),
    pytest.param(70, 150, 24, 10.0, id="more columns than rows"),
    pytest.param(150, 70, 33, 200.0, id="more rows than columns, temperature 0.005"),
]
CPU_CASES = [
    pytest.param(600, 1100, 20, 14.0, id="two strips of several tiles"),
    pytest.param(540, 600, 8, -300.0, id="two strips, sums far below the maximum"),
    pytest.param(40, 20000, 8, 5.0, id="strips of few rows"),
]

# In steps of 32 columns, of 16 in float32.
WIDE_CASES = [pytest.param(3, 1, 300, 5.0, id="one column"), pytest.param(35, 40, 512, 14.0, id="D = 512")]
HALF = [torch.bfloat16, torch.float16]
WAYS = [(dtype, way) for dtype in (torch.float32, *HALF) for way in (True, False)]  # dtype, in registers


def by_definition(
    rows: Tensor, columns: Tensor, positives: Tensor, scale: float, weights: Tensor, rest: dict[str, Tensor]
) -> list[Tensor]:
    """Losses, and the gradients of their weighted sum in rows and columns, over the scale, and in what is known."""
    rows, columns = rows.clone().requires_grad_(), columns.clone().requires_grad_()
    known = {name: rest[name].clone().requires_grad_() for name in ("known_lse", "known_positive") if name in rest}
    losses = one_way_softmax(rows, columns, positives, scale, **rest | known)
    leaves = [rows, columns, *known.values()]
    d_rows, d_columns, *others = torch.autograd.grad((losses * weights).sum(), leaves, materialize_grads=True)
    return [losses.detach(), (d_rows / scale).nan_to_num(), (d_columns / scale).nan_to_num(), *others]


def in_a_gap(logits: Tensor) -> Tensor:
    """(N,) numbers far from every logit of their row, half way between two of the upper half."""
    ordered = logits.sort(dim=1).values[:, logits.shape[1] // 2 :]
    ordered = torch.cat([ordered, ordered[:, -1:] + 1e-3], dim=1)
    gap = ordered.diff(dim=1).argmax(dim=1, keepdim=True)
    return (ordered.gather(1, gap) + ordered.gather(1, gap + 1)).squeeze(1) / 2


def check(operator, case, dtype: torch.dtype, device: torch.device) -> None:
    size, length, dim, scale = case
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    rows, columns = (F.normalize(torch.randn(n, dim, dtype=torch.float64), dim=1).to(dtype) for n in (size, length))
    logits = scale * rows.double() @ columns.double().T
    limits = in_a_gap(logits)
    limits[0] = -math.inf  # nothing to sum
    weights = torch.rand(size, dtype=torch.float64)
    ids = {"row_ids": torch.arange(size) % 3, "col_ids": torch.arange(length) % 2}
    lse, above = {"known_lse": logits.amax(1) - 1}, logits.amax(1) + torch.randn(size, dtype=torch.float64)
    one = torch.randint(0, length, (size,))  # a column may be the positive of several rows
    eps = torch.finfo(wide).eps
    tol = 16 * eps * max(abs(scale), 10)
    rounding = max(tol, torch.finfo(dtype).eps)  # half types round the weights
    for positives, rest in (
        (one, {}),
        (one, lse | ids | {"row_limits": limits}),
        (one - 1, lse | {"known_positive": above}),
        (torch.full_like(one, -1), {"row_limits": limits, "known_positive": above}),
    ):
        narrow = {name: t.to(wide) if t.is_floating_point() else t for name, t in rest.items()}
        truth = by_definition(rows.double(), columns.double(), positives, scale, weights, rest)
        same = by_definition(rows.to(wide), columns.to(wide), positives, scale, weights.to(wide), narrow)
        names = ("row_ids", "col_ids", "row_limits", "known_lse", "known_positive")
        there = [narrow[name].to(device) if name in narrow else None for name in names]
        number = torch.tensor([scale], dtype=wide, device=device)
        args = (rows.to(device), columns.to(device), positives.to(device), number, *there)
        losses, sums, shares, *products = operator(*args, weights.to(wide).to(device), True, True)
        assert_no_worse(losses, same[0], truth[0], tol)
        for f, s, t in zip(products, same[1:3], truth[1:3], strict=True):
            assert_no_worse(f, s, t, rounding * max(t.abs().amax().item(), 1e-2))
        if "known_lse" in rest:
            assert_no_worse(shares * torch.exp(there[3] - sums), same[3], truth[3], tol)
        if "known_positive" in rest:
            assert_no_worse(-shares, same[-1], truth[-1], tol)
        for needs in ((True, False), (False, True), (False, False)):
            again, _, unweighted, *products = operator(*args, None, *needs)
            torch.testing.assert_close(again, losses, rtol=tol, atol=tol)
            torch.testing.assert_close(unweighted * weights.to(shares), shares, rtol=tol, atol=tol)
            assert [len(z) for z in products] == [size * needs[0], length * needs[1]]
    check_labels(operator, (rows, columns, one - 1), scale, tol, rounding, device)


def check_labels(operator, inputs, scale: float, tol: float, rounding: float, device: torch.device) -> None:
    """Gradients less the weights of labels: of all one label, and in groups; with positives, or none that count."""
    rows, columns, positives = inputs
    size, wide = len(rows), torch.float64 if rows.dtype == torch.float64 else torch.float32
    number = torch.tensor([scale], dtype=wide, device=device)
    for groups, known in ((1, None), (1 + size // 5, torch.full((size,), -math.inf, dtype=torch.float64))):
        labels = [torch.randint(0, groups, (len(z),), dtype=torch.int32) - 1 for z in (rows, columns)]
        weights, shares = torch.rand(size, dtype=torch.float64), torch.randn(size, dtype=torch.float64)
        shares[::3] = 0
        x, y = (z.double().requires_grad_() for z in (rows, columns))
        # The loss of a row whose positive does not count is its log-sum-exp.
        alone = torch.ones(size, dtype=torch.bool) if known is not None else positives < 0
        lse, *_ = cross_softmax(x, y, positives, scale)
        lse = torch.where(alone, lse, one_way_softmax(x, y, positives.clamp_min(0), scale))
        taken = torch.where(lse.isfinite(), lse, 0.0)
        total = (taken * weights).sum() - (label_sums(x, y, positives, scale, *labels) * shares).sum()
        truth = [g / scale for g in torch.autograd.grad(total, (x, y))]
        there = [None if t is None else t.to(wide).to(device) for t in (None, known, weights)]
        args = (*(z.to(device) for z in inputs), number, None, None, None, *there)
        rest = (None, None, *(z.to(device) for z in labels), shares.to(wide).to(device))
        *_, d_rows, d_columns = operator(*args, True, True, *rest)
        for f, t in zip((d_rows, d_columns), truth, strict=True):
            assert_no_worse(f, t.to(wide), t, max(tol, rounding) * max(t.abs().amax().item(), 1e-2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES + CPU_CASES], ids=[p.id for p in CASES + CPU_CASES])
def test_cpu_against_the_definition(case, dtype: torch.dtype) -> None:
    check(ops.one_way_softmax, case, dtype, torch.device("cpu"))


@pytest.mark.parametrize(("dtype", "in_registers"), WAYS[:4])  # float16: late in training
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES], ids=[p.id for p in CASES])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
@pytest.mark.usefixtures("rounded_weights")
def test_triton_against_the_definition(case, dtype: torch.dtype, in_registers, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _cross_launch, _launch
    from sslfast.kernels.one_way_softmax import one_way_softmax as launcher

    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    # More than one strip is otherwise taken from 1,025 rows on, and more than one run from 513 columns or 257 rows on.
    blocks = _launch.weights
    monkeypatch.setattr(_cross_launch, "walk", lambda blocks, size, block: -(-size // block))
    monkeypatch.setattr(_launch, "queue_run", lambda *_: 64)
    monkeypatch.setattr(_launch, "one_way_rows", lambda *_: 64)
    monkeypatch.setattr(_launch, "weights", lambda *shape, **_: blocks(*shape) | {"BLOCK_M": 32, "BLOCK_N": 64})
    check(launcher, case, dtype, triton_device)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(tuple(WIDE_CASES[which].values), d) for which, d in ((0, HALF[0]), (1, HALF[1]), (1, torch.float32))],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
@pytest.mark.usefixtures("rounded_weights")
def test_triton_wide_rows_in_registers(case, dtype, triton_device) -> None:
    from sslfast.kernels import _cross_launch
    from sslfast.kernels.one_way_softmax import one_way_softmax as launcher

    for needs in ((True, True), (True, False), (False, False)):
        for labels in (False, True):
            assert _cross_launch.one_way_in_registers(*case[:3], dtype.itemsize, *needs, labels)
    check(launcher, case, dtype, triton_device)


# Where the positive's logit is far above the negatives', the weights are 1e-6 and smaller, and differ by as much again.
@pytest.mark.parametrize(("dtype", "in_registers"), WAYS)
@pytest.mark.parametrize(("loss", "temperature"), [(1e-6, 0.04), (1e-6, 0.005), (1e-2, 0.005)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_late_in_training(loss, temperature, dtype, in_registers, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.one_way_softmax import one_way_softmax as launcher

    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    *sides, number = problem("clip_loss", Regime(loss, temperature, 67, 80))
    sides = [z.to(dtype) for z in sides]
    positives = torch.arange(67)
    weights = torch.full((67,), 1 / 67, dtype=torch.float64)
    expected, *truth = by_definition(*(z.double() for z in sides), positives, number.item(), weights, {})
    rows, columns, picks, row_weights = (z.to(triton_device) for z in (*sides, positives, weights.float()))
    scale = number.float().reshape(1).to(triton_device)
    found, _, _, *products = launcher(rows, columns, picks, scale, *[None] * 5, row_weights, True, True)
    bound = 4 * torch.finfo(torch.float32).eps * number.item()
    torch.testing.assert_close(found.cpu().double(), expected, rtol=bound, atol=1e-45)
    for f, t in zip(products, truth, strict=True):
        error = torch.linalg.vector_norm(f.cpu().double() - t) / torch.linalg.vector_norm(t)
        assert error <= bound + rounding_of_weights(dtype)


def value(rows: Tensor, columns: Tensor, scale: float = 2.0) -> list[Tensor]:
    positives = torch.arange(len(rows)) % len(columns)
    number = torch.tensor([scale], dtype=rows.dtype)
    return list(ops.one_way_softmax(rows, columns, positives, number, *[None] * 6, True, True))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_reach_the_rows_they_should(bad: float) -> None:
    rows, columns = torch.randn(20, 4), torch.randn(30, 4)
    rows[3, 1] = bad
    losses, _, _, d_rows, d_columns = value(rows, columns)
    finite = torch.arange(20) != 3
    assert torch.equal(losses.isfinite(), finite)
    assert torch.equal(d_rows.isfinite().all(1), finite)
    assert not d_columns.isfinite().all(1).any()
    rows[3, 1] = 0
    columns[7, 2] = math.nan
    losses, *_, d_rows, d_columns = value(rows, columns)
    assert losses.isnan().all()
    assert d_rows.isnan().any(1).all()


@pytest.mark.parametrize("in_registers", [True, False])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of NaN and inf
def test_triton_nan_reaches_the_rows_it_should(in_registers, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.one_way_softmax import one_way_softmax as launcher

    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    rows, columns = (torch.randn(n, 4, device=triton_device).to(torch.bfloat16) for n in (20, 30))
    rest = (torch.arange(20, device=triton_device), torch.tensor([2.0], device=triton_device), *[None] * 6, True, True)
    for bad in (math.nan, math.inf):
        rows[3, 1] = bad
        losses, _, _, d_rows, d_columns = launcher(rows, columns, *rest)
        finite = torch.arange(20, device=triton_device) != 3
        assert torch.equal(losses.isfinite(), finite)
        assert torch.equal(d_rows.isfinite().all(1), finite)
        assert not d_columns.isfinite().all(1).any()
    rows[3, 1] = 0
    columns[7, 2] = math.nan
    losses, *_, d_rows, _ = launcher(rows, columns, *rest)
    assert losses.isnan().all()
    assert d_rows.isnan().any(1).all()


def test_analytic_values() -> None:
    # A positive and its opposite: the share of the negative is sigmoid(-2 scale).
    columns = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    losses, lse, shares, d_rows, d_columns = value(columns[:1], columns, 1.5)
    share = torch.tensor(-3.0, dtype=torch.float64).sigmoid()
    torch.testing.assert_close(losses[0], torch.tensor(3.0, dtype=torch.float64).exp().reciprocal().log1p())
    torch.testing.assert_close(lse, torch.tensor([-1.5], dtype=torch.float64))
    torch.testing.assert_close(shares[0], share)
    torch.testing.assert_close(d_rows, -2 * share * columns[:1])
    torch.testing.assert_close(d_columns, torch.stack([-share, share]).unsqueeze(1) * columns[:1])


def test_threads_do_not_change_a_bit() -> None:
    rows, columns = torch.randn(300, 1), torch.randn(1500, 1)  # D = 1: torch's product has one term, in any order
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(value(rows, columns, 3.0)[:3])
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_opcheck() -> None:
    rows, columns = torch.randn(2, 9, 3)
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    ids, numbers = torch.arange(9), torch.zeros(9)
    for needs, rest in (((True, False), [None] * 6), ((False, True), [ids, ids, numbers, numbers, numbers, numbers])):
        check_op(ops.one_way_softmax, (rows, columns, ids, torch.tensor([2.0]), *rest, *needs))
    with pytest.raises(RuntimeError, match="columns must have the dtype and the width of rows"):
        value(rows, columns.double())
    with pytest.raises(RuntimeError, match=r"weights and what is known must be \(N,\)"):
        ops.one_way_softmax(rows, columns, ids, torch.tensor([2.0]), *[None] * 5, numbers.double(), True, True)
    labels = (None, None, ids.int(), ids.int(), numbers)
    check_op(ops.one_way_softmax, (rows, columns, ids, torch.tensor([2.0]), *[None] * 6, True, True, *labels))
    with pytest.raises(RuntimeError, match="labels go without row_ids"):
        ops.one_way_softmax(
            rows, columns, ids, torch.tensor([2.0]), ids, ids, None, None, None, None, True, True, *labels
        )
