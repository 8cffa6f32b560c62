"""Corrupted features of tables, masked nodes and dropped edges of graphs: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["edge_mask", "feature_corruption", "feature_corruption_backward", "node_mask", "node_mask_backward"]


# ---- feature_corruption

feature_corruption = torch.ops.sslfast.feature_corruption.default
feature_corruption_backward = torch.ops.sslfast.feature_corruption_backward.default


@torch.library.register_fake("sslfast::feature_corruption")
def _(x: Tensor, bank: Tensor, *args: object) -> tuple[Tensor, Tensor, Tensor]:
    rows, features = x.shape
    sources = x.new_empty((rows if args[8] else 0, features), dtype=torch.int32)
    return x.new_empty(x.shape), x.new_empty(x.shape, dtype=torch.bool), sources


@torch.library.register_fake("sslfast::feature_corruption_backward")
def _(
    grad: Tensor, sources: Tensor, bank_rows: int, bank_is_x: bool, need_x: bool, need_bank: bool
) -> tuple[Tensor, Tensor]:
    rows, features = grad.shape
    dtype = torch.float64 if grad.dtype == torch.float64 else torch.float32
    x = grad.new_empty((rows if need_x else 0, features))
    return x, grad.new_empty((bank_rows if need_bank else 0, features), dtype=dtype)


# ---- node_mask, edge_mask

node_mask = torch.ops.sslfast.node_mask.default
node_mask_backward = torch.ops.sslfast.node_mask_backward.default
edge_mask = torch.ops.sslfast.edge_mask.default


@torch.library.register_fake("sslfast::node_mask")
def _(
    x: Tensor, mask_token: Tensor | None, seed: Tensor, sample_ids: Tensor | None, ptr: Tensor | None, *args: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    nodes = x.shape[0]
    mask = x.new_empty((nodes,), dtype=torch.bool)
    masked_nodes = x.new_empty((nodes,), dtype=torch.int64)
    return x.new_empty(x.shape), mask, masked_nodes, x.new_empty((0 if ptr is None else nodes,), dtype=torch.int64)


@torch.library.register_fake("sslfast::node_mask_backward")
def _(grad: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    need_x, need_mask_token = args[7:9]
    nodes, width = grad.shape
    dtype = torch.float64 if grad.dtype == torch.float64 else torch.float32
    x = grad.new_empty((nodes if need_x else 0, width))
    return x, grad.new_empty((width if need_mask_token else 0,), dtype=dtype)


@torch.library.register_fake("sslfast::edge_mask")
def _(like: Tensor, seed: Tensor, sample_ids: Tensor | None, ptr: Tensor | None, edges: int, *args: object) -> Tensor:
    return like.new_empty((edges,), dtype=torch.bool)
