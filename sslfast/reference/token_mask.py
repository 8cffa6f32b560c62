"""BERT token masking by definition (Devlin et al., 2019, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows

TOKEN_SELECT, TOKEN_REPLACE = 1, 2


def mask_tokens(
    ids: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    special_tokens_mask: Tensor | None = None,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.mask_tokens`` with an int seed."""
    rows, length = ids.shape
    select = philox_rows(seed, TOKEN_SELECT, rows, -(-length // 4), row_offset, sample_ids).flatten(1)[:, :length]
    kind, word, *_ = philox_rows(seed, TOKEN_REPLACE, rows, length, row_offset, sample_ids).unbind(-1)

    def threshold(p: float) -> int:
        return int(p * 2**32 + 0.5)

    masked = select < threshold(mlm_probability)
    if special_tokens_mask is not None:
        masked &= ~special_tokens_mask.bool()
    replaced = kind < threshold(mask_replace_prob)
    randomised = ~replaced & (kind < threshold(mask_replace_prob) + threshold(random_replace_prob))
    out = torch.where(masked & replaced, mask_token_id, ids)
    out = torch.where(masked & randomised, (word * vocab_size) >> 32, out).to(ids.dtype)
    labels = torch.where(masked, ids, -100)
    positions = torch.full((rows * length,), -1)
    found = masked.flatten().nonzero().flatten()
    positions[: len(found)] = found
    return out, labels, positions
