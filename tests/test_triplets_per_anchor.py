"""triplets_per_anchor of TripletLoss: which triplets are drawn, and their loss."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import torch
from distributions import ALPHA
from peer_oracle import peer
from scipy import stats

from sslfast.losses import TripletLoss, triplet_loss
from sslfast.losses._triplets import drawn_triplets

SEED = torch.tensor([11])
LABELS = torch.tensor([0, 5, 0, -3, 5, 0, 5, 0, 9])  # -3 and 9 are alone


def drawn(labels: torch.Tensor, per_anchor: int, ref_labels=None, copies=None, seed: torch.Tensor = SEED):
    (a, p, n), valid = drawn_triplets(labels, ref_labels, copies, per_anchor, seed)
    assert a.shape == p.shape == n.shape == valid.shape == (len(labels) * per_anchor,)
    return a[valid], p[valid], n[valid]


def test_every_triplet_is_one() -> None:
    a, p, n = drawn(LABELS, 200)
    assert (LABELS[a] == LABELS[p]).all()
    assert (a != p).all()
    assert (LABELS[a] != LABELS[n]).all()
    assert torch.equal(a.unique(return_counts=True)[1], torch.full((7,), 200))
    assert not (a == 3).any()  # no positive
    assert len(drawn(torch.zeros(4, dtype=torch.int64), 3)[0]) == 0  # no negative


@pytest.mark.parametrize("copied", [False, True])
def test_of_references_and_their_copies(copied: bool) -> None:
    references = torch.tensor([5, 0, 0, 7, 5, 0, 9, 5])
    copies = torch.tensor([1, 0, 3, -1, 4, 5, -1, 0, 6]) if copied else None  # 2 and 7 are copies of another label
    a, p, n = drawn(LABELS, 300, references, copies)
    assert (LABELS[a] == references[p]).all()
    assert (LABELS[a] != references[n]).all()
    if copies is not None:
        assert (copies[a] != p).all()
        assert (copies[a] != n).all()
    rows = LABELS[:, None] == references
    apart = torch.ones_like(rows) if copies is None else copies[:, None] != torch.arange(len(references))
    for found, allowed in ((p, rows & apart), (n, ~rows & apart)):
        have = (rows & apart).any(dim=1) & (~rows & apart).any(dim=1)
        seen = torch.zeros_like(rows)
        seen[a, found] = True
        assert torch.equal(seen, allowed & have[:, None])  # everything that is allowed comes


def test_draws_are_uniform_and_independent() -> None:
    labels = torch.arange(60) % 5
    a, p, n = drawn(labels, 400)
    others = labels != labels[7]
    pairs = torch.zeros(60, 60)
    mine = a == 7
    pairs.index_put_((p[mine], n[mine]), torch.ones(400), accumulate=True)
    by_positive = torch.zeros(60).index_add_(0, p, torch.ones(len(p)))
    by_negative = torch.zeros(60).index_add_(0, n, torch.ones(len(n)))
    fellows = (labels == labels[7]) & (torch.arange(60) != 7)
    for counts in (by_positive, by_negative, pairs.sum(dim=1)[fellows], pairs.sum(dim=0)[others]):
        assert stats.chisquare(counts.numpy()).pvalue > ALPHA
    table = pairs[fellows][:, others].view(11, 4, 12).sum(dim=2)  # 11 positives, the 48 negatives in four parts
    assert stats.chi2_contingency(table.numpy()).pvalue > ALPHA


def test_a_draw_depends_on_seed_and_anchor_alone() -> None:
    once, few = drawn(LABELS, 8), drawn(LABELS, 3)
    for x, y in zip(once, few, strict=True):
        assert torch.equal(x.view(-1, 8)[:, :3], y.view(-1, 3))
    assert not torch.equal(torch.stack(once), torch.stack(drawn(LABELS, 8, seed=SEED + 1)))


@pytest.mark.parametrize("options", [{}, {"swap": True, "smooth_loss": True, "reduction": "mean"}], ids=str)
def test_is_the_loss_of_the_triplets(options: dict[str, Any]) -> None:
    z = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    found = triplet_loss(z, LABELS, 0.5, triplets_per_anchor=6, generator=11, **options)
    expected = triplet_loss(z, None, 0.5, indices_tuple=drawn(LABELS, 6), **options)
    torch.testing.assert_close(found, expected)
    grads = (torch.autograd.grad(loss, z)[0] for loss in (found, expected))
    torch.testing.assert_close(*grads)
    criterion = TripletLoss(0.5, options.get("swap", False), options.get("smooth_loss", False), 6)
    criterion.reduction = options.get("reduction", "mean_nonzero")
    assert criterion(z, LABELS, generator=11) == found
    torch.manual_seed(3)
    first = criterion(z, LABELS)
    torch.manual_seed(3)
    assert criterion(z, LABELS) == first
    assert criterion(z, LABELS) != first


def test_many_draws_come_to_the_mean_over_all_as_the_peers_do() -> None:
    y, z = torch.arange(30) % 6, torch.randn(30, 5, dtype=torch.float64)  # groups of one size: all triplets weigh alike
    every = triplet_loss(z, y, 0.7, reduction="mean")
    ours = triplet_loss(z, y, 0.7, reduction="mean", triplets_per_anchor=500, generator=1)
    torch.testing.assert_close(ours, every, rtol=0.02, atol=0)
    reducer = peer("pytorch_metric_learning.reducers").MeanReducer()
    theirs = peer("pytorch_metric_learning.losses").TripletMarginLoss(0.7, triplets_per_anchor=500, reducer=reducer)
    torch.testing.assert_close(theirs(z, y), every, rtol=0.02, atol=0)


def test_signature_of_the_peer() -> None:
    theirs = inspect.signature(peer("pytorch_metric_learning.losses").TripletMarginLoss).parameters
    named = [(p.name, p.default) for p in theirs.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    ours = inspect.signature(TripletLoss).parameters
    assert [(p.name, p.default) for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD] == named


def test_of_part_of_the_anchors_they_are_those_of_all() -> None:
    (a, p, n), valid = drawn_triplets(LABELS, None, None, 5, SEED)
    found = []
    for rows in (slice(0, 4), slice(4, 9)):
        own = torch.arange(9)[rows]
        (anchors, *others), some = drawn_triplets(LABELS[rows], LABELS, own, 5, SEED, rows.start)
        found.append((anchors + rows.start, *others, some))
    for part, whole in zip(map(torch.cat, zip(*found, strict=True)), (a, p, n, valid), strict=True):
        assert torch.equal(part[valid], whole[valid])


BAD = [
    ({"triplets_per_anchor": 0}, ValueError, "triplets_per_anchor must be at least 1, got 0"),
    ({"triplets_per_anchor": 1.5}, TypeError, "triplets_per_anchor must be an int, got float"),
    ({"triplets_per_anchor": "some"}, TypeError, "triplets_per_anchor must be an int or 'all', got 'some'"),
    (
        {"triplets_per_anchor": 2, "mining": "batch_hard"},
        ValueError,
        "triplets_per_anchor goes with mining='batch_all', got mining='batch_hard'",
    ),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD, ids=[b[2] for b in BAD])
def test_errors(options: dict[str, Any], error: type[Exception], text: str) -> None:
    for name, call in (
        ("triplet_loss", lambda: triplet_loss(torch.ones(9, 2), LABELS, **options)),
        ("TripletLoss", lambda: TripletLoss(**options)),
    ):
        with pytest.raises(error, match="^" + re.escape(f"{name}: {text}") + "$"):
            call()
