"""Mask tokens in the place of masked tokens beside torch.where, BEiT's algorithm and lightly's mask_bool; 60 % masked.

Floor, e bytes an element and a share r masked: (1 - r) L D e read and L D e written a row. The backward reads all of
the gradient, for the mask token's, and writes that of x.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case, compiled

Inputs = tuple[Tensor, Tensor, Tensor]
RATIO = 0.6


def make_inputs(device: torch.device, *, rows: int, length: int, width: int, backward: bool) -> Inputs:
    x, token = torch.randn(rows, length, width), torch.randn(1, 1, width)
    mask = torch.rand(rows, length) < RATIO
    return x.to(device).requires_grad_(backward), mask.to(device), token.to(device).requires_grad_(backward)


def where(x: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    return torch.where(mask.unsqueeze(-1), mask_token, x)


def beit(x: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    """The published algorithm: a weighted sum with the mask as weight."""
    weight = mask.unsqueeze(-1).type_as(mask_token)
    return x * (1 - weight) + mask_token.expand_as(x) * weight


def ours(x: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    from sslfast.masking import apply_mask_token

    return apply_mask_token(x, mask, mask_token)


def call(find: Callable[[], Callable[..., Tensor]], inputs: Inputs) -> Call:
    """The timed call: the tokens, and both gradients where they are asked for."""
    function, (x, _, token) = find(), inputs
    if not x.requires_grad:
        return lambda: (function(*inputs),)
    upstream = torch.randn_like(x)

    def forward_and_backward() -> tuple[Tensor, ...]:
        result = function(*inputs)
        return result, *torch.autograd.grad(result, (x, token), upstream)

    return forward_and_backward


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    assert torch.equal(theirs[0], ours[0]), "other tokens"
    for k, g in zip(ours[1:], theirs[1:], strict=True):
        assert k.shape == g.shape, "another gradient"


PROVIDERS = {
    "sslfast": partial(call, lambda: ours),
    "eager torch": partial(call, lambda: where),
    "eager torch (BEiT)": partial(call, lambda: beit),
    "torch.compile": partial(call, lambda: compiled(where)),
    "lightly mask_bool": partial(call, lambda: peers.load("lightly.models.utils").mask_bool),
}


def case(rows: int, length: int, width: int, *, backward: bool, **options: Any) -> Case:
    elements = rows * length * width
    return Case(
        op="mask_token_apply",
        size=f"{rows}x{length}x{width}",
        dtype="fp32",
        mode="forward+backward" if backward else "forward",
        make_inputs=partial(make_inputs, rows=rows, length=length, width=width, backward=backward),
        providers=PROVIDERS,
        check=check,
        work=elements * 4 * (2 - RATIO + (2 if backward else 0)),
        unit="B",
        formula="(1 - r) L D e + L D e a row" + (", + 2 L D e backward" if backward else ""),
        **options,
    )


def cases() -> list[Case]:
    return [
        case(256, 196, 768, backward=False, memory=True),
        case(256, 196, 768, backward=True, memory=True),
        case(8, 196, 192, backward=False, quick=True),
        case(8, 196, 192, backward=True, quick=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
