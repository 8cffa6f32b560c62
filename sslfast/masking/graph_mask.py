"""Masked nodes and dropped edges of graphs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.random import STREAMS, Generator, seed_tensor


class NodeMask(NamedTuple):
    """Features with masked nodes, and which these are.

    Attributes:
        x: (N, D), the features to encode.
        masked_nodes: int64, ``mask_rate`` of the nodes, in random order: those that become the token first, then those
            that have another's features, then those that stay as they are.
        kept_nodes: int64, the others, in random order.
    """

    x: Tensor
    masked_nodes: Tensor
    kept_nodes: Tensor


def mask_nodes(
    x: Tensor,
    mask_rate: float = 0.3,
    *,
    replace_rate: float = 0.1,
    keep_rate: float = 0.0,
    mask_token: Tensor | None = None,
    generator: Generator = None,
) -> NodeMask:
    """Masks a fixed share of the nodes of a graph, as GraphMAE's ``encoding_mask_noise``.

    Every set of ``N * mask_rate`` nodes, rounded down, is equally likely. Of them ``replace_rate``, rounded down, get
    the features of other random nodes, no node giving twice (a node may give to itself), ``keep_rate`` keep theirs and
    all others become the token. In GraphMAE the token's share is rounded down too, which leaves up to one masked node
    as it was, and where no node is to be replaced all of them are chosen, an error; neither happens here. What a
    masked node had is not read there: a NaN gets through only where the node is the donor of another. The draws
    depend on (seed, N) alone. No host synchronisation on a GPU.

    Args:
        x: features, shape (N, D), any type.
        mask_rate: share of the nodes that is masked, in [0, 1]. Default: 0.3.
        replace_rate: share of the masked nodes that gets another's features. Default: 0.1.
        keep_rate: share of the masked nodes that stays as it is. Default: 0.
        mask_token: D elements, shape (D,) or (1, D), type and device of ``x``, such as a parameter. Default: None,
            zeros.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.

    Returns:
        ``NodeMask(x, masked_nodes, kept_nodes)``; ``x`` is differentiable with respect to ``x`` and ``mask_token``.

    Raises:
        TypeError: ``x``, ``mask_token`` or a number has the wrong type.
        ValueError: a shape, device or share is out of range, or the generator is on another GPU.

    Reference: Hou et al., "GraphMAE: Self-Supervised Masked Graph Autoencoders", KDD 2022, section 3.2.
    """
    name = "mask_nodes"
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: x must be a tensor, got {type(x).__name__}")
    if x.dim() != 2 or x.shape[0] >= 2**31:
        raise ValueError(f"{name}: x must have shape (N, D) with N below 2^31, got {tuple(x.shape)}")
    nodes, width = x.shape
    masked, replaced, kept = _check.masked_nodes(name, nodes, mask_rate, replace_rate, keep_rate)
    token = _token(name, x, mask_token)
    seed = seed_tensor(generator, function=name, device=x.device)
    order, donors = ops.column_permutations(x.detach(), seed, STREAMS["node_order"], 2, nodes).long()
    become_token, become_other = order[: masked - replaced - kept], order[masked - replaced - kept : masked - kept]
    source = torch.arange(nodes, device=x.device).index_copy(0, become_other, donors[:replaced])
    is_token = torch.zeros(nodes, dtype=torch.bool, device=x.device).index_fill(0, become_token, True)
    out = torch.where(is_token[:, None], token.view(1, width), x[source])
    return NodeMask(out, order[:masked], order[masked:])


def _token(name: str, x: Tensor, mask_token: Tensor | None) -> Tensor:
    if mask_token is None:
        return x.new_zeros(x.shape[1])
    if not isinstance(mask_token, Tensor) or mask_token.dtype != x.dtype:
        got = mask_token.dtype if isinstance(mask_token, Tensor) else type(mask_token).__name__
        raise TypeError(f"{name}: mask_token must be a tensor of {x.dtype}, like x, got {got}")
    if mask_token.shape not in ((x.shape[1],), (1, x.shape[1])):
        width, shape = x.shape[1], tuple(mask_token.shape)
        raise ValueError(f"{name}: mask_token must have shape ({width},) or (1, {width}), got {shape}")
    if mask_token.device != x.device:
        raise ValueError(f"{name}: mask_token must be on {x.device}, like x, got {mask_token.device}")
    return mask_token


def drop_edges(edge_index: Tensor, p: float = 0.5, *, generator: Generator = None) -> Tensor:
    """Which edges are dropped, each by itself with probability ``p``.

    The distribution of PyTorch Geometric's ``dropout_edge``, whose mask of the edges that stay is ``~drop_edges(...)``.
    A mask has a fixed size: no host synchronisation on a GPU, and a layer that takes edge weights takes
    ``(~dropped).float()``; ``edge_index[:, ~dropped]`` is the short form, which does wait. An edge and its reverse
    count as two. The draws depend on (seed, number of the edge) alone.

    Args:
        edge_index: shape (2, E).
        p: probability that an edge is dropped, in [0, 1]. Default: 0.5.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.

    Returns:
        bool (E,), True where dropped.

    Raises:
        TypeError: ``edge_index`` is not a tensor, or ``p`` not a number.
        ValueError: ``edge_index`` has another shape, ``p`` is out of range, or the generator is on another GPU.

    Reference: Rong et al., "DropEdge: Towards Deep Graph Convolutional Networks on Node Classification", ICLR 2020.
    """
    name = "drop_edges"
    if not isinstance(edge_index, Tensor):
        raise TypeError(f"{name}: edge_index must be a tensor, got {type(edge_index).__name__}")
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise ValueError(f"{name}: edge_index must have shape (2, E), got {tuple(edge_index.shape)}")
    p = _check.probability(name, "p", p)
    edges = edge_index.shape[1]
    seed = seed_tensor(generator, function=name, device=edge_index.device)
    words = ops.philox_words(edge_index.detach(), seed, STREAMS["edge_drop"], 1, (edges + 3) // 4, 0)
    return (words.flatten()[:edges].long() & 0xFFFFFFFF) < int(p * 2**32 + 0.5)
