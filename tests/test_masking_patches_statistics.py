"""Patch masks behind prefix tokens, sorted and under peers' names as distributions: seeds are fixed."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from sslfast.masking import random_patch_mask
from sslfast.masking.drop_in import lightly, mae, timm

ALPHA = 1e-4  # of each test


def assert_subsets_alike(mask: torch.Tensor, count: int, subsets: int) -> None:
    """Every subset of ``count`` patches is equally likely."""
    codes = np.bincount(mask.numpy() @ (1 << np.arange(mask.shape[1])), minlength=2 ** mask.shape[1])
    found = codes[codes > 0]
    assert (mask.sum(1) == count).all()
    assert len(found) == subsets
    assert stats.chisquare(found).pvalue > ALPHA


def assert_orders_alike(order: torch.Tensor) -> None:
    """Every order of four is equally likely."""
    orders = np.unique(order.numpy() @ [64, 16, 4, 1], return_counts=True)[1]
    assert len(orders) == 24
    assert stats.chisquare(orders).pvalue > ALPHA


def mask_of(ids: torch.Tensor, length: int) -> torch.Tensor:
    return torch.zeros(len(ids), length, dtype=torch.bool).scatter(1, ids, True)


def test_sorted_behind_a_class_token():
    ids_keep, _, mask = random_patch_mask(42_000, 7, 4 / 7, num_prefix_tokens=1, order="sorted", generator=1)
    assert_subsets_alike(mask[:, 1:], 4, 35)
    assert torch.equal(mask_of(ids_keep, 8), ~mask)


def test_order_among_prefix_tokens():
    assert_orders_alike(random_patch_mask(24_000, 4, 0.0, num_prefix_tokens=2, generator=3).ids_keep[:, 2:] - 2)


def test_mae_drop_in():
    torch.manual_seed(5)
    _, mask, ids_restore = mae.random_masking(torch.zeros(42_000, 7, 1), 0.5)
    assert_subsets_alike(mask.bool(), 4, 35)
    assert_orders_alike(mae.random_masking(torch.zeros(24_000, 4, 1), 0.0)[2])
    assert torch.equal(mask == 1, ids_restore >= 3)


def test_lightly_drop_in():
    torch.manual_seed(6)
    idx_keep, idx_mask = lightly.random_token_mask((42_000, 8), 4 / 7)
    assert torch.equal(mask_of(idx_keep, 8), ~mask_of(idx_mask, 8))
    assert_subsets_alike(mask_of(idx_mask, 8)[:, 1:], 4, 35)
    assert_orders_alike(lightly.random_token_mask((24_000, 5), 0.0)[0][:, 1:] - 1)  # of what stays
    assert_orders_alike(lightly.random_token_mask((24_000, 5), 1.0)[1] - 1)  # of what is masked
    assert_subsets_alike(mask_of(lightly.random_token_mask((42_000, 7), 0.5, mask_class_token=True)[1], 7), 4, 35)


def test_timm_drop_in():
    torch.manual_seed(7)
    for ordered in (False, True):
        _, indices = timm.patch_dropout_forward(torch.zeros(42_000, 8, 1), 0.5, 1, ordered, True)
        assert_subsets_alike(mask_of(indices, 7), 3, 35)
    for place in range(3):  # in random order every place holds every patch alike
        indices = timm.patch_dropout_forward(torch.zeros(42_000, 7, 1), 0.5, 0, False, True)[1]
        assert stats.chisquare(np.bincount(indices[:, place].numpy(), minlength=7)).pvalue > ALPHA
