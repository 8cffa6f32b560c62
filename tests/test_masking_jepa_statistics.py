"""Masks of I-JEPA and V-JEPA as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from count_tables import alike
from peer_oracle import peer
from scipy import stats
from torch import Tensor

from sslfast.masking import ijepa_masks, vjepa_masks

ALPHA = 1e-4  # of each test

IN1K = {
    "enc_mask_scale": (0.85, 1.0),
    "pred_mask_scale": (0.15, 0.2),
    "aspect_ratio": (0.75, 1.5),
    "npred": 4,
    "min_keep": 10,
}


def occupancy(contexts: Tensor, patches: int) -> np.ndarray:
    return np.bincount(contexts.flatten().numpy(), minlength=patches)


def test_compat_is_distributed_as_ijepa():
    """lightly's copy of the collator, in batches of 16 rows: how long the lists are, where they are, what never is."""
    collator = peer("lightly.data.ijepa_collate").IJEPAMaskCollator(**IN1K)
    torch.manual_seed(0)
    batches, rows = 250, 16
    theirs = [collator(list(range(rows)))[1:] for _ in range(batches)]
    ours = [ijepa_masks(rows, mode="compat", generator=s, **IN1K)[:2] for s in range(batches)]
    for which in (0, 1):  # contexts, targets
        lengths = [np.array([mask[which][0].shape[1] for mask in masks]) for masks in (ours, theirs)]
        assert stats.ks_2samp(*lengths).pvalue > ALPHA
        # rows of a batch share sizes: its mean is one observation
        shares = [
            np.stack([sum(occupancy(m, 196) for m in mask[which]) / rows for mask in masks]) for masks in (ours, theirs)
        ]
        difference = shares[0].mean(0) - shares[1].mean(0)
        deviation = np.sqrt(sum(s.var(0) for s in shares) / batches)
        assert np.abs(difference / np.maximum(deviation, 1e-3)).max() < 5
    for masks in (ours, theirs):
        everything = sum(occupancy(m, 196) for lists in masks for m in (*lists[0], *lists[1])).reshape(14, 14)
        assert everything[13].sum() == 0
        assert everything[:, 13].sum() == 0
        assert everything[0].sum() > 0


def test_exact_contexts_are_everywhere():
    """Truncation is fair: the upper and the lower half of the image are context alike, and so are left and right."""
    contexts = torch.cat([ijepa_masks(64, generator=s, **IN1K).masks_enc[0].flatten() for s in range(100)])
    counts = np.bincount(contexts.numpy(), minlength=196).reshape(14, 14)
    assert counts.min() > 0
    for folded in (counts, counts.T):
        halves = folded[:7].sum(), folded[7:].sum()
        assert abs(halves[0] - halves[1]) < 0.01 * counts.sum()
    truncated = torch.cat(
        [ijepa_masks(64, generator=s, mode="compat", **IN1K).masks_enc[0].flatten() for s in range(20)]
    )
    lines = np.bincount(truncated.numpy() // 14, minlength=14)
    assert lines[:7].sum() > 2 * lines[7:].sum()  # what compat has and exact has not


def test_truncation_keeps_every_subset_alike():
    """Two targets of one patch leave 7 of 9 patches, or 8 where they are the same: of these, each is dropped alike."""
    options = {"enc_mask_scale": (1, 1), "pred_mask_scale": (0.12, 0.12), "aspect_ratio": (1, 1), "npred": 2}
    full = ijepa_masks(30_000, (3, 3), generator=1, pad=True, min_keep=1, **options).masks_enc[0]
    cut = ijepa_masks(30_000, (3, 3), generator=1, min_keep=1, **options).masks_enc[0]
    lengths = (full >= 0).sum(1)
    longer = lengths > cut.shape[1]
    assert longer.sum() > 1000
    assert int(lengths.max()) == cut.shape[1] + 1
    places = []  # of the dropped patch among those that were there
    for whole, rest in zip(full[longer].tolist(), cut[longer].tolist(), strict=True):
        (dropped,) = set(whole) - set(rest)
        places.append(whole.index(dropped))
    assert stats.chisquare(np.bincount(places, minlength=int(lengths.max()))).pvalue > ALPHA


def test_share_and_aspect_are_independent_in_exact_alone():
    pairs = {"exact": [], "compat": []}
    for mode, found in pairs.items():
        for s in range(800):
            target = ijepa_masks(1, (40, 40), generator=s, mode=mode, npred=1, pred_mask_scale=(0.05, 0.1)).masks_pred[
                0
            ]
            lines, columns = (len((target // 40).unique()), len((target % 40).unique()))
            found.append((lines * columns, lines / columns))
    assert stats.spearmanr(pairs["exact"]).pvalue > ALPHA
    assert stats.spearmanr(pairs["compat"]).statistic > 0.9


def vjepa_contexts(random: np.random.Generator, rows: int, side: int, share: float, npred: int) -> list[np.ndarray]:
    """The published algorithm for square blocks over all frames."""
    h = w = round(math.sqrt(int(side * side * share)))
    masks = []
    for _ in range(rows):
        mask = np.zeros((side, side), dtype=bool)
        for _ in range(npred):
            top, left = random.integers(0, side - h + 1), random.integers(0, side - w + 1)
            mask[top : top + h, left : left + w] = True
        masks.append(mask)
    return masks


def test_targets_are_distributed_as_vjepa():
    rows, options = 5000, {"spatial_scale": (0.2, 0.2), "aspect_ratio": (1, 1), "npred": 3}
    theirs = np.stack(vjepa_contexts(np.random.default_rng(1), rows, 7, 0.2, 3)).reshape(rows, -1)
    lists = vjepa_masks(rows, (2, 7, 7), generator=2, pad=True, **options).masks_pred
    ours = torch.zeros(rows, 99, dtype=torch.bool).scatter_(1, torch.where(lists < 0, 98, lists), True)[:, :49].numpy()
    counts = [np.bincount(m.sum(1), minlength=50) for m in (ours, theirs)]
    assert alike(*counts) > ALPHA
    for position in range(0, 49, 3):
        a, b = int(ours[:, position].sum()), int(theirs[:, position].sum())
        assert stats.fisher_exact([[a, rows - a], [b, rows - b]]).pvalue > ALPHA


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize("most", [None, 5])
def test_truncation_as_vjepa(mode, most):
    """Two targets of one patch of nine leave seven, or eight where they are the same: exact drops any of a list alike,
    compat the last ones."""
    options = {"spatial_scale": (0.12, 0.12), "aspect_ratio": (1, 1), "npred": 2, "mode": mode, "generator": 1}
    whole = vjepa_masks(30_000, (1, 3, 3), pad=True, **options)
    cut = vjepa_masks(30_000, (1, 3, 3), max_keep=most, **options)
    assert (cut.masks_enc.shape[1], cut.masks_pred.shape[1]) == (most or 7, 1)
    for full, kept, length in ((whole.masks_enc, cut.masks_enc, 8), (whole.masks_pred, cut.masks_pred, 2)):
        there = (full >= 0).sum(1) == length
        places = (full[there][:, None] == kept[there][:, :, None]).nonzero()[:, 2]  # of the kept patches in the list
        counts = np.bincount(places, minlength=length)
        assert counts.sum() == kept[there].numel() > 1000
        if mode == "compat":
            assert counts[kept.shape[1] :].sum() == 0
        else:
            subsets = np.bincount((1 << places.view(-1, kept.shape[1])).sum(1), minlength=2**length)
            assert (subsets > 0).sum() == math.comb(length, kept.shape[1])
            assert stats.chisquare(subsets[subsets > 0]).pvalue > ALPHA
