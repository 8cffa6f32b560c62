"""Cross-entropy between softmaxes of teachers and students over prototypes, by definition (Caron et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def soft_cross_entropy(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    centers: Tensor | None = None,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
    skip_same_view: bool = False,
) -> Tensor:
    """(V, N): of every row of every student view the sum over the teacher views that it is to predict."""
    rows = torch.zeros(1, teachers[0].shape[1]) if centers is None else centers
    rows = rows.to(teachers[0]).expand(len(teachers), -1)
    targets = [torch.softmax((t - c) / teacher_temperature, dim=1) for t, c in zip(teachers, rows, strict=True)]
    losses = []
    for v, student in enumerate(students):
        log_p = torch.log_softmax(student / student_temperature, dim=1)
        loss = log_p.new_zeros(len(student))
        for g, target in enumerate(targets):
            if not (skip_same_view and g == v):
                loss = loss - (target.to(log_p) * log_p).sum(dim=1)
        losses.append(loss)
    return torch.stack(losses)


def dino_loss(
    teachers: Sequence[Tensor],
    students: Sequence[Tensor],
    center: Tensor | None = None,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
    skip_same_view: bool = True,
) -> Tensor:
    """The mean over samples and pairs of a teacher view and another student view."""
    centers = None if center is None else center.reshape(1, -1)
    losses = soft_cross_entropy(students, teachers, centers, student_temperature, teacher_temperature, skip_same_view)
    same = min(len(students), len(teachers)) if skip_same_view else 0
    return losses.sum() / (losses.shape[1] * (len(students) * len(teachers) - same))


def ibot_patch_loss(
    teacher: Tensor,
    student: Tensor,
    masks_weight: Tensor,
    images: int,
    center: Tensor | None = None,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """The sum over masked patches of weight times cross-entropy, divided by the number of images."""
    centers = None if center is None else center.reshape(1, -1)
    losses = soft_cross_entropy([student], [teacher], centers, student_temperature, teacher_temperature)
    return (losses[0] * masks_weight.to(losses)).sum() / images
