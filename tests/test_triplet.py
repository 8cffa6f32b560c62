"""TripletLoss and triplet_loss against the definition, pytorch-metric-learning and analytic values;
test_margin_losses.py has what it shares with ContrastiveLoss."""

from __future__ import annotations

import itertools
import math
import re
from functools import partial

import loss_oracle
import margin_oracle
import pytest
import torch
from margin_oracle import DISTANCES, skip_float64_on, their_distance
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import TripletLoss, triplet_loss
from sslfast.reference.triplet import triplet_loss as reference

MINING = ("batch_all", "batch_hard", "semi_hard")
TERMS = {"swap": True}, {"smooth_loss": True}, {"swap": True, "smooth_loss": True}

on = partial(margin_oracle.on, triplet_loss, reference)
on_references = partial(margin_oracle.on_references, triplet_loss, reference)


# N, D, labels: pairs and singles; two large groups, beyond what is compared one by one; one label; all alone; N = 1.
SIZES = [(24, 5, 8), (150, 7, 2), (20, 6, 1), (20, 6, 1000), (1, 3, 1)]


@pytest.mark.parametrize(("n", "d", "labels"), SIZES)
@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n, d, labels, mining, distance, dtype: torch.dtype, device: torch.device) -> None:
    skip_float64_on(device, dtype)
    y = 7 * torch.randint(0, labels, (n,)) - 3  # any values
    z, r = torch.randn(n, d, dtype=dtype), torch.randn(31, d, dtype=dtype)
    ry = 7 * torch.randint(0, labels, (31,)) - 3
    for normalize, reduction in itertools.product((True, False), ("mean_nonzero", "mean", "sum")):
        options = {
            "margin": 0.3,
            "mining": mining,
            "distance": distance,
            "normalize": normalize,
            "reduction": reduction,
        }
        factor = 256 * (n if reduction == "sum" else 1)
        loss_oracle.assert_like_reference(*on(y, **options), [z], device, factor=factor)
        loss_oracle.assert_like_reference(*on_references(y, ry, **options), [z, r], device, factor=factor)


BLOCKS = [*itertools.product(("batch_all", "batch_hard"), TERMS), ("semi_hard", TERMS[2])]


@pytest.mark.parametrize(("mining", "options"), BLOCKS, ids=str)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_swap_and_soft_margins(
    mining: str,
    options: dict,
    distance: str,
    dtype: torch.dtype,
    device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skip_float64_on(device, dtype)
    monkeypatch.setattr("sslfast.losses._strips._HELD", 500)  # strips of 20 or 16 rows, blocks of one positive
    y, ry = torch.randint(0, 5, (24,)), torch.randint(0, 5, (31,))
    z, r = torch.randn(24, 4, dtype=dtype), torch.randn(31, 4, dtype=dtype)
    options = options | {"margin": 0.7, "mining": mining, "distance": distance}
    loss_oracle.assert_like_reference(*on(y, **options), [z], device, factor=256)
    options["reduction"] = "mean"
    loss_oracle.assert_like_reference(*on_references(y, ry, **options), [z, r], device, factor=256)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mining", MINING)
def test_half_precision_inputs(dtype: torch.dtype, mining: str, device: torch.device) -> None:
    y = torch.randint(0, 6, (40,))
    z = torch.randn(40, 16).to(dtype)
    loss_oracle.assert_half_is_like_reference(*on(y, margin=0.4, mining=mining), [z], device)
    options = {"margin": 0.4, "mining": mining, "swap": True, "smooth_loss": True}
    loss_oracle.assert_half_is_like_reference(*on(y, **options), [z], device)


def theirs(mining: str, distance: str, normalize: bool, reduction: str, margin: float, **options):
    """pytorch-metric-learning's loss with the miner and the reducer that the docstring names."""
    losses, miners = peer("pytorch_metric_learning.losses"), peer("pytorch_metric_learning.miners")
    measure = their_distance(distance, normalize)
    reducer = peer("pytorch_metric_learning.reducers").MeanReducer() if reduction == "mean" else None
    criterion = losses.TripletMarginLoss(margin, distance=measure, reducer=reducer, **options)
    miner = {
        "batch_all": lambda *args: None,
        "batch_hard": miners.BatchHardMiner(distance=measure),
        "semi_hard": miners.TripletMarginMiner(margin, "semihard", distance=measure),
    }[mining]

    def loss(z: Tensor, y: Tensor, r: Tensor | None = None, ry: Tensor | None = None) -> Tensor:
        return criterion(z, y, miner(z, y, r, ry), r, ry)

    return loss


CASES = [(mining, {}) for mining in MINING] + [("batch_hard", options) for options in TERMS]
CASES += [("batch_all", {"swap": True}), ("semi_hard", {"swap": True, "smooth_loss": True})]


@pytest.mark.parametrize(("mining", "options"), CASES, ids=str)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("reduction", ["mean_nonzero", "mean"])
def test_is_pytorch_metric_learnings(mining, options, distance, normalize, reduction) -> None:
    y, ry = torch.randint(0, 7, (30,)), torch.randint(0, 7, (22,))
    z, r = 0.5 * torch.randn(30, 6, dtype=torch.float64), 0.5 * torch.randn(22, 6, dtype=torch.float64)
    criterion = TripletLoss(0.4, mining=mining, distance=distance, normalize=normalize, reduction=reduction, **options)
    other = theirs(mining, distance, normalize, reduction, 0.4, **options)
    loss_oracle.assert_has_values_of(lambda x: other(x, y), lambda x: criterion(x, y), [z])
    if options.get("swap"):
        return  # theirs takes the positive's row of the embeddings for one of the references
    loss_oracle.assert_has_values_of(
        lambda x, c: other(x, y, c, ry), lambda x, c: criterion(x, y, ref_emb=c, ref_labels=ry), [z, r]
    )


@pytest.mark.parametrize("options", [{}, *TERMS], ids=str)
@pytest.mark.parametrize("distance", DISTANCES)
def test_takes_the_triplets_of_a_miner(options: dict, distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslfast.losses._triplets._TRIPLETS", 100)  # several chunks
    measure = their_distance(distance, True)
    other = peer("pytorch_metric_learning.losses").TripletMarginLoss(0.4, distance=measure, **options)
    y, z = torch.randint(0, 4, (20,)), torch.randn(20, 6, dtype=torch.float64)
    triplets = peer("pytorch_metric_learning.miners").TripletMarginMiner(0.5, distance=measure)(z, y)
    assert len(triplets[0]) > 200
    ours = TripletLoss(0.4, distance=distance, **options)
    loss_oracle.assert_has_values_of(lambda x: other(x, y, triplets), lambda x: ours(x, y, triplets), [z])
    assert ours(z, None, [torch.zeros(0, dtype=torch.int64)] * 3) == 0
    with pytest.raises(IndexError):
        ours(z, None, (torch.tensor([20]), torch.tensor([0]), torch.tensor([1])))
    if "swap" in options:
        return  # theirs takes the positive's row of the embeddings for one of the references
    r, ry = torch.randn(9, 6, dtype=torch.float64), torch.randint(0, 4, (9,))
    triplets = peer("pytorch_metric_learning.miners").TripletMarginMiner(0.5, distance=measure)(z, y, r, ry)
    loss_oracle.assert_has_values_of(
        lambda x, c: other(x, y, triplets, c, ry), lambda x, c: ours(x, None, triplets, c), [z, r]
    )


def test_the_first_arguments_are_pytorch_metric_learnings() -> None:
    other = peer("pytorch_metric_learning.losses").TripletMarginLoss
    ours, theirs = (loss_oracle.inspect.signature(cls).parameters for cls in (TripletLoss, other))
    assert [(p.name, p.default) for p in list(ours.values())[:3]] == [
        (p.name, p.default) for p in list(theirs.values())[:3]
    ]
    ours, theirs = (loss_oracle.inspect.signature(cls.forward).parameters for cls in (TripletLoss, other))
    assert list(ours) == [*theirs, "copies", "generator"]


def test_analytic_values() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1])
    options = {"normalize": False, "margin": 3.0}
    # (a, p, n): 0: 1-3+3 = 1, 1-7+3 < 0; 1: 1-2+3 = 2, 1-6+3 < 0; 3: 4-3+3 = 4, 4-2+3 = 5; 7: 4-7+3 = 0, 4-6+3 = 1
    assert triplet_loss(line, y, **options) == (1 + 2 + 4 + 5 + 1) / 5  # a term of exactly 0 does not count
    assert triplet_loss(line, y, **options, reduction="mean") == (1 + 2 + 4 + 5 + 1) / 8
    assert triplet_loss(line, y, **options, mining="batch_hard", reduction="sum") == 1 + 2 + 5 + 1
    assert triplet_loss(line, y, **options, mining="semi_hard", reduction="sum") == 1 + 2 + 1
    soft = triplet_loss(line, y, 0.0, normalize=False, mining="batch_hard", smooth_loss=True, reduction="sum")
    expected = sum(math.log1p(math.exp(x)) for x in (1 - 3, 1 - 2, 4 - 2, 4 - 6))
    torch.testing.assert_close(soft, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("mining", MINING)
def test_nothing_to_compare_gives_zero(mining: str) -> None:
    z = torch.randn(6, 3, requires_grad=True)
    for y in (torch.zeros(6, dtype=torch.int64), torch.arange(6)):  # no negative; no positive
        loss = triplet_loss(z, y, mining=mining)
        assert loss == 0
        assert not torch.autograd.grad(loss, z)[0].any()
    r = torch.randn(4, 3, requires_grad=True)
    loss = triplet_loss(z, torch.arange(6), mining=mining, ref_emb=r, ref_labels=torch.arange(10, 14))
    assert [loss.item(), *(g.abs().sum().item() for g in torch.autograd.grad(loss, (z, r)))] == [0, 0, 0]


@pytest.mark.parametrize("mining", ["batch_all", "batch_hard"])
@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_rows_are_at_distance_0_and_have_finite_gradients(mining: str, distance: str) -> None:
    z = torch.randn(5, 64).repeat(4, 1).requires_grad_()
    y = torch.arange(20) % 5
    y[7] = 3  # a negative that equals the anchor
    loss = triplet_loss(z, y, 0.2, mining=mining, distance=distance, reduction="mean")
    (grad,) = torch.autograd.grad(loss, z)
    assert grad.isfinite().all()
    expected = reference(z.double(), y, 0.2, mining=mining, distance=distance, reduction="mean")
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


def test_small_distances_about_a_far_centre_keep_their_digits() -> None:
    z = torch.randn(1, 16, dtype=torch.float64) * 10 + 1e-3 * torch.randn(40, 16, dtype=torch.float64)
    y = torch.arange(40) % 8
    for mining in MINING:
        ours = triplet_loss(z, y, 1e-3, normalize=False, mining=mining)
        narrow = triplet_loss(z.float(), y, 1e-3, normalize=False, mining=mining)
        torch.testing.assert_close(
            narrow, reference(z.float().double(), y, 1e-3, normalize=False, mining=mining).float()
        )
        torch.testing.assert_close(narrow.double(), ours, rtol=1e-2, atol=0.0)  # the inputs are rounded


def test_small_terms_of_large_distances_keep_their_digits() -> None:
    step = 2.0**-10  # exact in every term; 300 * 300 terms from sums of 9e7 are not, in float32
    references = torch.tensor([[1000.0], [1000.0 + step]]).repeat_interleave(300, dim=0)
    labels = torch.tensor([0, 1]).repeat_interleave(300)
    options = {"distance": "cosine", "normalize": False, "reduction": "mean"}
    loss = triplet_loss(torch.ones(1, 1), labels[:1], 0.0, ref_emb=references, ref_labels=labels, **options)
    assert loss == step


@pytest.mark.parametrize("options", [{}, *TERMS], ids=str)
def test_given_triplets_compose(options: dict) -> None:
    torch.compiler.reset()
    z, r = torch.randn(9, 8), torch.randn(14, 8)
    triplets = (torch.randint(0, 9, (50,)), torch.randint(0, 14, (50,)), torch.randint(0, 14, (50,)))

    def function(z: Tensor, r: Tensor) -> Tensor:
        return triplet_loss(z, None, 0.4, indices_tuple=triplets, ref_emb=r, **options)

    loss_oracle.assert_steady(function, z, r)
    loss_oracle.assert_takes_strides_and_mixed_dtypes(function, z, r)
    loss_oracle.assert_compiles(function, z, r)
    assert torch.autograd.gradcheck(function, [x.double().requires_grad_() for x in (z, r)])


def test_module() -> None:
    z, y = torch.randn(8, 3), torch.arange(8) % 2
    criterion = TripletLoss(0.3, True, True, mining="batch_hard", distance="cosine", gather_distributed=True)
    options = {"swap": True, "smooth_loss": True, "mining": "batch_hard", "distance": "cosine"}
    assert criterion(z, y) == triplet_loss(z, y, 0.3, **options)
    how = "distance='cosine', normalize=True, reduction='mean_nonzero', gather_distributed=True"
    options = "margin=0.3, swap=True, smooth_loss=True, mining='batch_hard', triplets_per_anchor='all'"
    assert repr(criterion) == f"TripletLoss({options}, {how})"


Z, Y = torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)
ONE = torch.tensor([1])
FIVE = ", ".join(["torch.int64 (1,)"] * 5)
EXPECTED = "int64 vectors, four in pairs of one length or three of one length"
BAD = [
    ([Z, Y, math.nan], {}, ValueError, "margin must be finite, got nan"),
    ([Z, Y, "1"], {}, TypeError, "margin must be a number, got str"),
    ([Z, Y, 0], {"mining": "semi_hard"}, ValueError, "margin must be positive with mining='semi_hard', got 0"),
    ([Z, Y], {"mining": "hard"}, ValueError, "mining must be 'batch_all', 'batch_hard' or 'semi_hard', got 'hard'"),
    ([Z, Y], {"indices_tuple": ONE}, TypeError, f"indices_tuple must be {EXPECTED}, got Tensor"),
    (
        [Z, Y],
        {"indices_tuple": (ONE,) * 5},
        TypeError,
        f"indices_tuple must be {EXPECTED}, got {FIVE}",
    ),
    (
        [Z, None],
        {"indices_tuple": (ONE, ONE, ONE + 3)},
        IndexError,
        "indices_tuple must be in [0, 3], rows of embeddings, got 4",
    ),
    (
        [Z, Y],
        {"indices_tuple": (ONE, ONE.int(), Y)},
        TypeError,
        f"indices_tuple must be {EXPECTED}, got torch.int64 (1,), torch.int32 (1,), torch.int64 (4,)",
    ),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args, kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"triplet_loss: {text}") + "$"):
        triplet_loss(*args, **kwargs)


def test_module_errors_name_the_module() -> None:
    with pytest.raises(TypeError, match=r"^TripletLoss: margin must be a number, got NoneType$"):
        TripletLoss(None)
    with pytest.raises(ValueError, match=r"^TripletLoss: mining must be 'batch_all', .* got 'all'$"):
        TripletLoss(mining="all")
