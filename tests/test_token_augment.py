"""augment_tokens: bit for bit the reference for every rule, and what holds whatever is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import all_equal
from token_rule_cases import ENTRIES, EVERY_KIND, EVERY_RULE, MASK, TABLE, as_reference, tokens

from sslfast import host, ops
from sslfast.augment import (
    CL4SRecAugment,
    CropTokens,
    DropTokens,
    InsertTokens,
    MaskTokens,
    ReorderTokens,
    RepeatTokens,
    ReplaceTokens,
    ShuffleSpans,
    ShuffleTokens,
    SwapTokens,
    augment_tokens,
    crop_items,
    reorder_items,
    synonym_table,
)
from sslfast.host._token_rule_numbers import grown_length
from sslfast.reference import token_augment as reference

NUMBERS = torch.arange(12)
SPECIAL = (1, 2)


def _check(ids, rules, device="cpu", present=None, special=None, seed=3, **options):
    """Ours against the reference; returns ours, on the CPU."""
    rules = rules if isinstance(rules, list) else [rules]
    views, left = options.get("views") or 1, options.get("padding_side") == "left"
    width = options.get("max_length") or grown_length(rules, ids.shape[1], options.get("choose", "all") != "all")
    expected = reference.augment_tokens(
        ids.cpu(),
        as_reference(rules),
        present=ids != 0 if present is None else present.bool(),
        special=torch.isin(ids, torch.tensor(SPECIAL)) | (False if special is None else special.bool()),
        width=width,
        table=ENTRIES,
        mask_id=MASK,
        choose=options.get("choose", "all"),
        views=views,
        left=left,
        seed=seed,
        row_offset=options.get("row_offset", 0),
        sample_ids=options.get("sample_ids"),
    )
    given = {"attention_mask": present, "special_tokens_mask": special, **options}
    given = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in given.items()}
    common = {"special_ids": SPECIAL, "mask_id": MASK, "positions": True}
    ours = augment_tokens(ids.to(device), rules, synonyms=TABLE.to(device), generator=seed, **common, **given)
    ours = [t.cpu() if views > 1 else t.cpu()[None] for t in ours]
    assert all_equal(ours, expected)
    return ours if views > 1 else [t[0] for t in ours]


@pytest.mark.parametrize("rule", EVERY_RULE, ids=str)
def test_equals_reference(device, rule):
    (ids,) = tokens(NUMBERS)
    for dtype in (torch.int64, torch.int32):
        _check(ids.to(dtype), rule, device)
    _check(ids, rule, device, seed=-(2**63), row_offset=2**40)
    _check(ids, rule, device, sample_ids=torch.randint(2**62, (12,)))
    _check(ids.flip(1), rule, device, padding_side="left")
    _check(ids[:, 1:], rule, device, special=torch.randint(2, (12, 39)), present=torch.randint(3, (12, 39)))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (4, 1), (4, 2), (3, 33), (2, 300)])
def test_sizes(device, shape):
    ids = torch.randint(3, 100, shape)
    for rule in EVERY_RULE:
        _check(ids, rule, device)


@pytest.mark.gpu
def test_rows_longer_than_shared_memory():
    ids = torch.randint(3, 100, (3, 5000))
    _check(ids, EVERY_KIND, "cuda", views=2)


@pytest.mark.parametrize("choose", ["all", "one", "distinct"])
def test_rules_in_turn_and_one_of_them(device, choose):
    (ids,) = tokens(NUMBERS)
    first, second = _check(ids, EVERY_KIND, device, choose=choose, views=2)[0]
    assert not torch.equal(first, second)
    alone = _check(ids, EVERY_KIND, device, choose="one" if choose == "distinct" else choose)[0]
    assert torch.equal(alone, first)


def test_any_strides(device):
    base = torch.randint(3, 100, (40, 60))
    for ids in (base.T, base[::2, 1::3], base[:1].expand(5, 60)):
        _check(ids, EVERY_KIND[:3], device)
    record = np.zeros((6, 9), dtype=[("flag", "i1"), ("id", "i8")])
    record["id"] = np.arange(3, 57).reshape(6, 9)
    whole = host.augment_tokens(np.arange(3, 57).reshape(6, 9), DropTokens(0.3), seed=3)
    assert np.array_equal(host.augment_tokens(record["id"], DropTokens(0.3), seed=3).ids, whole.ids)


@pytest.mark.parametrize("rule", EVERY_RULE, ids=str)
def test_whatever_is_drawn(rule):
    """Special tokens stay in order, a token stays, padding is padding, positions say where ids come from."""
    (ids,) = tokens(torch.arange(200))
    out, mask, positions = _check(ids, rule)
    filled = mask if not getattr(rule, "in_place", False) else mask.flip(1).cummax(1).values.flip(1)
    assert torch.equal(out == 0, ~mask)
    assert (filled.int().diff(dim=1) <= 0).all()
    for before, after, places in zip(ids, out, positions, strict=True):
        assert [t for t in after.tolist() if t in SPECIAL] == [1, 2]
        assert (after > 2).any()
        kept = places >= 0
        original = before[places[kept]]
        if isinstance(rule, (ReplaceTokens, MaskTokens)):
            fine = (after[kept] == original) | torch.tensor(
                [
                    a == MASK or a in ENTRIES.get(b, ())
                    for a, b in zip(after[kept].tolist(), original.tolist(), strict=True)
                ]
            )
            assert fine.all()
        else:
            assert torch.equal(after[kept], original)
        if isinstance(rule, (SwapTokens, ShuffleSpans, ShuffleTokens, ReorderTokens)):
            assert torch.equal(after.sort().values, before.sort().values)
        if isinstance(rule, DropTokens) and rule.in_place:
            assert torch.equal(places[kept], torch.arange(len(places))[kept])


def test_counts():
    (ids,) = tokens(torch.arange(100))
    n = ((ids > 2).sum(1)).tolist()
    for rule, expected in (
        (DropTokens(0.29, selection="exact"), lambda k: k - min(int(k * 0.29 + 1e-9), k - 1)),
        (DropTokens(1.0), lambda k: 1),
        (RepeatTokens(count=4), lambda k: k + 4),
        (InsertTokens(0.2), lambda k: k + max(1, int(k * 0.2 + 1e-9))),
        (CropTokens(0.6), lambda k: max(1, int(k * 0.6 + 1e-9))),
    ):
        out = _check(ids, rule)[0]
        assert (out > 2).sum(1).tolist() == [expected(k) for k in n], rule
    masked = (_check(ids, MaskTokens(0.3))[0] == MASK).sum(1).tolist()
    assert masked == [int(k * 0.3 + 1e-9) for k in n]
    moved = _check(ids, ShuffleTokens(3))[2]
    where = moved >= 0
    assert (moved - torch.arange(40)).abs()[where].max() == 3
    no_room = augment_tokens(torch.full((5, 8), 7), RepeatTokens(count=4), max_length=10, generator=1)
    assert no_room.attention_mask.all()
    assert no_room.ids.shape == (5, 10)


def test_padding_does_not_change_the_draws():
    ids = torch.randint(3, 100, (20, 30))
    zeros = torch.zeros(20, 11, dtype=torch.int64)
    for rule in (DropTokens(0.3), ShuffleSpans(), ReorderTokens(0.5)):
        plain = augment_tokens(ids, rule, generator=3).ids
        left = augment_tokens(torch.cat([zeros, ids], 1), rule, padding_side="left", generator=3)
        right = augment_tokens(torch.cat([ids, zeros], 1), rule, generator=3)
        assert torch.equal(right.ids[:, :30], plain)
        assert torch.equal(left.ids[left.attention_mask], right.ids[right.attention_mask])


def test_lengths_and_masks_say_the_same(device):
    ids = torch.randint(3, 100, (9, 20)).to(device)
    lengths = torch.arange(9, device=device) * 2 + 4
    for side in ("left", "right"):
        column = torch.arange(20, device=device)
        mask = column >= 20 - lengths[:, None] if side == "left" else column < lengths[:, None]
        options = {"padding_side": side, "generator": 5}
        by_length = augment_tokens(ids, SwapTokens(0.5), lengths=lengths.int(), **options)
        assert torch.equal(by_length.ids, augment_tokens(ids, SwapTokens(0.5), attention_mask=mask, **options).ids)
    long = augment_tokens(ids, SwapTokens(0.5), lengths=torch.full_like(lengths, 20), generator=5)
    assert torch.equal(long.ids, augment_tokens(ids, SwapTokens(0.5), generator=5).ids)
    none = augment_tokens(ids, SwapTokens(0.5), lengths=torch.zeros_like(lengths), generator=5)
    assert not none.attention_mask.any()


def test_a_wrong_table_is_no_table(device):
    """Offsets out of range count as no entry: nothing is read outside of the table."""
    ids = torch.tensor([[3, 4, 5, 6, 99, -7]], device=device)
    offsets = torch.tensor([0, 0, 0, 0, -5, 2, 900, 1], device=device)
    table = type(TABLE)(offsets, torch.tensor([70, 71], device=device))
    out = augment_tokens(ids, ReplaceTokens(1.0), synonyms=table, generator=1).ids
    assert torch.equal(out, ids)


def test_synonym_table():
    by_id = synonym_table({2: [7, 8], 0: [5]}, vocab_size=4)
    assert [t.tolist() for t in by_id] == [[0, 1, 1, 3, 3], [5, 7, 8]]
    padded = synonym_table(torch.tensor([[5, -1], [-1, -1], [7, 8], [-1, -1]]))
    assert all_equal(padded, by_id)
    for call, error, message in (
        (lambda: synonym_table([1]), TypeError, "entries must be a mapping or an integer array, got list"),
        (lambda: synonym_table(torch.ones(3)), TypeError, "entries must be a mapping or an integer array, got float32"),
        (lambda: synonym_table(torch.ones(3).long()), ValueError, "entries must have shape (V, K), got (3,)"),
        (lambda: synonym_table({5: [1]}, vocab_size=3), ValueError, "an id must be in [0, 2], got 5"),
        (lambda: synonym_table({1: [-1]}), ValueError, f"an entry must be in [0, {2**31 - 1}], got -1"),
        (lambda: synonym_table({1: ["a"]}), TypeError, "an entry must be an int, got str"),
        (lambda: synonym_table({1: 2}), TypeError, "entries must hold lists of ids, got int for 1"),
    ):
        with pytest.raises(error) as raised:
            call()
        assert str(raised.value) == f"synonym_table: {message}"


def test_composes(device):
    (ids,) = tokens(NUMBERS)
    ids = ids.to(device)
    numbers, rates = [0, 0, -1, 0, 0, 0, 2, 1, -1, 2, 0, 0], [0.2, 0.3]
    arguments = ([1, 2], numbers, rates, 0, 2, 60, 0, 0, False, True, 0)
    mask = ids > 0
    table = TABLE.to(device)
    torch.library.opcheck(ops.token_augment, (ids, mask, None, mask, *table, torch.tensor(3), None, *arguments))

    def call(ids, seed):
        rules = [DropTokens(0.2), RepeatTokens(0.3)]
        return augment_tokens(ids, rules, special_ids=(1, 2), views=2, generator=seed).ids

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(ids, torch.tensor(3)), call(ids, torch.tensor(3)))


# ---- items


@pytest.mark.parametrize("side", ["left", "right"])
def test_items(device, side):
    items = torch.randint(3, 900, (30, 20)) * (torch.arange(20) >= torch.randint(0, 15, (30, 1)))
    items = (items if side == "left" else items.flip(1)).to(device)
    options = {"padding_side": side, "positions": True, "generator": 3}
    for function, rule in ((crop_items, CropTokens(0.4)), (reorder_items, ReorderTokens(0.4))):
        ours = function(items, 0.4, **options)
        assert all_equal(ours, augment_tokens(items, rule, **options))
        moved = ours.positions.cpu()
        for places in moved:
            run = places[places >= 0]
            assert torch.equal(run.sort().values, torch.arange(len(run)) + run.min() if len(run) else run)


def test_cl4srec(device):
    items = torch.randint(1, 900, (400, 20), device=device)
    views = CL4SRecAugment(MASK, distinct=True)(items, generator=7)
    kinds = []
    for ids, mask, positions in views:
        assert positions is None
        masked, cropped = (ids == MASK).any(1), ~mask.all(1)
        assert torch.equal((ids == MASK).sum(1)[masked], torch.full_like(ids[masked][:, 0], 6))
        assert torch.equal(mask.sum(1)[cropped], torch.full_like(ids[cropped][:, 0], 12))
        assert not (masked & cropped).any()
        kinds.append(torch.where(masked, 0, torch.where(cropped, 1, 2)).cpu())
    assert (kinds[0] != kinds[1]).all()
    same = CL4SRecAugment(MASK)(items, generator=7)
    assert torch.equal(same[0].ids, views[0].ids)
    assert not torch.equal(same[1].ids, views[1].ids)
    module = CL4SRecAugment(MASK, generator=1)
    assert not torch.equal(module(items)[0].ids, module(items)[0].ids)
    again = CL4SRecAugment(MASK, generator=1)
    again(items)
    seeded = CL4SRecAugment(MASK, generator=torch.tensor(1))
    assert torch.equal(seeded(items)[0].ids, seeded(items)[0].ids)
