"""Softmax targets of teachers that students predict: one operator makes the losses and the students' gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import distinct, first_order_only, is_last, is_last_plain


class SoftTargets(NamedTuple):
    """How targets are made, and what the losses are multiplied by.

    Attributes:
        student_temperature, teacher_temperature: divide the logits.
        factor: of the sum of the losses.
        skip_same_view: student view v does not predict teacher view v.
        need_sum: whether the sum of the teachers' rows is wanted.
    """

    student_temperature: float
    teacher_temperature: float
    factor: float
    skip_same_view: bool = False
    need_sum: bool = True


def soft_cross_entropy(
    function: str,
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    centers: Tensor | None,
    weights: Tensor | None,
    targets: SoftTargets,
) -> tuple[Tensor, Tensor]:
    """The weighted sum of cross-entropies of student views with the targets of teacher views.

    One online softmax over teachers and students together reads every logit once; on a GPU the students' gradient takes
    a second read. It is made in the forward pass, if one is asked for, so that neither logits nor probabilities are
    kept for the backward pass.

    Args:
        function: the name that errors begin with.
        students: views (N, K), checked by the caller.
        teachers: views (N, K) on the same device, constants.
        centers: (1 or number of teachers, K), subtracted from the teachers' rows. Default: None.
        weights: (N,), of the samples; one of weight 0 is not read. Default: None, all 1.
        targets: temperatures and the rest.

    Returns:
        ``(loss, teacher_sum)``: a scalar, float32, or float64 if a view is; and (K,), the sum of all rows of the
        teachers that were read, or (0,).
    """
    student_dtype, teacher_dtype = (common_dtype(views) for views in (students, teachers))
    if torch.float64 in (student_dtype, teacher_dtype):
        student_dtype = teacher_dtype = torch.float64
    wide = torch.float64 if student_dtype == torch.float64 else torch.float32
    teacher_rows = [prototype_rows(t.detach().to(teacher_dtype)) for t in teachers]
    constants = [None if t is None else t.detach().to(wide).contiguous() for t in (centers, weights)]
    views = distinct(*students)
    options = (targets, student_dtype, torch.is_grad_enabled(), len(teachers))
    loss, teacher_sum = _SoftCrossEntropy.apply(function, options, *constants, *teacher_rows, *views)
    return loss, teacher_sum


def prototype_rows(rows: Tensor) -> Tensor:
    """Rows as the operators read them: each contiguous."""
    return rows if rows.stride(1) == 1 or rows.shape[1] == 1 else rows.contiguous()


def common_dtype(views: Sequence[Tensor]) -> torch.dtype:
    """The dtype that holds what all views hold."""
    dtype = views[0].dtype
    for view in views[1:]:
        dtype = torch.promote_types(dtype, view.dtype)
    return dtype


def lift_of(dtype: torch.dtype, largest: float) -> float:
    """A power of two that brings gradients of up to ``largest`` near the end of float16: small ones keep digits."""
    return 2.0 ** (14 - math.ceil(math.log2(largest))) if dtype == torch.float16 else 1.0


def led_back(
    grads: Tensor, views: Sequence[Tensor], needs: Sequence[bool], grad: Tensor, lift: float
) -> list[Tensor | None]:
    """The gradients of views, ``grad`` times what was made in forward, in place of it where nothing needs it again.

    Args:
        grads: (V, N, K), ``lift`` times the gradients of a loss with gradient 1.
        views: the V views.
        needs: which of them need a gradient.
        grad: of the loss.
        lift: a power of two, see :func:`lift_of`.
    """
    as_it_is = lift == 1.0 and is_last_plain(grad)
    if not as_it_is and is_last(grad):
        # In place: one launch and no wider copy on a GPU; on the CPU such a copy is of one view at a time.
        for part in grads if grads.is_cpu else (grads,):
            torch.mul(part, (grad / lift).reshape([1] * part.dim()), out=part)
        as_it_is = True
    found: list[Tensor | None] = []
    for view, own, needed in zip(views, grads, needs, strict=True):
        if needed:
            # One number as a matrix widens half types: a loss scale may be more than they can hold.
            own = own if as_it_is else own * (grad / lift).reshape(1, 1)
        found.append(own.to(view.dtype) if needed else None)
    return found


class _SoftCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, options, centers, weights, *views):  # type: ignore[no-untyped-def]
        targets, dtype, grad_enabled, count = options
        teachers, students = views[:count], views[count:]
        need_grad = grad_enabled and any(ctx.needs_input_grad[4 + count :])
        factor = targets.factor / targets.student_temperature
        lift = lift_of(dtype, factor * count)
        losses, grads, teacher_sum = ops.soft_cross_entropy(
            [prototype_rows(s.to(dtype)) for s in students],
            list(teachers),
            centers,
            weights,
            1 / targets.student_temperature,
            1 / targets.teacher_temperature,
            factor * lift,
            targets.skip_same_view,
            need_grad,
            targets.need_sum,
        )
        ctx.save_for_backward(grads, *students)
        ctx.function, ctx.lift, ctx.count = function, lift, count
        ctx.mark_non_differentiable(teacher_sum)
        ctx.set_materialize_grads(False)  # none is made of zeros for the sum
        loss = (losses if weights is None else losses * weights).sum() * targets.factor
        return loss, teacher_sum

    @staticmethod
    def backward(ctx, grad, _):  # type: ignore[no-untyped-def]
        grads, *students = ctx.saved_tensors
        needs = ctx.needs_input_grad[4 + ctx.count :]
        if grad is None:
            return None, None, None, None, *[None] * (ctx.count + len(students))
        with torch.no_grad():
            found = led_back(grads, students, needs, grad, ctx.lift)
        results = (None if g is None else first_order_only(ctx.function, g, *students, grad) for g in found)
        return None, None, None, None, *[None] * ctx.count, *results
