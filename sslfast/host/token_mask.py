"""Token masking over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments


def mask_tokens(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    vocab_size: int,
    special_tokens_mask: NDArray[Any] | None = None,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Masks token ids as BERT does: :func:`sslfast.masking.mask_tokens` over NumPy arrays.

    Args:
        ids: token ids, shape (N, L) or (L,), int64 or int32, any strides. Not changed.
        mask_token_id: the id of ``[MASK]``, in [0, ``vocab_size``).
        vocab_size: random ids are uniform in [0, ``vocab_size``).
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked (special tokens
            and padding). Default: None, any token may be masked.
        mlm_probability: probability that a token is masked. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``mask_token_id``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``(ids, labels, masked)``. ``ids`` and ``labels`` have the shape and dtype of the input; ``labels`` holds the
        original id where masked and -100 elsewhere. ``masked`` is int64 of shape (N * L,): the flat positions of the
        masked tokens in ascending order, then -1.

    Raises:
        TypeError: ``ids``, ``special_tokens_mask`` or ``sample_ids`` is not an array of the dtypes above, or a number
            has the wrong type.
        ValueError: a shape, probability or id is out of range, or the two replacement shares exceed 1.

    Reference: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, section 3.1.
    """
    name = "mask_tokens"
    if not isinstance(ids, np.ndarray):
        raise TypeError(f"{name}: ids must be an array, got {type(ids).__name__}")
    if ids.dtype not in (np.int64, np.int32):
        raise TypeError(f"{name}: ids must be int64 or int32, got {ids.dtype}")
    if ids.ndim not in (1, 2):
        raise ValueError(f"{name}: ids must have shape (N, L) or (L,), got {ids.shape}")
    special = special_tokens_mask
    if special is not None:
        if not isinstance(special, np.ndarray) or special.dtype.kind not in "biu":
            got = str(special.dtype) if isinstance(special, np.ndarray) else type(special).__name__
            raise TypeError(f"{name}: special_tokens_mask must be a bool or integer array, got {got}")
        if special.shape != ids.shape:
            raise ValueError(f"{name}: special_tokens_mask must have shape {ids.shape}, like ids, got {special.shape}")
        special = np.atleast_2d(special.astype(np.bool_, copy=False))
    vocab_size = _check.integer(name, "vocab_size", vocab_size, 1, 2**31 if ids.dtype == np.int32 else 2**32)
    mask_token_id = _check.integer(name, "mask_token_id", mask_token_id, 0, vocab_size - 1)
    mlm_probability = _check.probability(name, "mlm_probability", mlm_probability)
    mask_replace_prob = _check.probability(name, "mask_replace_prob", mask_replace_prob)
    random_replace_prob = _check.probability(name, "random_replace_prob", random_replace_prob)
    if mask_replace_prob + random_replace_prob > 1:
        got = f"{mask_replace_prob} + {random_replace_prob}"
        raise ValueError(f"{name}: mask_replace_prob + random_replace_prob must be at most 1, got {got}")
    rows = np.atleast_2d(np.require(ids, requirements="A"))  # strides of a packed record are no whole elements: copied
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, len(rows))
    masked_ids, labels, masked = _host.token_mask(
        rows,
        special,
        _arguments.seed_bits(name, seed),
        sample_ids,
        mask_token_id,
        vocab_size,
        mlm_probability,
        mask_replace_prob,
        random_replace_prob,
        row_offset,
        _arguments.threads(name, threads),
    )
    return masked_ids.reshape(ids.shape), labels.reshape(ids.shape), masked
