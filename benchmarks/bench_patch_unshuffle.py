"""MAE's decoder input beside MAE's algorithm in torch: mask ratio 0.75, a class token in front, positions added.

Floor, e bytes an element: (keep + L) D e a row, positions and mask token once. The backward reads L D e and writes
keep D e a row; gradients of the mask token and of the positions are sums of what it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Call, Case, compiled

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def make_inputs(device: torch.device, *, rows: int, patches: int, width: int, backward: bool) -> Inputs:
    tokens = torch.randn(rows, 1 + patches // 4, width)
    mask_token, positions = torch.randn(1, 1, width), torch.randn(1, 1 + patches, width)
    parts = (t.to(device).requires_grad_(backward) for t in (tokens, mask_token, positions))
    return *parts, torch.rand(rows, patches).argsort(1).to(device)


def mae(tokens: Tensor, mask_token: Tensor, positions: Tensor, ids_restore: Tensor) -> Tensor:
    """The published algorithm: mask tokens behind the kept ones, a gather, the class token in front, positions."""
    rows, patches, width = *ids_restore.shape, tokens.shape[2]
    masked = mask_token.repeat(rows, patches + 1 - tokens.shape[1], 1)
    shuffled = torch.cat([tokens[:, 1:], masked], dim=1)
    restored = torch.gather(shuffled, 1, ids_restore.unsqueeze(-1).repeat(1, 1, width))
    return torch.cat([tokens[:, :1], restored], dim=1) + positions


def ours(tokens: Tensor, mask_token: Tensor, positions: Tensor, ids_restore: Tensor) -> Tensor:
    from sslfast.masking import unshuffle_patches

    return unshuffle_patches(tokens, mask_token, ids_restore, positions, num_prefix_tokens=1)


def call(find: Callable[[], Callable[..., Tensor]], inputs: Inputs) -> Call:
    """The timed call: the decoder's input, and its three gradients where they are asked for."""
    function, parameters = find(), inputs[:3]
    if not inputs[0].requires_grad:
        return lambda: (function(*inputs),)
    upstream = torch.randn(inputs[0].shape[0], inputs[2].shape[1], inputs[0].shape[2], device=inputs[0].device)

    def forward_and_backward() -> tuple[Tensor, ...]:
        result = function(*inputs)
        return result, *torch.autograd.grad(result, parameters, upstream)

    return forward_and_backward


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    assert torch.equal(theirs[0], ours[0]), "another input of the decoder"
    for k, g in zip(ours[1:], theirs[1:], strict=True):
        assert k.shape == g.shape, "another gradient"


PROVIDERS = {
    "sslfast": partial(call, lambda: ours),
    "eager torch (MAE)": partial(call, lambda: mae),
    "torch.compile (MAE)": partial(call, lambda: compiled(mae)),
}


def case(rows: int, patches: int, width: int, *, backward: bool, **options: Any) -> Case:
    moved = (1 + patches // 4 + 1 + patches) * width * 4
    return Case(
        op="patch_unshuffle",
        size=f"{rows}x{patches}x{width}",
        dtype="fp32",
        mode="forward+backward" if backward else "forward",
        make_inputs=partial(make_inputs, rows=rows, patches=patches, width=width, backward=backward),
        providers=PROVIDERS,
        check=check,
        work=rows * moved * (2 if backward else 1),
        unit="B",
        formula="(keep + L) D e a row" + (", and the same backward" if backward else ""),
        **options,
    )


def cases() -> list[Case]:
    return [
        case(256, 196, 512, backward=False, memory=True),
        case(256, 196, 512, backward=True, memory=True),
        case(8, 196, 192, backward=False, quick=True),
        case(8, 196, 192, backward=True, quick=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
