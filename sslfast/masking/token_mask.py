"""Token masking for masked language modelling."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.masking._arguments import numbered_rows
from sslfast.random import Generator, seed_tensor


def mask_tokens(
    ids: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    special_tokens_mask: Tensor | None = None,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Masks token ids as BERT does: of the masked tokens 80 % become ``[MASK]``, 10 % a random id, 10 % stay.

    Every non-special token is masked independently with ``mlm_probability``, like
    ``transformers.DataCollatorForLanguageModeling``, whose random words are also uniform over the whole vocabulary.
    The draws depend on (seed, number of the row, token position) alone, so a shard of a batch, another device or
    another thread count masks the same tokens. ``ids`` is not changed. No host synchronisation on a GPU.

    Args:
        ids: token ids, shape (N, L) or (L,), int64 or int32, any strides.
        mask_token_id: the id of ``[MASK]``, in [0, ``vocab_size``).
        vocab_size: random ids are uniform in [0, ``vocab_size``).
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked (special tokens
            and padding). Default: None, any token may be masked.
        mlm_probability: probability that a token is masked. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``mask_token_id``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.

    Returns:
        ``(ids, labels, masked)``. ``ids`` and ``labels`` have the shape and dtype of the input; ``labels`` holds the
        original id where masked and -100 elsewhere. ``masked`` is int64 of shape (N * L,): the flat positions of the
        masked tokens in ascending order, then -1. Its fixed size needs no synchronisation on a GPU;
        ``masked[masked >= 0]`` is the short form.

    Raises:
        TypeError: ``ids``, ``special_tokens_mask`` or ``sample_ids`` is not a tensor of the dtypes above, or a number
            has the wrong type.
        ValueError: a shape, device, probability or id is out of range, the two replacement shares exceed 1, or the
            generator is on another GPU.

    Reference: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, section 3.1.
    """
    name = "mask_tokens"
    if not isinstance(ids, Tensor):
        raise TypeError(f"{name}: ids must be a tensor, got {type(ids).__name__}")
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name}: ids must be int64 or int32, got {ids.dtype}")
    if ids.dim() not in (1, 2):
        raise ValueError(f"{name}: ids must have shape (N, L) or (L,), got {tuple(ids.shape)}")
    special = special_tokens_mask
    if special is not None:
        if not isinstance(special, Tensor) or special.is_floating_point() or special.is_complex():
            got: object = special.dtype if isinstance(special, Tensor) else type(special).__name__
            raise TypeError(f"{name}: special_tokens_mask must be a bool or integer tensor, got {got}")
        if special.shape != ids.shape:
            expected = f"must have shape {tuple(ids.shape)}, like ids"
            raise ValueError(f"{name}: special_tokens_mask {expected}, got {tuple(special.shape)}")
        if special.device != ids.device:
            raise ValueError(f"{name}: special_tokens_mask must be on {ids.device}, like ids, got {special.device}")
        special = special.bool() if special.dim() == 2 else special.bool()[None]
    vocab_size = _check.integer(name, "vocab_size", vocab_size, 1, 2**31 if ids.dtype == torch.int32 else 2**32)
    mask_token_id = _check.integer(name, "mask_token_id", mask_token_id, 0, vocab_size - 1)
    mlm_probability = _check.probability(name, "mlm_probability", mlm_probability)
    mask_replace_prob = _check.probability(name, "mask_replace_prob", mask_replace_prob)
    random_replace_prob = _check.probability(name, "random_replace_prob", random_replace_prob)
    if mask_replace_prob + random_replace_prob > 1:
        shares = f"{mask_replace_prob} + {random_replace_prob}"
        raise ValueError(f"{name}: mask_replace_prob + random_replace_prob must be at most 1, got {shares}")
    rows = ids if ids.dim() == 2 else ids[None]
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, rows.shape[0], ids.device)
    masked_ids, labels, masked = ops.token_mask(
        rows,
        special,
        seed_tensor(generator, function=name, device=ids.device),
        sample_ids,
        mask_token_id,
        vocab_size,
        mlm_probability,
        mask_replace_prob,
        random_replace_prob,
        row_offset,
    )
    return masked_ids.view(ids.shape), labels.view(ids.shape), masked
