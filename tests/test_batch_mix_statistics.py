"""What batch_mix draws: Beta shares, torchvision's and timm's boxes, who shares a draw, uniform permutations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peer_oracle import peer
from scipy import stats

from sslfast.augment import sample_mix


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 0.999, 1.0, 2.0, 8.0, 1e4])
def test_lambda_is_beta(alpha):
    lam = sample_mix(20000, (8, 8), mixup_alpha=alpha, mode="elem", generator=11)[:, 2].double()
    low = lam[lam <= 0.5]  # near 1 float32 is coarse
    assert stats.binomtest(len(low), len(lam)).pvalue > 1e-3
    assert stats.kstest(low.numpy(), lambda x: 2 * stats.beta.cdf(x, alpha, alpha)).pvalue > 1e-3
    assert 0 <= float(lam.min()) <= float(lam.max()) <= 1


def test_tiny_alpha_is_a_coin():
    lam = sample_mix(2000, (8, 8), mixup_alpha=1e-300, mode="elem", generator=1)[:, 2]
    assert set(lam.tolist()) <= {0.0, 1.0}
    assert abs(float(lam.mean()) - 0.5) < 0.05


def test_shares_of_images():
    params = sample_mix(20000, (16, 16), cutmix_alpha=1.0, prob=0.6, switch_prob=0.25, mode="elem", generator=5)
    kinds = torch.bincount(params[:, 0].long(), minlength=3) / 20000
    assert torch.allclose(kinds, torch.tensor([0.4, 0.45, 0.15]), atol=0.015)
    assert (params[params[:, 0] == 0, 2] == 1).all()


@pytest.mark.parametrize("size", [(32, 32), (21, 40)])
def test_boxes_are_torchvisions(size):
    v2 = peer("torchvision.transforms.v2")
    transform, like = v2.CutMix(alpha=1.0, num_classes=2), torch.zeros(1, 3, *size)
    theirs = [transform.make_params([like]) for _ in range(3000)]
    ours = sample_mix(3000, size, mixup_alpha=0.0, cutmix_alpha=1.0, mode="elem", generator=2)
    boxes = torch.tensor([found["box"] for found in theirs])
    for mine, other in (
        (ours[:, 4], boxes[:, 0]),
        (ours[:, 3], boxes[:, 1]),
        (ours[:, 6], boxes[:, 2] - boxes[:, 0]),
        (ours[:, 5], boxes[:, 3] - boxes[:, 1]),
        (ours[:, 2], torch.tensor([found["lam_adjusted"] for found in theirs])),
    ):
        assert stats.ks_2samp(mine.numpy(), other.numpy()).pvalue > 1e-3


def test_boxes_are_timms(monkeypatch):
    mixup = peer("timm.data.mixup")
    np.random.seed(4)  # noqa: NPY002  what timm draws from
    lam = np.random.beta(1.0, 1.0, 3000)  # noqa: NPY002
    for minmax in (None, (0.2, 0.7)):
        theirs = [mixup.cutmix_bbox_and_lam((3, 25, 30), value, ratio_minmax=minmax) for value in lam]
        ours = sample_mix(
            3000,
            (25, 30),
            mixup_alpha=0.0,
            cutmix_alpha=1.0,
            cutmix_minmax=minmax,
            mode="elem",
            box="timm",
            generator=2,
        )
        low, high, left, right = torch.tensor([found[0] for found in theirs]).T
        for mine, other in (
            (ours[:, 3], low),
            (ours[:, 4], left),
            (ours[:, 5], high - low),
            (ours[:, 6], right - left),
            (ours[:, 2], torch.tensor([found[1] for found in theirs])),
        ):
            assert stats.ks_2samp(mine.numpy(), other.numpy()).pvalue > 1e-3


def test_who_shares_a_draw():
    batch = sample_mix(6, (9, 9), generator=1)
    assert (batch[:, 2] == batch[0, 2]).all()
    assert torch.equal(sample_mix(4, (9, 9), generator=1, row_offset=6)[:, 2], batch[:4, 2])  # of the seed alone
    pairs = sample_mix(6, (9, 9), mode="pair", partner="flip", generator=1)
    assert torch.equal(pairs[:, 2], pairs[:, 2].flip(0))
    assert pairs[:3, 2].unique().numel() == 3
    whole = sample_mix(6, (9, 9), mode="elem", generator=1)
    shard = sample_mix(2, (9, 9), mode="elem", generator=1, row_offset=4)
    assert torch.equal(shard[:, 2], whole[4:, 2])
    one = sample_mix(1, (9, 9), mode="elem", generator=1, sample_ids=torch.tensor([3]))
    assert torch.equal(one[:, 2], whole[3:4, 2])


def test_permutations_are_uniform():
    seen = torch.stack([sample_mix(3, (2, 2), partner="permutation", generator=seed)[:, 1] for seed in range(3000)])
    codes = (seen * torch.tensor([9.0, 3.0, 1.0])).sum(1)
    _, counts = codes.unique(return_counts=True)
    assert counts.numel() == 6
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
