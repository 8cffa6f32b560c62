"""Masking of item sequences over NumPy arrays."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments
from sslfast.host.mask_indices import compact


class MaskedItems(NamedTuple):
    """Masked items: ``sslfast.masking.MaskedItems`` in NumPy arrays.

    Attributes:
        items: (N, L), dtype of the items, ``mask_id`` where masked.
        labels: (N, L), dtype of the items: the original item where it is to be predicted, -100 elsewhere.
        mask: bool (N, L), True where masked.
    """

    items: NDArray[Any]
    labels: NDArray[Any]
    mask: NDArray[np.bool_]


class CountedItems(NamedTuple):
    """:class:`MaskedItems` and its compact form, what losses take: :func:`mask_items` with ``return_counts``.

    Attributes:
        items, labels, mask: as of :class:`MaskedItems`.
        indices: int64 (N * L,), the flat positions with a label in ascending order, then -1.
        counts: int64 (N,), how many of each row.
    """

    items: NDArray[Any]
    labels: NDArray[Any]
    mask: NDArray[np.bool_]
    indices: NDArray[np.int64]
    counts: NDArray[np.int64]


@overload
def mask_items(
    items: NDArray[Any],
    *,
    mask_id: int,
    mask_ratio: float = ...,
    padding_id: int = ...,
    selection: str = ...,
    last_item_probability: float = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> MaskedItems: ...


@overload
def mask_items(
    items: NDArray[Any],
    *,
    mask_id: int,
    mask_ratio: float = ...,
    padding_id: int = ...,
    selection: str = ...,
    last_item_probability: float = ...,
    mode: str = ...,
    return_counts: Literal[True],
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> CountedItems: ...


@overload
def mask_items(
    items: NDArray[Any],
    *,
    mask_id: int,
    mask_ratio: float = ...,
    padding_id: int = ...,
    selection: str = ...,
    last_item_probability: float = ...,
    mode: str = ...,
    return_counts: bool,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> MaskedItems | CountedItems: ...


def mask_items(
    items: NDArray[Any],
    *,
    mask_id: int,
    mask_ratio: float = 0.2,
    padding_id: int = 0,
    selection: str = "bernoulli",
    last_item_probability: float = 0.0,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> MaskedItems | Any:
    """Masks items of user histories as BERT4Rec does: :func:`sslfast.masking.mask_items` over NumPy arrays.

    Args:
        items: shape (N, L), int64 or int32, any strides. Not changed.
        mask_id: what takes the place of a masked item; not ``padding_id``.
        mask_ratio: share of a row's items that is masked, in (0, 1), in compat mode in (0, 1]. Default: 0.2.
        padding_id: never masked, wherever it is. Default: 0.
        selection: ``"bernoulli"`` or ``"exact"``. Default: ``"bernoulli"``.
        last_item_probability: probability that a row masks its last item alone. Default: 0.0.
        mode: ``"exact"`` or ``"compat"``. Default: ``"exact"``.
        return_counts: whether the result has where labels are too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``MaskedItems(items, labels, mask)``; with ``return_counts``
        ``CountedItems(items, labels, mask, indices, counts)``.

    Raises:
        TypeError: an array has another dtype, or a number or ``return_counts`` the wrong type.
        ValueError: a shape, number or name is out of range.

    Reference: Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
    Transformer", CIKM 2019, section 3.6.
    """
    name = "mask_items"
    if not isinstance(items, np.ndarray):
        raise TypeError(f"{name}: items must be an array, got {type(items).__name__}")
    if items.dtype not in (np.int64, np.int32):
        raise TypeError(f"{name}: items must be int64 or int32, got {items.dtype}")
    if items.ndim != 2:
        raise ValueError(f"{name}: items must have shape (N, L), got {items.shape}")
    bits = 32 if items.dtype == np.int32 else 64
    options = (mask_id, mask_ratio, padding_id, selection, last_item_probability, mode)
    numbers = check_numbers(name, items.shape[1], bits, *options)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    threads = _arguments.threads(name, threads)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, len(items))
    kernel = _host.item_mask_int32 if items.dtype == np.int32 else _host.item_mask_int64
    out = MaskedItems(
        *kernel(
            np.require(items, requirements="A"),  # strides of a packed record are no whole elements: copied
            _arguments.seed_bits(name, seed),
            sample_ids,
            *numbers,
            row_offset,
            threads,
        )
    )
    if not return_counts:
        return out
    labelled = out.mask if numbers[-1] else out.labels != -100  # in compat mode a masked item may have no label
    return CountedItems(*out, *compact(labelled, threads=threads))


def check_numbers(
    function: str,
    length: int,
    bits: int,
    mask_id: int,
    mask_ratio: float,
    padding_id: int,
    selection: str,
    last_item_probability: float,
    mode: str,
) -> tuple[Any, ...]:
    """The numbers as the kernels take them.

    Raises:
        TypeError: a number has the wrong type.
        ValueError: a number or a name is out of range.
    """
    high = 2 ** (bits - 1) - 1
    padding_id = _check.integer(function, "padding_id", padding_id, -high, high)
    mask_id = _check.integer(function, "mask_id", mask_id, 0, high)
    if mask_id == padding_id:
        raise ValueError(f"{function}: mask_id must not be padding_id, got {mask_id}")
    ratio = _check.real(function, "mask_ratio", mask_ratio)
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"{function}: mask_ratio must be in (0, 1], got {mask_ratio}")
    exact = _check.selection_is_exact(function, selection)
    last = _check.probability(function, "last_item_probability", last_item_probability)
    right = _check.mode_is_exact(function, mode)
    _check.keeping_share(function, "mask_ratio", ratio, right)
    most_labels = -1 if right else int(ratio * length)
    return mask_id, padding_id, ratio, exact, last, right, most_labels, right
