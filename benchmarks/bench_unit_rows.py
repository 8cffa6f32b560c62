"""F.normalize over the rows of a matrix, forward and backward, which every loss with cosine similarities begins with.

Floor: N D numbers read and written forward; backward, the gradient and the unit rows read and a gradient written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.harness import Call, Case, compiled

Inputs = tuple[Tensor, Tensor]


def make_inputs(device: torch.device, *, rows: int, width: int) -> Inputs:
    z, grad = torch.randn(2, rows, width)
    return z.to(device).requires_grad_(), grad.to(device)


def eager(z: Tensor) -> Tensor:
    return normalize(z, dim=1)


def ours() -> Callable[[Tensor], Tensor]:
    from sslfast._autograd import normalized

    return partial(normalized, "bench")


def call(find: Callable[[], Callable[[Tensor], Tensor]], inputs: Inputs) -> Call:
    """The timed call: the unit rows and the gradient."""
    z, grad = inputs
    function = find()

    def forward_and_backward() -> tuple[Tensor, Tensor]:
        unit = function(z)
        return unit.detach(), *torch.autograd.grad(unit, z, grad)

    return forward_and_backward


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch": partial(call, lambda: eager),
    "torch.compile": partial(call, lambda: compiled(eager)),
}


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    for t, o in zip(theirs, ours, strict=True):
        torch.testing.assert_close(t, o, rtol=1e-4, atol=1e-5)


def case(rows: int, width: int, **options: Any) -> Case:
    return Case(
        op="unit_rows",
        size=f"{rows}x{width}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_inputs, rows=rows, width=width),
        providers=PROVIDERS,
        check=check,
        work=5 * 4 * rows * width,
        unit="B",
        formula="5 N D 4 B",
        **options,
    )


def cases() -> list[Case]:
    return [case(256, 128, quick=True), case(4096, 512)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
