"""Losses of small batches, forward and backward, beside plain torch: what a call costs around its products.

Floor, N pairs of D numbers: 6 N^2 D FLOPs, which at N = 16 are a few microseconds of some fifty. The rule: never slower
than eager torch, at any N.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from benchmarks.bench_similarity_softmax import DTYPES, check
from benchmarks.harness import Call, Case

SCALE, BIAS = 10.0, -10.0
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def make_inputs(device: torch.device, *, pairs: int, width: int, dtype: torch.dtype, unit: bool) -> Inputs:
    """Both sides, of unit vectors where ``unit``, and a scale and a bias that are learnt."""
    rows = torch.randn(pairs, width)
    sides = [rows, torch.randn(pairs, width)]
    sides = [normalize(z, dim=1) if unit else z for z in sides]
    rows, columns = (z.to(device, dtype).requires_grad_() for z in sides)
    scale, bias = (torch.tensor(number, device=device, requires_grad=True) for number in (SCALE, BIAS))
    return rows, columns, scale, bias


def both(logits: Tensor) -> Tensor:
    labels = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def one_way(logits: Tensor) -> Tensor:
    return cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def pairwise(logits: Tensor) -> Tensor:
    labels = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -logsigmoid(labels * logits).sum() / len(logits)


def ours(name: str) -> Loss:
    from sslfast import losses

    return {
        "clip few": lambda a, b, scale, bias: losses.clip_loss(a, b, scale),
        "clip few, normalize": lambda a, b, scale, bias: losses.clip_loss(a, b, scale, normalize=True),
        "clip few, far apart": lambda a, b, scale, bias: losses.clip_loss(a, b, scale),
        "siglip few": losses.siglip_loss,
        "siglip few, normalize": lambda a, b, scale, bias: losses.siglip_loss(a, b, scale, bias, normalize=True),
        "info_nce few": lambda a, b, scale, bias: losses.info_nce_loss(a, b, temperature=1 / SCALE),
        "info_nce few, unit rows": lambda a, b, scale, bias: losses.info_nce_loss(
            a, b, temperature=1 / SCALE, normalize=False
        ),
        "info_nce few, symmetric": lambda a, b, scale, bias: losses.info_nce_loss(
            a, b, temperature=1 / SCALE, symmetric=True
        ),
    }[name]


EAGER: dict[str, Loss] = {
    "clip few": lambda a, b, scale, bias: both(scale * a @ b.T),
    "clip few, normalize": lambda a, b, scale, bias: both(scale * normalize(a, dim=1) @ normalize(b, dim=1).T),
    "clip few, far apart": lambda a, b, scale, bias: both(scale * a @ b.T),
    "siglip few": lambda a, b, scale, bias: pairwise(scale * a @ b.T + bias),
    "siglip few, normalize": lambda a, b, scale, bias: pairwise(
        scale * normalize(a, dim=1) @ normalize(b, dim=1).T + bias
    ),
    "info_nce few": lambda a, b, scale, bias: one_way(normalize(a, dim=1) @ normalize(b, dim=1).T * SCALE),
    "info_nce few, unit rows": lambda a, b, scale, bias: one_way(a @ b.T * SCALE),
    "info_nce few, symmetric": lambda a, b, scale, bias: both(normalize(a, dim=1) @ normalize(b, dim=1).T * SCALE),
}


def call(find: Callable[[], Callable[..., Tensor]], inputs: tuple[Tensor, ...]) -> Call:
    """The timed call, as a training step makes it: gradients are added up in the leaves."""
    loss_function = find()

    def forward_and_backward() -> tuple[Tensor, ...]:
        for leaf in inputs:
            leaf.grad = None
        loss = loss_function(*inputs)
        loss.backward()
        rows, columns = inputs[0].grad, inputs[1].grad
        assert rows is not None
        assert columns is not None
        return loss.detach(), rows, columns

    return forward_and_backward


def check_sides(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    check(inputs[:2], theirs, ours)


def few(op: str, size: str, dtype: str, ours: Callable[[], Any], eager: Callable[[], Any], **options: Any) -> Case:
    """The step of a small batch, of which one thread of the CPU has enough."""
    return Case(
        op=op,
        size=size,
        dtype=dtype,
        mode="forward+backward",
        providers={"sslfast": partial(call, ours), "eager torch": partial(call, eager)},
        check=check_sides,
        unit="FLOP",
        one_thread_only=True,
        devices=("cpu",),
        **options,
    )


def case(name: str, pairs: int, width: int = 128, dtype: str = "fp32", **options: Any) -> Case:
    unit = name in ("clip few", "siglip few", "info_nce few, unit rows")
    return few(
        name,
        f"{pairs}x{width}",
        dtype,
        partial(ours, name),
        lambda: EAGER[name],
        make_inputs=partial(make_inputs, pairs=pairs, width=width, dtype=DTYPES[dtype], unit=unit),
        work=6 * pairs**2 * width,
        formula="6 N^2 D",
        **options,
    )


def cases() -> list[Case]:
    return [
        # Far apart: what is subtracted before exp is every row's and every column's own.
        case(name, pairs, quick=pairs == 16)
        for name in EAGER
        for pairs in (16, 64, 256)
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
