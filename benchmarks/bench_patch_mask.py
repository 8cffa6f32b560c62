"""MAE's random masking of patches beside MAE's algorithm in torch and timm's patch dropout, at mask ratio 0.75.

Floor, e bytes an element: 2 keep D e a row (the kept patches read and written) and 12 B a patch (ids_restore and mask).
The backward writes L D e and reads keep D e a row. timm returns the kept patches alone, with neither ids_restore nor
mask: it does less.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case, compiled

RATIO = 0.75


def make_inputs(device: torch.device, *, rows: int, patches: int, width: int, backward: bool) -> Tensor:
    return torch.randn(rows, patches, width).to(device).requires_grad_(backward)


def mae(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The published algorithm: sort uniform noise, keep the first patches, invert the order."""
    rows, patches, width = x.shape
    keep = int(patches * (1 - RATIO))
    order = torch.argsort(torch.rand(rows, patches, device=x.device), dim=1)
    ids_restore = torch.argsort(order, dim=1)
    kept = torch.gather(x, 1, order[:, :keep, None].repeat(1, 1, width))  # repeat, not expand, is what is published
    mask = torch.ones(rows, patches, device=x.device)
    mask[:, :keep] = 0
    return kept, torch.gather(mask, 1, ids_restore), ids_restore


def ours(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from sslfast.masking import mask_patches

    return mask_patches(x, RATIO)


def timm() -> Callable[[Tensor], tuple[Tensor]]:
    drop = peers.load("timm.layers").PatchDropout(RATIO, num_prefix_tokens=0).train()
    return lambda x: (drop(x),)


def call(find: Callable[[], Callable[[Tensor], Any]], x: Tensor) -> Call:
    """The timed call: the masking, and the gradient of the kept patches where ``x`` asks for one."""
    function = find()
    if not x.requires_grad:
        return lambda: (*function(x), None)
    keep = int(x.shape[1] * (1 - RATIO))
    upstream = torch.ones(x.shape[0], keep, x.shape[2], device=x.device)

    def forward_and_backward() -> tuple[Any, ...]:
        result = function(x)
        return *result, torch.autograd.grad(result[0], x, upstream)[0]

    return forward_and_backward


def check(x: Tensor, theirs: tuple[Any, ...], ours: tuple[Any, ...]) -> None:
    """Every kept row is a row of x, none twice; masks and orders agree with it; the gradient is one at each."""
    for kept, *rest, grad in (ours, theirs):
        assert kept.shape == (x.shape[0], int(x.shape[1] * (1 - RATIO)), x.shape[2]), f"kept {tuple(kept.shape)}"
        same = kept[:, :, None, 0] == x[:, None, :, 0]
        assert bool((same.sum(2) == 1).all()), "a kept row is not a row of x"
        found = same.any(1)
        assert bool((found.sum(1) == kept.shape[1]).all()), "a patch is kept twice"
        if rest:
            mask, ids_restore = rest
            assert torch.equal(found, ~mask.bool()), "the mask is not that of the kept patches"
            assert torch.equal(ids_restore < kept.shape[1], found), "ids_restore does not place the kept patches"
        if grad is not None:
            assert torch.equal(grad[..., 0] == 1, found), "the gradient is not one at the kept patches"


PROVIDERS = {
    "sslfast": partial(call, lambda: ours),
    "eager torch (MAE)": partial(call, lambda: mae),
    "torch.compile (MAE)": partial(call, lambda: compiled(mae)),
    "timm PatchDropout": partial(call, timm),
}


def case(rows: int, patches: int, width: int, *, backward: bool, **options: Any) -> Case:
    keep = int(patches * (1 - RATIO))
    work = rows * (2 * keep * width * 4 + 12 * patches)
    formula = "2 keep D e + 12 L a row"
    if backward:
        work += rows * (keep + patches) * width * 4
        formula += ", + keep D e + L D e backward"
    return Case(
        op="patch_mask",
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
        case(256, 196, 768, backward=False, memory=True),
        case(256, 196, 768, backward=True, memory=True),
        case(8, 196, 192, backward=False, quick=True),
        case(8, 196, 192, backward=True, quick=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
