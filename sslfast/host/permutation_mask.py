"""XLNet's masks over NumPy arrays."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments
from sslfast.host._tokens import like_ids
from sslfast.host.mask_indices import compact

_MOST_SPANS = 64


class PermutationMask(NamedTuple):
    """What XLNet is pretrained on: ``sslfast.masking.PermutationMask`` in NumPy arrays.

    Attributes:
        ids: (N, L), dtype of the ids, ``mask_token_id`` where a token is to be predicted.
        labels: (N, L), dtype of the ids: the original id where masked, -100 elsewhere.
        perm_mask: (N, L, L): 1 where token i does not see token j.
        target_mapping: (N, L, L), the identity: the target of token i is token i. Read-only, without memory of its own.
        mask: bool (N, L), True where masked.
        order: int64 (N, L): the place of a token in the order of prediction, -1 before all others.
    """

    ids: NDArray[Any]
    labels: NDArray[Any]
    perm_mask: NDArray[Any]
    target_mapping: NDArray[Any]
    mask: NDArray[np.bool_]
    order: NDArray[np.int64]


class CountedPermutation(NamedTuple):
    """:class:`PermutationMask` and its compact form, what losses take: :func:`permutation_mask` with ``return_counts``.

    Attributes:
        ids, labels, perm_mask, target_mapping, mask, order: as of :class:`PermutationMask`.
        indices: int64 (N * L,), the flat positions of the masked tokens in ascending order, then -1.
        counts: int64 (N,), how many of each row.
    """

    ids: NDArray[Any]
    labels: NDArray[Any]
    perm_mask: NDArray[Any]
    target_mapping: NDArray[Any]
    mask: NDArray[np.bool_]
    order: NDArray[np.int64]
    indices: NDArray[np.int64]
    counts: NDArray[np.int64]


@overload
def permutation_mask(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    special_tokens_mask: NDArray[Any] | None = ...,
    plm_probability: float = ...,
    max_span_length: int = ...,
    dtype: Any = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> PermutationMask: ...


@overload
def permutation_mask(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    special_tokens_mask: NDArray[Any] | None = ...,
    plm_probability: float = ...,
    max_span_length: int = ...,
    dtype: Any = ...,
    mode: str = ...,
    return_counts: Literal[True],
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> CountedPermutation: ...


@overload
def permutation_mask(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    special_tokens_mask: NDArray[Any] | None = ...,
    plm_probability: float = ...,
    max_span_length: int = ...,
    dtype: Any = ...,
    mode: str = ...,
    return_counts: bool,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> PermutationMask | CountedPermutation: ...


def permutation_mask(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    special_tokens_mask: NDArray[Any] | None = None,
    plm_probability: float = 1 / 6,
    max_span_length: int = 5,
    dtype: Any = np.float32,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> PermutationMask | Any:
    """The masks of permutation language modelling: :func:`sslfast.masking.permutation_mask` over NumPy arrays.

    Args:
        ids: token ids, shape (N, L), int64 or int32, any strides; L even in compat mode. Not changed.
        mask_token_id: what takes the place of a token that is to be predicted.
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked. Default: None.
        plm_probability: share of a context that its span takes, in [1e-6, 1]. Default: 1/6.
        max_span_length: spans have 1 to this many tokens, at most 64. Default: 5.
        dtype: of ``perm_mask`` and ``target_mapping``, float32 or bool. Default: float32.
        mode: ``"exact"`` or ``"compat"``. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``PermutationMask(ids, labels, perm_mask, target_mapping, mask, order)``; with ``return_counts``
        ``CountedPermutation(ids, labels, perm_mask, target_mapping, mask, order, indices, counts)``.

    Raises:
        TypeError: an array has another dtype, or a number or ``return_counts`` the wrong type.
        ValueError: a shape, number, dtype or mode is out of range.

    Reference: Yang et al., "XLNet: Generalized Autoregressive Pretraining for Language Understanding", NeurIPS 2019.
    """
    name = "permutation_mask"
    if not isinstance(ids, np.ndarray):
        raise TypeError(f"{name}: ids must be an array, got {type(ids).__name__}")
    if ids.dtype not in (np.int64, np.int32):
        raise TypeError(f"{name}: ids must be int64 or int32, got {ids.dtype}")
    if ids.ndim != 2 or ids.shape[1] >= 2**30:
        raise ValueError(f"{name}: ids must have shape (N, L) with L < 2^30, got {ids.shape}")
    special = special_tokens_mask
    if special is not None:
        special = like_ids(name, "special_tokens_mask", special, ids, kind="bool or integer").astype(
            np.bool_, copy=False
        )
    bits = 32 if ids.dtype == np.int32 else 64
    numbers = check_numbers(name, ids.shape[1], bits, mask_token_id, plm_probability, max_span_length, mode)
    if dtype not in (np.float32, np.bool_, bool):
        raise ValueError(f"{name}: dtype must be float32 or bool, got {dtype}")
    as_bool = dtype != np.float32
    return_counts = _check.boolean(name, "return_counts", return_counts)
    threads = _arguments.threads(name, threads)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, len(ids))
    kernel = _host.permutation_mask_int32 if bits == 32 else _host.permutation_mask_int64
    out, labels, perm_mask, mask, order = kernel(
        np.require(ids, requirements="A"),  # strides of a packed record are no whole elements: copied
        special,
        _arguments.seed_bits(name, seed),
        sample_ids,
        *numbers[:2],
        as_bool,
        numbers[2],
        row_offset,
        threads,
    )
    target_mapping = np.broadcast_to(np.eye(ids.shape[1], dtype=perm_mask.dtype), perm_mask.shape)
    found = PermutationMask(out, labels, perm_mask, target_mapping, mask, order)
    return CountedPermutation(*found, *compact(mask, threads=threads)) if return_counts else found


def check_numbers(
    function: str,
    length: int,
    bits: int,
    mask_token_id: int,
    plm_probability: float,
    max_span_length: int,
    mode: str,
) -> tuple[int, list[int], bool]:
    """The mask token, the context of a span of each length, and whether the mode is compat.

    Raises:
        TypeError: a number has the wrong type.
        ValueError: a number or the mode is out of range, or the length is odd in compat mode.
    """
    mask_token_id = _check.integer(function, "mask_token_id", mask_token_id, 0, 2 ** (bits - 1) - 1)
    probability = _check.real(function, "plm_probability", plm_probability)
    if not 1e-6 <= probability <= 1.0:
        raise ValueError(f"{function}: plm_probability must be in [1e-6, 1], got {plm_probability}")
    max_span_length = _check.integer(function, "max_span_length", max_span_length, 1, _MOST_SPANS)
    compat = not _check.mode_is_exact(function, mode)
    if compat and length % 2:
        raise ValueError(f"{function}: ids must have an even length in compat mode, got {length}")
    return mask_token_id, [int(span / probability) for span in range(1, max_span_length + 1)], compat
