"""item_mask: bit for bit the reference on every path, padding on any side, and RecBole's labels in compat mode."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from oracle import all_equal
from torch.utils.data import DataLoader

from sslfast import host, ops
from sslfast.masking import ItemCollator, MaskedItems, mask_items
from sslfast.reference import item_mask as reference

MASK = 999

# (rows, length) and why it is there
SIZES = [
    (3, 1),  # one item
    (5, 7),  # not a multiple of four
    (6, 50),  # the usual, past a warp
    (2, 300),  # past a chunk of the CPU kernel
    (300, 4),  # more rows than the CUDA kernel's block
    (0, 8),  # no rows
    (3, 0),  # no items
]


def _items(rows: int, length: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Histories with padding on the left, on the right, within, or alone."""
    items = torch.randint(1, 900, (rows, length), dtype=dtype)
    place = torch.arange(length)
    ends = torch.randint(length + 1, (rows, 1))
    items[(place < ends) & (torch.arange(rows)[:, None] % 3 == 0)] = 0
    items[(place >= ends) & (torch.arange(rows)[:, None] % 3 == 1)] = 0
    items[(torch.rand(rows, length) < 0.3) & (torch.arange(rows)[:, None] % 6 == 2)] = 0
    return items


def _check(items: torch.Tensor, device: torch.device, **options) -> MaskedItems:
    """The operator and the NumPy face against the reference."""
    options = {"mask_id": MASK} | options
    seed = options.pop("seed", 7)
    before = items.clone()
    expected = reference.mask_items(items, seed=seed, **options)
    ours = mask_items(items.to(device), generator=seed, **options)
    assert isinstance(ours, MaskedItems)
    assert all_equal(ours, expected)
    arrays = host.mask_items(items.numpy(), seed=seed, threads=2, **options)
    assert all_equal([torch.from_numpy(a) for a in arrays], expected)
    assert torch.equal(items, before)
    return ours


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize("selection", ["bernoulli", "exact"])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_equals_reference(device, rows, length, selection, mode):
    for dtype in (torch.int64, torch.int32):
        for ratio in (1e-9, 0.2, 0.6, 1.0 if mode == "compat" else 0.99):
            for last in (0.0, 0.4, 1.0):
                options = {"selection": selection, "mode": mode, "mask_ratio": ratio, "last_item_probability": last}
                _check(_items(rows, length, dtype), device, **options)


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1])
@pytest.mark.parametrize("row_offset", [0, 2**40])
def test_seeds_and_row_offsets(device, seed, row_offset):
    _check(_items(9, 50), device, seed=seed, row_offset=row_offset)


def test_any_strides(device):
    base = _items(40, 60)
    for items in (base.T, base[::2, 1::3], base[:1].expand(5, 60), base[3:, :7]):
        _check(items, device)
    record = np.zeros((6, 9), dtype=[("flag", "i1"), ("id", "i8")])
    record["id"] = np.arange(54).reshape(6, 9)
    whole = host.mask_items(np.arange(54).reshape(6, 9), mask_id=MASK, seed=3)
    assert all(
        np.array_equal(a, b) for a, b in zip(host.mask_items(record["id"], mask_id=MASK, seed=3), whole, strict=True)
    )


@pytest.mark.parametrize("selection", ["bernoulli", "exact"])
def test_counts_and_padding(device, selection):
    items = _items(300, 40)
    out = _check(items, device, selection=selection, padding_id=0, mask_ratio=0.1)
    mask, present = out.mask.cpu(), items != 0
    counts = present.sum(1)
    assert not (mask & ~present).any()
    assert torch.equal(mask.any(1), counts > 0)
    assert torch.equal(out.items.cpu(), torch.where(mask, MASK, items))
    assert torch.equal(out.labels.cpu(), torch.where(mask, items, -100))
    if selection == "exact":
        assert mask.sum(1).tolist() == [min(max(round(n * 0.1), 1), n) for n in counts.tolist()]
    mask = _check(items, device, selection=selection, mask_ratio=0.97).mask.cpu()
    kept = (present & ~mask).sum(1)
    assert torch.equal(kept > 0, counts > 1)
    if selection == "exact":
        assert kept.tolist() == [max(n - round(n * 0.97), int(n > 1)) for n in counts.tolist()]


def test_the_last_item_alone(device):
    items = _items(60, 20)
    out = _check(items, device, last_item_probability=1.0)
    for mask, row in zip(out.mask.cpu(), items, strict=True):
        assert mask.nonzero().flatten().tolist() == (row != 0).nonzero().flatten().tolist()[-1:]


def test_padding_does_not_change_the_draws():
    history = torch.randint(1, 900, (20, 30))
    zeros = torch.zeros(20, 11, dtype=torch.int64)
    plain = mask_items(history, mask_id=MASK, generator=3)
    for row, cut in ((torch.cat([zeros, history], 1), slice(11, None)), (torch.cat([history, zeros], 1), slice(30))):
        assert all_equal([t[:, cut] for t in mask_items(row, mask_id=MASK, generator=3)], plain)


def test_recboles_labels():
    """Labels for the last int(ratio * L) masked items, none in column 0, and rows without any."""
    items = torch.randint(1, 900, (500, 20))
    out = mask_items(items, mask_id=MASK, mask_ratio=0.2, mode="compat", generator=5)
    labelled = out.labels != -100
    assert not (labelled & ~out.mask).any()
    assert out.mask[:, 0].any()
    assert not labelled[:, 0].any()
    assert labelled.sum(1).max() == 4 < out.mask.sum(1).max()
    assert (out.mask.sum(1) == 0).any()


def test_composes(device):
    items = _items(4, 20).to(device)
    torch.library.opcheck(ops.item_mask, (items, torch.tensor(3), None, MASK, 0, 0.2, True, 0.1, True, -1, True, 0))
    compiled = torch.compile(mask_items, fullgraph=True)
    expected = mask_items(items, mask_id=MASK, generator=3)
    assert all_equal(compiled(items, mask_id=MASK, generator=3), expected)


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"items": [1]}, TypeError, "items must be a tensor, got list"),
        ({"items": torch.zeros(2, 3)}, TypeError, "items must be int64 or int32, got torch.float32"),
        ({"items": torch.zeros(3).long()}, ValueError, "items must have shape (N, L), got (3,)"),
        ({"mask_id": 0}, ValueError, "mask_id must not be padding_id, got 0"),
        ({"mask_id": -1}, ValueError, "mask_id must be at least 0, got -1"),
        ({"mask_id": 1.0}, TypeError, "mask_id must be an int, got float"),
        ({"mask_ratio": 0.0}, ValueError, "mask_ratio must be in (0, 1], got 0.0"),
        ({"mask_ratio": 1.5}, ValueError, "mask_ratio must be in (0, 1], got 1.5"),
        ({"mask_ratio": 1}, ValueError, 'mask_ratio must be below 1 in mode "exact", got 1.0'),
        ({"padding_id": None}, TypeError, "padding_id must be an int, got NoneType"),
        ({"selection": "all"}, ValueError, "selection must be 'bernoulli' or 'exact', got 'all'"),
        (
            {"last_item_probability": 2},
            ValueError,
            "last_item_probability must be a probability in [0, 1], got 2",
        ),
        ({"mode": "fast"}, ValueError, "mode must be 'exact' or 'compat', got 'fast'"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    arguments = {"items": torch.ones(2, 3).long(), "mask_id": 9} | arguments
    with pytest.raises(error) as raised:
        mask_items(**arguments)
    assert str(raised.value) == f"mask_items: {message}"
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.mask_items(**arrays, seed=1)
    expected = message.replace("torch.", "").replace("a tensor,", "an array,")
    assert str(raised.value) == f"mask_items: {expected}"


# ---- collator


def _histories() -> list[dict[str, object]]:
    return [{"items": list(range(1, 4 + 3 * i)), "user": i} for i in range(8)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_collator(side):
    collator = ItemCollator(
        mask_id=MASK, max_length=10, mask_ratio=0.4, padding_side=side, seed=3, sample_id_key="user"
    )
    batch = collator(_histories())
    whole = torch.where(batch["labels"] == -100, batch["input_ids"], batch["labels"])
    for row, present, example in zip(whole.tolist(), batch["attention_mask"].tolist(), _histories(), strict=True):
        recent = example["items"][-10:]
        padding = [0] * (10 - len(recent))
        assert row == (padding + recent if side == "left" else recent + padding)
        assert present == [int(i > 0) for i in row]
    assert {k: (v.dtype, tuple(v.shape)) for k, v in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "labels"), (torch.int64, (8, 10))
    )
    last = ItemCollator(mask_id=MASK, max_length=10, padding_side=side, last_item_probability=1.0)(_histories())
    assert (last["labels"] != -100).sum(1).tolist() == [1] * 8
    assert last["labels"].max(1).values.tolist() == [e["items"][-1] for e in _histories()]


@pytest.mark.parametrize("side", ["left", "right"])
def test_collator_takes_lists_arrays_and_tensors(side):
    rows = [[5, 6, 7, 8, 9], [], [3, 4]]
    kinds = [
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda row: np.array(row, np.int32),
        lambda row: torch.tensor(row).short(),
    ]
    batches = []
    for kind in kinds:
        collator = ItemCollator(mask_id=MASK, max_length=3, padding_side=side, seed=3)
        batches.append(collator([kind(row) for row in rows if row]))
        assert all_equal(batches[-1].values(), batches[0].values())
    empty = ItemCollator(mask_id=MASK, max_length=3, padding_side=side, seed=3)(rows)
    whole = torch.where(empty["labels"] == -100, empty["input_ids"], empty["labels"])
    assert whole.tolist() == [[7, 8, 9], [0, 0, 0], [0, 3, 4] if side == "left" else [3, 4, 0]]
    cut = ItemCollator(mask_id=MASK, max_length=3, seed=3)([[0, MASK, 7, 8, 9]])  # neither is kept
    assert cut["attention_mask"].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_collator_in_workers(context):
    collator = ItemCollator(mask_id=MASK, max_length=10, seed=3, sample_id_key="user")
    examples = _histories()
    expected = collator(examples)
    loader = DataLoader(examples, batch_size=3, num_workers=2, collate_fn=collator, multiprocessing_context=context)
    batches = list(loader)
    for key, whole in expected.items():
        assert torch.equal(torch.cat([b[key] for b in batches]), whole)
    assert all_equal(pickle.loads(pickle.dumps(collator))(examples).values(), expected.values())
    collator.set_epoch(1)
    assert not torch.equal(collator(examples)["labels"], expected["labels"])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ItemCollator(mask_id=9, max_length=0), ValueError, "max_length must be at least 1, got 0"),
        (
            lambda: ItemCollator(mask_id=9, max_length=5, padding_side="top"),
            ValueError,
            "padding_side must be 'left' or 'right', got 'top'",
        ),
        (lambda: ItemCollator(mask_id=9, max_length=5)([]), ValueError, "examples must not be empty, got []"),
        (lambda: ItemCollator(mask_id=9, max_length=5)([{"a": 1}]), KeyError, "an example has no 'items'"),
        (
            lambda: ItemCollator(mask_id=9, max_length=3)([[1, 2], [5, 9, 3, 0, 8]]),
            ValueError,
            "items of examples[1] must not be padding_id, got 0",
        ),
        (
            lambda: ItemCollator(mask_id=9, max_length=3, mode="compat")([[1, 2], [5], [9, 3, 4], [9]]),
            ValueError,
            "items of examples[2] must not be mask_id, got 9",
        ),
        (
            lambda: ItemCollator(mask_id=9, max_length=3)([[3, True]]),
            TypeError,
            "ids must be ints of 64 bits, got [3, True]",
        ),
        (lambda: ItemCollator(mask_id=0, max_length=5), ValueError, "mask_id must not be padding_id, got 0"),
    ],
)
def test_bad_input_of_the_collator(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert raised.value.args == (f"ItemCollator: {message}",)
