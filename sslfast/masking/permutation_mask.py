"""Masks of permutation language modelling."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.host.permutation_mask import check_numbers
from sslfast.masking._arguments import numbered_rows, strided
from sslfast.masking._tokens import like_ids
from sslfast.masking.mask_indices import compact
from sslfast.random import Generator, seed_tensor


class PermutationMask(NamedTuple):
    """What XLNet is pretrained on.

    Attributes:
        ids: (N, L), dtype of the ids, ``mask_token_id`` where a token is to be predicted.
        labels: (N, L), dtype of the ids: the original id where masked, -100 elsewhere.
        perm_mask: (N, L, L): 1 where token i does not see token j.
        target_mapping: (N, L, L), the identity: the target of token i is token i. All rows share one L x L matrix.
        mask: bool (N, L), True where masked.
        order: int64 (N, L): the place of a token in the order of prediction, -1 before all others.
    """

    ids: Tensor
    labels: Tensor
    perm_mask: Tensor
    target_mapping: Tensor
    mask: Tensor
    order: Tensor


class CountedPermutation(NamedTuple):
    """:class:`PermutationMask` and its compact form, what losses take: :func:`permutation_mask` with ``return_counts``.

    Attributes:
        ids, labels, perm_mask, target_mapping, mask, order: as of :class:`PermutationMask`.
        indices: int64 (N * L,), the flat positions of the masked tokens in ascending order, then -1.
        counts: int64 (N,), how many of each row.
    """

    ids: Tensor
    labels: Tensor
    perm_mask: Tensor
    target_mapping: Tensor
    mask: Tensor
    order: Tensor
    indices: Tensor
    counts: Tensor


@overload
def permutation_mask(
    ids: Tensor,
    *,
    mask_token_id: int,
    special_tokens_mask: Tensor | None = ...,
    plm_probability: float = ...,
    max_span_length: int = ...,
    dtype: torch.dtype = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
) -> PermutationMask: ...


@overload
def permutation_mask(
    ids: Tensor,
    *,
    mask_token_id: int,
    special_tokens_mask: Tensor | None = ...,
    plm_probability: float = ...,
    max_span_length: int = ...,
    dtype: torch.dtype = ...,
    mode: str = ...,
    return_counts: Literal[True],
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
) -> CountedPermutation: ...


@overload
def permutation_mask(
    ids: Tensor,
    *,
    mask_token_id: int,
    special_tokens_mask: Tensor | None = ...,
    plm_probability: float = ...,
    max_span_length: int = ...,
    dtype: torch.dtype = ...,
    mode: str = ...,
    return_counts: bool,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
) -> PermutationMask | CountedPermutation: ...


def permutation_mask(
    ids: Tensor,
    *,
    mask_token_id: int,
    special_tokens_mask: Tensor | None = None,
    plm_probability: float = 1 / 6,
    max_span_length: int = 5,
    dtype: torch.dtype = torch.float32,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> PermutationMask | Any:
    """Spans to predict, an order in which they are predicted, and who sees whom, as XLNet is pretrained.

    A row is cut into contexts of ``int(span / plm_probability)`` tokens, each with a span of 1 to ``max_span_length``
    tokens at a random place, all lengths equally likely; what is in a span is masked. The masked tokens are put in a
    random order. A token sees every token that is not masked, and, if it is masked itself, the masked ones before it in
    the order: ``perm_mask[i, j] = mask[j] and order[i] <= order[j]``.

    In ``"exact"`` mode contexts cover what lies between the first and the last token that may be masked, the last
    context is cut off there and its span shortened by the same share (rounded up or down at random, so that it is right
    on average), a row with such tokens has at least one masked, any L will do, and the order is one random permutation.

    ``"compat"`` is the distribution of transformers' ``DataCollatorForPermutationLanguageModeling``, with its defects:
    contexts cover padding too and a span that runs over the end of the row is cut off, so that a short row may have
    nothing to predict; the second half of a row comes after the first and in the same order; and special tokens and
    padding keep a place in the order and see masked tokens before them, while every token sees them: through a special
    token a model of two layers sees what it predicts.

    The draws depend on (seed, number of the row, token or context) alone. ``ids`` is not changed. One launch and no
    host synchronisation on a GPU.

    Args:
        ids: token ids, shape (N, L), int64 or int32, any strides; L even in compat mode.
        mask_token_id: what takes the place of a token that is to be predicted.
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked (special tokens
            and padding). Default: None, any token may be masked.
        plm_probability: share of a context that its span takes, in [1e-6, 1]. Default: 1/6.
        max_span_length: spans have 1 to this many tokens, at most 64. Default: 5.
        dtype: of ``perm_mask`` and ``target_mapping``, ``torch.float32`` or ``torch.bool``. Default: float32.
        mode: ``"exact"`` or ``"compat"``. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.

    Returns:
        ``PermutationMask(ids, labels, perm_mask, target_mapping, mask, order)``; with ``return_counts``
        ``CountedPermutation(ids, labels, perm_mask, target_mapping, mask, order, indices, counts)``.

    Raises:
        TypeError: a tensor has another dtype than above, or a number or ``return_counts`` the wrong type.
        ValueError: a shape, device, number, dtype or mode is out of range, or the generator is on another GPU.

    Reference: Yang et al., "XLNet: Generalized Autoregressive Pretraining for Language Understanding", NeurIPS 2019.
    """
    name = "permutation_mask"
    strided(name, "ids", ids)
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name}: ids must be int64 or int32, got {ids.dtype}")
    if ids.dim() != 2 or ids.shape[1] >= 2**30:
        raise ValueError(f"{name}: ids must have shape (N, L) with L < 2^30, got {tuple(ids.shape)}")
    special = special_tokens_mask
    if special is not None:
        special = like_ids(name, "special_tokens_mask", special, ids, kind="bool or integer").bool()
    bits = 32 if ids.dtype == torch.int32 else 64
    numbers = check_numbers(name, ids.shape[1], bits, mask_token_id, plm_probability, max_span_length, mode)
    if dtype not in (torch.float32, torch.bool):
        raise ValueError(f"{name}: dtype must be float32 or bool, got {dtype}")
    return_counts = _check.boolean(name, "return_counts", return_counts)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, ids.shape[0], ids.device)
    seed = seed_tensor(generator, function=name, device=ids.device)
    token, contexts, compat = numbers
    out, labels, perm_mask, mask, order = ops.permutation_mask(
        ids, special, seed, sample_ids, token, contexts, dtype == torch.bool, compat, row_offset
    )
    target_mapping = torch.eye(ids.shape[1], dtype=dtype, device=ids.device).expand(perm_mask.shape)
    found = PermutationMask(out, labels, perm_mask, target_mapping, mask, order)
    return CountedPermutation(*found, *compact(mask)) if return_counts else found
