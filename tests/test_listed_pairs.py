"""Losses with labels on the pairs and triplets of a miner: against the definition and pytorch-metric-learning."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from loss_oracle import (
    assert_compiles,
    assert_half_is_like_reference,
    assert_has_values_of,
    assert_like_reference,
    assert_steady,
)
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import (
    ContrastiveLoss,
    CrossBatchMemory,
    MultiPositiveNTXentLoss,
    SupConLoss,
    TripletLoss,
    contrastive_loss,
    multi_positive_nt_xent_loss,
    supcon_loss,
    triplet_loss,
)
from sslfast.losses._indices import as_triplets
from sslfast.reference.multi_positive_nt_xent import nt_xent_loss_of_pairs
from sslfast.reference.supcon import supcon_loss_of_pairs

N, M, D = 24, 31, 6
LOSSES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "supcon_loss": (supcon_loss, supcon_loss_of_pairs),
    "multi_positive_nt_xent_loss": (multi_positive_nt_xent_loss, nt_xent_loss_of_pairs),
}
OURS: dict[str, Callable[[], Any]] = {
    "SupConLoss": lambda: SupConLoss(0.2),
    "NTXentLoss": lambda: MultiPositiveNTXentLoss(0.2),
    "TripletMarginLoss": lambda: TripletLoss(0.3),
    "ContrastiveLoss": lambda: ContrastiveLoss(0.1, 1.2),
}
THEIRS = {
    "SupConLoss": {"temperature": 0.2},
    "NTXentLoss": {"temperature": 0.2},
    "TripletMarginLoss": {"margin": 0.3},
    "ContrastiveLoss": {"pos_margin": 0.1, "neg_margin": 1.2},
}
MINERS = {"MultiSimilarityMiner": 4, "TripletMarginMiner": 3}


def listed(columns: int = N) -> tuple[Tensor, ...]:
    """Pairs of which some come twice; some rows have one positive, some several, some no negative, some nothing."""
    near, far = torch.randint(0, N - 4, (30,)), torch.randint(2, N - 2, (60,))
    near[:3], far[:5] = near[3], far[5]
    # No column is a positive of a row and a negative: the even ones are positives.
    p, n = 2 * torch.randint(0, columns // 2, (30,)), 2 * torch.randint(0, columns // 2, (60,)) + 1
    p[1], n[1] = p[0], n[0]
    return near, p, far, n


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dense", [0, 10**6])
def test_against_the_reference(name: str, dtype: torch.dtype, dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs one by one, some at once; and from strips of 7 rows or fewer."""
    monkeypatch.setattr("sslfast.losses._strips._PAIRS", 7)
    monkeypatch.setattr("sslfast.losses._strips._HELD", 7 * N)
    monkeypatch.setattr("sslfast.losses._strips._DENSE", dense)
    loss, reference = LOSSES[name]
    pairs, apart = listed(), listed(M)
    z, r = torch.randn(N, D, dtype=dtype), torch.randn(M, D, dtype=dtype)
    assert_like_reference(
        lambda z: loss(z, None, 0.2, indices_tuple=pairs), lambda z: reference(z, pairs, 0.2), [z], factor=64
    )
    assert_like_reference(
        lambda z, r: loss(z, None, 0.2, indices_tuple=apart, ref_emb=r),
        lambda z, r: reference(z, apart, 0.2, r),
        [z, r],
        factor=64,
    )


@pytest.mark.parametrize("name", LOSSES)
def test_half_types_and_composing(name: str) -> None:
    loss, reference = LOSSES[name]
    pairs = listed()

    def ours(z: Tensor) -> Tensor:
        return loss(z, None, 0.2, indices_tuple=pairs)

    z = torch.randn(N, D)
    assert_half_is_like_reference(ours, lambda z: reference(z, pairs, 0.2), [z.bfloat16()])
    assert_steady(ours, z)
    strided = torch.stack([z, z], dim=2)[..., 0]
    assert torch.equal(ours(strided), ours(z))
    z = z.requires_grad_()
    (grad,) = torch.autograd.grad(ours(z), z, create_graph=True)
    with pytest.raises(RuntimeError, match=f"^{name}: second derivatives are not supported$"):
        grad.sum().backward()
    bad = z.detach().clone()
    bad[-1, 0] = torch.nan  # a row that no pair names
    assert ours(bad).isnan()


@pytest.mark.parametrize("name", LOSSES)
def test_all_pairs_are_the_loss_without_a_list(name: str) -> None:
    loss, _ = LOSSES[name]
    z, y = torch.randn(N, D, dtype=torch.float64), torch.randint(0, 6, (N,))
    same = y[:, None] == y
    pairs = (*torch.where(same & ~torch.eye(N, dtype=torch.bool)), *torch.where(~same))
    torch.testing.assert_close(loss(z, None, 0.2, indices_tuple=pairs), loss(z, y, 0.2))
    nothing = torch.zeros(0, dtype=torch.int64)
    none = loss(z.requires_grad_(), None, indices_tuple=[nothing] * 4)
    assert none == 0
    assert torch.autograd.grad(none, z)[0].abs().sum() == 0
    assert loss(z, None, indices_tuple=(*[nothing] * 2, *pairs[2:])) == 0


def test_a_pair_is_not_both() -> None:
    one = torch.tensor([1])
    text = r"^supcon_loss: indices_tuple must list no pair as a positive and as a negative one, got \(1, 2\)$"
    with pytest.raises(ValueError, match=text):
        supcon_loss(torch.ones(3, 2), None, indices_tuple=(one, one + 1, one, one + 1))


def test_small_losses_keep_their_precision() -> None:
    z = torch.eye(4)[[0, 0, 1]]
    pair = torch.tensor([0]), torch.tensor([1]), torch.tensor([0]), torch.tensor([2])
    for loss, _ in LOSSES.values():
        torch.testing.assert_close(loss(z, None, 1 / 30, indices_tuple=pair), torch.tensor(torch.e**-30))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("miner", MINERS)
def test_is_pytorch_metric_learnings(name: str, miner: str) -> None:
    theirs = getattr(peer("pytorch_metric_learning.losses"), name)(**THEIRS[name])
    mine = getattr(peer("pytorch_metric_learning.miners"), miner)()
    z, y = torch.randn(N, D, dtype=torch.float64), torch.randint(0, 6, (N,))
    r, ry = torch.randn(M, D, dtype=torch.float64), torch.randint(0, 6, (M,))
    pairs = mine(z, y)
    assert len(pairs) == MINERS[miner]
    assert_has_values_of(lambda z: theirs(z, y, pairs), lambda z: OURS[name]()(z, y, pairs), [z])
    pairs = mine(z, y, r, ry)
    assert_has_values_of(lambda z, r: theirs(z, y, pairs, r, ry), lambda z, r: OURS[name]()(z, y, pairs, r, ry), [z, r])


def test_triplets_of_pairs() -> None:
    a, p, b, n = (torch.tensor(t) for t in ([3, 0, 3, 1], [1, 2, 0, 0], [0, 3, 3, 2, 0], [4, 5, 2, 1, 3]))
    z = torch.randn(6, D)
    expected = [[3, 1, 5], [3, 1, 2], [0, 2, 4], [0, 2, 3], [3, 0, 5], [3, 0, 2]]
    found = triplet_loss(z, None, 2.0, indices_tuple=(a, p, b, n), reduction="sum")
    same = triplet_loss(z, None, 2.0, indices_tuple=[*torch.tensor(expected).T], reduction="sum")
    assert torch.equal(found, same)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("miner", MINERS)
def test_memory_with_a_miner_goes_through_the_steps_of_pytorch_metric_learning(name: str, miner: str) -> None:
    wrapped = getattr(peer("pytorch_metric_learning.losses"), name)(**THEIRS[name])
    miners = [getattr(peer("pytorch_metric_learning.miners"), miner)() for _ in range(2)]
    theirs = peer("pytorch_metric_learning.losses").CrossBatchMemory(wrapped, D, 20, miners[0])
    ours = CrossBatchMemory(OURS[name](), D, 20, miners[1]).double()
    for step in range(5):
        z, y = torch.randn(8, D, dtype=torch.float64), torch.randint(0, 3, (8,))
        same = y[:2, None] == ours.label_memory[:7]  # which stay in the last step
        pairs = (*torch.where(same), *torch.where(~same))
        more = (pairs if MINERS[miner] == 3 else tuple(as_triplets([*pairs]))) if step == 4 else None
        mask = torch.arange(8) < 3 if step == 3 else None
        found = [
            (*torch.autograd.grad(loss, leaf), loss.detach())
            for criterion in (theirs, ours)
            for leaf in [z.clone().requires_grad_()]
            for loss in [criterion(leaf, y, more, mask)]
        ]
        torch.testing.assert_close(found[1], found[0], rtol=1e-11, atol=1e-13)


def test_memory_takes_any_miner_and_leaves_out_copies() -> None:
    seen: list[tuple[Tensor, ...]] = []

    def everything(z: Tensor, y: Tensor, r: Tensor, ry: Tensor) -> tuple[Tensor, ...]:
        assert not z.requires_grad
        same = y[:, None] == ry
        seen.append((*torch.where(same), *torch.where(~same)))
        return seen[-1]

    z, y = torch.randn(8, D), torch.arange(8) % 3
    found = CrossBatchMemory(SupConLoss(0.2), D, 20, everything)(z.requires_grad_(), y)
    torch.testing.assert_close(found, CrossBatchMemory(SupConLoss(0.2), D, 20)(z, y))
    assert len(seen) == 1
    torch.testing.assert_close(CrossBatchMemory(supcon_loss, D, 20, everything)(z, y), supcon_loss(z, y))


ONE, Y = torch.tensor([1]), torch.zeros(4, dtype=torch.int64)
EXPECTED = "int64 vectors, four in pairs of one length or three of one length"
BAD = [
    ({"indices_tuple": ONE}, TypeError, f"indices_tuple must be {EXPECTED}, got Tensor"),
    (
        {"indices_tuple": (ONE, Y, Y)},
        TypeError,
        f"indices_tuple must be {EXPECTED}, got torch.int64 (1,), torch.int64 (4,), torch.int64 (4,)",
    ),
    (
        {"indices_tuple": (ONE, ONE + 3, ONE)},
        IndexError,
        "indices_tuple must be in [0, 3], rows of embeddings, got 4",
    ),
    ({}, TypeError, "labels must be an integer tensor, got NoneType"),
    (
        {"indices_tuple": (ONE, ONE, ONE), "gather_distributed": True},
        ValueError,
        "gather_distributed goes without indices_tuple",
    ),
]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("options", "error", "text"), BAD, ids=[b[2] for b in BAD])
def test_errors(name: str, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"{name}: {text}") + "$"):
        LOSSES[name][0](torch.ones(4, 3), None, **options)


@pytest.mark.parametrize("loss", [supcon_loss, multi_positive_nt_xent_loss, triplet_loss, contrastive_loss])
def test_labels_that_are_given_are_looked_at(loss: Callable[..., Tensor]) -> None:
    listed, z = {"indices_tuple": (ONE, ONE + 1, ONE + 2)}, torch.ones(4, 3)
    torch.testing.assert_close(loss(z, Y, **listed), loss(z, None, **listed))
    with pytest.raises(TypeError, match=f"^{loss.__name__}: labels must be an integer tensor, got str$"):
        loss(z, "abc", **listed)
    with pytest.raises(ValueError, match=rf"^{loss.__name__}: labels must have shape \(4,\), got \(3,\)$"):
        loss(z, Y[:3], **listed)


@pytest.mark.parametrize("name", LOSSES)
def test_a_graph_asserts_that_rows_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In products of whole rows, too: (0, 5) of 4 columns is not (1, 1)."""
    torch.compiler.reset()
    monkeypatch.setattr("sslfast.losses._strips._DENSE", 10**6)
    z, pairs = torch.randn(4, 3), [torch.tensor([row]) for row in (0, 3, 0, 2)]
    compiled = torch.compile(lambda *pairs: LOSSES[name][0](z, None, indices_tuple=pairs), backend="eager")
    torch.testing.assert_close(compiled(*pairs), LOSSES[name][0](z, None, indices_tuple=pairs))
    text = f"^{name}: indices_tuple must name rows of embeddings, got one that does not exist"
    for at, row in ((0, 4), (1, 5), (2, -1), (3, 4)):
        with pytest.raises(RuntimeError, match=text):
            compiled(*(torch.tensor([row]) if i == at else t for i, t in enumerate(pairs)))


@pytest.mark.parametrize("name", LOSSES)
def test_compiles_in_one_graph(name: str) -> None:
    """Pairs that are listed twice, and more than one in eight of all."""
    torch.compiler.reset()
    pairs = listed()
    assert sum(len(rows) for rows in pairs[::2]) * 8 > N * N
    assert_compiles(lambda z: LOSSES[name][0](z, None, 0.2, indices_tuple=pairs), torch.randn(N, D))
    nothing = torch.zeros(0, dtype=torch.int64)
    none = torch.compile(
        lambda z, *pairs: LOSSES[name][0](z, None, indices_tuple=pairs), fullgraph=True, backend="aot_eager"
    )
    assert none(torch.randn(N, D), nothing, nothing, *pairs[2:]) == 0
