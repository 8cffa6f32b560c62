"""Operators of losses over classes: those of a linear layer, and the two of a replaced token."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops._library import triton_library

__all__ = [
    "item_negatives",
    "linear_cross_entropy",
    "replaced_token",
    "replaced_token_backward",
    "sampled_softmax",
]


# ---- linear_cross_entropy: C++ on the CPU, Triton on the GPU

linear_cross_entropy = torch.ops.sslfast.linear_cross_entropy.default


@torch.library.register_fake("sslfast::linear_cross_entropy")
def _(hidden: Tensor, weight: Tensor, targets: Tensor, *args: object) -> tuple[Tensor, ...]:
    need_hidden, need_weight, need_bias = args[8:11]
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    rows = (hidden.new_empty(targets.shape, dtype=wide) for _ in range(5))
    d_hidden, d_weight = (
        x.new_empty((x.shape[0] if need else 0, x.shape[1]), dtype=wide)
        for x, need in ((hidden, need_hidden), (weight, need_weight))
    )
    return *rows, d_hidden, d_weight, weight.new_empty((weight.shape[0] if need_bias else 0,), dtype=wide)


def _linear_cross_entropy_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy

    return linear_cross_entropy(*args)


triton_library.impl("linear_cross_entropy", _linear_cross_entropy_triton)


# ---- sampled_softmax: C++ and CUDA C++

sampled_softmax = torch.ops.sslfast.sampled_softmax.default


@torch.library.register_fake("sslfast::sampled_softmax")
def _(
    rows: Tensor, table: Tensor, index: Tensor, positives: Tensor, *args: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    need_rows, need_table, need_offsets = args[-3:]
    wide = torch.float64 if rows.dtype == torch.float64 else torch.float32
    losses = rows.new_empty(index.shape, dtype=wide)
    d_rows, d_table = (
        x.new_empty((x.shape[0] if need else 0, x.shape[1]), dtype=wide)
        for x, need in ((rows, need_rows), (table, need_table))
    )
    return losses, d_rows, d_table, losses.new_empty((table.shape[0] if need_offsets else 0,))


# ---- item_negatives: C++ and CUDA C++

item_negatives = torch.ops.sslfast.item_negatives.default


@torch.library.register_fake("sslfast::item_negatives")
def _(numbers: Tensor, seed: Tensor, thresholds: Tensor | None, items: int, negatives: int) -> Tensor:
    return numbers.new_empty((numbers.shape[0], negatives), dtype=torch.int32)


# ---- replaced_token: C++ and CUDA C++

replaced_token = torch.ops.sslfast.replaced_token.default
replaced_token_backward = torch.ops.sslfast.replaced_token_backward.default


@torch.library.register_fake("sslfast::replaced_token")
def _(
    logits: Tensor,
    replaced: Tensor,
    attention_mask: Tensor | None,
    items: Tensor | None,
    divisor: float,
    each_token: bool,
    need_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    losses = logits.new_empty(logits.shape if each_token else (), dtype=wide)
    return losses, losses.new_empty((0 if each_token else 1,)), logits.new_empty(logits.shape if need_grad else (0,))


@torch.library.register_fake("sslfast::replaced_token_backward")
def _(weights: Tensor, logits: Tensor, replaced: Tensor, attention_mask: Tensor | None) -> Tensor:
    return logits.new_empty(logits.shape)
