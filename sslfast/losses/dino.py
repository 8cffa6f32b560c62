"""DINO: every view of the student predicts the teacher's softmax over prototypes of the other views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast import _check
from sslfast._verdict import JointChecks
from sslfast.distributed import mean_over_ranks
from sslfast.losses._center import Centered
from sslfast.losses._inputs import check_choice, check_floating, check_kernel_dtype, check_like, divisor
from sslfast.losses._shown import shown_options
from sslfast.losses._sinkhorn import first_view, sharing
from sslfast.losses._soft_targets import SoftTargets, soft_cross_entropy
from sslfast.losses._teacher_options import CENTERINGS, agree_on_views, balanced_center, check_center, checked_options


class DINOLoss(Centered):
    """DINO's loss with its center; see :func:`dino_loss`.

    After the loss the center moves towards the mean of the teacher's rows, whose sum comes out of the same read of
    them: ``center = center_momentum * center + (1 - center_momentum) * mean``. With torch.distributed initialised it is
    the mean over all ranks, whose sums travel while the step goes on and are taken in at the next call, or when the
    module is saved; ranks may differ in their number of samples.

    Arguments, defaults and ``state_dict`` are lightly's. DINO's own are ``DINOLoss(out_dim, ncrops,
    warmup_teacher_temp, teacher_temp, warmup_teacher_temp_epochs, nepochs, student_temp=0.1, center_momentum=0.9)``
    and DINOv2's ``DINOLoss(out_dim, student_temp=0.1, center_momentum=0.9)``; both give ``teacher_temp`` step by step,
    from 0.04 to 0.07. DINO's value is this one; DINOv2's sums over pairs, and its trainer divides by their number.

    Args:
        output_dim: number of prototypes K. Default: 65536.
        warmup_teacher_temp: teacher temperature of epoch 0. Default: 0.04.
        teacher_temp: teacher temperature after the warm-up. Default: 0.04.
        warmup_teacher_temp_epochs: epochs in which it goes from one to the other in equal steps. Default: 30.
        student_temp: divides the student's logits. Default: 0.1.
        center_momentum: in [0, 1]. Default: 0.9.
        center_mode: "mean". Default: "mean".
        centering: "centering", or "sinkhorn_knopp", in which the targets are Sinkhorn-Knopp's assignments of all rows
            of the teacher (DINOv2) on all ranks, and the center is not used. Default: "centering".
        sinkhorn_iterations: of "sinkhorn_knopp". Default: 3.
        gather_distributed: the loss of the samples of all ranks, see :func:`dino_loss`. The center, and what
            "sinkhorn_knopp" balances, are those of all ranks in either case. Default: False.

    Attributes:
        center: (1, 1, K) float32, subtracted from the teacher's logits.

    Raises:
        TypeError: if a temperature or ``center_momentum`` is not a number, a count not an int or ``gather_distributed``
            not a bool.
        ValueError: if a temperature is below 1e-8 or infinite, ``center_momentum`` is outside [0, 1], ``output_dim``
            or ``sinkhorn_iterations`` is below 1, ``warmup_teacher_temp_epochs`` is negative, or ``center_mode`` or
            ``centering`` is none of these.

    Example:
        >>> criterion = DINOLoss(4096)
        >>> loss = criterion([teacher(x) for x in views[:2]], [student(x) for x in views], epoch=epoch)
        >>> loss.backward()
    """

    center: Tensor

    def __init__(
        self,
        output_dim: int = 65536,
        warmup_teacher_temp: float = 0.04,
        teacher_temp: float = 0.04,
        warmup_teacher_temp_epochs: int = 30,
        student_temp: float = 0.1,
        center_momentum: float = 0.9,
        center_mode: str = "mean",
        *,
        centering: str = "centering",
        sinkhorn_iterations: int = 3,
        gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        name = "DINOLoss"
        output_dim = _check.integer(name, "output_dim", output_dim, 1)
        self.warmup_teacher_temp = divisor(name, "warmup_teacher_temp", warmup_teacher_temp)
        self.teacher_temp = divisor(name, "teacher_temp", teacher_temp)
        epochs = _check.integer(name, "warmup_teacher_temp_epochs", warmup_teacher_temp_epochs, 0)
        self.warmup_teacher_temp_epochs = epochs
        self.student_temp = divisor(name, "student_temp", student_temp)
        self.center_momentum = _check.probability(name, "center_momentum", center_momentum)
        if center_mode != "mean":
            raise ValueError(f"{name}: center_mode must be 'mean', got {center_mode!r}")
        self.centering = check_choice(name, "centering", centering, CENTERINGS)
        self.sinkhorn_iterations = _check.integer(name, "sinkhorn_iterations", sinkhorn_iterations, 1)
        self.gather_distributed = _check.boolean(name, "gather_distributed", gather_distributed)
        self.register_buffer("center", torch.zeros(1, 1, output_dim))

    def center_buffer(self) -> Tensor:
        return self.center

    def temperature(self, epoch: int) -> float:
        """The teacher temperature of an epoch."""
        steps = self.warmup_teacher_temp_epochs
        if epoch >= steps or steps == 1:
            return self.teacher_temp if epoch >= steps else self.warmup_teacher_temp
        return self.warmup_teacher_temp + (self.teacher_temp - self.warmup_teacher_temp) * epoch / (steps - 1)

    def forward(
        self,
        teacher_out: Sequence[Tensor],
        student_out: Sequence[Tensor],
        teacher_temp: float | None = None,
        epoch: int | None = None,
    ) -> Tensor:
        """The loss, and the update of the center.

        Args:
            teacher_out: as in :func:`dino_loss`.
            student_out: as in :func:`dino_loss`.
            teacher_temp: the teacher temperature. Default: None, that of ``epoch``.
            epoch: at least 0. Default: None, ``teacher_temp`` of the module.

        Returns:
            Scalar loss, float32, or float64 if a view is.

        Raises:
            TypeError, ValueError: as :func:`dino_loss`; if ``epoch`` is not an int or negative.
        """
        if self.centering == "sinkhorn_knopp":
            return self._loss(teacher_out, student_out, teacher_temp, epoch)[0]
        self.finish_center_update()
        loss, total = self._loss(teacher_out, student_out, teacher_temp, epoch, self.center)
        self._update.start(self.center, self.center_momentum, total, len(teacher_out) * len(teacher_out[0]))
        return loss

    def _loss(
        self,
        teacher_out: Sequence[Tensor],
        student_out: Sequence[Tensor],
        teacher_temp: float | None,
        epoch: int | None,
        center: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss and, with a center, the sum of the teacher's rows."""
        name = "DINOLoss"
        strategy = sharing(self.gather_distributed, self.centering == "sinkhorn_knopp")
        if teacher_temp is None:
            teacher_temp = self.teacher_temp
            if epoch is not None:
                with JointChecks(name, strategy, first_view(teacher_out)):
                    teacher_temp = self.temperature(_check.integer(name, "epoch", epoch, 0))
        options = (teacher_temp, self.student_temp, self.sinkhorn_iterations, self.gather_distributed)
        return _dino(name, teacher_out, student_out, center, self.centering, *options, center is not None)

    def extra_repr(self) -> str:
        options = shown_options(self, DINOLoss, "teacher_temp", "student_temp", "centering")
        return f"{self.center.numel()}, {options}"


def dino_loss(
    teacher_out: Sequence[Tensor],
    student_out: Sequence[Tensor],
    center: Tensor | None = None,
    *,
    teacher_temp: float = 0.04,
    student_temp: float = 0.1,
    centering: str = "centering",
    sinkhorn_iterations: int = 3,
    gather_distributed: bool = False,
) -> Tensor:
    """Cross-entropy of every student view with every teacher view but its own, over K prototypes.

    With ``q_g = softmax((teacher_out[g] - center) / teacher_temp)``, constants, and ``z_v = student_out[v] /
    student_temp``: the mean over the pairs g != v of ``F.cross_entropy(z_v, q_g)``.

    Value and gradient are those of DINO's and lightly's ``DINOLoss``. All views go through one online softmax together:
    every logit is read once (on a GPU once more where a gradient is asked for), and no probability is written to
    memory. Where a gradient is asked for it is made in the forward pass. Accumulates in float32 (float64 inputs in
    float64); half types are read as they are and gradients rounded once. A second derivative raises.

    Args:
        teacher_out: logits of the views that the teacher saw, each (N, K): the same as the first of ``student_out``.
            Floating point, any strides; get no gradient.
        student_out: logits of the views that the student saw, each (N, K), on the same device: large crops first.
        center: K numbers, subtracted from the teacher's rows, in any shape. Default: None, none.
        teacher_temp: divides the teacher's logits. Default: 0.04.
        student_temp: divides the student's logits. Default: 0.1.
        centering: "centering", or "sinkhorn_knopp": ``q`` is ``sinkhorn_knopp(torch.cat(teacher_out),
            sinkhorn_iterations, teacher_temp)`` over the samples of all ranks. Default: "centering".
        sinkhorn_iterations: at least 1. Default: 3.
        gather_distributed: with torch.distributed initialised, return the loss of the samples of all ranks, the same on
            every rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in
            size, and two numbers travel. Otherwise the loss is the rank's own, whose mean over shards of one size this
            is. Default: False.

    Returns:
        Scalar loss, float32, or float64 if a view is.

    Raises:
        TypeError: if the views are not sequences of floating-point tensors, or float64 on a GPU, ``center`` is neither
            None nor a floating-point tensor, a temperature not a number, ``sinkhorn_iterations`` not an int or
            ``gather_distributed`` not a bool.
        ValueError: if there is no view, or no pair of different views; the first view is not (N, K) with N, K >= 1 or
            another differs in shape or device; ``center`` has not K numbers on that device, or is given with
            "sinkhorn_knopp"; a temperature is below 1e-8 or infinite; ``centering`` is none of these, or
            ``sinkhorn_iterations`` is below 1; with ``gather_distributed`` or "sinkhorn_knopp" on all of several ranks,
            if one raises, or they differ in K, in an option that the sums depend on, or in whether what is summed, of
            the teacher with "sinkhorn_knopp", is float64.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021; Oquab et al.,
    "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024.
    """
    options = (teacher_temp, student_temp, sinkhorn_iterations, gather_distributed)
    return _dino("dino_loss", teacher_out, student_out, center, centering, *options, False)[0]


def _dino(
    name: str,
    teacher_out: Sequence[Tensor],
    student_out: Sequence[Tensor],
    center: Tensor | None,
    centering: str,
    teacher_temp: float,
    student_temp: float,
    iterations: int,
    gather: bool,
    need_sum: bool,
) -> tuple[Tensor, Tensor]:
    strategy = sharing(gather, centering == "sinkhorn_knopp")
    with JointChecks(name, gather if centering == "centering" else True, first_view(teacher_out)):
        _check_views(name, teacher_out, student_out)
        options = checked_options(name, teacher_temp, student_temp, centering, iterations, gather)
        centers = check_center(name, center, teacher_out[0], centering)
    agree_on_views(name, strategy, teacher_out, student_out, centers, options)
    if options.balanced:
        scores = torch.cat([t.detach() for t in teacher_out])
        centers = balanced_center(scores, options.teacher_temp, options.iterations)
    pairs = len(teacher_out) * len(student_out) - min(len(teacher_out), len(student_out))
    targets = SoftTargets(*options.temperatures, 1 / (pairs * len(teacher_out[0])), True, need_sum)
    loss, total = soft_cross_entropy(name, student_out, teacher_out, centers, None, targets)
    return mean_over_ranks(loss, count=len(teacher_out[0])) if options.gather else loss, total


def _check_views(function: str, teacher_out: Sequence[Tensor], student_out: Sequence[Tensor]) -> None:
    for argument, views in (("teacher_out", teacher_out), ("student_out", student_out)):
        if not isinstance(views, (list, tuple)):
            raise TypeError(f"{function}: {argument} must be a list or tuple of tensors, got {type(views).__name__}")
        if not views:
            raise ValueError(f"{function}: {argument} must hold at least 1 tensor, got 0")
        for i, view in enumerate(views):
            check_floating(function, f"{argument}[{i}]", view)
    if len(teacher_out) == len(student_out) == 1:
        raise ValueError(
            f"{function}: there must be a pair of different views, got 1 of the teacher and 1 of the student"
        )
    first = teacher_out[0]
    if first.dim() != 2 or 0 in first.shape:
        raise ValueError(f"{function}: teacher_out[0] must have shape (N, K) with N, K >= 1, got {tuple(first.shape)}")
    for argument, views in (("teacher_out", teacher_out), ("student_out", student_out)):
        for i, view in enumerate(views):
            check_like(function, "teacher_out[0]", first, f"{argument}[{i}]", view)
            check_kernel_dtype(function, view)
