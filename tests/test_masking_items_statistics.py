"""Masks of items as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from distributions import follows
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
    """In exact mode a row without a masked item gets one, any alike; rows for the last item come as often as asked."""
    rows = 30_000
    items = torch.ones(rows, 5).long()
    mask = mask_items(items, mask_id=9, mask_ratio=1e-9, generator=3).mask.numpy()
    assert (mask.sum(1) == 1).all()
    assert stats.chisquare(mask.sum(0)).pvalue > ALPHA
    mask = mask_items(items, mask_id=9, mask_ratio=1.0, last_item_probability=0.3, generator=4).mask.numpy()
    assert set(mask.sum(1)) == {1, 5}
    assert stats.binomtest(int((mask.sum(1) == 1).sum()), rows, 0.3).pvalue > ALPHA


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
