"""The exponential moving average of a teacher beside lightly's function and DINO's loop: a ViT-S's parameters.

Floor: the student's parameters are read, the teacher's read and written, 12 bytes each in float32.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks import peers
from benchmarks.harness import Call, Case

MOMENTUM = 0.996
Models = tuple[nn.Module, nn.Module]


def encoder(depth: int, width: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(width, 6, 4 * width, batch_first=True)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


def make_inputs(device: torch.device, *, depth: int, width: int) -> Models:
    student, teacher = (encoder(depth, width).to(device) for _ in range(2))
    return student, teacher.requires_grad_(False)


def update_by_sslfast(models: Models) -> Call:
    from sslfast.losses import update_teacher

    return lambda: update_teacher(*models, MOMENTUM)


def lightly(models: Models) -> Call:
    function = peers.load("lightly.models.utils").update_momentum
    return lambda: function(*models, MOMENTUM)


def dino(models: Models) -> Call:
    """DINO's published loop."""
    student, teacher = models

    def call() -> None:
        with torch.no_grad():
            for q, k in zip(student.parameters(), teacher.parameters(), strict=True):
                k.data.mul_(MOMENTUM).add_((1 - MOMENTUM) * q.detach().data)

    return call


def check(models: Models, theirs: None, ours: None) -> None:
    """Calls change the teacher that all share: the update of a copy is compared with DINO's loop on another."""
    student, teacher = models
    found, expected = copy.deepcopy(teacher), copy.deepcopy(teacher)
    update_by_sslfast((student, found))()
    dino((student, expected))()
    for own, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(own, other)


def case(depth: int, width: int, parameters: float, **options: Any) -> Case:
    return Case(
        op="update_teacher",
        size=f"{depth} layers of {width}",
        dtype="fp32",
        make_inputs=partial(make_inputs, depth=depth, width=width),
        providers={"sslfast": update_by_sslfast, "lightly update_momentum": lightly, "published loop (DINO)": dino},
        check=check,
        work=12 * parameters,
        unit="B",
        formula="12 B a parameter",
        **options,
    )


def cases() -> list[Case]:
    layer = 12 * 384**2 + 13 * 384
    return [case(12, 384, 12 * layer), case(2, 48, 2 * (12 * 48**2 + 13 * 48), quick=True)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
