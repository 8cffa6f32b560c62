"""Masked nodes by definition (GraphMAE: Hou et al., 2022, section 3.2), and dropped edges, graph by graph."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows
from sslfast.reference.random_order import random_order

NODE_ORDER, EDGE_DROP = 80, 81
DONORS = 2**31  # where the counters of compat's donors begin


def mask_nodes(
    x: Tensor,
    mask_rate: float = 0.3,
    *,
    replace_rate: float = 0.1,
    keep_rate: float = 0.0,
    mask_token: Tensor | None = None,
    ptr: Tensor | None = None,
    mode: str = "exact",
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``sslfast.masking.mask_nodes`` with an int seed."""
    out, mask = x.clone(), torch.zeros(len(x), dtype=torch.bool)
    token = x.new_zeros(x.shape[1]) if mask_token is None else mask_token.flatten().to(x.dtype)
    masked_nodes, kept_nodes = [], []
    for graph, begin, end in _graphs(ptr, len(x), row_offset, sample_ids):
        nodes = end - begin
        order = begin + random_order(nodes, seed, NODE_ORDER, graph)
        exact = mode != "compat"  # compat: the shares after a float's error
        masked = _share(nodes, mask_rate, exact)
        replaced, stay = (_share(masked, rate, exact) for rate in (replace_rate, keep_rate))
        if not exact:
            donors = begin + random_order(nodes, seed, NODE_ORDER, graph, DONORS)[:replaced]
        elif masked == nodes:
            replaced, donors = 0, order[:0]
        else:
            donors = order[masked + torch.arange(replaced) % (nodes - masked)]
        rest = masked - replaced
        if not exact and replaced:
            rest = min(rest, _share(masked, 1 - replace_rate, exact))
        tokens = max(rest - stay, 0)
        out[order[:tokens]] = token
        out[order[tokens : tokens + replaced]] = x[donors]
        mask[order[:masked]] = True
        holes = [torch.full_like(part, -1) for part in (order[masked:], order[:masked])]
        masked_nodes += [order[:masked]] if ptr is None else [order[:masked], holes[0]]
        kept_nodes += [order[masked:]] if ptr is None else [holes[1], order[masked:]]
    return out, torch.cat(masked_nodes), torch.cat(kept_nodes), mask


def _share(total: int, rate: float, exact: bool) -> int:
    return int(total * Fraction(str(rate))) if exact else int(total * rate)


def drop_edges(
    edge_index: Tensor,
    p: float = 0.5,
    *,
    ptr: Tensor | None = None,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.drop_edges`` with an int seed."""
    dropped = torch.zeros(edge_index.shape[1], dtype=torch.bool)
    for graph, begin, end in _graphs(ptr, len(dropped), row_offset, sample_ids):
        words = philox_rows(seed, EDGE_DROP, 1, -(-(end - begin) // 4), graph).flatten()[: end - begin]
        dropped[begin:end] = words < int(p * 2**32 + 0.5)
    return dropped


def _graphs(ptr: Tensor | None, size: int, row_offset: int, sample_ids: Tensor | None) -> list[tuple[int, int, int]]:
    """The number of each graph in the draws, and where it begins and ends."""
    ends = [0, size] if ptr is None else ptr.tolist()
    numbers = range(row_offset, row_offset + len(ends) - 1) if sample_ids is None else sample_ids.tolist()
    return list(zip(numbers, ends[:-1], ends[1:], strict=True))
