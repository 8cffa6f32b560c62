"""soft_cross_entropy of logits that are NaN or infinite, or as large as masks fill in: C++ on the CPU, and Triton."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from soft_cross_entropy_oracle import by_definition, call
from torch import Tensor

Operator = Callable[[list[Tensor], list[Tensor]], list[Tensor]]


def on_triton(device: torch.device) -> Operator:
    """``call`` by the Triton launcher."""
    from sslfast.kernels.soft_cross_entropy import soft_cross_entropy as launcher

    def run(students: list[Tensor], teachers: list[Tensor]) -> list[Tensor]:
        views = [[z.to(device) for z in side] for side in (students, teachers)]
        return [z.cpu() for z in launcher(*views, None, None, 10.0, 25.0, 1.0, False, True, True)]

    return run


def keeps_rows_apart(operator: Operator, bad: float, of_teacher: bool, width: int) -> None:
    student, teacher = torch.randn(2, 5, width)
    (teacher if of_teacher else student)[2, width * 3 // 4] = bad
    losses, grads, _ = operator([student], [teacher])
    assert torch.equal(losses[0].isnan(), torch.arange(5) == 2)
    assert torch.equal(grads[0].isnan().any(1), torch.arange(5) == 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("of_teacher", [False, True])
def test_nan_and_inf_stay_in_their_row(bad: float, of_teacher: bool) -> None:
    keeps_rows_apart(call, bad, of_teacher, 4100)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("of_teacher", [False, True])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_nan_and_inf_stay_in_their_row(bad: float, of_teacher: bool, triton_device) -> None:
    keeps_rows_apart(on_triton(triton_device), bad, of_teacher, 600)


def has_no_prototype_at_minus_infinity(operator: Operator, width: int) -> None:
    student, teacher = torch.randn(2, 3, width)
    teacher[:, : width // 2 + 50] = -math.inf  # a whole block and a bit
    losses, grads, _ = operator([student], [teacher])
    expected = by_definition([student.double()], [teacher.double()], None, False, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(losses.double(), expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grads.double() * 10, expected[1], rtol=1e-5, atol=1e-5)


def test_minus_infinity_is_no_prototype() -> None:
    has_no_prototype_at_minus_infinity(call, 4100)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_minus_infinity_is_no_prototype(triton_device) -> None:
    has_no_prototype_at_minus_infinity(on_triton(triton_device), 600)


def rules_out_a_prototype(operator: Operator, width: int) -> None:
    """A student rules out what the teacher has some weight on, also a weight that float32 takes for 0."""
    student, teacher = torch.randn(2, 4, width)
    student[0, 3] = student[1, width * 3 // 4] = student[2, : width // 2] = -math.inf
    teacher[1, width * 3 // 4] = -10.0
    teacher[2, : width // 2] -= 10.0  # whole tiles and lanes without a weight
    losses, grads, _ = operator([student], [teacher])
    wide = student.double(), teacher.double()
    expected, expected_grads = by_definition(wide[:1], wide[1:], None, False, torch.ones(4, dtype=torch.float64))
    assert torch.equal(expected.isinf(), torch.tensor([[True, True, True, False]]))
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grads.double() * 10, expected_grads, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert grads.isfinite().all()


def test_a_student_without_a_prototype() -> None:
    rules_out_a_prototype(call, 4100)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_student_without_a_prototype(triton_device) -> None:
    rules_out_a_prototype(on_triton(triton_device), 600)


def takes_filled_logits(operator: Operator, width: int, fill: float) -> None:
    """What a mask fills in counts for the teacher's share of it, which may be 0, and for nothing before it is known."""
    student, teacher = torch.randn(2, 5, width)
    half = width // 2
    student[0, half:] = student[1, :half] = student[2, ::2] = student[3, :half] = student[4, 1] = fill
    teacher[0, half:] = teacher[1, :half] = teacher[2, ::2] = -math.inf
    teacher[3, :half] -= 1e4  # finite, and what is met first
    teacher[4, 1] = 5 + teacher[4].max()  # as much as all others
    losses, grads, _ = operator([student], [teacher])
    wide = student.double(), teacher.double()
    expected, expected_grads = by_definition(wide[:1], wide[1:], None, False, torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(losses, expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grads.double() * 10, expected_grads, rtol=1e-5, atol=1e-5)


FILLS = [torch.finfo(torch.float32).min, -1e30, -1e4]


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("width", [40, 4100])
def test_logits_that_a_mask_filled_in(fill: float, width: int) -> None:
    takes_filled_logits(call, width, fill)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("run", [None, 128])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_triton_logits_that_a_mask_filled_in(fill: float, run: int | None, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _prototype_launch

    if run:
        monkeypatch.setattr(_prototype_launch, "prototype_run", lambda *_: run)
    takes_filled_logits(on_triton(triton_device), 600, fill)
