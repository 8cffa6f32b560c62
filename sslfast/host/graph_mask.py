"""Masked nodes and dropped edges over NumPy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments

_NODE_ORDER, _EDGE_DROP = 80, 81


class NodeMask(NamedTuple):
    """Features with masked nodes: ``sslfast.masking.NodeMask`` in NumPy arrays.

    Attributes:
        x: (N, D), the features to encode.
        masked_nodes: int64, the masked nodes, in random order.
        kept_nodes: int64, the others, in random order.
    """

    x: NDArray[Any]
    masked_nodes: NDArray[np.int64]
    kept_nodes: NDArray[np.int64]


def mask_nodes(
    x: NDArray[Any],
    mask_rate: float = 0.3,
    *,
    replace_rate: float = 0.1,
    keep_rate: float = 0.0,
    mask_token: NDArray[Any] | None = None,
    seed: int,
    threads: int = 1,
) -> NodeMask:
    """Masks a fixed share of the nodes of a graph: :func:`sslfast.masking.mask_nodes` in NumPy, said there in full.

    Args:
        x: features, shape (N, D). Not changed.
        mask_rate: share of the nodes that is masked, in [0, 1]. Default: 0.3.
        replace_rate: share of the masked nodes that gets another's features. Default: 0.1.
        keep_rate: share of the masked nodes that stays as it is. Default: 0.
        mask_token: D elements, shape (D,) or (1, D), type of ``x``. Default: None, zeros.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        threads: OpenMP threads; the result is the same for any number. Default: 1.

    Returns:
        ``NodeMask(x, masked_nodes, kept_nodes)``.

    Raises:
        TypeError: ``x``, ``mask_token`` or a number has the wrong type.
        ValueError: a shape or share is out of range.

    Reference: Hou et al., "GraphMAE: Self-Supervised Masked Graph Autoencoders", KDD 2022, section 3.2.
    """
    name = "mask_nodes"
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name}: x must be an array, got {type(x).__name__}")
    if x.ndim != 2 or len(x) >= 2**31:
        raise ValueError(f"{name}: x must have shape (N, D) with N below 2^31, got {x.shape}")
    nodes, width = x.shape
    masked, replaced, kept = _check.masked_nodes(name, nodes, mask_rate, replace_rate, keep_rate)
    if mask_token is not None:
        if not isinstance(mask_token, np.ndarray) or mask_token.dtype != x.dtype:
            got = mask_token.dtype if isinstance(mask_token, np.ndarray) else type(mask_token).__name__
            raise TypeError(f"{name}: mask_token must be an array of {x.dtype}, like x, got {got}")
        if mask_token.shape not in ((width,), (1, width)):
            raise ValueError(f"{name}: mask_token must have shape ({width},) or (1, {width}), got {mask_token.shape}")
    seed, threads = _arguments.seed_bits(name, seed), _arguments.threads(name, threads)
    order, donors = _host.column_permutations(seed, _NODE_ORDER, 2, nodes, threads).astype(np.int64)
    out = x.copy()
    out[order[masked - replaced - kept : masked - kept]] = x[donors[:replaced]]
    out[order[: masked - replaced - kept]] = 0 if mask_token is None else mask_token
    return NodeMask(out, order[:masked], order[masked:])


def drop_edges(edge_index: NDArray[Any], p: float = 0.5, *, seed: int, threads: int = 1) -> NDArray[np.bool_]:
    """Which edges are dropped, each by itself: :func:`sslfast.masking.drop_edges` in NumPy.

    Args:
        edge_index: shape (2, E).
        p: probability that an edge is dropped, in [0, 1]. Default: 0.5.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        threads: OpenMP threads; the result is the same for any number. Default: 1.

    Returns:
        bool (E,), True where dropped.

    Raises:
        TypeError: ``edge_index`` is not an array, or a number has the wrong type.
        ValueError: ``edge_index`` has another shape, or a number is out of range.

    Reference: Rong et al., "DropEdge", ICLR 2020.
    """
    name = "drop_edges"
    if not isinstance(edge_index, np.ndarray):
        raise TypeError(f"{name}: edge_index must be an array, got {type(edge_index).__name__}")
    if edge_index.ndim != 2 or edge_index.shape[0] != 2:
        raise ValueError(f"{name}: edge_index must have shape (2, E), got {edge_index.shape}")
    p = _check.probability(name, "p", p)
    seed, threads = _arguments.seed_bits(name, seed), _arguments.threads(name, threads)
    edges = edge_index.shape[1]
    words = _host.philox_words(seed, _EDGE_DROP, 1, (edges + 3) // 4, 0, threads).view(np.uint32)
    return words.ravel()[:edges].astype(np.int64) < int(p * 2**32 + 0.5)
