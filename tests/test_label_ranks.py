"""Losses with labels whose ranks share the pairs: larger shards, dtypes, and what a rank does and holds (gloo, CPU).

test_distributed.py has them with few rows, among all other losses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from loss_oracle import Largest
from ranks import found_by_ranks
from torch import Tensor

from sslfast import losses
from sslfast.losses import _ring_rows, _strips
from sslfast.losses._triplet_inputs import MINING

SHARDS = {2: [70, 130], 3: [60, 150, 90]}
DIM = 8
STRATEGIES = ("all_gather", "ring")
# Pairs in strips, and one by one where few are positive; the first shard has labels that no other row has.
LABELS: dict[str, Callable[[Tensor], Tensor]] = {
    "few labels": lambda at: at % 4,
    "many labels": lambda at: (at * 7 + 3) % 150,
    "a shard alone": lambda at: torch.where(at < 60, at, 60 + at % 5),
}
# Gradients in bfloat16 are rounded on either side.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 2**-7}
CASES = [(labels, torch.float64) for labels in LABELS] + [("few labels", dtype) for dtype in [*TOLERANCE][1:]]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "multi-positive": partial(losses.multi_positive_nt_xent_loss, temperature=0.2),
    "contrastive": partial(losses.contrastive_loss, neg_margin=1.3),
    "contrastive, squared": partial(
        losses.contrastive_loss, squared=True, pos_margin=0.1, normalize=False, reduction="mean"
    ),
    "contrastive, sum": partial(losses.contrastive_loss, pos_margin=0.9, distance="cosine", reduction="sum"),
    "triplet": partial(losses.triplet_loss, margin=0.4),
    "triplet, mean": partial(losses.triplet_loss, margin=0.4, distance="cosine", reduction="mean"),
    "triplet, semi-hard": partial(losses.triplet_loss, margin=0.4, mining="semi_hard", reduction="mean"),
    "triplet, swap": partial(losses.triplet_loss, swap=True, smooth_loss=True),
    "triplet, soft": partial(losses.triplet_loss, smooth_loss=True, reduction="sum"),
    "triplet, semi-hard, swap": partial(
        losses.triplet_loss, margin=9.0, mining="semi_hard", swap=True, normalize=False, reduction="mean"
    ),
    "triplet, drawn": partial(losses.triplet_loss, triplets_per_anchor=5, generator=2),
    "triplet, hardest": partial(losses.triplet_loss, margin=0.4, mining="batch_hard"),
    "triplet, hardest, swap": partial(
        losses.triplet_loss, margin=0.4, mining="batch_hard", swap=True, normalize=False, reduction="sum"
    ),
}


def rows_of(total: int) -> Tensor:
    """Rows about a point that is far from 0."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(total, DIM, generator=generator, dtype=torch.float64) + 2.0


def outcome(name: str, labels: str, dtype: torch.dtype, rows: slice, total: int, how: str) -> tuple[Tensor, Tensor]:
    """The loss of a part of the batch, and its gradient in the rows."""
    z = rows_of(total).to(dtype)[rows].requires_grad_()
    loss = LOSSES[name](z, LABELS[labels](torch.arange(total))[rows], gather_distributed=how)
    (3.0 * loss).backward()
    assert z.grad is not None
    return loss.detach(), z.grad


class Recorder(Largest):
    """The largest tensor, the multiplications of torch's matrix products, and the numbers that go to another rank or
    come from one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products = self.traffic = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            self.traffic += sum(t.numel() for t in torch.utils._pytree.tree_leaves(args[0]) if isinstance(t, Tensor))
        if func.__name__.split(".")[0] in ("mm", "addmm", "addmm_"):
            a, b = args[-2:]
            self.products += a.shape[0] * a.shape[1] * b.shape[1]
        return super().__torch_dispatch__(func, types, args, kwargs)


def equally_far(mining: str, rank: int, world: int, how: str) -> Tensor:
    """The gradient in rows of which every one comes again on another rank; whole numbers, about 0: all is exact."""
    half = torch.randint(-2, 3, (21, DIM), generator=torch.Generator().manual_seed(1))
    rows = torch.cat([half, -half]).repeat(2, 1).double()
    own = slice(len(rows) * rank // world, len(rows) * (rank + 1) // world)
    z, labels = rows[own].requires_grad_(), (torch.arange(len(rows)) % 42 % 5)[own]
    options: dict[str, Any] = {"distance": "squared_euclidean", "normalize": False, "reduction": "sum"}
    losses.triplet_loss(z, labels, 9.0, mining=mining, **options, gather_distributed=how).backward()
    assert z.grad is not None
    return z.grad


NEAR = list(itertools.product((32, 64), (False, True)))  # rows of a shard, whether a row and its other view are apart


def near_positives(
    rows: int, apart: bool, dtype: torch.dtype, rank: int, world: int, how: str
) -> tuple[Tensor, Tensor]:
    """The contrastive loss, and its gradient, of two views at about 1e-4 on one rank or on two; ``rows`` of all."""
    generator = torch.Generator().manual_seed(4)
    first = torch.nn.functional.normalize(torch.randn(rows // 2, DIM, generator=generator), dim=1)
    views = [first, first + 3e-5 * torch.randn(first.shape, generator=generator)]
    z = torch.stack(views, dim=0 if apart else 1).view(rows, DIM)
    labels = torch.arange(rows // 2).repeat(2) if apart else torch.arange(rows // 2).repeat_interleave(2)
    own = slice(rows * rank // world, rows * (rank + 1) // world)
    leaf = z.to(dtype)[own].requires_grad_()
    loss = losses.contrastive_loss(leaf, labels[own], neg_margin=0.01, gather_distributed=how)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach().double(), leaf.grad.double()


SCALED = ("multi-positive", "contrastive", "triplet", "triplet, swap", "triplet, drawn", "triplet, hardest")


def scaled_gradients(name: str, how: str, rank: int) -> list[Tensor]:
    """The gradient in float16 rows, which a loss scale brings into float16's range, and in the same rows in float32."""
    generator = torch.Generator().manual_seed(rank)
    rows = (2e4 * torch.randn(24, DIM, generator=generator)).clamp_(-6e4, 6e4).half()
    found = []
    for z in (rows.requires_grad_(), rows.detach().float().requires_grad_()):
        (2.0**15 * LOSSES[name](z, torch.arange(24) % 5, gather_distributed=how)).backward()
        assert z.grad is not None
        found.append(z.grad)
    return found


EVEN, WIDE = 16, 64  # rows of each rank and their width, where work and memory are counted


def footprint(
    name: str, how: str, rank: int, world: int, *, own_labels: bool = False, needed: bool = True
) -> tuple[int, int, int]:
    world = 1 if how == "local" else world
    generator = torch.Generator().manual_seed(rank)
    z = torch.randn(EVEN * (4 // world), WIDE, generator=generator, requires_grad=True)
    labels = rank * EVEN + torch.arange(len(z)) if own_labels else torch.arange(len(z)) % EVEN % 5
    with Recorder() as recorder, torch.set_grad_enabled(needed):
        loss = LOSSES[name](z, labels, gather_distributed=how)
        if needed:
            loss.backward()
    return recorder.numel, recorder.products, recorder.traffic


def poisoned(name: str, how: str, rank: int) -> list[Tensor]:
    """The loss, and its gradient, where the first rank has a NaN."""
    z = torch.randn(6, DIM, generator=torch.Generator().manual_seed(rank))
    if rank == 0:
        z[2, 1] = torch.nan
    loss = LOSSES[name](z.requires_grad_(), torch.arange(6) % 3, gather_distributed=how)
    loss.backward()
    assert z.grad is not None
    return [loss.detach(), z.grad]


# How often the rows, or gradients of as many, go round in a ring that takes all triplets at once: with a gradient, and
# without. Drawn rows and those of a swap are fetched, and their gradients follow next to nothing.
ROUNDS = {
    **dict.fromkeys(("triplet", "triplet, mean", "triplet, semi-hard", "triplet, soft"), (5, 2)),
    "triplet, swap": (4, 2),
    "triplet, semi-hard, swap": (5, 3),  # distances of its positives are asked of blocks, too
    **dict.fromkeys(("triplet, drawn", "triplet, hardest", "triplet, hardest, swap"), (2, 1)),
}


def rank_main(rank: int, world: int) -> Any:
    results: dict[Any, Any] = {}
    if world == 4:
        _strips._HELD = EVEN * WIDE
        for name in ROUNDS:
            results[name, "traffic"] = [footprint(name, "ring", rank, world, needed=each)[2] for each in (True, False)]
        _ring_rows._KEPT = 0  # only what a shard has
        for name, how in itertools.product(LOSSES, STRATEGIES):
            results[name, how] = footprint(name, how, rank, world)
            results[name, how, "no_grad"] = footprint(name, how, rank, world, needed=False)
        results["scaled"] = [scaled_gradients(name, how, rank) for name, how in itertools.product(SCALED, STRATEGIES)]
        for how in STRATEGIES:
            results["own labels", how] = footprint("contrastive", how, rank, world, own_labels=True)
            for rows, apart in NEAR:
                results["near", rows, apart, how] = near_positives(4 * rows, apart, torch.float32, rank, world, how)
        return results
    for mining, how in itertools.product(MINING, STRATEGIES):
        results["equally far", mining, how] = equally_far(mining, rank, world, how)
    shards = SHARDS[world]
    own = slice(sum(shards[:rank]), sum(shards[: rank + 1]))
    seed = torch.tensor([8]) if rank else 2  # the first rank's is everybody's
    drawn = partial(losses.triplet_loss, triplets_per_anchor=5, generator=seed, gather_distributed=True)
    results["seed"] = drawn(rows_of(sum(shards))[own], torch.arange(sum(shards))[own] % 4)
    results["poisoned"] = [poisoned(name, how, rank) for name, how in itertools.product(LOSSES, STRATEGIES)]
    for name, (labels, dtype), how in itertools.product(LOSSES, CASES, STRATEGIES):
        results[name, labels, dtype, how] = outcome(name, labels, dtype, own, sum(shards), how)
        if dtype == torch.float64:
            with torch.no_grad():
                z = rows_of(sum(shards))[own].requires_grad_()
                value = LOSSES[name](z, LABELS[labels](torch.arange(sum(shards)))[own], gather_distributed=how)
            results[name, labels, how, "no_grad"] = value
    return results


@pytest.mark.parametrize("world", SHARDS)
def test_shards_of_many_rows(world: int, tmp_path: Path) -> None:
    ranks = found_by_ranks(rank_main, world, tmp_path)
    # The first of several hardest rows gets the gradient, on whichever rank it lies, and semi-hard ones are no nearer.
    for mining, how in itertools.product(MINING, STRATEGIES):
        found = torch.cat([rank["equally far", mining, how] for rank in ranks]) / world
        torch.testing.assert_close(found, equally_far(mining, 0, 1, "local"), rtol=1e-14, atol=0)
    for values in itertools.chain(*(rank["poisoned"] for rank in ranks)):
        assert all(value.isnan().all() for value in values)
    total = sum(SHARDS[world])
    drawn = outcome("triplet, drawn", "few labels", torch.float64, slice(0, total), total, "local")[0]
    for rank in ranks:
        torch.testing.assert_close(rank["seed"], drawn, rtol=1e-11, atol=0)
    for name, (labels, dtype) in itertools.product(LOSSES, CASES):
        loss, grad = outcome(name, labels, dtype, slice(0, total), total, "local")
        for how in STRATEGIES:
            found = [rank[name, labels, dtype, how] for rank in ranks]
            where, tolerance = f"{name}, {labels}, {dtype}, {how}", TOLERANCE[dtype]
            if name.startswith("triplet") and dtype == torch.float32:
                tolerance *= 25  # a triplet at a margin, which rounding takes or leaves
            for value, part in found:
                assert value.dtype == loss.dtype, where
                assert part.dtype == dtype, where
                torch.testing.assert_close(value, loss, rtol=min(tolerance, 1e-4), atol=0, msg=where)
            # DistributedDataParallel averages.
            parts = torch.cat([part for _, part in found]).double() / world
            scale = float(grad.abs().max())
            assert (parts - grad.double()).abs().max() <= tolerance * scale, where
            if dtype == torch.float64:
                for rank in ranks:
                    torch.testing.assert_close(rank[name, labels, how, "no_grad"], loss, rtol=1e-11, atol=0)


def test_the_ranks_share_work_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = found_by_ranks(rank_main, 4, tmp_path)
    for (rows, apart), how in itertools.product(NEAR, STRATEGIES):  # as precise as by one process
        loss, grad = near_positives(4 * rows, apart, torch.float64, 0, 1, "local")
        found = [rank["near", rows, apart, how] for rank in ranks]
        for value, _ in found:
            torch.testing.assert_close(value, loss, rtol=1e-3, atol=0)
        parts = torch.cat([part for _, part in found]) / 4
        assert (parts - grad).norm() <= 1e-3 * grad.norm(), (rows, apart, how)
    monkeypatch.setattr("sslfast.losses._few_rows.MOST_ROWS", 0)
    scaled = [scaled_gradients(name, "local", 0) for name in SCALED]
    for half, exact in itertools.chain(scaled, *(rank["scaled"] for rank in ranks)):
        assert (exact != 0).sum() > exact.numel() / 2
        assert (exact.abs() / 2**15).max() < 2**-14  # where float16 has not all of its bits
        torch.testing.assert_close(half.float(), exact, rtol=2**-11, atol=2**-25)
    whole = 4 * EVEN * WIDE
    for name in LOSSES:
        products = footprint(name, "local", 0, 1)[1]
        for rank, how in itertools.product(ranks, STRATEGIES):
            largest, own_products, traffic = rank[name, how]
            # Without a gradient none is sent.
            assert 0 < rank[name, how, "no_grad"][2] <= traffic - EVEN * WIDE
            # In a ring all triplets take the products with positives once more, for distances and for gradients.
            times = 2 if how == "ring" and ROUNDS.get(name) == (5, 2) else 1
            assert own_products <= times * products / 4, (name, how)
            assert own_products > 0 or name == "triplet, drawn"
            assert largest >= whole if how == "all_gather" else largest <= whole // 2, (name, how)
    for rank, (name, rounds) in itertools.product(ranks, ROUNDS.items()):
        found = [traffic / (2 * 3 * EVEN * WIDE) for traffic in rank[name, "traffic"]]
        assert all(n <= x < n + 0.5 for x, n in zip(found, rounds, strict=True)), (name, found)
    for rank, how in itertools.product(ranks, STRATEGIES):  # a sum's positives and negatives have one gradient
        assert rank["contrastive, sum", how][2] <= rank["contrastive", how][2] - EVEN * WIDE
    for rank in ranks:  # rows are gathered once for all passes
        assert rank["multi-positive", "all_gather", "no_grad"][2] < 2 * whole
    # Positives are taken one by one, and where there are none nothing is multiplied for them.
    products = footprint("contrastive", "local", 0, 1, own_labels=True)[1]
    for rank, how in itertools.product(ranks, STRATEGIES):
        assert rank["own labels", how][1] <= products / 4, how
