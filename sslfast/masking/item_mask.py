"""Masking of item sequences for sequential recommendation."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.host.item_mask import check_numbers
from sslfast.masking._arguments import numbered_rows, strided
from sslfast.masking.mask_indices import compact
from sslfast.random import Generator, seed_tensor


class MaskedItems(NamedTuple):
    """Masked items, what they were, and where they are.

    Attributes:
        items: (N, L), dtype of the items, ``mask_id`` where masked.
        labels: (N, L), dtype of the items: the original item where it is to be predicted, -100 elsewhere.
        mask: bool (N, L), True where masked; ``mask_indices(mask)`` is its compact form.
    """

    items: Tensor
    labels: Tensor
    mask: Tensor


class CountedItems(NamedTuple):
    """:class:`MaskedItems` and its compact form, what losses take: :func:`mask_items` with ``return_counts``.

    Attributes:
        items, labels, mask: as of :class:`MaskedItems`.
        indices: int64 (N * L,), the flat positions with a label in ascending order, then -1.
        counts: int64 (N,), how many of each row.
    """

    items: Tensor
    labels: Tensor
    mask: Tensor
    indices: Tensor
    counts: Tensor


@overload
def mask_items(
    items: Tensor,
    *,
    mask_id: int,
    mask_ratio: float = ...,
    padding_id: int = ...,
    selection: str = ...,
    last_item_probability: float = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
) -> MaskedItems: ...


@overload
def mask_items(
    items: Tensor,
    *,
    mask_id: int,
    mask_ratio: float = ...,
    padding_id: int = ...,
    selection: str = ...,
    last_item_probability: float = ...,
    mode: str = ...,
    return_counts: Literal[True],
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
) -> CountedItems: ...


@overload
def mask_items(
    items: Tensor,
    *,
    mask_id: int,
    mask_ratio: float = ...,
    padding_id: int = ...,
    selection: str = ...,
    last_item_probability: float = ...,
    mode: str = ...,
    return_counts: bool,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
) -> MaskedItems | CountedItems: ...


def mask_items(
    items: Tensor,
    *,
    mask_id: int,
    mask_ratio: float = 0.2,
    padding_id: int = 0,
    selection: str = "bernoulli",
    last_item_probability: float = 0.0,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> MaskedItems | Any:
    """Masks items of user histories as BERT4Rec does: each becomes ``mask_id`` and is to be predicted from the rest.

    ``selection="bernoulli"`` masks each item by itself with ``mask_ratio``; ``"exact"`` masks ``round(items *
    mask_ratio)`` of a row's items, every such set equally likely. Padding is never masked, on whatever side it is, and
    in a row with items at least one is; in a row of two or more at least one is kept: ``"exact"`` masks at most all but
    one, and where ``"bernoulli"`` drew none, or all, a random item is masked, or kept. A row of one item is masked
    whole. With ``last_item_probability`` a row
    masks its last item alone: what is asked when the next item is to be recommended, so BERT4Rec mixes such rows in;
    1.0 is the form for evaluation.

    ``mode="compat"`` is the distribution of RecBole's ``MaskItemSequence``, with its defects: a row may have no masked
    item, or all masked; only the last ``int(mask_ratio * L)`` masked items of a row have a label, although all are
    masked in the input, so that rows with more than the average teach less; and a masked item in column 0 never has
    one.

    The draws depend on (seed, number of the row, number of the item among the row's items) alone, not on the side or
    amount of padding. So in both modes each row draws by itself whether it masks its last item alone, where RecBole's
    ``ft_ratio`` is drawn once for all rows of a batch, a difference on purpose: a sample drawn by its number knows no
    batch. The share of such rows is the same. ``items`` is not changed. One launch and no host synchronisation on a
    GPU.

    Args:
        items: item ids, shape (N, L), int64 or int32, any strides.
        mask_id: what takes the place of a masked item; not ``padding_id``.
        mask_ratio: share of a row's items that is masked, in (0, 1), in compat mode in (0, 1]. Default: 0.2.
        padding_id: never masked, wherever it is. Default: 0.
        selection: ``"bernoulli"`` or ``"exact"``. Default: ``"bernoulli"``.
        last_item_probability: probability that a row masks its last item alone. Default: 0.0.
        mode: ``"exact"`` or ``"compat"``. Default: ``"exact"``.
        return_counts: whether the result has where labels are too, on a GPU two launches more, in compat mode three.
            Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.

    Returns:
        ``MaskedItems(items, labels, mask)``; with ``return_counts``
        ``CountedItems(items, labels, mask, indices, counts)``.

    Raises:
        TypeError: ``items`` or ``sample_ids`` is not a tensor of the dtypes above, or a number or
            ``return_counts`` has the wrong type.
        ValueError: a shape, device, number or name is out of range, or the generator is on another GPU.

    Reference: Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
    Transformer", CIKM 2019, section 3.6.
    """
    name = "mask_items"
    strided(name, "items", items)
    if items.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name}: items must be int64 or int32, got {items.dtype}")
    if items.dim() != 2:
        raise ValueError(f"{name}: items must have shape (N, L), got {tuple(items.shape)}")
    bits = 32 if items.dtype == torch.int32 else 64
    options = (mask_id, mask_ratio, padding_id, selection, last_item_probability, mode)
    numbers = check_numbers(name, items.shape[1], bits, *options)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, items.shape[0], items.device)
    seed = seed_tensor(generator, function=name, device=items.device)
    out = MaskedItems(*ops.item_mask(items, seed, sample_ids, *numbers, row_offset))
    if not return_counts:
        return out
    labelled = out.mask if numbers[-1] else out.labels != -100  # in compat mode a masked item may have no label
    return CountedItems(*out, *compact(labelled))
