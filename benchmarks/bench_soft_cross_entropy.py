"""DINO's and iBOT's soft cross-entropy, forward and backward, beside dinov2's steps in eager torch and lightly.

Floor, V student views and G teacher views of N samples over K prototypes: every logit read once and every gradient of
the student's written once, (G + 2 V) N K numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.bench_similarity_softmax import DTYPES
from benchmarks.harness import Call, Case, compiled

TEACHER_TEMP, STUDENT_TEMP = 0.04, 0.1
Inputs = tuple[list[Tensor], list[Tensor]]
Criterion = Callable[[list[Tensor], list[Tensor]], Tensor]


def make_inputs(
    device: torch.device, *, rows: int, width: int, teachers: int, views: int, dtype: torch.dtype
) -> Inputs:
    """Logits as cosines with prototypes are spread, a little alike from view to view."""
    first = torch.randn(rows, width) / 8
    logits = [(first + torch.randn(rows, width) / 8).to(device, dtype) for _ in range(teachers + views)]
    return logits[:teachers], [z.requires_grad_() for z in logits[teachers:]]


def new_center(teacher: Tensor, center: Tensor) -> Tensor:
    """update_center and apply_center_update on one rank."""
    return center * 0.9 + teacher.detach().sum(0, keepdim=True) / len(teacher) * 0.1


def dinov2(teachers: list[Tensor], students: list[Tensor]) -> Tensor:
    """softmax_center_teacher, the sums of DINOLoss.forward but for pairs of the same view, and the center."""
    center = teachers[0].new_zeros(1, teachers[0].shape[1])
    total, pairs = torch.zeros((), device=center.device), 0
    targets = [torch.softmax((t - center) / TEACHER_TEMP, dim=-1) for t in teachers]
    for v, student in enumerate(students):
        log_p = torch.log_softmax(student / STUDENT_TEMP, dim=-1)
        for g, q in enumerate(targets):
            if g != v:
                total, pairs = total - torch.sum(q * log_p, dim=-1).mean(), pairs + 1
    new_center(torch.cat(teachers), center)
    return total / pairs


def dinov2_patches(teachers: list[Tensor], students: list[Tensor]) -> Tensor:
    """softmax_center_teacher and forward_masked of iBOTPatchLoss, of rows that weigh the same, and the center."""
    center = teachers[0].new_zeros(1, teachers[0].shape[1])
    q = torch.softmax((teachers[0] - center) / TEACHER_TEMP, dim=-1)
    new_center(teachers[0], center)
    return -torch.sum(q * torch.log_softmax(students[0] / STUDENT_TEMP, dim=-1), dim=-1).mean()


def ours(teachers: list[Tensor]) -> Criterion:
    from sslfast.losses import DINOLoss

    return DINOLoss(teachers[0].shape[1], TEACHER_TEMP, TEACHER_TEMP, 30, STUDENT_TEMP).to(teachers[0].device)


def our_patches(teachers: list[Tensor]) -> Criterion:
    from sslfast.losses import IBOTPatchLoss

    rows, width = teachers[0].shape
    module = IBOTPatchLoss(width, TEACHER_TEMP, STUDENT_TEMP).to(teachers[0].device)
    mask = torch.ones(1, rows, dtype=torch.bool, device=teachers[0].device)
    weights = torch.full((rows,), 1 / rows, device=teachers[0].device)
    return lambda t, s: module(t[0], s[0], mask, masks_weight=weights)


def lightly(teachers: list[Tensor]) -> Criterion:
    width = teachers[0].shape[1]
    criterion = peers.load("lightly.loss").DINOLoss(width, TEACHER_TEMP, TEACHER_TEMP, 30, STUDENT_TEMP)
    return criterion.to(teachers[0].device)


def call(find: Callable[[list[Tensor]], Criterion], inputs: Inputs) -> Call:
    """The timed call: the loss, the gradient of every student view and, where there is one, the center's update."""
    teachers, students = inputs
    criterion = find(teachers)

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = criterion(teachers, students)
        return loss.detach(), *torch.autograd.grad(loss, students)

    return forward_and_backward


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss, and the same gradients relative to their largest element; centers are still near 0."""
    for i, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        relative = float((their.float() - our.float()).abs().max() / our.float().abs().max())
        bound = 1e-3 if inputs[0][0].dtype == torch.float32 else 5e-2  # eager torch rounds to 8 bits thrice
        assert relative <= bound, f"{f'gradient {i}' if i else 'loss'} differs by {relative:.1e} of its largest element"


def case(rows: int, width: int, teachers: int, views: int, dtype: str = "fp32", **options: Any) -> Case:
    eager = dinov2 if teachers > 1 else dinov2_patches
    providers = {
        "sslfast": partial(call, ours if teachers > 1 else our_patches),
        "eager torch (dinov2)": partial(call, lambda _: eager),
        "torch.compile (dinov2)": partial(call, lambda _: compiled(eager)),
    }
    if teachers > 1:
        providers["lightly DINOLoss"] = partial(call, lightly)
    return Case(
        op="dino" if teachers > 1 else "ibot",
        size=f"{teachers}+{views} views of {rows}x{width}" if teachers > 1 else f"{rows}x{width}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, rows=rows, width=width, teachers=teachers, views=views, dtype=DTYPES[dtype]),
        providers=providers,
        check=check,
        work=DTYPES[dtype].itemsize * rows * width * (teachers + 2 * views),
        unit="B",
        formula="(G + 2 V) N K",
        **options,
    )


def cases() -> list[Case]:
    return [
        case(64, 1024, 1, 1, quick=True),
        case(256, 65536, 1, 1, memory=True),
        case(256, 65536, 1, 1, "bf16"),
        case(32, 65536, 2, 8, memory=True, one_thread_only=True),
        case(1024, 65536, 1, 1, "bf16", devices=("cuda",)),
        case(128, 65536, 2, 10, "bf16", devices=("cuda",)),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
