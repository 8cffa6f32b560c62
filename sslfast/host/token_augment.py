"""Augmentation of token ids over NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments
from sslfast.host._token_rule_numbers import check_rules, grown_length, numbers_of
from sslfast.host._tokens import like_ids
from sslfast.host.token_rules import MOST_TOKENS, InsertTokens, MaskTokens, ReplaceTokens, TokenRule

_CHOICES = {"all": 0, "one": 1, "distinct": 2}
_MOST_VIEWS = 8
_MOST_SPECIAL_IDS = 16


class AugmentedTokens(NamedTuple):
    """Augmented ids: ``sslfast.augment.AugmentedTokens`` in NumPy arrays.

    Attributes:
        ids: (N, W) or (V, N, W), dtype of the ids, ``pad_id`` where no token is.
        attention_mask: bool, shape of ``ids``, True where a token is.
        positions: int64, shape of ``ids``: the column that a token comes from, -1 for padding, holes and tokens that
            were inserted; or None.
    """

    ids: NDArray[Any]
    attention_mask: NDArray[np.bool_]
    positions: NDArray[np.int64] | None


class SynonymTable(NamedTuple):
    """The entries of every id: those of id i are ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        offsets: int64 (V + 1,), ascending, from 0 to E.
        ids: int64 (E,).
    """

    offsets: NDArray[np.int64]
    ids: NDArray[np.int64]


def synonym_table(
    entries: Mapping[int, Sequence[int]] | NDArray[Any], *, vocab_size: int | None = None
) -> SynonymTable:
    """The table of synonyms that ``ReplaceTokens`` and ``InsertTokens`` draw from.

    Args:
        entries: the ids that may take the place of an id, by id; or an integer array (V, K), row i for id i, where
            numbers below 0 are no entries.
        vocab_size: V, ids from 0 to V - 1 have a row. Default: None, as many as there are entries for.

    Returns:
        ``SynonymTable(offsets, ids)``.

    Raises:
        TypeError: ``entries`` is neither, or an id is no integer.
        ValueError: a shape or id is out of range.
    """
    name = "synonym_table"
    if isinstance(entries, np.ndarray):
        if entries.dtype.kind not in "iu":
            raise TypeError(f"{name}: entries must be a mapping or an integer array, got {entries.dtype}")
        if entries.ndim != 2:
            raise ValueError(f"{name}: entries must have shape (V, K), got {entries.shape}")
        if vocab_size is not None and vocab_size != len(entries):
            raise ValueError(f"{name}: vocab_size must be {len(entries)}, the rows of entries, got {vocab_size}")
        known = entries >= 0
        offsets = np.concatenate([[0], known.sum(1).cumsum()]).astype(np.int64)
        return SynonymTable(offsets, entries[known].astype(np.int64))
    if not isinstance(entries, Mapping):
        raise TypeError(f"{name}: entries must be a mapping or an integer array, got {type(entries).__name__}")
    most = 2**31 - 2 if vocab_size is None else _check.integer(name, "vocab_size", vocab_size, 1, 2**31 - 1) - 1
    keys = [_check.integer(name, "an id", key, 0, most) for key in entries]
    size = max(keys, default=-1) + 1 if vocab_size is None else vocab_size
    counts = np.zeros(size, np.int64)
    for key in keys:
        if isinstance(entries[key], (str, bytes)) or not isinstance(entries[key], (Sequence, np.ndarray)):
            got = type(entries[key]).__name__
            raise TypeError(f"{name}: entries must hold lists of ids, got {got} for {key}")
        counts[key] = len(entries[key])
    flat = [_check.integer(name, "an entry", i, 0, 2**31 - 1) for key in sorted(keys) for i in entries[key]]
    return SynonymTable(np.concatenate([[0], counts.cumsum()]).astype(np.int64), np.array(flat, np.int64))


def augment_tokens(
    ids: NDArray[Any],
    rules: TokenRule | Sequence[TokenRule],
    *,
    pad_id: int = 0,
    attention_mask: NDArray[Any] | None = None,
    lengths: NDArray[Any] | None = None,
    special_ids: Sequence[int] = (),
    special_tokens_mask: NDArray[Any] | None = None,
    synonyms: SynonymTable | None = None,
    mask_id: int | None = None,
    choose: str = "all",
    views: int | None = None,
    max_length: int | None = None,
    padding_side: str = "right",
    positions: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> AugmentedTokens:
    """Augments rows of token ids: :func:`sslfast.augment.augment_tokens` over NumPy arrays, said there in full.

    Args:
        ids: shape (N, L), int64 or int32, any strides. Not changed.
        rules: a rule such as ``DropTokens(0.1)``, or up to 8 of them.
        pad_id: what stands where no token is. Default: 0.
        attention_mask: shape of ``ids``, bool or integer, non-zero where a token is. Default: None.
        lengths: integer (N,), tokens of each row, on the other side of ``padding_side``, in [0, L]. Default: None.
        special_ids: at most 16 ids that no rule touches. Default: none.
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where no rule touches a token. Default: None.
        synonyms: the table of ``ReplaceTokens`` and ``InsertTokens``. Default: None.
        mask_id: what ``MaskTokens`` writes. Default: None.
        choose: ``"all"``, ``"one"`` or ``"distinct"``. Default: ``"all"``.
        views: V, from 1 to 8: the result is (V, N, W). Default: None, one view of shape (N, W).
        max_length: W, at least L. Default: None, as long as the rules may make a row.
        padding_side: ``"right"`` or ``"left"``. Default: ``"right"``.
        positions: whether to return where tokens come from. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``AugmentedTokens(ids, attention_mask, positions)``.

    Raises:
        TypeError: an array, rule or number has the wrong type.
        ValueError: a shape, number or name is out of range, or a rule lacks its table or ``mask_id``.
    """
    name = "augment_tokens"
    if not isinstance(ids, np.ndarray):
        raise TypeError(f"{name}: ids must be an array, got {type(ids).__name__}")
    if ids.dtype not in (np.int64, np.int32):
        raise TypeError(f"{name}: ids must be int64 or int32, got {ids.dtype}")
    if ids.ndim != 2 or ids.shape[1] > MOST_TOKENS:
        raise ValueError(f"{name}: ids must have shape (N, L) with L < 2^26, got {ids.shape}")
    numbers = check_options(
        name,
        ids.shape[1],
        32 if ids.dtype == np.int32 else 64,
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
    flags = [
        None if value is None else like_ids(name, of, value, ids, kind="bool or integer").astype(np.bool_, copy=False)
        for of, value in (("attention_mask", attention_mask), ("special_tokens_mask", special_tokens_mask))
    ]
    lengths = _arguments.row_lengths(name, lengths, len(ids), ids.shape[1])
    table = (None, None) if synonyms is None else _check_table(name, synonyms)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, len(ids))
    kernel = _host.token_augment_int32 if ids.dtype == np.int32 else _host.token_augment_int64
    out, mask, places = kernel(
        np.require(ids, requirements="A"),  # strides of a packed record are no whole elements: copied
        flags[0],
        lengths,
        flags[1],
        *table,
        _arguments.seed_bits(name, seed),
        sample_ids,
        *numbers,
        row_offset,
        _arguments.threads(name, threads),
    )
    if views is None:
        out, mask, places = out[0], mask[0], places[0]
    return AugmentedTokens(out, mask, places if positions else None)


def _check_table(function: str, table: SynonymTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found = tuple(table)
    if len(found) != 2 or not all(isinstance(a, np.ndarray) and a.dtype == np.int64 and a.ndim == 1 for a in found):
        raise TypeError(f"{function}: synonyms must be a table that synonym_table made, got {type(table).__name__}")
    offsets, ids = found
    if len(offsets) < 1:
        raise ValueError(f"{function}: synonyms must have offsets (V + 1,), got {offsets.shape}")
    return np.ascontiguousarray(offsets), np.ascontiguousarray(ids)


def check_options(
    function: str,
    length: int,
    bits: int,
    rules: TokenRule | Sequence[TokenRule],
    pad_id: int,
    special_ids: Sequence[int],
    has_synonyms: bool,
    mask_id: int | None,
    choose: str,
    views: int | None,
    max_length: int | None,
    padding_side: str,
    positions: bool,
    two_lengths: bool,
) -> tuple[Any, ...]:
    """The numbers as the kernels take them.

    Raises:
        TypeError: a rule or number has the wrong type.
        ValueError: a number or name is out of range, a rule lacks its table or ``mask_id``, or the rows' lengths are
            given twice.
    """
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    steps = check_rules(function, rules)
    pad_id = _check.integer(function, "pad_id", pad_id, low, high)
    if not isinstance(special_ids, (tuple, list)):
        raise TypeError(f"{function}: special_ids must be a tuple or list of ints, got {type(special_ids).__name__}")
    specials = [_check.integer(function, "special_ids", i, low, high) for i in special_ids]
    if len(specials) > _MOST_SPECIAL_IDS:
        raise ValueError(f"{function}: special_ids must be at most {_MOST_SPECIAL_IDS} ids, got {len(specials)}")
    if any(isinstance(rule, (ReplaceTokens, InsertTokens)) for rule in steps) and not has_synonyms:
        raise ValueError(f"{function}: synonyms must be given for ReplaceTokens and InsertTokens, got None")
    if mask_id is None and any(isinstance(rule, MaskTokens) for rule in steps):
        raise ValueError(f"{function}: mask_id must be given for MaskTokens, got None")
    mask_id = 0 if mask_id is None else _check.integer(function, "mask_id", mask_id, 0, high)
    _check.one_of(function, "choose", choose, tuple(_CHOICES))
    count = 1 if views is None else _check.integer(function, "views", views, 1, _MOST_VIEWS)
    if choose == "distinct" and (count != 2 or len(steps) < 2):
        got = f"{count} and {len(steps)}"
        raise ValueError(f"{function}: choose 'distinct' needs 2 views and 2 rules or more, got {got}")
    if max_length is None:
        width = min(grown_length(steps, length, choose != "all"), MOST_TOKENS)
    else:
        width = _check.integer(function, "max_length", max_length, length, MOST_TOKENS)
    _check.one_of(function, "padding_side", padding_side, ("left", "right"))
    positions = _check.boolean(function, "positions", positions)
    if two_lengths:
        raise ValueError(f"{function}: lengths must be None beside attention_mask, got both")
    encoded = [numbers_of(rule) for rule in steps]
    numbers = [n for ints, _ in encoded for n in ints]
    rates = [rate for _, rate in encoded]
    left = padding_side == "left"
    return specials, numbers, rates, _CHOICES[choose], count, width, pad_id, mask_id, left, positions
