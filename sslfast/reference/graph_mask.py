"""Masked nodes by definition (GraphMAE: Hou et al., 2022, section 3.2), and dropped edges."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from sslfast.reference.feature_corruption import shuffled
from sslfast.reference.philox import philox_rows

NODE_ORDER, EDGE_DROP = 80, 81


def mask_nodes(
    x: Tensor,
    mask_rate: float = 0.3,
    *,
    replace_rate: float = 0.1,
    keep_rate: float = 0.0,
    mask_token: Tensor | None = None,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.mask_nodes`` with an int seed."""
    nodes = len(x)
    words = philox_rows(seed, NODE_ORDER, 2, -(-nodes // 4)).flatten(1).tolist()
    order, donors = (shuffled(nodes, column) for column in words)
    masked = int(nodes * Fraction(str(mask_rate)))
    replaced, kept = (int(masked * Fraction(str(rate))) for rate in (replace_rate, keep_rate))
    out = x.clone()
    token = torch.zeros_like(x[0]) if mask_token is None else mask_token.flatten().to(x.dtype)
    out[order[: masked - replaced - kept]] = token
    out[order[masked - replaced - kept : masked - kept]] = x[donors[:replaced]]
    return out, order[:masked], order[masked:]


def drop_edges(edge_index: Tensor, p: float = 0.5, *, seed: int) -> Tensor:
    """``sslfast.masking.drop_edges`` with an int seed."""
    edges = edge_index.shape[1]
    words = philox_rows(seed, EDGE_DROP, 1, -(-edges // 4)).flatten()[:edges]
    return words < int(p * 2**32 + 0.5)
