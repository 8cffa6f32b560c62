"""Augmentation of token ids: drop, swap, repeat, replace, insert, shuffle, crop, reorder and mask, in one launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import host, ops
from sslfast._arguments import like_ids, numbered_rows, row_lengths
from sslfast.host.token_augment import check_options
from sslfast.host.token_rules import MOST_TOKENS, TokenRule
from sslfast.random import Generator, seed_tensor


class AugmentedTokens(NamedTuple):
    """Augmented ids, where tokens are, and where they come from.

    Attributes:
        ids: (N, W) or (V, N, W), dtype of the ids, ``pad_id`` where no token is.
        attention_mask: bool, shape of ``ids``, True where a token is.
        positions: int64, shape of ``ids``: the column that a token comes from, so that labels and offsets can follow,
            -1 for padding, holes and tokens that were inserted; or None.
    """

    ids: Tensor
    attention_mask: Tensor
    positions: Tensor | None


class SynonymTable(NamedTuple):
    """The entries of every id: those of id i are ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        offsets: int64 (V + 1,), ascending, from 0 to E. What is out of range counts as no entry.
        ids: int64 (E,).
    """

    offsets: Tensor
    ids: Tensor

    def to(self, device: torch.device | str) -> SynonymTable:
        """The table on a device."""
        return SynonymTable(self.offsets.to(device), self.ids.to(device))


def synonym_table(entries: Mapping[int, Sequence[int]] | Tensor, *, vocab_size: int | None = None) -> SynonymTable:
    """The table of synonyms that ``ReplaceTokens`` and ``InsertTokens`` draw from, made once.

    Args:
        entries: the ids that may take the place of an id, by id; or an integer tensor (V, K), row i for id i, where
            numbers below 0 are no entries.
        vocab_size: V, ids from 0 to V - 1 have a row. Default: None, as many as there are entries for.

    Returns:
        ``SynonymTable(offsets, ids)``, on the device of the tensor, or the CPU.

    Raises:
        TypeError: ``entries`` is neither, or an id is no integer.
        ValueError: a shape or id is out of range.
    """
    device = entries.device if isinstance(entries, Tensor) else torch.device("cpu")
    table = host.synonym_table(entries.cpu().numpy() if isinstance(entries, Tensor) else entries, vocab_size=vocab_size)
    return SynonymTable(*(torch.from_numpy(a).to(device) for a in table))


def augment_tokens(
    ids: Tensor,
    rules: TokenRule | Sequence[TokenRule],
    *,
    pad_id: int = 0,
    attention_mask: Tensor | None = None,
    lengths: Tensor | None = None,
    special_ids: Sequence[int] = (),
    special_tokens_mask: Tensor | None = None,
    synonyms: SynonymTable | None = None,
    mask_id: int | None = None,
    choose: str = "all",
    views: int | None = None,
    max_length: int | None = None,
    padding_side: str = "right",
    positions: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> AugmentedTokens:
    """Augments rows of token ids by one rule, or by several in turn, in one launch for all views.

    ``augment_tokens(ids, [DropTokens(0.1), SwapTokens(0.1)], pad_id=0, special_ids=(101, 102))``: the rules are
    ``DropTokens``, ``SwapTokens``, ``RepeatTokens``, ``ReplaceTokens``, ``InsertTokens``, ``ShuffleSpans``,
    ``ShuffleTokens``, ``CropTokens``, ``ReorderTokens`` and ``MaskTokens``; each says what it does. Where a token is,
    ``attention_mask`` says, or ``lengths``, or else that it is not ``pad_id``. Special tokens are never dropped,
    replaced or repeated and keep their places among the others; rules work on the rest as if they were not there, so
    tokens may pass a special one: to keep the two sides of a pair apart, mark one side as special and then the other.
    Rows are padded anew on ``padding_side``.

    The draws depend on (seed, number of the row, view, place of the rule in the list, number of the token among those
    of its row that are not special) alone, not on the amount of padding. ``ids`` is not changed. No host
    synchronisation on a GPU.

    Args:
        ids: shape (N, L), int64 or int32, L < 2^26, any strides.
        rules: a rule, or a tuple or list of up to 8.
        pad_id: what stands where no token is. Default: 0.
        attention_mask: shape of ``ids``, bool or integer, non-zero where a token is. Default: None.
        lengths: integer (N,), tokens of each row, on the other side of ``padding_side``, in [0, L]; on a GPU and under
            torch.compile, where they are not looked at, numbers outside count as the nearest of the two. Default: None.
        special_ids: at most 16 ids that no rule touches. Default: none.
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where no rule touches a token. Default: None.
        synonyms: the table of ``ReplaceTokens`` and ``InsertTokens``. Default: None.
        mask_id: what ``MaskTokens`` writes. Default: None.
        choose: ``"all"`` rules in turn; ``"one"``, a random one for each row and view; ``"distinct"``, one, and another
            in the second of two views. Default: ``"all"``.
        views: V, from 1 to 8, with draws of their own: the result is (V, N, W). Default: None, one view, (N, W).
        max_length: W, at least L; rules that add tokens add no more than fit. Default: None, L, and as much more as
            ``RepeatTokens`` and ``InsertTokens`` may add.
        padding_side: ``"right"`` or ``"left"``. Default: ``"right"``.
        positions: whether to return where tokens come from. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            augmented alike wherever a loader puts it. Default: None, ``row_offset`` and up.

    Returns:
        ``AugmentedTokens(ids, attention_mask, positions)``.

    Raises:
        TypeError: a tensor, rule or number has the wrong type.
        ValueError: a shape, device, number or name is out of range, a rule lacks its table or ``mask_id``, lengths are
            given twice, or the generator is on another GPU.

    Reference: Wei and Zou, "EDA", EMNLP 2019; Wu et al., "ESimCSE", COLING 2022; Yan et al., "ConSERT", ACL 2021; Xie
    et al., "Contrastive Learning for Sequential Recommendation", ICDE 2022.
    """
    name = "augment_tokens"
    check_ids(name, "ids", ids)
    numbers = check_options(
        name,
        ids.shape[1],
        32 if ids.dtype == torch.int32 else 64,
        rules,
        pad_id,
        special_ids,
        synonyms is not None,
        mask_id,
        choose,
        views,
        max_length,
        padding_side,
        positions,
        attention_mask is not None and lengths is not None,
    )
    present, special = (
        None if value is None else like_ids(name, of, value, ids, kind="bool or integer").bool()
        for of, value in (("attention_mask", attention_mask), ("special_tokens_mask", special_tokens_mask))
    )
    lengths = row_lengths(name, lengths, ids.shape[0], ids.device, ids.shape[1])
    table = (None, None) if synonyms is None else _check_table(name, synonyms, ids)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, ids.shape[0], ids.device)
    seed = seed_tensor(generator, function=name, device=ids.device)
    out, mask, places = ops.token_augment(
        ids, present, lengths, special, *table, seed, sample_ids, *numbers, row_offset
    )
    if views is None:
        out, mask, places = out[0], mask[0], places[0]
    return AugmentedTokens(out, mask, places if positions else None)


def check_ids(function: str, name: str, ids: Tensor) -> None:
    """Checks a batch of ids.

    Raises:
        TypeError: if it is no tensor of int64 or int32.
        ValueError: if it is not (N, L), or L is 2^26 or more.
    """
    if not isinstance(ids, Tensor):
        raise TypeError(f"{function}: {name} must be a tensor, got {type(ids).__name__}")
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{function}: {name} must be int64 or int32, got {ids.dtype}")
    if ids.dim() != 2 or ids.shape[1] > MOST_TOKENS:
        raise ValueError(f"{function}: {name} must have shape (N, L) with L < 2^26, got {tuple(ids.shape)}")


def _check_table(function: str, table: SynonymTable, ids: Tensor) -> tuple[Tensor, Tensor]:
    found = tuple(table)
    if len(found) != 2 or not all(isinstance(t, Tensor) and t.dtype == torch.int64 and t.dim() == 1 for t in found):
        raise TypeError(f"{function}: synonyms must be a table that synonym_table made, got {type(table).__name__}")
    offsets, entries = found
    if offsets.shape[0] < 1:
        raise ValueError(f"{function}: synonyms must have offsets (V + 1,), got {tuple(offsets.shape)}")
    if offsets.device != ids.device or entries.device != ids.device:
        raise ValueError(f"{function}: synonyms must be on {ids.device}, like ids, got {offsets.device}")
    return offsets.contiguous(), entries.contiguous()
