"""Masked nodes and dropped edges over NumPy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments
from sslfast.host.mask_indices import CountedMask, MaskOrCounted, compact_graphs


class NodeMask(NamedTuple):
    """Features with masked nodes: ``sslfast.masking.NodeMask`` in NumPy arrays.

    Attributes:
        x: (N, D), the features to encode.
        masked_nodes: int64, the masked nodes, in random order. Of a batch (N,), -1 in the places of the others.
        kept_nodes: int64, the others, in random order. Of a batch (N,), -1 in the places of the masked nodes.
        mask: bool (N,), True where masked.
    """

    x: NDArray[Any]
    masked_nodes: NDArray[np.int64]
    kept_nodes: NDArray[np.int64]
    mask: NDArray[np.bool_]


class CountedNodes(NamedTuple):
    """Masked nodes with their compact form: ``sslfast.masking.CountedNodes`` in NumPy arrays.

    Attributes:
        x, masked_nodes, kept_nodes, mask: as of :class:`NodeMask`.
        indices: int64 (N,), the masked nodes in ascending order, of all graphs, then -1.
        counts: int64 (G,), how many of each graph.
    """

    x: NDArray[Any]
    masked_nodes: NDArray[np.int64]
    kept_nodes: NDArray[np.int64]
    mask: NDArray[np.bool_]
    indices: NDArray[np.int64]
    counts: NDArray[np.int64]


def mask_nodes(
    x: NDArray[Any],
    mask_rate: float = 0.3,
    *,
    replace_rate: float = 0.1,
    keep_rate: float = 0.0,
    mask_token: NDArray[Any] | None = None,
    ptr: NDArray[np.int64] | None = None,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> NodeMask | Any:
    """Masks a fixed share of the nodes of each graph: :func:`sslfast.masking.mask_nodes` in NumPy, said there in full.

    Args:
        x: features, shape (N, D), elements of 1, 2, 4 or 8 bytes, N below 2^31. Not changed.
        mask_rate: share of a graph's nodes that is masked, in [0, 1), in compat mode in [0, 1]. Default: 0.3.
        replace_rate: share of the masked nodes that gets another's features. Default: 0.1.
        keep_rate: share of the masked nodes that stays as it is. Default: 0.
        mask_token: D elements, shape (D,) or (1, D), type of ``x``. Default: None, zeros.
        ptr: int64 (G + 1,), where each graph's nodes begin, and N. Default: None, one graph.
        mode: "exact", donors are unmasked nodes; or "compat", random nodes. Default: "exact".
        return_counts: whether the result has where the mask is True and how often in each graph too.
            Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: number of graph 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (G,), the number of each graph in the draws. Default: None, ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1.

    Returns:
        ``NodeMask(x, masked_nodes, kept_nodes, mask)``; with ``return_counts``
        ``CountedNodes(x, masked_nodes, kept_nodes, mask, indices, counts)``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a shape or share is out of range, ``ptr`` does not rise from 0 to N, or there is no such mode.

    Reference: Hou et al., "GraphMAE: Self-Supervised Masked Graph Autoencoders", KDD 2022, section 3.2.
    """
    name = "mask_nodes"
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name}: x must be an array, got {type(x).__name__}")
    x = _arguments.moved(name, "x", x)
    if x.ndim != 2 or len(x) >= 2**31:
        raise ValueError(f"{name}: x must have shape (N, D) with N below 2^31, got {x.shape}")
    nodes, width = x.shape
    compat = not _check.mode_is_exact(name, mode)
    masked, rates = _check.masked_nodes(name, nodes, mask_rate, replace_rate, keep_rate, not compat)
    if mask_token is not None:
        if not isinstance(mask_token, np.ndarray) or mask_token.dtype != x.dtype:
            got = mask_token.dtype if isinstance(mask_token, np.ndarray) else type(mask_token).__name__
            raise TypeError(f"{name}: mask_token must be an array of {x.dtype}, like x, got {got}")
        if mask_token.shape not in ((width,), (1, width)):
            raise ValueError(f"{name}: mask_token must have shape ({width},) or (1, {width}), got {mask_token.shape}")
        mask_token = np.ascontiguousarray(mask_token)
    ptr, graphs = _graphs(name, ptr, nodes, "nodes")
    return_counts = _check.boolean(name, "return_counts", return_counts)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, graphs)
    seed, threads = _arguments.seed_bits(name, seed), _arguments.threads(name, threads)
    out = np.empty(x.shape, x.dtype)
    draws = (seed, sample_ids, ptr, *rates, compat, row_offset, threads)
    mask, order, kept_nodes = _host.node_mask(x, mask_token, out, *draws)
    nodes_of = (order[:masked], order[masked:]) if ptr is None else (order, kept_nodes)
    if return_counts:
        return CountedNodes(out, *nodes_of, mask, *compact_graphs(mask, ptr, threads=threads))
    return NodeMask(out, *nodes_of, mask)


def _graphs(name: str, ptr: NDArray[np.int64] | None, size: int, what: str) -> tuple[NDArray[np.int64] | None, int]:
    """``ptr`` as the kernels take it, and how many graphs there are."""
    if ptr is None:
        return None, 1
    if not isinstance(ptr, np.ndarray) or ptr.dtype != np.int64:
        got = ptr.dtype if isinstance(ptr, np.ndarray) else type(ptr).__name__
        raise TypeError(f"{name}: ptr must be an int64 array, got {got}")
    if ptr.ndim != 1 or len(ptr) < (2 if size else 1):
        raise ValueError(f"{name}: ptr must have shape (G + 1,) for G graphs, got {ptr.shape}")
    if ptr[0] != 0 or ptr[-1] != size or (ptr[1:] < ptr[:-1]).any():
        numbers = ptr[:8].tolist()
        shown = f"{numbers}" if len(ptr) <= 8 else f"{numbers[:-1]}, ..., {ptr[-1]}"
        raise ValueError(f"{name}: ptr must rise from 0 to {size}, the number of {what}, got {shown}")
    return np.ascontiguousarray(ptr), len(ptr) - 1


def drop_edges(
    edge_index: NDArray[Any],
    p: float = 0.5,
    *,
    ptr: NDArray[np.int64] | None = None,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> MaskOrCounted:
    """Which edges are dropped, each by itself: :func:`sslfast.masking.drop_edges` in NumPy.

    Args:
        edge_index: shape (2, E), E below 2^31.
        p: probability that an edge is dropped, in [0, 1]. Default: 0.5.
        ptr: int64 (G + 1,), where each graph's edges begin, and E. Default: None, one graph.
        mode: ``"exact"`` or ``"compat"``; both are the peer's distribution, the same bits. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True and how often in each graph too.
            Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: number of graph 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (G,), the number of each graph in the draws. Default: None, ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1.

    Returns:
        bool (E,), True where dropped. With ``return_counts`` ``CountedMask(mask, indices, counts)`` with int64 (E,),
        the positions of the dropped edges and then -1, and int64 (G,), how many each graph has.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``edge_index`` has another shape, ``ptr`` does not rise from 0 to E, or a number is out of range.

    Reference: Rong et al., "DropEdge", ICLR 2020.
    """
    name = "drop_edges"
    if not isinstance(edge_index, np.ndarray):
        raise TypeError(f"{name}: edge_index must be an array, got {type(edge_index).__name__}")
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.shape[1] >= 2**31:
        raise ValueError(f"{name}: edge_index must have shape (2, E) with E below 2^31, got {edge_index.shape}")
    p = _check.probability(name, "p", p)
    _check.mode_is_exact(name, mode)
    edges = edge_index.shape[1]
    ptr, graphs = _graphs(name, ptr, edges, "edges")
    return_counts = _check.boolean(name, "return_counts", return_counts)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, graphs)
    seed, threads = _arguments.seed_bits(name, seed), _arguments.threads(name, threads)
    dropped: NDArray[np.bool_] = _host.edge_mask(edges, p, seed, sample_ids, ptr, row_offset, threads)
    return CountedMask(dropped, *compact_graphs(dropped, ptr, threads=threads)) if return_counts else dropped
