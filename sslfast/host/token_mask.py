"""Token masking over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments, _tokens


def mask_tokens(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    vocab_size: int,
    special_tokens_mask: NDArray[Any] | None = None,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    random_token_ids: NDArray[np.int64] | None = None,
    min_masked: int = 0,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> tuple[NDArray[Any], ...]:
    """Masks token ids as BERT does: :func:`sslfast.masking.mask_tokens` over NumPy arrays.

    Args:
        ids: token ids, shape (N, L) or (L,), int64, int32 or int16, any strides, in [0, ``vocab_size``). Not
            changed.
        mask_token_id: the id of ``[MASK]``, in [0, ``vocab_size``).
        vocab_size: random ids are uniform in [0, ``vocab_size``).
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked (special tokens
            and padding). Default: None, any token may be masked.
        mlm_probability: probability that a token is masked. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``mask_token_id``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        random_token_ids: int64 (R,), the ids that random words are drawn from, in [0, ``vocab_size``): an id that is
            there twice is drawn twice as often. Default: None, every id below ``vocab_size``, special ones too.
        min_masked: 0, or 1 for at least one masked token in every row that has an ordinary one: a row without any gets
            one of its ordinary tokens, each with equal probability. Default: 0, so that 4 % of the rows of 20 tokens
            have none, and a batch can have none (its mean loss is NaN).
        mode: ``"exact"``, or ``"compat"``, in which ids are not looked at. Default: ``"exact"``.
        return_counts: whether the result has how many tokens of each row are masked. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``(ids, labels, masked)``. ``ids`` and ``labels`` have the shape and dtype of the input; ``labels`` holds the
        original id where masked and -100 elsewhere. ``masked`` is int64 of shape (N * L,): the flat positions of the
        masked tokens in ascending order, then -1. With ``return_counts``, ``(ids, labels, masked, counts)``: ``counts``
        is int64 (N,).

    Raises:
        TypeError: ``ids``, ``special_tokens_mask``, ``random_token_ids`` or ``sample_ids`` is not an array of a dtype
            above, or a number or ``return_counts`` has the wrong type.
        ValueError: a shape, probability or id is out of range, the two replacement shares exceed 1, or there is no such
            mode.

    Reference: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, section 3.1.
    """
    name = "mask_tokens"
    rows = _tokens.token_ids(name, ids)
    special = special_tokens_mask
    if special is not None:
        special = _tokens.like_ids(name, "special_tokens_mask", special, ids, kind="bool or integer")
        special = special.astype(np.bool_, copy=False)
    rule = _tokens.replacement(
        name, ids, mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_token_ids
    )
    mlm_probability = _check.probability(name, "mlm_probability", mlm_probability)
    min_masked = _check.integer(name, "min_masked", min_masked, 0, 1)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, len(rows))
    exact = _check.mode_is_exact(name, mode)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    masked_ids, labels, masked, counts = _host.token_mask(
        rows,
        special,
        _arguments.seed_bits(name, seed),
        sample_ids,
        rule.mask_token_id,
        rule.vocab_size,
        mlm_probability,
        rule.mask_replace_prob,
        rule.random_replace_prob,
        row_offset,
        rule.random_token_ids,
        min_masked,
        exact,
        _arguments.threads(name, threads),
    )
    result = (masked_ids.reshape(ids.shape), labels.reshape(ids.shape), masked)
    return (*result, counts) if return_counts else result
