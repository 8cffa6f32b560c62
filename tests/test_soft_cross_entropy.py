"""soft_cross_entropy: C++ on the CPU and Triton (interpreted, or native with -m gpu) against the definition."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from oracle import assert_no_worse
from soft_cross_entropy_oracle import TEMPERATURES, by_definition, call
from torch import Tensor

from sslfast import ops

# Student views, teacher views, N, K, skip the same view.
CASES = [
    pytest.param(1, 1, 1, 1, False, id="one number"),
    pytest.param(2, 1, 3, 5, True, id="a student view without a target"),
    pytest.param(2, 2, 9, 33, True, id="two views, more than a chunk of samples"),
    pytest.param(5, 2, 4, 300, True, id="multi-crop"),
    pytest.param(4, 3, 3, 70, True, id="three teachers"),
    pytest.param(1, 2, 4, 40, False, id="every pair"),
]
CPU_CASES = [pytest.param(3, 2, 17, 5000, True, id="several blocks of prototypes")]


def views(count: int, n: int, k: int, dtype: torch.dtype, spread: float = 1.0) -> list[Tensor]:
    """Views whose rows lie apart and off the start of a storage."""
    return [(spread * torch.randn(n, k + 3, dtype=torch.float64)).to(dtype)[:, 1 : k + 1] for _ in range(count)]


def check(operator, case, dtypes: tuple[torch.dtype, torch.dtype], device: torch.device, spread: float = 1.0) -> None:
    count, teacher_count, n, k, skip = case
    wide = torch.float64 if dtypes[0] == torch.float64 else torch.float32
    for shape, weighted in (((), False), ((1, k), True), ((teacher_count, k), False)):
        students, teachers = views(count, n, k, dtypes[0], spread), views(teacher_count, n, k, dtypes[1], spread)
        centers = torch.randn(shape, dtype=torch.float64).to(wide) if shape else None
        weights = torch.rand(n, dtype=torch.float64).to(wide) if weighted else torch.ones(n, dtype=wide)
        if weighted and n > 2:
            weights[1] = 0
            for z in (*students, *teachers):
                z[1] = math.nan  # is not read
        kept = weights != 0
        args = [[s.double()[kept] for s in students], [t.double()[kept] for t in teachers]]
        truth = by_definition(*args, None if centers is None else centers.double(), skip, weights.double()[kept])
        same = by_definition(
            [s.to(wide)[kept] for s in students], [t.to(wide)[kept] for t in teachers], centers, skip, weights[kept]
        )
        there = [None if z is None else z.to(device) for z in (centers, weights if weighted else None)]
        scales = [1 / t for t in TEMPERATURES]
        inputs = ([s.to(device) for s in students], [t.to(device) for t in teachers], *there, *scales)
        losses, grads, total = operator(*inputs, scales[0], skip, True, True)
        eps = torch.finfo(wide).eps
        tol = 16 * eps * max(1.0, truth[0].abs().amax().item())
        assert_no_worse(losses[:, kept.to(device)], same[0], truth[0], tol)
        assert grads.dtype == dtypes[0]
        rounding = torch.finfo(dtypes[0]).eps / 2 * truth[1].abs() if dtypes[0] != wide else 0.0
        allowed = 64 * eps * scales[0] + rounding  # an element is the difference of two shares
        assert_no_worse(grads[:, kept.to(device)].to(wide), same[1], truth[1], allowed)
        rows = torch.stack(args[1]).flatten(0, 1)
        assert ((total.cpu().double() - rows.sum(0)).abs() <= 4 * eps * rows.abs().sum(0)).all()
        assert not losses[:, ~kept.to(device)].any()
        assert not grads[:, ~kept.to(device)].any()
        again, none, nothing = operator(*inputs, scales[0], skip, False, False)
        assert torch.equal(again, losses)
        assert none.numel() == nothing.numel() == 0


PAIRS = [
    (torch.float32, torch.float32),
    (torch.float64, torch.float64),
    (torch.bfloat16, torch.bfloat16),
    (torch.float16, torch.float32),
    (torch.float32, torch.bfloat16),
]


@pytest.mark.parametrize("dtypes", PAIRS)
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES + CPU_CASES], ids=[p.id for p in CASES + CPU_CASES])
def test_cpu_against_the_definition(case, dtypes) -> None:
    check(ops.soft_cross_entropy, case, dtypes, torch.device("cpu"))


@pytest.mark.parametrize("dtypes", [PAIRS[0], *PAIRS[2:]])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES], ids=[p.id for p in CASES])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_against_the_definition(case, dtypes, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _prototype_launch
    from sslfast.kernels.soft_cross_entropy import soft_cross_entropy as launcher

    monkeypatch.setattr(
        _prototype_launch, "soft_cross_entropy", lambda *_: {"ROWS": 4, "LANES": 8, "EACH": 8, "num_warps": 1}
    )
    monkeypatch.setattr(_prototype_launch, "prototype_run", lambda *_: 128)  # several runs of several tiles
    monkeypatch.setattr(_prototype_launch, "soft_views", lambda: (2, 4))  # several groups of views
    check(launcher, case, dtypes, triton_device)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_takes_smaller_tiles_of_rows_that_are_not_aligned(triton_device, monkeypatch) -> None:
    from sslfast.kernels import _prototype_launch
    from sslfast.kernels.soft_cross_entropy import soft_cross_entropy as launcher

    config, tiles = _prototype_launch.soft_cross_entropy, []

    def note(*args):
        tiles.append(config(*args)["EACH"])
        return config(*args)

    monkeypatch.setattr(_prototype_launch, "soft_cross_entropy", note)
    logits = torch.randn(4, 5, 320, device=triton_device).bfloat16()
    wider = torch.randn(4, 5, 336, device=triton_device).bfloat16()
    found = []
    for first, width in ((0, 336), (0, 330), (1, 336)):  # at an address and a stride that are multiples of 16, or not
        sides = wider.clone()[..., :width].contiguous()[..., first : first + 320]
        sides.copy_(logits)
        found.append(launcher([*sides[:3]], [sides[3]], None, None, 10.0, 25.0, 1.0, True, True, True))
    assert tiles == [8, 2, 2]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b)
    launcher([logits[0, :, :318]], [logits[1, :, :318]], None, None, 10.0, 25.0, 1.0, True, True, True)
    assert tiles[3] == 2


def test_logits_of_ten_thousand() -> None:
    check(ops.soft_cross_entropy, (3, 2, 6, 5000, True), PAIRS[0], torch.device("cpu"), 1e4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_logits_of_ten_thousand(triton_device) -> None:
    from sslfast.kernels.soft_cross_entropy import soft_cross_entropy as launcher

    check(launcher, (3, 2, 3, 200, True), PAIRS[0], triton_device, 1e4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_reads_every_logit_once_in_two_launches(monkeypatch) -> None:
    """Of multi-crop, with the sums of the teachers' columns; once more where gradients are written."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    if torch.cuda.is_available():
        pytest.skip("counts what the interpreter loads, and kernels run natively here")
    from sslfast.kernels.soft_cross_entropy import soft_cross_entropy as launcher

    builder, function = interpreter.InterpreterBuilder, interpreter.InterpretedFunction
    load, run = builder.create_masked_load, function.run
    loaded, launched = [0], []

    def count(self, ptrs, mask, *args):
        loaded[0] += int(mask.data.sum()) if ptrs.get_element_ty().name == "bf16" else 0
        return load(self, ptrs, mask, *args)

    def note(self, *args, **kwargs):
        launched.append(self.__name__)
        return run(self, *args, **kwargs)

    monkeypatch.setattr(builder, "create_masked_load", count)
    monkeypatch.setattr(function, "run", note)
    students, teachers = views(10, 9, 300, torch.bfloat16), views(2, 9, 300, torch.bfloat16)
    for need_grad in (False, True):
        loaded[0] = 0
        launched.clear()
        launcher(students, teachers, torch.zeros(1, 300), None, 10.0, 25.0, 1.0, True, need_grad, True)
        assert launched == ["soft_sums_kernel", "soft_gradient_kernel"]
        assert loaded[0] == (10 + 2) * 9 * 300 * (1 + need_grad)


def test_analytic_values() -> None:
    flat = torch.zeros(2, 6)
    losses, grads, total = call([flat], [flat])
    torch.testing.assert_close(losses, torch.full((1, 2), math.log(6)))
    assert not grads.any()
    assert not total.any()
    one_hot = 100 * torch.eye(4)
    losses, grads, total = call([torch.zeros(4, 4)], [one_hot])
    torch.testing.assert_close(losses, torch.full((1, 4), math.log(4)))
    torch.testing.assert_close(grads[0], 0.25 - torch.eye(4))
    torch.testing.assert_close(total, torch.full((4,), 100.0))


def test_small_losses_keep_their_digits() -> None:
    student, teacher = torch.zeros(1, 3), torch.zeros(1, 3)
    teacher[0, 0], student[0, 0] = 10, 1e3 + 1.2  # the logit is large, the others' share 1.2e-5
    student[0, 1:] = 1e3
    losses, *_ = call([student], [teacher])
    gap = (student.double()[0, 0] - 1e3) * 10
    torch.testing.assert_close(losses.double().squeeze(), torch.log1p(2 * torch.exp(-gap)), rtol=1e-2, atol=0)


def test_threads_do_not_change_a_bit() -> None:
    students, teachers = views(3, 30, 3000, torch.float32), views(2, 30, 3000, torch.float32)
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(call(students, teachers))
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_opcheck() -> None:
    check_op = functools.partial(torch.library.opcheck, ops.soft_cross_entropy, raise_exception=True)
    students, teachers = views(3, 5, 7, torch.float32), views(2, 5, 7, torch.bfloat16)
    check_op((students, teachers, torch.zeros(2, 7), torch.ones(5), 10.0, 25.0, 1.0, True, True, True))
    check_op((students, teachers, None, None, 10.0, 25.0, 1.0, False, False, False))
    for bad, text in (
        (lambda: call(students, [t.T for t in teachers]), "one shape"),
        (lambda: call([*students, students[0].double()], teachers), "of one dtype"),
        (lambda: call([s.double() for s in students], teachers), "float64 students go with float64 teachers"),
        (lambda: call(students, teachers, torch.ones(5).double()), "weights must be"),
        (lambda: call([], teachers), "a student and a teacher"),
    ):
        with pytest.raises(RuntimeError, match=text):
            bad()
