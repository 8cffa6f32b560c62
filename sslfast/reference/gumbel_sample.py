"""Sampling from a softmax by Gumbel noise (Gumbel, 1954; Clark et al., 2020, section 2), in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows

GUMBEL = 28


def logarithm(x: Tensor) -> Tensor:
    """log(x) of float64, operation by operation as csrc/shared/portable_double.h."""
    m, k = torch.frexp(x)  # m in [0.5, 1)
    m, k = 2 * m, k.double() - 1
    large = m > 1.4142135623730951
    m, k = torch.where(large, 0.5 * m, m), k + large
    s = (m - 1) / (m + 1)
    square = s * s
    series = torch.full_like(x, 1 / 23)
    for n in range(21, 0, -2):
        series = series * square + 1 / n
    return k * 0.693147180369123816490 + (k * 1.90821492927058770002e-10 + (s + s) * series)


def sample_replacements(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    positions: Tensor | None = None,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.sample_replacements`` with an int seed."""
    rows, vocabulary = logits.shape
    words = philox_rows(seed, GUMBEL, rows, -(-vocabulary // 4), row_offset, sample_ids).flatten(1)[:, :vocabulary]
    noise = -logarithm(-logarithm((words.double() + 0.5) * 2.0**-32))
    scores = logits.double() * (1.0 / temperature) + noise
    ids = torch.full((rows,), -1)
    for r in range(rows):
        row = logits[r]
        skipped = positions is not None and int(positions[r]) < 0
        if not skipped and bool((row < torch.inf).all()) and bool((row > -torch.inf).any()):
            ids[r] = (scores[r] == scores[r].max()).nonzero()[0, 0]
    return ids


def electra_inputs(ids: Tensor, masked: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
    """``sslfast.masking.electra_inputs``."""
    corrupted = ids.clone()
    flat = corrupted.view(-1)
    if masked.dtype == torch.bool:
        flat[masked.flatten()] = sampled[masked].to(ids.dtype)
    else:
        for position, id in zip(masked.tolist(), sampled.tolist(), strict=True):
            if position >= 0:
                flat[position] = id
    return corrupted, corrupted != ids
