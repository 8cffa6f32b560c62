"""Small batches of pairs, of views, or of queries among all kinds of negatives: C++ on the CPU; a GPU takes tiles."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["few_pairs", "few_pairs_backward", "few_views", "joint_softmax", "queue_pairs"]

few_pairs = torch.ops.sslfast.few_pairs.default
few_pairs_backward = torch.ops.sslfast.few_pairs_backward.default
few_views = torch.ops.sslfast.few_views.default
joint_softmax = torch.ops.sslfast.joint_softmax.default
queue_pairs = torch.ops.sslfast.queue_pairs.default


@torch.library.register_fake("sslfast::few_pairs")
def _(rows: Tensor, columns: Tensor, *args: object) -> list[Tensor]:
    loss, *grads = _needed(rows, columns, (rows.shape, columns.shape, (), ()), args[7:11])
    return [loss.new_empty(rows.shape[:1]) if args[18:] == (True,) else loss, *grads]


@torch.library.register_fake("sslfast::few_pairs_backward")
def _(rows: Tensor, columns: Tensor, *args: object) -> tuple[Tensor, ...]:
    made = iter(_needed(rows, columns, (rows.shape, columns.shape, ()), args[5:8])[1:])
    return tuple(next(made) if need else rows.new_empty(0) for need in args[5:8])


@torch.library.register_fake("sslfast::few_views")
def _(z0: Tensor, z1: Tensor, *args: object) -> list[Tensor]:
    return _needed(z0, z1, (z0.shape, z1.shape, (2 * z0.shape[0],)), args[4:])


@torch.library.register_fake("sslfast::joint_softmax")
def _(similar: Tensor, query: Tensor, keys: Tensor, *args: object) -> tuple[Tensor, ...]:
    each, weigh = args[12:14]
    reduced = similar.shape[:1] if each else ()
    slopes = similar.new_empty((similar.shape[0] if weigh else 0, 1))
    of_scale = slopes.new_empty(slopes.shape[:1] if each else ())
    return similar.new_empty(reduced), similar.new_empty(similar.shape if weigh else (0, 0)), slopes, of_scale


@torch.library.register_fake("sslfast::queue_pairs")
def _(query: Tensor, keys: Tensor, *args: object) -> list[Tensor]:
    return _needed(query, keys, (query.shape, keys.shape, ()), args[5:])


def _needed(
    rows: Tensor, columns: Tensor, shapes: tuple[tuple[int, ...], ...], needs: tuple[object, ...]
) -> list[Tensor]:
    """The loss, and of gradients of these shapes those that are needed."""
    wide = torch.float64 if torch.float64 in (rows.dtype, columns.dtype) else torch.float32
    needed = [shape for shape, need in zip(shapes, needs, strict=True) if need]
    return [rows.new_empty(shape, dtype=wide) for shape in ((), *needed)]
