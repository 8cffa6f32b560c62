"""Patches at several lists of places beside I-JEPA's algorithm in torch and lightly's apply_masks.

I-JEPA's sizes: 4 lists of 36 of 196 patches, which overlap. Floor, e bytes an element, M lists of K: 2 M K D e a row;
the backward reads M K D e and writes L D e a row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case, compiled

Inputs = tuple[Tensor, list[Tensor]]
LISTS, PLACES = 4, 36


def make_inputs(device: torch.device, *, rows: int, patches: int, width: int, backward: bool) -> Inputs:
    x = torch.randn(rows, patches, width).to(device).requires_grad_(backward)
    return x, [torch.rand(rows, patches).argsort(1)[:, :PLACES].to(device) for _ in range(LISTS)]


def ijepa(x: Tensor, ids: list[Tensor]) -> Tensor:
    """The published algorithm: one gather a list, with an index for every element."""
    return torch.cat([torch.gather(x, 1, each.unsqueeze(-1).repeat(1, 1, x.shape[2])) for each in ids])


def ours() -> Callable[..., Tensor]:
    from sslfast.masking import gather_patches

    return gather_patches


def call(find: Callable[[], Callable[..., Tensor]], inputs: Inputs) -> Call:
    """The timed call: the copies, and the gradient where ``x`` asks for one."""
    function, (x, ids) = find(), inputs
    if not x.requires_grad:
        return lambda: (function(x, ids), None)
    upstream = torch.randn(LISTS * x.shape[0], PLACES, x.shape[2], device=x.device)

    def forward_and_backward() -> tuple[Tensor, Tensor]:
        result = function(x, ids)
        return result, torch.autograd.grad(result, x, upstream)[0]

    return forward_and_backward


def check(inputs: Inputs, theirs: tuple[Any, ...], ours: tuple[Any, ...]) -> None:
    assert torch.equal(theirs[0], ours[0]), "other patches"
    if ours[1] is not None:
        assert theirs[1].shape == ours[1].shape, "another gradient"


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch (I-JEPA)": partial(call, lambda: ijepa),
    "torch.compile (I-JEPA)": partial(call, lambda: compiled(ijepa)),
    "lightly apply_masks": partial(call, lambda: peers.load("lightly.models.utils").apply_masks),
}


def case(rows: int, patches: int, width: int, *, backward: bool, **options: Any) -> Case:
    work = rows * 2 * LISTS * PLACES * width * 4
    formula = "2 M K D e a row"
    if backward:
        work += rows * (LISTS * PLACES + patches) * width * 4
        formula += ", + M K D e + L D e backward"
    return Case(
        op="patch_gather",
        size=f"{rows}x{patches}x{width}",
        dtype="fp32",
        mode="forward+backward" if backward else "forward",
        make_inputs=partial(make_inputs, rows=rows, patches=patches, width=width, backward=backward),
        providers=PROVIDERS,
        check=check,
        work=work,
        unit="B",
        formula=formula,
        **options,
    )


def cases() -> list[Case]:
    return [
        case(64, 196, 768, backward=False, memory=True),
        case(64, 196, 768, backward=True, memory=True),
        case(4, 196, 192, backward=True, quick=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
