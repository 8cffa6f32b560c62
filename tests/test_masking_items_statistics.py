"""Masks of items as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distributions import alike, follows
from peer_oracle import peer
from scipy import stats

from sslfast.masking import mask_items

ALPHA = 1e-4  # of each test


def test_every_set_of_items_is_equally_likely():
    mask = mask_items(torch.ones(30_000, 6).long(), mask_id=9, mask_ratio=0.5, selection="exact", generator=1).mask
    counts = np.bincount(mask.numpy() @ (1 << np.arange(6)), minlength=64)
    assert (counts > 0).sum() == 20  # 6 choose 3
    assert stats.chisquare(counts[counts > 0]).pvalue > ALPHA


def test_items_are_masked_by_themselves():
    rows, p = 30_000, 0.3
    options = {"mask_id": 9, "mask_ratio": p, "mode": "compat"}
    mask = mask_items(torch.ones(rows, 6).long(), generator=2, **options).mask.numpy()
    codes = np.bincount(mask @ (1 << np.arange(6)), minlength=64)
    ones = np.array([bin(code).count("1") for code in range(64)])
    assert stats.chisquare(codes, rows * p**ones * (1 - p) ** (6 - ones)).pvalue > ALPHA


def test_spare_items_and_last_items():
    """In exact mode a row without a masked item gets one, any alike, and one without another keeps one; rows for the
    last item come as often as asked."""
    rows = 30_000
    items = torch.ones(rows, 5).long()
    mask = mask_items(items, mask_id=9, mask_ratio=1e-9, generator=3).mask.numpy()
    assert (mask.sum(1) == 1).all()
    assert stats.chisquare(mask.sum(0)).pvalue > ALPHA
    mask = mask_items(items, mask_id=9, mask_ratio=0.999999, last_item_probability=0.3, generator=4).mask.numpy()
    assert set(mask.sum(1)) == {1, 4}
    assert stats.chisquare((~mask[mask.sum(1) == 4]).sum(0)).pvalue > ALPHA
    assert stats.binomtest(int((mask.sum(1) == 1).sum()), rows, 0.3).pvalue > ALPHA


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_short_histories_follow_the_exact_law(length, p):
    """Each item by itself, the probability of no item shared by the sets of one, that of all by the sets of all but
    one; a history of one item is masked. Behind padding, which changes nothing."""
    rows, codes = 30_000, np.arange(2**length)
    ones = (codes[:, None] >> np.arange(length) & 1).sum(1)
    law = p**ones * (1 - p) ** (length - ones)
    none, whole = law[0], law[-1]
    law[0] = 0
    law[ones == 1] += none / length
    if length > 1:
        law[-1] = 0
        law[ones == length - 1] += whole / length
    items = torch.cat([torch.zeros(rows, 2), torch.ones(rows, length)], 1).long()
    out = mask_items(items, mask_id=9, mask_ratio=p, generator=9)
    assert not out.mask[:, :2].any()
    assert torch.equal(out.labels == 1, out.mask)
    assert follows(out.mask[:, 2:].numpy() @ (1 << np.arange(length)), law)
    counts = mask_items(items, mask_id=9, mask_ratio=p, selection="exact", generator=9).mask.sum(1)
    assert set(counts.tolist()) == {max(min(round(length * p), length - 1), 1)}


@pytest.mark.parametrize(("length", "p"), [(6, 0.34), (9, 0.5), (4, 0.2)])
def test_labels_of_compat_follow_recbole(length, p):
    """Every pair of a mask and its labels: the last ``int(p L)`` masked items but for the first column have one."""
    rows, codes, places = 40_000, np.arange(2**length), np.arange(length)
    masked = (codes[:, None] >> places & 1).astype(bool)
    later = np.cumsum(masked[:, ::-1], 1)[:, ::-1]  # masked items from here on
    labelled = masked & (later <= int(p * length)) & (places > 0)
    items = torch.full((rows, length), 5)
    out = mask_items(items, mask_id=9, mask_ratio=p, mode="compat", generator=5)
    assert torch.equal(out.items == 9, out.mask)
    found = out.mask.numpy() @ (1 << places)
    assert np.array_equal(out.labels.numpy() == 5, labelled[found])
    assert follows(found, p ** masked.sum(1) * (1 - p) ** (~masked).sum(1))


def test_compat_is_distributed_as_recbole():
    """The real transform: masks and labels together, of rows of four to six items with padding behind them."""
    transforms, batches = peer("recbole.data.transform"), peer("recbole.data.interaction")
    rows, length, p = 8000, 7, 0.3
    items = torch.arange(1, length + 1).repeat(rows, 1)
    items[torch.arange(length) >= 4 + torch.arange(rows)[:, None] % 3] = 0
    config = {"ITEM_ID_FIELD": "item", "LIST_SUFFIX": "_list", "ITEM_LIST_LENGTH_FIELD": "length"}
    transform = transforms.MaskItemSequence(config | {"MAX_ITEM_LIST_LENGTH": length, "mask_ratio": p})
    random.seed(0)
    out = transform(SimpleNamespace(num=lambda field: 9), batches.Interaction({"item_list": items}))
    index, wanted = out["MASK_INDEX"], out["Pos_item"]
    labels = torch.full((rows, length), -100)
    labels.scatter_(1, index, torch.where(index > 0, wanted, -100))  # what RecBole's loss reads
    ours = mask_items(items, mask_id=9, mask_ratio=p, mode="compat", generator=6)
    both = [
        Counter(zip(map(tuple, masked.tolist()), map(tuple, label.tolist()), strict=True))
        for masked, label in ((ours.items, ours.labels), (out["Mask_item_list"], labels))
    ]
    assert alike(*both)
    assert all(label[0] == -100 for counts in both for _, label in counts)
