"""What DINO and iBOT take beside their rows: temperatures, and how the teacher's rows are centered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from sslfast import _check
from sslfast.losses._inputs import check_choice, check_floating, divisor
from sslfast.losses._sinkhorn import agree_on_prototypes, sinkhorn_potentials
from sslfast.losses._soft_targets import common_dtype, prototype_rows

CENTERINGS = ("centering", "sinkhorn_knopp")


class TeacherOptions(NamedTuple):
    teacher_temp: float
    student_temp: float
    centering: str
    iterations: int  # of Sinkhorn-Knopp
    gather: bool  # whether the losses of all ranks are summed

    @property
    def balanced(self) -> bool:
        return self.centering == "sinkhorn_knopp"

    @property
    def temperatures(self) -> tuple[float, float]:
        """Of the student and of the teacher."""
        return self.student_temp, self.teacher_temp


def checked_options(
    function: str, teacher_temp: float, student_temp: float, centering: str, iterations: int, gather: bool
) -> TeacherOptions:
    """The options, each checked.

    Raises:
        TypeError: if a temperature is not a number, ``iterations`` not an int or ``gather`` not a bool.
        ValueError: if a temperature is below 1e-8 or infinite, ``centering`` is none, or ``iterations`` is below 1.
    """
    return TeacherOptions(
        divisor(function, "teacher_temp", teacher_temp),
        divisor(function, "student_temp", student_temp),
        check_choice(function, "centering", centering, CENTERINGS),
        _check.integer(function, "sinkhorn_iterations", iterations, 1),
        _check.boolean(function, "gather_distributed", gather),
    )


def check_center(function: str, center: Tensor | None, like: Tensor, centering: str) -> Tensor | None:
    """``center`` as (1, K).

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it has not K numbers, is on another device, or is given where rows are balanced.
    """
    if center is None:
        return None
    check_floating(function, "center", center)
    if center.numel() != like.shape[1]:
        raise ValueError(f"{function}: center must have {like.shape[1]} numbers, got shape {tuple(center.shape)}")
    if center.device != like.device:
        raise ValueError(f"{function}: center must be on {like.device}, like the views, got {center.device}")
    if centering == "sinkhorn_knopp":
        raise ValueError(f"{function}: center must be None with centering='sinkhorn_knopp', got a tensor")
    return center.reshape(1, -1)


def agree_on_views(
    function: str,
    strategy: str,
    teacher_out: Sequence[Tensor],
    student_out: Sequence[Tensor],
    center: Tensor | None,
    options: TeacherOptions,
) -> None:
    """:func:`~sslfast.losses._sinkhorn.agree_on_prototypes` of the views of teacher and student.

    Of a rank's own loss, which is not summed, only what is balanced has to be that of the others.
    """
    if strategy == "local":
        return
    first, of_teacher = teacher_out[0], common_dtype(teacher_out)
    # What is not summed counts as what is.
    of_loss = common_dtype([*teacher_out, *student_out]) if options.gather else of_teacher
    same: dict[str, object] = {
        "centering": options.centering,
        "gather_distributed": options.gather,
        "teacher_temp": options.teacher_temp,
    }
    if options.balanced:
        same["sinkhorn_iterations"] = options.iterations
    if options.gather:
        same["student_temp"] = options.student_temp
        same["whether there is a center"] = center is not None
        same |= {"len(teacher_out)": len(teacher_out), "len(student_out)": len(student_out)}
    dtypes = [of_loss, of_teacher if options.balanced else of_loss]
    agree_on_prototypes(function, strategy, first.shape[1], dtypes, same, first.device)


def balanced_center(scores: Tensor, temperature: float, iterations: int, weights: Tensor | None = None) -> Tensor:
    """(1, K): the center with which the softmax of a row is its assignment by Sinkhorn-Knopp, over all ranks."""
    potentials = sinkhorn_potentials(prototype_rows(scores), temperature, iterations, True, weights)
    return (potentials * -temperature).unsqueeze(0)
