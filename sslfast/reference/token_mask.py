"""BERT token masking by definition (Devlin et al., 2019, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows

TOKEN_SELECT, TOKEN_REPLACE = 1, 2


def threshold(p: float) -> int:
    """``word < threshold(p)`` has probability p."""
    return int(p * 2**32 + 0.5)


def masked_outputs(
    ids: Tensor,
    masked: Tensor,
    kind: Tensor,
    word: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    mask_replace_prob: float,
    random_replace_prob: float,
    random_token_ids: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, labels and positions, given what is masked and two words for each token."""
    replaced = kind < threshold(mask_replace_prob)
    randomised = ~replaced & (kind < threshold(mask_replace_prob) + threshold(random_replace_prob))
    table = torch.arange(vocab_size) if random_token_ids is None else random_token_ids
    out = torch.where(masked & replaced, mask_token_id, ids)
    out = torch.where(masked & randomised, table[(word * len(table)) >> 32], out).to(ids.dtype)
    labels = torch.where(masked, ids, -100)
    positions = torch.full((ids.numel(),), -1)
    found = masked.flatten().nonzero().flatten()
    positions[: len(found)] = found
    return out, labels, positions


def mask_tokens(
    ids: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    special_tokens_mask: Tensor | None = None,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    random_token_ids: Tensor | None = None,
    min_masked: int = 0,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.mask_tokens`` with an int seed."""
    rows, length = ids.shape
    select = philox_rows(seed, TOKEN_SELECT, rows, -(-length // 4), row_offset, sample_ids).flatten(1)[:, :length]
    kind, word, *_ = philox_rows(seed, TOKEN_REPLACE, rows, length, row_offset, sample_ids).unbind(-1)

    special = torch.zeros(rows, length) if special_tokens_mask is None else special_tokens_mask
    masked = (select < threshold(mlm_probability)) & ~special.bool()
    if min_masked:
        for r in range(rows):
            ordinary = [(int(select[r, t]), t) for t in range(length) if not special[r, t]]
            if ordinary and not masked[r].any():
                masked[r, min(ordinary)[1]] = True
    return masked_outputs(
        ids,
        masked,
        kind,
        word,
        mask_token_id=mask_token_id,
        vocab_size=vocab_size,
        mask_replace_prob=mask_replace_prob,
        random_replace_prob=random_replace_prob,
        random_token_ids=random_token_ids,
    )
