"""MSN's loss with the gradients of anchors and prototypes, beside lightly's and the formulas in eager torch.

Floor, V anchors of each of N samples, P prototypes of D features: N D P (6 V + 2) FLOPs, the similarities of anchors
and targets and two products of the anchors' gradient. They are the same for all, and most of the time of the large
case: what is left to save are passes over the V N x P similarities, of which a read for losses and shares, one for the
gradient and its write are needed, 12 V N P bytes of float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

ANCHORS = 11  # a masked view and 10 small ones
TEMPERATURE, SHARPEN, ITERATIONS = 0.1, 0.25, 3
Criterion = Callable[[Tensor, Tensor, Tensor], Tensor]


def make_inputs(device: torch.device, *, rows: int, width: int, prototypes: int, dtype: torch.dtype) -> list[Tensor]:
    """Anchors of ANCHORS masked views, prototypes, and targets, which take no gradient."""
    first = torch.randn(rows, width)
    anchors = torch.cat([first + 0.5 * torch.randn(rows, width) for _ in range(ANCHORS)])
    leaves = [z.to(device, dtype).requires_grad_() for z in (anchors, torch.randn(prototypes, width))]
    return [*leaves, first.to(device, dtype)]


def eager(anchors: Tensor, targets: Tensor, prototypes: Tensor) -> Tensor:
    """The formulas, through logarithms of the anchors' shares."""
    a, t, w = (F.normalize(z.float(), dim=1) for z in (anchors, targets, prototypes))
    with torch.no_grad():
        q = torch.softmax(t @ w.T / (TEMPERATURE * SHARPEN), dim=1)
        for _ in range(ITERATIONS):
            q = q / q.sum(dim=0)
            q = q / q.sum(dim=1, keepdim=True)
    log_p = torch.log_softmax(a @ w.T / TEMPERATURE, dim=1)
    mean = log_p.exp().mean(dim=0)
    loss = -(q * log_p.unflatten(0, (-1, len(q)))).sum() / len(a)
    return loss + math.log(len(w)) + torch.special.xlogy(mean, mean).sum()


def ours() -> Criterion:
    from sslfast.losses import MSNLoss

    return MSNLoss(TEMPERATURE, ITERATIONS)


def lightly() -> Criterion:
    criterion: Criterion = peers.load("lightly.loss").MSNLoss(TEMPERATURE, ITERATIONS)
    return criterion


def call(find: Callable[[], Criterion], inputs: list[Tensor]) -> Call:
    """The timed call: the loss and the gradients of anchors and prototypes."""
    criterion, (anchors, prototypes, targets) = find(), inputs

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = criterion(anchors, targets, prototypes)
        return loss.detach(), *torch.autograd.grad(loss, (anchors, prototypes))

    return forward_and_backward


def check(inputs: list[Tensor], theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss, and the same gradients relative to their largest element."""
    bound = 1e-3 if inputs[0].dtype == torch.float32 else 5e-2  # in bfloat16 lightly's shares have 8 bits
    for i, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        relative = float((their.float() - our.float()).abs().max() / our.float().abs().max())
        assert relative <= bound, f"{f'gradient {i}' if i else 'loss'} differs by {relative:.1e} of its largest element"


def case(rows: int, width: int, prototypes: int, dtype: torch.dtype = torch.float32, **options: Any) -> Case:
    providers = {"sslfast": partial(call, ours), "eager torch": partial(call, lambda: eager)}
    if dtype == torch.float32:
        providers["lightly MSNLoss"] = partial(call, lightly)
    return Case(
        op="msn",
        size=f"{ANCHORS} views of {rows}x{width}, {prototypes} prototypes",
        dtype="fp32" if dtype == torch.float32 else "bf16",
        mode="forward+backward",
        make_inputs=partial(make_inputs, rows=rows, width=width, prototypes=prototypes, dtype=dtype),
        providers=providers,
        check=check,
        work=rows * width * prototypes * (6 * ANCHORS + 2),
        unit="FLOP",
        formula="N D P (6 V + 2)",
        **options,
    )


def cases() -> list[Case]:
    return [
        case(16, 256, 64, quick=True),
        case(64, 256, 1024),
        case(128, 256, 1024, memory=True),
        case(512, 256, 1024, devices=("cuda",)),
        case(512, 256, 1024, torch.bfloat16, devices=("cuda",)),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
