"""ContrastiveLoss and contrastive_loss against the definition, pytorch-metric-learning and analytic values;
test_margin_losses.py has what it shares with TripletLoss."""

from __future__ import annotations

import itertools
import math
import re
from functools import partial

import loss_oracle
import margin_oracle
import pytest
import torch
from margin_oracle import DISTANCES, PAIR_MARGINS, pair_options, skip_float64_on, their_distance
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import ContrastiveLoss, contrastive_loss
from sslfast.reference.contrastive import contrastive_loss as reference

on = partial(margin_oracle.on, contrastive_loss, reference)
on_references = partial(margin_oracle.on_references, contrastive_loss, reference)


# N, D, labels: many positives, which stay in the strips; so few that they are listed; one label; all alone; N = 1.
SIZES = [(30, 5, 4), (150, 7, 80), (20, 6, 1), (20, 6, 1000), (1, 3, 1)]


@pytest.mark.parametrize(("n", "d", "labels"), SIZES)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n, d, labels, distance, squared, dtype: torch.dtype, device: torch.device) -> None:
    skip_float64_on(device, dtype)
    y = 7 * torch.randint(0, labels, (n,)) - 3  # any values
    z, r = torch.randn(n, d, dtype=dtype), torch.randn(31, d, dtype=dtype)
    ry = 7 * torch.randint(0, labels, (31,)) - 3
    for normalize, reduction in itertools.product((True, False), ("mean_nonzero", "mean", "sum")):
        options = pair_options(distance, squared=squared, normalize=normalize, reduction=reduction)
        factor = 256 * (n if reduction == "sum" else 1)
        loss_oracle.assert_like_reference(*on(y, **options), [z], device, factor=factor)
        loss_oracle.assert_like_reference(*on_references(y, ry, **options), [z, r], device, factor=factor)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("labels", [6, 1000])
def test_half_precision_inputs(dtype: torch.dtype, labels: int, device: torch.device) -> None:
    y = torch.randint(0, labels, (140,))
    z = torch.randn(140, 16).to(dtype)
    loss_oracle.assert_half_is_like_reference(*on(y, neg_margin=1.2), [z], device)


def theirs(distance: str, normalize: bool = True, reduction: str = "mean_nonzero"):
    pos_margin, neg_margin = PAIR_MARGINS[distance]
    reducer = peer("pytorch_metric_learning.reducers").MeanReducer() if reduction == "mean" else None
    return peer("pytorch_metric_learning.losses").ContrastiveLoss(
        pos_margin, neg_margin, distance=their_distance(distance, normalize), reducer=reducer
    )


@pytest.mark.parametrize("labels", [7, 100])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("reduction", ["mean_nonzero", "mean"])
def test_is_pytorch_metric_learnings(labels: int, distance: str, normalize: bool, reduction: str) -> None:
    y, ry = torch.randint(0, labels, (90,)), torch.randint(0, labels, (70,))
    z, r = 0.5 * torch.randn(90, 6, dtype=torch.float64), 0.5 * torch.randn(70, 6, dtype=torch.float64)
    criterion = ContrastiveLoss(**pair_options(distance, normalize=normalize, reduction=reduction))
    other = theirs(distance, normalize, reduction)
    loss_oracle.assert_has_values_of(lambda x: other(x, y), lambda x: criterion(x, y), [z])
    loss_oracle.assert_has_values_of(
        lambda x, c: other(x, y, ref_emb=c, ref_labels=ry), lambda x, c: criterion(x, y, None, c, ry), [z, r]
    )


def test_the_defaults_are_pytorch_metric_learnings() -> None:
    other = peer("pytorch_metric_learning.losses").ContrastiveLoss
    ours, theirs = (loss_oracle.inspect.signature(cls).parameters for cls in (ContrastiveLoss, other))
    assert [(p.name, p.default) for p in list(ours.values())[:2]] == [
        (p.name, p.default) for p in list(theirs.values())[:2]
    ]
    ours, theirs = (loss_oracle.inspect.signature(cls.forward).parameters for cls in (ContrastiveLoss, other))
    assert list(ours) == [*theirs, "copies"]
    y, z = torch.randint(0, 7, (40,)), torch.randn(40, 3, dtype=torch.float64)
    loss_oracle.assert_has_values_of(lambda x: other()(x, y), lambda x: ContrastiveLoss()(x, y), [z])


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("miner", ["MultiSimilarityMiner", "PairMarginMiner", "TripletMarginMiner"])
def test_takes_the_pairs_of_a_miner(distance: str, miner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslfast.losses._pairs._PAIRS", 20)  # several chunks
    other, ours = theirs(distance), ContrastiveLoss(**pair_options(distance))
    mine = getattr(peer("pytorch_metric_learning.miners"), miner)()
    y, z = torch.randint(0, 4, (20,)), torch.randn(20, 6, dtype=torch.float64)
    pairs = mine(z, y)
    assert len(pairs) == (3 if miner == "TripletMarginMiner" else 4)
    assert len(pairs[0]) > 20
    loss_oracle.assert_has_values_of(lambda x: other(x, y, pairs), lambda x: ours(x, y, pairs), [z])
    r, ry = torch.randn(9, 6, dtype=torch.float64), torch.randint(0, 4, (9,))
    pairs = mine(z, y, r, ry)
    loss_oracle.assert_has_values_of(
        lambda x, c: other(x, y, pairs, c, ry), lambda x, c: ours(x, None, pairs, c), [z, r]
    )


def test_given_pairs_that_are_none_or_wrong() -> None:
    z, nothing = torch.randn(4, 3), torch.zeros(0, dtype=torch.int64)
    assert contrastive_loss(z, None, indices_tuple=[nothing] * 4) == 0
    wide, zero = torch.tensor([5]), torch.tensor([0])
    rows = "contrastive_loss: indices_tuple must be in"
    with pytest.raises(IndexError, match="^" + re.escape(f"{rows} [0, 3], rows of embeddings, got 5") + "$"):
        contrastive_loss(z, None, indices_tuple=(zero, zero, wide, zero), ref_emb=torch.randn(6, 3))
    with pytest.raises(IndexError, match="^" + re.escape(f"{rows} [0, 4], rows of ref_emb, got -1") + "$"):
        contrastive_loss(z, None, indices_tuple=(zero, zero, zero, zero - 1), ref_emb=torch.randn(5, 3))
    contrastive_loss(z, None, indices_tuple=(zero, wide, zero, wide), ref_emb=torch.randn(6, 3))


@pytest.mark.parametrize("count", [1, 40])  # each row 40 times: positives too many to be listed, or listed
def test_analytic_values(count: int) -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64)
    line = torch.cat([line + 1000 * i for i in range(count)])
    y = torch.arange(2 * count).repeat_interleave(2)
    options = {"normalize": False, "pos_margin": 1.0, "neg_margin": 3.0}
    # positives: 0-1: 1 - 1 = 0, 3-7: 4 - 1 = 3; negatives: 0-3: 3 - 3 = 0, 1-3: 3 - 2 = 1, 0-7 and 1-7: none
    assert contrastive_loss(line, y, **options) == 3 + 1  # terms of exactly 0 do not count
    assert contrastive_loss(line, y, **options, reduction="sum") == 2 * count * (3 + 1)
    negatives = len(line) * (len(line) - 2) / 2
    mean = contrastive_loss(line, y, **options, squared=True, reduction="mean")
    torch.testing.assert_close(mean, torch.tensor(9 / 2 + count / negatives, dtype=torch.float64))


def test_copies_are_not_compared() -> None:
    y = torch.arange(40) % 13
    z = torch.randn(40, 4, dtype=torch.float64)
    copies = torch.arange(40)
    copies[::3] = -1
    ry = y.clone()
    ry[1] = 99  # a copy of another label is no negative
    keep = (copies < 0).double().diag() + 1 - torch.eye(40, dtype=torch.float64)
    distances = (z[:, None] - z).norm(dim=2)
    same = (y[:, None] == ry).double()
    expected = (keep * same * distances).sum() + (keep * (1 - same) * (1 - distances).clamp_min(0)).sum()
    loss = contrastive_loss(z, y, normalize=False, reduction="sum", ref_emb=z, ref_labels=ry, copies=copies)
    torch.testing.assert_close(loss, expected)


def test_nothing_to_compare_gives_zero() -> None:
    z = torch.randn(1, 3, requires_grad=True)
    loss = contrastive_loss(z, torch.zeros(1, dtype=torch.int64))
    assert loss == 0
    assert not torch.autograd.grad(loss, z)[0].any()


@pytest.mark.parametrize("labels", [2, 50])
@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_rows_are_at_distance_0_and_have_finite_gradients(labels: int, distance: str) -> None:
    z = torch.randn(labels, 64).repeat(4, 1).requires_grad_()
    y = torch.arange(4 * labels) % labels
    y[1] = 0  # a negative that equals its anchor
    loss = contrastive_loss(z, y, **pair_options(distance, pos_margin=0.0, reduction="mean"))
    (grad,) = torch.autograd.grad(loss, z)
    assert grad.isfinite().all()
    expected = reference(z.double(), y, **pair_options(distance, pos_margin=0.0, reduction="mean"))
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


def test_small_distances_of_listed_positives_keep_their_digits() -> None:
    y = torch.arange(400) // 2
    z = torch.randn(200, 16, dtype=torch.float64)[y] + 1e-5 * torch.randn(400, 16, dtype=torch.float64)
    z = z.float()
    ours = contrastive_loss(z, y, normalize=False, neg_margin=0.0)
    expected = reference(z.double(), y, normalize=False, neg_margin=0.0)
    assert ours < 1e-3
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("kinds", [3, 4])
def test_given_pairs_compose(kinds: int) -> None:
    torch.compiler.reset()
    z, r = torch.randn(9, 8), torch.randn(14, 8)
    pairs = [torch.randint(0, 9, (50,)) if i in (0, kinds - 2) else torch.randint(0, 14, (50,)) for i in range(kinds)]
    if kinds == 4:
        pairs[2:] = [p[:30] for p in pairs[2:]]

    def function(z: Tensor, r: Tensor) -> Tensor:
        return contrastive_loss(z, None, neg_margin=1.4, indices_tuple=pairs, ref_emb=r)

    loss_oracle.assert_steady(function, z, r)
    loss_oracle.assert_takes_strides_and_mixed_dtypes(function, z, r)
    loss_oracle.assert_compiles(function, z, r)
    assert torch.autograd.gradcheck(function, [x.double().requires_grad_() for x in (z, r)])


def test_module() -> None:
    z, y = torch.randn(8, 3), torch.arange(8) % 2
    criterion = ContrastiveLoss(0.3, 0.9, squared=True, distance="cosine", gather_distributed=True)
    options = {"pos_margin": 0.3, "neg_margin": 0.9, "squared": True, "distance": "cosine"}
    assert criterion(z, y) == contrastive_loss(z, y, **options)
    how = "distance='cosine', normalize=True, reduction='mean_nonzero', gather_distributed=True"
    assert repr(criterion) == f"ContrastiveLoss(pos_margin=0.3, neg_margin=0.9, squared=True, {how})"


Z, Y = torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)
ONE = torch.tensor([1])
EXPECTED = "int64 vectors, four in pairs of one length or three of one length"
BAD = [
    ([Z, Y], {"pos_margin": math.nan}, ValueError, "pos_margin must be finite, got nan"),
    ([Z, Y], {"neg_margin": "1"}, TypeError, "neg_margin must be a number, got str"),
    ([Z, Y], {"squared": 1}, TypeError, "squared must be a bool, got 1"),
    ([Z, Y], {"indices_tuple": ONE}, TypeError, f"indices_tuple must be {EXPECTED}, got Tensor"),
    (
        [Z, Y],
        {"indices_tuple": (ONE,) * 2},
        TypeError,
        f"indices_tuple must be {EXPECTED}, got torch.int64 (1,), torch.int64 (1,)",
    ),
    (
        [Z, Y],
        {"indices_tuple": (ONE, Y, Y, Y)},
        TypeError,
        f"indices_tuple must be {EXPECTED}, got torch.int64 (1,), {', '.join(['torch.int64 (4,)'] * 3)}",
    ),
    (
        [Z, Y],
        {"indices_tuple": (ONE, ONE.int(), ONE)},
        TypeError,
        f"indices_tuple must be {EXPECTED}, got torch.int64 (1,), torch.int32 (1,), torch.int64 (1,)",
    ),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args, kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"contrastive_loss: {text}") + "$"):
        contrastive_loss(*args, **kwargs)


def test_module_errors_name_the_module() -> None:
    with pytest.raises(TypeError, match=r"^ContrastiveLoss: pos_margin must be a number, got NoneType$"):
        ContrastiveLoss(None)
    with pytest.raises(TypeError, match=r"^ContrastiveLoss: squared must be a bool, got 2$"):
        ContrastiveLoss(squared=2)
    with pytest.raises(ValueError, match=r"^ContrastiveLoss: distance must be 'euclidean', .* got 'l2'$"):
        ContrastiveLoss(distance="l2")
