"""A teacher that is the moving average of its student, and the schedule of its momentum."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast.losses._inputs import check_choice

BUFFERS = ("keep", "copy", "average")


@torch.no_grad()
def update_teacher(student: nn.Module, teacher: nn.Module, momentum: float, *, buffers: str = "keep") -> None:
    """Moves the teacher's parameters towards the student's: an exponential moving average, in one pass over both.

    ``for p, q in zip(student.parameters(), teacher.parameters()): q.lerp_(p, 1 - momentum)``

    as lightly's ``update_momentum(model, model_ema, m)``, whose multiplication and addition are a pass each. On a GPU
    all tensors of one dtype share a few launches. Parameters are taken in order, so that either model may be wrapped,
    in DistributedDataParallel for instance; those of integers (of a quantised model) are copied. Keep the teacher in
    float32: in bfloat16 a step of less than 2^-9 of a parameter changes nothing.

    Args:
        student: the model that is trained.
        teacher: a model with parameters of the same number and shapes, each on the device of the student's; dtypes may
            differ. Changed in place.
        momentum: share of the teacher that stays, in [0, 1].
        buffers: "keep", the teacher's own; "copy", the student's; "average", moved like parameters, and copied where
            they are not floating point (a count of batches). Default: "keep".

    Raises:
        TypeError: if a model is not an nn.Module, ``momentum`` not a number, or a parameter of integers in one model
            alone.
        ValueError: if ``momentum`` is outside [0, 1], ``buffers`` is none of these, or the models' parameters, or
            the buffers that are used, differ in number or in shapes, or the parameters in their devices.

    Reference: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020; Grill et al.,
    "Bootstrap Your Own Latent", NeurIPS 2020.
    """
    name = "update_teacher"
    for argument, model in (("student", student), ("teacher", teacher)):
        if not isinstance(model, nn.Module):
            raise TypeError(f"{name}: {argument} must be an nn.Module, got {type(model).__name__}")
    share = 1 - _check.probability(name, "momentum", momentum)
    check_choice(name, "buffers", buffers, BUFFERS)
    found = _pairs(name, "parameters", student.parameters(), teacher.parameters())
    for i, (s, t) in enumerate(found):
        if _moves(s) != _moves(t):
            raise TypeError(f"{name}: parameters {i} of teacher must be {s.dtype}, like student, got {t.dtype}")
        if s.device != t.device:
            raise ValueError(f"{name}: parameters {i} of teacher must be on {s.device}, like student, got {t.device}")
    pairs = [pair for pair in found if _moves(pair[1])]
    copied = [pair for pair in found if not _moves(pair[1])]
    if buffers != "keep":
        found = _pairs(name, "buffers", student.buffers(), teacher.buffers())
        moved = [pair for pair in found if buffers == "average" and pair[1].is_floating_point()]
        copied += [pair for pair in found if buffers == "copy" or not pair[1].is_floating_point()]
        pairs += moved
    if pairs:
        sources = [s.to(t.dtype) for s, t in pairs]
        torch._foreach_lerp_([t for _, t in pairs], sources, share)
    for s, t in copied:
        t.copy_(s)


def _moves(tensor: Tensor) -> bool:
    """Whether an average of such tensors is one."""
    return tensor.is_floating_point() or tensor.is_complex()


def cosine_schedule(step: int, max_steps: int, start_value: float, end_value: float) -> float:
    """A value that goes from one to the other in half a cosine, for the momentum of a teacher.

    ``end_value - (end_value - start_value) * (cos(pi * step / (max_steps - 1)) + 1) / 2``

    as lightly's ``cosine_schedule`` and DINO's, which divides by ``max_steps``. The last step, and any after it, has
    ``end_value``.

    Args:
        step: number of the step, at least 0.
        max_steps: how many steps there are, at least 1.
        start_value: of step 0. DINO: 0.996, DINOv2: 0.992, BYOL: 0.99.
        end_value: of step ``max_steps - 1``. All of them: 1.

    Returns:
        The value of the step.

    Raises:
        TypeError: if a step is not an int or a value not a number.
        ValueError: if ``step`` is negative, ``max_steps`` below 1 or a value not finite.
    """
    name = "cosine_schedule"
    step, max_steps = _check.integer(name, "step", step, 0), _check.integer(name, "max_steps", max_steps, 1)
    start, end = _check.real(name, "start_value", start_value), _check.real(name, "end_value", end_value)
    if step >= max_steps - 1:
        return end
    return end - (end - start) * (math.cos(math.pi * step / (max_steps - 1)) + 1) / 2


def _pairs(
    function: str, what: str, student: Iterable[Tensor], teacher: Iterable[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    ours, theirs = list(student), list(teacher)
    if len(ours) != len(theirs):
        raise ValueError(f"{function}: teacher must have {len(ours)} {what}, like student, got {len(theirs)}")
    for i, (s, t) in enumerate(zip(ours, theirs, strict=True)):
        if s.shape != t.shape:
            got = f"got {tuple(t.shape)}"
            raise ValueError(f"{function}: {what} {i} of teacher must have shape {tuple(s.shape)}, like student, {got}")
    return list(zip(ours, theirs, strict=True))
