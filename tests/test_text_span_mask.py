"""text_span_mask: bit for bit the reference on every path, SpanBERT's budget, words and spans."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.host._span_lengths import length_thresholds
from sslfast.masking import MaskedSpans, mask_spans
from sslfast.reference import text_span_mask as reference

VOCAB, MASK = 1000, 4
NUMBERS = {"mask_token_id": MASK, "vocab_size": VOCAB}

# (rows, length) and why it is there
SIZES = [
    (2, 1),  # one token
    (3, 7),  # less than a longest span
    (4, 128),  # one step of the CUDA kernel
    (2, 513),  # past it
    (200, 5),  # more rows than a block has threads
    (0, 8),  # no rows
    (3, 0),  # no tokens
]


def _ids(rows: int, length: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.randint(VOCAB, (rows, length), dtype=dtype)


def _words(rows: int, length: int) -> torch.Tensor:
    """Words of one to four tokens; some tokens at both ends belong to none."""
    words = (torch.rand(rows, length) < 0.5).cumsum(1)
    words[:, :1] = words[:, length - length // 8 :] = -1
    return words


def _check(ids, device, word_ids=None, special=None, **options) -> MaskedSpans:
    """The operator and the NumPy face against the reference."""
    options = NUMBERS | options
    seed = options.pop("seed", 7)
    given = {"word_ids": word_ids, "special_tokens_mask": special}
    law = {k: options.get(k, v) for k, v in (("geometric_p", 0.2), ("min_span", 1), ("max_span", 10))}
    thresholds = length_thresholds("test", options.get("length_law", "geometric"), **law)
    plain = {k: v for k, v in options.items() if k not in ("length_law", "geometric_p", "max_span")}
    before = ids.clone()
    expected = reference.mask_spans(ids, thresholds=thresholds, seed=seed, **given, **plain)
    on_device = {k: v.to(device) if v is not None else None for k, v in given.items()}
    tables = {k: options.pop(k) for k in ("random_token_ids",) if k in options}
    on_device |= {k: v.to(device) for k, v in tables.items()}
    given |= tables
    ours = mask_spans(ids.to(device), generator=seed, **on_device, **options)
    assert isinstance(ours, MaskedSpans)
    assert all_equal(ours, expected)
    arrays = {k: v.numpy() if v is not None else None for k, v in given.items()}
    found = host.mask_spans(ids.numpy(), seed=seed, threads=2, **arrays, **options)
    assert all_equal([torch.from_numpy(a) for a in found], expected)
    assert torch.equal(ids, before)
    return ours


@pytest.mark.parametrize("replace_per", ["span", "token"])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_equals_reference(device, rows, length, replace_per):
    for dtype in (torch.int64, torch.int32):
        ids = _ids(rows, length, dtype)
        special = torch.rand(rows, length) < 0.2
        _check(ids, device, replace_per=replace_per)
        _check(ids, device, word_ids=_words(rows, length), replace_per=replace_per)
        _check(ids, device, special=special, replace_per=replace_per)
        _check(ids, device, word_ids=_words(rows, length).to(dtype), special=special, replace_per=replace_per)


@pytest.mark.parametrize("replace_per", ["span", "token"])
def test_random_words_from_a_table(device, replace_per):
    table = torch.tensor([900, 7, 900, 31])
    shares = {"mask_replace_prob": 0.2, "random_replace_prob": 0.7, "mask_ratio": 0.5}
    ours = _check(_ids(40, 50) % 800, device, random_token_ids=table, replace_per=replace_per, **shares)
    new = ours.ids[(ours.ids != ours.labels) & ours.mask & (ours.ids != MASK)]
    assert set(new.tolist()) == {900, 7, 31}
    assert 0.4 < (new == 900).float().mean() < 0.6  # twice in the table, drawn twice as often
    for mode in ("exact", "compat"):
        again = mask_spans(_ids(40, 50), **NUMBERS, generator=7, mode=mode, **shares, replace_per=replace_per)
        assert torch.equal(again.mask.cpu(), ours.mask.cpu())


@pytest.mark.parametrize("ratio", [0.0, 1e-9, 0.5, 0.95, 1.0])
def test_ratios(device, ratio):
    """Up to where the tries are spent and the rest is filled in."""
    _check(_ids(6, 40), device, mask_ratio=ratio)
    _check(_ids(6, 40), device, word_ids=_words(6, 40), mask_ratio=ratio)


@pytest.mark.parametrize(
    "law",
    [
        {"length_law": "ngram", "max_span": 3},
        {"length_law": [0.0, 3, 1], "min_span": 2, "max_span": 4},
        {"geometric_p": 1.0},
        {"min_span": 5, "max_span": 5},
        {"max_span": 64},
    ],
)
def test_laws(device, law):
    _check(_ids(5, 200), device, **law)


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1])
@pytest.mark.parametrize("row_offset", [0, 2**40])
def test_seeds_and_row_offsets(device, seed, row_offset):
    _check(_ids(6, 50), device, seed=seed, row_offset=row_offset)


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 0.5)])
def test_replacements(device, shares):
    names = ("mask_replace_prob", "random_replace_prob")
    _check(_ids(4, 60), device, **dict(zip(names, shares, strict=True)))


def test_any_strides(device):
    base = _ids(40, 60)
    for ids in (base.T, base[::2, 1::3], base[:1].expand(5, 60), base[3:, :7]):
        words, special = (torch.rand(60, 60) * 30).long().sort(0).values.T, (torch.rand(60, 60) < 0.3).T
        shape = (slice(ids.shape[0]), slice(ids.shape[1]))
        _check(ids, device, word_ids=words[shape], special=special[shape])
    record = np.zeros((6, 9), dtype=[("flag", "i1"), ("id", "i8")])
    record["id"] = np.arange(54).reshape(6, 9)
    whole = host.mask_spans(np.arange(54).reshape(6, 9), seed=3, **NUMBERS)
    assert all(
        np.array_equal(a, b) for a, b in zip(host.mask_spans(record["id"], seed=3, **NUMBERS), whole, strict=True)
    )


def test_rows_longer_than_shared_memory(device):
    _check(_ids(1, (32 << 10) + 5), device, mask_ratio=0.01)


def test_the_budget_is_exact_and_nothing_else_is_touched(device):
    ids, words = _ids(50, 120), _words(50, 120)
    special = torch.rand(50, 120) < 0.3
    special[:3] = True  # rows without a maskable token
    for ratio in (0.15, 0.3, 0.8):
        out = _check(ids, device, word_ids=words, special=special, mask_ratio=ratio, mask_replace_prob=1.0,
                     random_replace_prob=0)  # fmt: skip
        maskable = ~special & (words >= 0)
        mask = out.mask.cpu()
        assert mask.sum(1).tolist() == [math.ceil(n * ratio) for n in maskable.sum(1).tolist()]
        assert not (mask & ~maskable).any()
        assert torch.equal(out.ids.cpu(), torch.where(mask, MASK, ids))
        assert torch.equal(out.labels.cpu(), torch.where(mask, ids, -100))


def test_whole_words_but_for_the_last():
    words = _words(200, 80)
    mask = mask_spans(_ids(200, 80), word_ids=words, generator=1, **NUMBERS).mask
    torn = 0
    for row, of in zip(mask.tolist(), words.tolist(), strict=True):
        parts = {w: {m for m, v in zip(row, of, strict=True) if v == w} for w in of if w >= 0}
        torn_here = sum(len(p) == 2 for p in parts.values())
        assert torn_here <= 1
        torn += torn_here
    assert 0 < torn < 200


def test_composes(device):
    ids, words = _ids(3, 30).to(device), _words(3, 30).to(device)
    special = torch.rand(3, 30, device=device) < 0.5
    numbers = (MASK, VOCAB, 0.3, 1, [2**31, 2**32], True, 0.8, 0.1, 0)
    for given in ((None, None), (special, words)):
        torch.library.opcheck(ops.text_span_mask, (ids, *given, torch.tensor(3), None, *numbers))
    compiled = torch.compile(mask_spans, fullgraph=True)
    options = {"word_ids": words, "special_tokens_mask": special, "generator": 8} | NUMBERS
    assert all_equal(compiled(ids, **options), mask_spans(ids, **options))


# ---- bad input

_GOOD = {"ids": torch.zeros(2, 3, dtype=torch.int64)} | NUMBERS


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ids": [1]}, TypeError, "ids must be a tensor, got list"),
        ({"ids": torch.zeros(2, 3)}, TypeError, "ids must be int64 or int32, got torch.float32"),
        ({"ids": torch.zeros(3).long()}, ValueError, "ids must have shape (N, L) with L < 2^28, got (3,)"),
        ({"word_ids": [[1]]}, TypeError, "word_ids must be an integer tensor, got list"),
        ({"word_ids": torch.ones(2, 3)}, TypeError, "word_ids must be an integer tensor, got torch.float32"),
        ({"word_ids": torch.ones(2, 3).bool()}, TypeError, "word_ids must be an integer tensor, got torch.bool"),
        ({"word_ids": torch.ones(2).long()}, ValueError, "word_ids must have shape (2, 3), like ids, got (2,)"),
        (
            {"special_tokens_mask": torch.zeros(2, 3)},
            TypeError,
            "special_tokens_mask must be a bool or integer tensor, got torch.float32",
        ),
        ({"vocab_size": 0}, ValueError, "vocab_size must be in [1, 4294967296], got 0"),
        ({"mask_token_id": 1000}, ValueError, "mask_token_id must be in [0, 999], got 1000"),
        ({"mask_ratio": 1.1}, ValueError, "mask_ratio must be a probability in [0, 1], got 1.1"),
        (
            {"length_law": "poisson"},
            ValueError,
            "length_law must be 'geometric', 'ngram' or a sequence of probabilities, got 'poisson'",
        ),
        ({"length_law": [1, "a"], "max_span": 2}, TypeError, "length_law[1] must be a number, got str"),
        ({"mode": "peer"}, ValueError, "mode must be 'exact' or 'compat', got 'peer'"),
        ({"length_law": 3}, TypeError, "length_law must be a str or a sequence of probabilities, got int"),
        (
            {"length_law": [1.0]},
            ValueError,
            "length_law must have 10 probabilities, of the lengths 1 to 10, got 1",
        ),
        (
            {"length_law": [0.0, 0.0], "max_span": 2},
            ValueError,
            "length_law must hold numbers of at least 0, not all 0, got [0.0, 0.0]",
        ),
        ({"geometric_p": 0}, ValueError, "geometric_p must be in (0, 1], got 0"),
        ({"min_span": 0}, ValueError, "min_span must be at least 1, got 0"),
        ({"max_span": 65}, ValueError, "max_span must be in [1, 64], got 65"),
        ({"replace_per": "word"}, ValueError, "replace_per must be 'span' or 'token', got 'word'"),
        (
            {"random_replace_prob": 0.3},
            ValueError,
            "mask_replace_prob + random_replace_prob must be at most 1, got 0.8 + 0.3",
        ),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        mask_spans(**(_GOOD | arguments))
    assert str(raised.value) == f"mask_spans: {message}"
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in (_GOOD | arguments).items()}
    with pytest.raises(error) as raised:
        host.mask_spans(**arrays, seed=1)
    expected = message.replace("torch.", "").replace("a tensor,", "an array,").replace("tensor,", "array,")
    assert str(raised.value) == f"mask_spans: {expected}"
