"""Masked nodes and dropped edges of graphs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast._arguments import strided
from sslfast._autograd import traced_once
from sslfast.masking._arguments import numbered_rows
from sslfast.masking.mask_indices import CountedMask, MaskOrCounted, compact_graphs
from sslfast.random import Generator, seed_tensor


class NodeMask(NamedTuple):
    """Features with masked nodes, and which these are.

    Attributes:
        x: (N, D), the features to encode.
        masked_nodes: int64, the masked nodes in random order: those that become the token first, then those that have
            another's features, then those that stay as they are. Of a batch (N,): those of graph g from ``ptr[g]`` on,
            and -1 in the places of its others; ``return_counts`` gives them without holes.
        kept_nodes: int64, the others, in random order. Of a batch (N,): -1 in the places of the masked nodes.
        mask: bool (N,), True where masked.
    """

    x: Tensor
    masked_nodes: Tensor
    kept_nodes: Tensor
    mask: Tensor


class CountedNodes(NamedTuple):
    """A :class:`NodeMask` and its compact form, what losses take: :func:`mask_nodes` with ``return_counts``.

    Attributes:
        x, masked_nodes, kept_nodes, mask: as of :class:`NodeMask`.
        indices: int64 (N,), the masked nodes in ascending order, of all graphs, then -1.
        counts: int64 (G,), how many of each graph.
    """

    x: Tensor
    masked_nodes: Tensor
    kept_nodes: Tensor
    mask: Tensor
    indices: Tensor
    counts: Tensor


def mask_nodes(
    x: Tensor,
    mask_rate: float = 0.3,
    *,
    replace_rate: float = 0.1,
    keep_rate: float = 0.0,
    mask_token: Tensor | None = None,
    ptr: Tensor | None = None,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> NodeMask | Any:
    """Masks a fixed share of the nodes of each graph, as GraphMAE's ``encoding_mask_noise`` does of one.

    A batch is one tensor of all nodes with ``ptr``, the ``ptr`` of PyTorch Geometric's batches: there a graph is a row,
    and what it draws depends on (seed, number of the graph, its number of nodes) alone, not on the batch that it is in.
    Without ``ptr`` all nodes are one graph.

    Of n nodes ``n * mask_rate``, rounded down, are masked. Of these ``replace_rate``, rounded down, get another node's
    features, ``keep_rate`` keep theirs and all others become the token. In the exact mode the donors are unmasked nodes
    of the same graph, no node giving a second time before all have given, and one node of a graph at least stays
    unmasked: what a masked node had is never read, but for the ``keep_rate`` that stays, so that NaN there reaches
    neither the result nor a gradient. The compat mode is GraphMAE's, with its defects: donors are random nodes, masked
    ones and a node itself among them, no node giving twice; shares are rounded down after a float's error; and the
    token's share, ``1 - replace_rate``, is rounded down too, which leaves up to one masked node as it was, of 15 at 0.1
    13 tokens, 1 replaced and 1 unchanged. Where no node is to be replaced GraphMAE picks all of them, an error: here
    all become the token.

    Up to 64 nodes every set is equally likely: a shuffle. Beyond, the order is that of a Feistel network on
    ceil(sqrt(n)) lines, in which every place is found by itself: a node is anywhere and two nodes are at any two
    places, to 2^-24 of the rectangle of about n places that it is drawn in, and nothing is claimed about all n!
    orders. One launch on a GPU, no host synchronisation. The gradients, that of ``x`` in one launch, are made
    without atomics in float32 (float64 in float64): equal in every run. Twice differentiable.

    Args:
        x: features, shape (N, D), any strides, elements of at most 8 bytes, N below 2^31.
        mask_rate: share of a graph's nodes that is masked, in [0, 1), in compat mode in [0, 1]. Default: 0.3.
        replace_rate: share of the masked nodes that gets another's features. Default: 0.1.
        keep_rate: share of the masked nodes that stays as it is. Default: 0.
        mask_token: D elements, shape (D,) or (1, D), type and device of ``x``, such as a parameter. Default: None,
            zeros.
        ptr: int64 (G + 1,), where each graph's nodes begin, and N. On a GPU its values are not checked, because that
            waits: what they do not cover stays as it is. Default: None, one graph.
        mode: "exact" or "compat". Default: "exact".
        return_counts: whether the result has where the mask is True and how often in each graph too, on a GPU in a
            few launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor, which has to keep its value until the
            gradients are made. Default: None, torch's global generator.
        row_offset: number of graph 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (G,), the number of each graph in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.

    Returns:
        ``NodeMask(x, masked_nodes, kept_nodes, mask)``, with ``return_counts``
        ``CountedNodes(x, masked_nodes, kept_nodes, mask, indices, counts)``; ``x`` is differentiable with respect to
        ``x`` and ``mask_token``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a shape, device or share is out of range, ``ptr`` does not rise from 0 to N, there is no such mode,
            or the generator is on another GPU.
        RuntimeError: the gradient of complex ``x``, which has none here.

    Reference: Hou et al., "GraphMAE: Self-Supervised Masked Graph Autoencoders", KDD 2022, section 3.2.
    """
    name = "mask_nodes"
    strided(name, "x", x)
    if x.dtype == torch.complex128:
        raise TypeError(f"{name}: x must have elements of at most 8 bytes, got {x.dtype}")
    if x.dim() != 2 or x.shape[0] >= 2**31:
        raise ValueError(f"{name}: x must have shape (N, D) with N below 2^31, got {tuple(x.shape)}")
    compat = not _check.mode_is_exact(name, mode)
    masked, rates = _check.masked_nodes(name, x.shape[0], mask_rate, replace_rate, keep_rate, not compat)
    token = None if mask_token is None else _token(name, x, mask_token)
    ptr, graphs = _graphs(name, ptr, x.shape[0], "nodes", x.device)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, graphs, x.device)
    seed = seed_tensor(generator, function=name, device=x.device)
    out, mask, order, kept_nodes = _Mask.apply(x, token, seed, sample_ids, ptr, *rates, compat, row_offset)
    nodes_of = (order[:masked], order[masked:]) if ptr is None else (order, kept_nodes)
    if return_counts:
        return CountedNodes(out, *nodes_of, mask, *compact_graphs(mask, ptr))
    return NodeMask(out, *nodes_of, mask)


def _token(name: str, x: Tensor, mask_token: Tensor) -> Tensor:
    if not isinstance(mask_token, Tensor) or mask_token.dtype != x.dtype:
        got = mask_token.dtype if isinstance(mask_token, Tensor) else type(mask_token).__name__
        raise TypeError(f"{name}: mask_token must be a tensor of {x.dtype}, like x, got {got}")
    width = x.shape[1]
    if mask_token.shape not in ((width,), (1, width)):
        raise ValueError(
            f"{name}: mask_token must have shape ({width},) or (1, {width}), got {tuple(mask_token.shape)}"
        )
    if mask_token.device != x.device:
        raise ValueError(f"{name}: mask_token must be on {x.device}, like x, got {mask_token.device}")
    return mask_token.reshape(width)


def _graphs(name: str, ptr: Tensor | None, size: int, what: str, device: torch.device) -> tuple[Tensor | None, int]:
    """``ptr`` as the operators take it, and how many graphs there are."""
    if ptr is None:
        return None, 1
    if not isinstance(ptr, Tensor) or ptr.dtype != torch.int64:
        got = ptr.dtype if isinstance(ptr, Tensor) else type(ptr).__name__
        raise TypeError(f"{name}: ptr must be an int64 tensor, got {got}")
    if ptr.dim() != 1 or ptr.shape[0] < (2 if size else 1):
        raise ValueError(f"{name}: ptr must have shape (G + 1,) for G graphs, got {tuple(ptr.shape)}")
    if ptr.device != device:
        raise ValueError(f"{name}: ptr must be on {device}, got {ptr.device}")
    if ptr.device.type == "cpu" and not torch.compiler.is_compiling():
        rises = int(ptr[0]) == 0 and int(ptr[-1]) == size and not bool((ptr[1:] < ptr[:-1]).any())
        if not rises:
            raise ValueError(f"{name}: ptr must rise from 0 to {size}, the number of {what}, got {_shown(ptr)}")
    return ptr.contiguous(), ptr.shape[0] - 1


def _shown(ptr: Tensor) -> str:
    numbers = ptr[:8].tolist()
    return f"{numbers}" if len(ptr) <= 8 else f"{numbers[:-1]}, ..., {int(ptr[-1])}"


class _Mask(torch.autograd.Function):
    """Linear in x and the token; its derivative is ``_Gradients``, whose derivative is this again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, token: Tensor | None, *draws: Any) -> tuple[Tensor, ...]:
        out, mask, order, kept_nodes = ops.node_mask(x, None if token is None else token.contiguous(), *draws)
        ctx.mark_non_differentiable(mask, order, kept_nodes)
        ctx.save_for_backward(*draws[:3])
        ctx.rule = draws[3:]
        return out, mask, order, kept_nodes

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        need_x, need_token = ctx.needs_input_grad[:2]
        x, token = _Gradients.apply(grad, need_x, need_token, *ctx.saved_tensors, *ctx.rule)
        return (x if need_x else None, token if need_token else None, *[None] * 8)


class _Gradients(torch.autograd.Function):
    """Of x and of the token, each empty where it is not needed."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, need_x: bool, need_token: bool, *draws: Any) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*draws[:3])
        ctx.rule, ctx.needs, ctx.nodes = draws[3:], (need_x, need_token), grad.shape[0]
        rows = grad if grad.stride(1) == 1 else grad.contiguous()
        x, token = ops.node_mask_backward(rows, *draws[:-1], need_x, need_token, draws[-1])
        return x, token.to(grad.dtype)

    @staticmethod
    def backward(ctx: Any, x: Tensor, token: Tensor) -> tuple[Tensor | None, ...]:
        need_x, need_token = ctx.needs
        if not need_x:
            x = x.new_zeros((ctx.nodes, x.shape[1]))
        out, *_ = _Mask.apply(x, token if need_token else None, *ctx.saved_tensors, *ctx.rule)
        return (out, *[None] * 10)


def drop_edges(
    edge_index: Tensor,
    p: float = 0.5,
    *,
    ptr: Tensor | None = None,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> MaskOrCounted:
    """Which edges are dropped, each by itself with probability ``p``.

    The distribution of PyTorch Geometric's ``dropout_edge``, whose mask of the edges that stay is ``~drop_edges(...)``.
    A mask has a fixed size: no host synchronisation on a GPU, and a layer that takes edge weights takes
    ``(~dropped).float()``; ``edge_index[:, ~dropped]`` is the short form, which does wait. An edge and its reverse
    count as two. One launch on a GPU.

    The draw of an edge depends on (seed, number of its graph, number of the edge in its graph) alone. In a batch
    ``ptr`` says where each graph's edges begin: in PyTorch Geometric the counts are
    ``torch.bincount(batch.batch[edge_index[0]])``. Without it all edges are of one graph.

    Args:
        edge_index: shape (2, E), E below 2^31.
        p: probability that an edge is dropped, in [0, 1]. Default: 0.5.
        ptr: int64 (G + 1,), where each graph's edges begin, and E. On a GPU its values are not checked, because that
            waits: what they do not cover stays as it is. Default: None, one graph.
        mode: ``"exact"`` or ``"compat"``; both are the peer's distribution, the same bits. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True and how often in each graph too, on a GPU in a
            few launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: number of graph 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (G,), the number of each graph in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.

    Returns:
        bool (E,), True where dropped. With ``return_counts`` ``CountedMask(mask, indices, counts)`` with int64 (E,),
        the positions of the dropped edges and then -1, and int64 (G,), how many each graph has.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a shape or device is out of range, ``p`` is, ``ptr`` does not rise from 0 to E, or the generator is
            on another GPU.

    Reference: Rong et al., "DropEdge: Towards Deep Graph Convolutional Networks on Node Classification", ICLR 2020.
    """
    name = "drop_edges"
    strided(name, "edge_index", edge_index)
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.shape[1] >= 2**31:
        raise ValueError(f"{name}: edge_index must have shape (2, E) with E below 2^31, got {tuple(edge_index.shape)}")
    p = _check.probability(name, "p", p)
    _check.mode_is_exact(name, mode)
    edges = edge_index.shape[1]
    ptr, graphs = _graphs(name, ptr, edges, "edges", edge_index.device)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, graphs, edge_index.device)
    seed = seed_tensor(generator, function=name, device=edge_index.device)
    dropped: Tensor = ops.edge_mask(edge_index.detach(), seed, sample_ids, ptr, edges, p, row_offset)
    return CountedMask(dropped, *compact_graphs(dropped, ptr)) if return_counts else dropped
