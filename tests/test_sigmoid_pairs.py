"""sigmoid_pairs: C++ on the CPU and Triton (interpreted, or native with -m gpu) against the definition."""

from __future__ import annotations

import functools
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from gpu_operators import use_several_strips
from loss_regimes import Regime, problem, rounding_of_weights
from oracle import assert_no_worse

from sslfast import ops
from sslfast.reference.sigmoid_pairs import sigmoid_pairs

# N, M, D, scale, bias
CASES = [
    pytest.param(1, 1, 4, 2.0, 0.0, id="one pair"),
    pytest.param(5, 3, 1, -4.0, 1.0, id="negative scale, D = 1, rows without a positive"),
    pytest.param(70, 150, 24, 10.0, -10.0, id="more columns than rows"),
    pytest.param(150, 70, 33, 200.0, -10.0, id="more rows than columns, steep"),
]
CPU_CASES = [pytest.param(600, 2100, 20, 14.0, -12.0, id="several tiles in rows and columns")]

# In steps of 32 pairs above D = 256, or of 16 in float32. Of one row, and of rows and columns that are no whole block.
WIDE_CASES = [
    (1, 3, 300, 5.0, -1.0, torch.bfloat16),
    (66, 35, 512, 14.0, -8.0, torch.float16),
    (34, 17, 140, 5.0, -1.0, torch.float32),
    (35, 66, 512, 14.0, -8.0, torch.float32),
]
HALF = [torch.bfloat16, torch.float16]
WAYS = [(dtype, way) for dtype in (torch.float32, *HALF) for way in (False, True)]  # dtype, in registers


def check(function, case, dtype: torch.dtype, device: torch.device) -> None:
    size, length, dim, scale, bias = case
    share = 1 / size
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    rows, columns = (F.normalize(torch.randn(n, dim, dtype=torch.float64), dim=1).to(dtype) for n in (size, length))
    positives = torch.randperm(max(size, length))[:size]  # any column at most once, and none for some rows
    positives = torch.where(positives < length, positives, -1)

    def by_definition(to: torch.dtype) -> list[torch.Tensor]:
        leaves = [rows.to(to), columns.to(to), torch.tensor(scale, dtype=to), torch.tensor(bias, dtype=to)]
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        loss = share * sigmoid_pairs(leaves[0], leaves[1], positives, leaves[2], leaves[3])
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    truth, same = by_definition(torch.float64), by_definition(wide)
    numbers = [torch.tensor([x], dtype=wide, device=device) for x in (scale, bias)]
    inputs = (rows.to(device), columns.to(device), positives.to(device), *numbers)
    eps = torch.finfo(wide).eps
    rounding = max(16 * eps * max(abs(scale), 1), torch.finfo(dtype).eps)  # half types round the weights
    reach = 16 * eps * max(abs(scale), 10) * truth[0].abs().item() + 1e-300
    for needs in ((True, True), (True, False), (False, True), (False, False)):
        results = function(*inputs, share, *needs)
        needed = (True, *needs, True, True)
        for found, s, t, need in zip(results, same, truth, needed, strict=True):
            assert found.shape == (t.shape if need else (0, dim))
            if need:
                assert_no_worse(found, s, t, rounding * t.abs().amax().item() if t.dim() else reach)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES + CPU_CASES], ids=[p.id for p in CASES + CPU_CASES])
def test_cpu_against_the_definition(case, dtype: torch.dtype) -> None:
    check(ops.sigmoid_pairs, case, dtype, torch.device("cpu"))


@pytest.mark.parametrize(("dtype", "in_registers"), WAYS[:4])  # float16: late in training
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES], ids=[p.id for p in CASES])
@pytest.mark.usefixtures("rounded_weights")
def test_triton_against_the_definition(case, dtype: torch.dtype, in_registers, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.sigmoid_pairs import sigmoid_pairs as launcher

    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    monkeypatch.setattr(_launch, "similarity_run", lambda programs, size, block: block)  # several runs
    use_several_strips(monkeypatch, (64, 128))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
        check(launcher, case, dtype, triton_device)


@pytest.mark.parametrize("needs", [(False, False), (True, True)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_sums_take_the_place_of_one_strip(needs, triton_device, monkeypatch) -> None:
    """And not of all pairs, of which 2^40 would be 3 GiB of sums; those of all strips are there."""
    from sslfast.kernels import _launch
    from sslfast.kernels import sigmoid_pairs as module

    in_strips, slots, blocks = module.in_strips, [], {(64, 128): 1, (192, 384): 3}  # of 64 positives, with slots, too

    def spy(*args):
        results = in_strips(*args)
        slots.append(len(results[2]))
        return results

    use_several_strips(monkeypatch, (64, 128))
    monkeypatch.setattr(_launch, "REGISTERS", False)
    monkeypatch.setattr(module, "in_strips", spy)
    for size, length in blocks:
        sides = (torch.zeros(n, 16, device=triton_device) for n in (size, length))
        nobody = torch.full((size,), -1, device=triton_device)
        numbers = (torch.tensor([x], device=triton_device) for x in (1.0, 0.0))
        loss, *_, d_scale, d_bias = module.sigmoid_pairs(*sides, nobody, *numbers, 1.0, *needs)
        found = torch.stack([loss, d_scale, d_bias]).cpu()
        torch.testing.assert_close(found, size * length * torch.tensor([math.log(2), 0.0, 0.5]), rtol=1e-6, atol=0)
    assert slots == [4 + count for count in blocks.values()]  # 4 programs of 32 x 64 pairs a strip


@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
@pytest.mark.usefixtures("rounded_weights")
def test_triton_wide_rows_in_registers(case, triton_device) -> None:
    from sslfast.kernels import _sigmoid_launch
    from sslfast.kernels.sigmoid_pairs import sigmoid_pairs as launcher

    *sizes, dtype = case
    assert _sigmoid_launch.sigmoid_in_registers(*sizes[:3], dtype.itemsize, True, True)
    check(launcher, sizes, dtype, triton_device)


# N, M, D, precision, and whether the gradients are in registers
@pytest.mark.parametrize(
    ("size", "length", "dim", "precision", "expected"),
    [
        (1024, 1024, 128, "ieee", True),
        (1024, 1025, 128, "ieee", False),
        (512, 512, 512, "ieee", True),
        (512, 512, 528, "ieee", False),  # more than registers hold
        (64, 256, 512, "ieee", True),
        (64, 257, 512, "ieee", False),  # a long walk for the few rows
        (1024, 1024, 512, "tf32", True),
        (1024, 2048, 512, "tf32", True),
        (2048, 2048, 512, "tf32", False),
    ],
)
def test_float32_is_in_registers_where_pairs_are_few(size, length, dim, precision, expected) -> None:
    from sslfast.kernels import _sigmoid_launch

    assert _sigmoid_launch.sigmoid_in_registers(size, length, dim, 4, True, True, precision) == expected
    assert _sigmoid_launch.sigmoid_in_registers(length, size, dim, 4, True, True, precision) == expected
    one_side = size * length * dim <= 2 ** (30 if precision == "tf32" else 27) and dim <= 512
    assert _sigmoid_launch.sigmoid_in_registers(size, length, dim, 4, True, False, precision) == one_side


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("dim", [64, 100, 128, 256, 384, 512])
def test_ways_agree(dim: int, dtype: torch.dtype, monkeypatch) -> None:
    """At a size that fills a GPU, to the rounding of weights; and registers give the same bits in every run."""
    from sslfast.kernels import _launch
    from sslfast.kernels.sigmoid_pairs import sigmoid_pairs as launcher

    sides = [F.normalize(torch.randn(n, dim, device="cuda"), dim=1).to(dtype) for n in (3000, 4100)]
    numbers = [torch.tensor([x], device="cuda") for x in (10.0, -10.0)]
    found = []
    for in_registers in (True, True, False):
        monkeypatch.setattr(_launch, "REGISTERS", in_registers)
        found.append(launcher(*sides, torch.arange(3000, device="cuda"), *numbers, 1 / 3000, True, True))
    assert all(torch.equal(first, again) for first, again in zip(found[0], found[1], strict=True))
    for f, g in zip(found[0], found[2], strict=True):
        assert (f - g).norm() <= (2.5e-3 if f.dim() else 4e-6) * g.norm()


# All weights are 1e-4 and smaller, and differ by as much again.
@pytest.mark.parametrize(("dtype", "in_registers"), WAYS)
@pytest.mark.parametrize(("loss", "temperature"), [(1e-6, 0.03), (1e-6, 0.005), (1e-2, 0.005)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_late_in_training(loss, temperature, dtype, in_registers, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.sigmoid_pairs import sigmoid_pairs as launcher

    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    *sides, scale, bias = problem("siglip_loss", Regime(loss, temperature, 67, 80))
    leaves = [*(z.to(dtype).double() for z in sides), scale.clone(), bias.clone()]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    positives = torch.arange(67)
    expected = sigmoid_pairs(leaves[0], leaves[1], positives, leaves[2], leaves[3]) / 67
    expected.backward()
    assert 0.5 < expected / loss < 2

    inputs = (*(z.to(dtype) for z in sides), positives, scale.float().reshape(1), bias.float().reshape(1))
    found, *grads = (t.cpu().double() for t in launcher(*(t.to(triton_device) for t in inputs), 1 / 67, True, True))
    bound = 2 * torch.finfo(torch.float32).eps * scale.item()
    assert abs(found.item() / expected.item() - 1) <= bound
    for f, leaf in zip(grads, leaves, strict=True):
        assert leaf.grad is not None
        rounding = rounding_of_weights(dtype) if leaf.dim() else 0.0
        # A scalar's terms cancel: the bias lies where what pulls and what pushes are nearly equal.
        floor = 0.0 if leaf.dim() else 8 * torch.finfo(torch.float32).eps * loss
        assert (f - leaf.grad).norm() <= (bound + rounding) * leaf.grad.norm() + floor


@pytest.mark.parametrize("size", [40, 300], ids=["a logarithm a pair", "eight pairs a logarithm, and a rest"])
@pytest.mark.parametrize("logit", [30.0, 5.0, 0.5])
def test_losses_keep_their_precision(size: int, logit: float) -> None:
    """Every pair at the logit, every other combination at the negative one: all losses are alike."""
    rows, numbers = torch.eye(size), (torch.tensor([2 * logit]), torch.tensor([-logit]))
    loss, *_ = ops.sigmoid_pairs(rows, rows, torch.arange(size), *numbers, 1.0, False, False)
    torch.testing.assert_close(loss.item(), size**2 * math.log1p(math.exp(-logit)), rtol=2e-6, atol=0)


@pytest.mark.parametrize("logit", [30.0, 0.5])
def test_losses_of_the_wrong_sign_keep_their_precision(logit: float) -> None:
    rows, numbers = torch.eye(300), (torch.tensor([-2 * logit]), torch.tensor([logit]))
    loss, *_ = ops.sigmoid_pairs(rows, rows, torch.arange(300), *numbers, 1.0, False, False)
    expected = 300**2 * (logit + math.log1p(math.exp(-logit)))
    torch.testing.assert_close(loss.item(), expected, rtol=2e-6, atol=0)


def test_threads_do_not_change_a_bit() -> None:
    rows, columns = torch.randn(300, 1), torch.randn(1500, 1)  # D = 1: torch's product has one term, in any order
    numbers = torch.tensor([3.0]), torch.tensor([-1.0])
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        loss, _, _, *gradients = ops.sigmoid_pairs(rows, columns, torch.arange(300), *numbers, 1.0, False, False)
        results.append(torch.stack([loss, *gradients]))
    torch.set_num_threads(threads)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("column", [3, 200, 290])  # of 300: 128 and 128 that share logarithms, and 44 that do not
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_reach_the_loss(bad: float, column: int) -> None:
    columns = torch.randn(300, 4)
    columns[column, 1] = bad
    numbers = torch.tensor([1.0]), torch.tensor([0.0])
    loss, *_ = ops.sigmoid_pairs(torch.randn(20, 4), columns, torch.arange(20), *numbers, 1.0, True, True)
    assert not loss.isfinite()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of NaN and inf
def test_triton_nan_and_inf_reach_the_loss(bad: float, triton_device) -> None:
    """In registers, which small problems take."""
    from sslfast.kernels.sigmoid_pairs import sigmoid_pairs as launcher

    rows, columns = (torch.randn(20, 4, device=triton_device).to(torch.bfloat16) for _ in range(2))
    rows[3, 1] = bad
    numbers = (torch.tensor([x], device=triton_device) for x in (1.0, 0.0))
    loss, d_rows, *_ = launcher(rows, columns, torch.arange(20, device=triton_device), *numbers, 1.0, True, True)
    assert not loss.isfinite()
    if math.isnan(bad):
        assert torch.equal(d_rows.isfinite().all(1).cpu(), torch.arange(20) != 3)


def test_opcheck() -> None:
    rows, columns, positives = torch.randn(9, 3), torch.randn(7, 3), torch.tensor([*range(7), -1, -1])
    numbers = torch.tensor([2.0]), torch.tensor(-1.0)
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    for needs in ((True, True), (True, False), (False, False)):
        check_op(ops.sigmoid_pairs, (rows, columns, positives, *numbers, 0.5, *needs))


@pytest.mark.parametrize("factor", [None, 0.13, 0.09])
@pytest.mark.parametrize("bias", [-1.05, -0.3, 0.02])
@pytest.mark.parametrize("in_registers", [True, False])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_weights_that_are_nearly_one_number(bias, factor, in_registers, triton_device, monkeypatch) -> None:
    """Their rounding is that of long mantissas, wherever between two powers of two they lie."""
    from sslfast.kernels import _launch
    from sslfast.kernels.sigmoid_pairs import sigmoid_pairs as launcher

    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    size, length, dim = 70, 90, 256
    sides = [F.normalize(torch.randn(n, dim), dim=1) for n in (size, length)]
    rows, columns = (z.div(factor or 1.0).to(torch.bfloat16) for z in sides)
    factors = [] if factor is None else [torch.full((n,), factor) for n in (size, length)]
    numbers, nobody = (torch.tensor([2.0]), torch.tensor([bias])), torch.full((size,), -1)
    leaves = [(z.double() * (factor or 1.0)).requires_grad_() for z in (rows, columns)]
    expected = torch.autograd.grad(sigmoid_pairs(*leaves, nobody, *(number.double() for number in numbers)), leaves)
    inputs = (t.to(triton_device) for t in (rows, columns, nobody, *numbers))
    for needs in ((True, True), (True, False), (False, True)):
        inputs = tuple(inputs)
        _, *found = launcher(*inputs, 1.0, *needs, *(f.to(triton_device) for f in factors))
        for f, g, need in zip(found, expected, needs, strict=False):
            # A mantissa of 1.0 would leave 2^-7 / 12^0.5 = 2.3e-3 of each weight, and of their sum with random signs.
            assert not need or (f.cpu().double() - g).norm() <= 1.5e-3 * g.norm()
