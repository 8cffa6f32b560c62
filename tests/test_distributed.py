"""Losses over several ranks equal those of one process on the concatenated batch, however they share it (gloo, CPU)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import rank_banks
import torch
import torch.distributed as dist
from loss_oracle import Largest

# Uneven, with shards of 1; 2 and 4 have blocks that two ranks share. 4 is even where work and memory are counted.
from rank_criteria import CRITERIA, OUT
from ranks import found_by_ranks
from torch import Tensor, nn

from sslfast import losses
from sslfast.distributed import gather_rows, mean_over_ranks, strategy_of, sum_over_ranks, world_size
from sslfast.reference.supcon import supcon_loss as supcon_reference

SHARDS = {1: [5], 2: [1, 4], 3: [3, 1, 5], 4: [2, 1, 3, 2]}
DIM = 6
STRATEGIES = ("all_gather", "ring")


def data(rows: int) -> tuple[Tensor, Tensor, nn.Linear, Tensor, Tensor]:
    """Inputs of two views, labels, a model, and a scale and a bias that learn."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(2, rows, DIM, generator=generator, dtype=torch.float64)
    model = nn.Linear(DIM, OUT, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.randn(OUT, DIM, generator=generator, dtype=torch.float64))
        model.bias.zero_()
    scale, bias = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (3.0, -1.5))
    return x, torch.arange(rows) % 3, model, scale, bias


def outcome(kind: str, rows: slice, total: int, strategy: str) -> tuple[Tensor, ...]:
    """Loss, and gradients of the model, of the scale and of the bias, of a part of the batch."""
    x, labels, model, scale, bias = data(total)
    encoder = model if strategy == "local" else nn.parallel.DistributedDataParallel(model)
    views = encoder(x[0, rows]), encoder(x[1, rows])
    loss = CRITERIA[kind](*views, labels[rows], scale, bias, strategy)
    loss.backward()
    # Scale and bias are not in the model: every rank has their whole gradient, and averaging would change nothing.
    return loss.detach(), *(torch.zeros(()) if p.grad is None else p.grad for p in (model.weight, scale, bias))


class Recorder(Largest):
    """The largest tensor, and the pairs of rows that each operator multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: dict[str, float] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        if "softmax" in name or name == "sigmoid_pairs":
            pairs = len(args[0]) ** 2 / 2 if name.startswith("similarity") else len(args[0]) * len(args[1])
            key = "backward" if name.endswith("backward") else "forward"
            self.pairs[key] = self.pairs.get(key, 0) + pairs
        return super().__torch_dispatch__(func, types, args, kwargs)


ROWS = 32  # of each rank, where work and memory are counted


def footprint(kind: str, strategy: str) -> tuple[int, dict[str, float]]:
    generator = torch.Generator().manual_seed(dist.get_rank())
    views = [torch.randn(ROWS, 16, generator=generator, requires_grad=True) for _ in range(2)]
    scale, bias = torch.tensor(3.0), torch.tensor(-1.0)
    with Recorder() as recorder:
        CRITERIA[kind](*views, torch.arange(ROWS) % 5, scale, bias, strategy).backward()
    return recorder.numel, recorder.pairs


UNMOVED = ("memory bank", "supcon, nothing")  # would keep the NaN; has no term that a NaN could be in


def nan_on_one_rank(kind: str, strategy: str) -> Tensor:
    z = torch.randn(2, 3, OUT, dtype=torch.float64)
    if dist.get_rank() == dist.get_world_size() - 1:
        z[:, 1, 1] = torch.nan
    return CRITERIA[kind](*z, torch.tensor([0, 1, 0]), torch.tensor(2.0), torch.tensor(0.0), strategy)


def small_loss(strategy: str) -> list[Tensor]:
    """Of views alike, each at right angles to all others, in float32."""
    z = torch.eye(3 * dist.get_world_size())[3 * dist.get_rank() :][:3]
    labels = torch.arange(3) + 3 * dist.get_rank()
    ahead = (labels + 3) % (3 * dist.get_world_size())  # the second view lies on another rank
    rows, labels = torch.cat([z, torch.eye(3 * dist.get_world_size())[ahead]]), torch.cat([labels, ahead])
    return [
        losses.nt_xent_loss(z, z, 1 / 18, gather_distributed=strategy),
        losses.supcon_loss(rows, labels, 1 / 18, gather_distributed=strategy),
    ]


def near_positives(strategy: str) -> list[Tensor]:
    """Three views all but alike of every sample, each view on a rank of its own; the gradient in float32."""
    generator = torch.Generator().manual_seed(11)
    samples = torch.linalg.qr(torch.randn(40, 20, generator=generator, dtype=torch.float64))[0].T
    rows = samples.repeat(3, 1) + 0.003 * torch.randn(60, 40, generator=generator, dtype=torch.float64)
    labels, temperature = torch.arange(20).repeat(3), 0.05
    rank, world = dist.get_rank(), dist.get_world_size()
    own = slice(60 * rank // world, 60 * (rank + 1) // world)

    def gradient(loss: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        z = z.clone().requires_grad_()
        (grad,) = torch.autograd.grad(loss(z), z)
        return grad.double()

    truth = gradient(lambda z: supcon_reference(z, labels, temperature), rows.float().double())
    plain = gradient(lambda z: supcon_reference(z, labels, temperature), rows.float())
    found = gradient(
        lambda z: losses.supcon_loss(z, labels[own], temperature, gather_distributed=strategy), rows[own].float()
    )
    return [found / world, plain[own], truth[own]]


SECOND = {kind: f"{kind}_loss" for kind in ("nt_xent", "supcon", "clip")} | {
    "multi-positive": "multi_positive_nt_xent_loss",
    "contrastive": "contrastive_loss",
    "triplet, swap": "triplet_loss",
    "triplet, hardest": "triplet_loss",
}


def second_derivative(kind: str, strategy: str) -> str:
    z = torch.randn(2, 3, OUT, requires_grad=True)
    loss = CRITERIA[kind](*z, torch.tensor([0, 1, 0]), torch.tensor(2.0), torch.tensor(0.0), strategy)
    (grad,) = torch.autograd.grad(loss, z, create_graph=True)
    return message(lambda: grad.sum().backward())


MIXED = ("nt_xent", "supcon", "clip", "siglip", "triplet")


def mixed_dtypes(strategy: str) -> dict[str, str]:
    """What a rank says where the first has rows of another dtype than the others."""
    z = torch.ones(2, 3, OUT, dtype=torch.float32 if dist.get_rank() == 0 else torch.bfloat16)
    rest = (torch.tensor([0, 1, 0]), torch.tensor(2.0), torch.tensor(0.0), strategy)
    return {kind: message(lambda kind=kind: CRITERIA[kind](*z, *rest)) for kind in MIXED}


# How many times vectors are added up over the ranks in a step: in forward and in backward for the loss and its scale
# (no number of rows is sent back), for the columns' largest logits, for the number of rows, and twice for smoothing.
SUMS = {"info_nce": 2, "info_nce, smooth": 4, "info_nce, smooth, all kinds": 6, "clip, smooth": 6}


def message(function: Callable[[], Any]) -> str:
    try:
        function()
    except (RuntimeError, ValueError) as error:
        return str(error)
    return ""


def rank_main(rank: int, world: int) -> Any:
    shards = SHARDS[world]
    own = slice(sum(shards[:rank]), sum(shards[: rank + 1]))
    results: dict[Any, Any] = {
        (kind, how): outcome(kind, own, sum(shards), how) for kind in CRITERIA for how in STRATEGIES
    }
    results["banks"] = rank_banks.of_rank(rank, shards)
    views = torch.randn(2, rank + 2, OUT)
    results["local"] = [losses.nt_xent_loss(*views, gather_distributed=how) for how in ("local", False)]
    if world > 1:
        for how in STRATEGIES:
            results["nan", how] = {kind: nan_on_one_rank(kind, how) for kind in CRITERIA if kind not in UNMOVED}
            results["small", how] = small_loss(how)
            results["near", how] = near_positives(how)
            results["second", how] = {kind: second_derivative(kind, how) for kind in SECOND}
            results["mixed", how] = mixed_dtypes(how)
            ragged = torch.ones(2, 3, 4 + rank)
            results["ragged", how] = message(lambda z=ragged, how=how: losses.dcl_loss(*z, gather_distributed=how))
        for kind in SUMS:
            with mock.patch.object(dist, "all_reduce", wraps=dist.all_reduce) as all_reduce:
                outcome(kind, own, sum(shards), "all_gather")
            results["sums", kind] = all_reduce.call_count
    if world == 4:
        for how in STRATEGIES:
            results["footprint", how] = {kind: footprint(kind, how) for kind in ("nt_xent", "dcl", "supcon", "clip")}
            for kind in ("siglip", "multi-positive", "info_nce, smooth, ids"):
                results["footprint", how][kind] = footprint(kind, how)
    return results


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_losses_over_ranks_are_those_of_one_process(world: int, tmp_path: Path) -> None:
    ranks = found_by_ranks(rank_main, world, tmp_path)
    total = sum(SHARDS[world])
    for kind in CRITERIA:
        expected = outcome(kind, slice(0, total), total, "local")
        for how in STRATEGIES:
            for rank in ranks:
                names = [f"{kind}, {how}, {part}" for part in ("loss", "model", "scale", "bias")]
                found, truth = (dict(zip(names, values, strict=True)) for values in (rank[kind, how], expected))
                torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-13)
    rank_banks.assert_as_in_one_process([rank["banks"] for rank in ranks], SHARDS[world])
    for rank in ranks:
        assert rank["local"][0] == rank["local"][1]
    if world > 1:
        check_conduct(ranks)
    if world == 4:
        check_footprints(ranks)


def check_conduct(ranks: list[dict[Any, Any]]) -> None:
    assert {kind: ranks[0]["sums", kind] for kind in SUMS} == SUMS
    others = 6 * len(ranks) - 2
    small = torch.log1p(others * torch.exp(torch.tensor(-18.0, dtype=torch.float64)))
    for rank in ranks:
        for how in STRATEGIES:
            assert all(loss.isnan() for loss in rank["nan", how].values()), rank["nan", how]
            for found in rank["small", how]:
                torch.testing.assert_close(found.double(), small, rtol=1e-5, atol=0)
            found, plain, true = rank["near", how]
            assert (found - true).norm() <= 2 * (plain - true).norm() + 5e-6 * true.norm()
            for kind, text in rank["second", how].items():
                assert text == f"{SECOND[kind]}: second derivatives are not supported"
            dtypes = [torch.float32] + [torch.bfloat16] * (len(ranks) - 1)
            for kind, text in rank["mixed", how].items():
                assert text == f"{kind}_loss: rows must have the same dtype on every rank, got {dtypes}"
            widths = [(4 + r,) for r in range(len(ranks))]
            assert rank["ragged", how] == f"dcl_loss: rows must have the same shape on every rank, got {widths}"


def check_footprints(ranks: list[dict[Any, Any]]) -> None:
    """Every rank does a W-th of the work; in the ring none makes a tensor of all ranks' rows."""
    world = len(ranks)
    for rank in ranks:
        for kind in ("nt_xent", "dcl", "supcon", "clip", "siglip"):
            rows = 2 * ROWS if kind in ("nt_xent", "dcl", "supcon") else ROWS
            for how in STRATEGIES:
                pairs = rank["footprint", how][kind][1]
                share = world * rows**2 / (1 if kind in ("clip", "siglip") else 2)
                assert pairs == dict.fromkeys(pairs, share), (kind, how)
                assert kind == "siglip" or set(pairs) == {"forward", "backward"}
            whole = world * rows * 16
            assert rank["footprint", "all_gather"][kind][0] >= whole
            # At most two shards in one: SupCon's sums per label of its own and of another's rows.
            assert rank["footprint", "ring"][kind][0] <= whole // 2
        # Of two losses, each its own block whole and half of the others.
        shares = dict.fromkeys(("forward", "backward"), (world + 1) * ROWS**2)
        assert all(rank["footprint", how]["multi-positive"][1] == shares for how in STRATEGIES)
        whole = world * ROWS * 16
        for kind in ("multi-positive", "info_nce, smooth, ids"):
            assert rank["footprint", "all_gather"][kind][0] >= whole
            # A block of similarities; queries and keys against one block of keys.
            assert rank["footprint", "ring"][kind][0] <= whole // 2


def test_without_a_process_group_nothing_happens() -> None:
    rows = torch.randn(3, 2)
    assert world_size() == 1
    assert gather_rows(rows) is rows
    assert sum_over_ranks(rows) is rows
    assert mean_over_ranks(rows[0]) == rows[0].mean()
    z0, z1 = torch.randn(2, 5, 4)
    for how in (False, True, "local", "all_gather", "ring"):
        assert strategy_of("f", how) == "local"
        assert losses.nt_xent_loss(z0, z1, gather_distributed=how) == losses.nt_xent_loss(z0, z1)


Z, LABELS = torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "nt_xent_loss": lambda how: losses.nt_xent_loss(Z, Z, gather_distributed=how),
    "dcl_loss": lambda how: losses.dcl_loss(Z, Z, gather_distributed=how),
    "dclw_loss": lambda how: losses.dclw_loss(Z, Z, gather_distributed=how),
    "supcon_loss": lambda how: losses.supcon_loss(Z, LABELS, gather_distributed=how),
    "clip_loss": lambda how: losses.clip_loss(Z, Z, 1.0, gather_distributed=how),
    "siglip_loss": lambda how: losses.siglip_loss(Z, Z, 1.0, gather_distributed=how),
    "negative_mises_fisher_weights": lambda how: losses.negative_mises_fisher_weights(Z, Z, gather_distributed=how),
    "NTXentLoss": lambda how: losses.NTXentLoss(gather_distributed=how),
    "DCLLoss": lambda how: losses.DCLLoss(gather_distributed=how),
    "DCLWLoss": lambda how: losses.DCLWLoss(gather_distributed=how),
    "SupConLoss": lambda how: losses.SupConLoss(gather_distributed=how),
    "multi_positive_nt_xent_loss": lambda how: losses.multi_positive_nt_xent_loss(Z, LABELS, gather_distributed=how),
    "triplet_loss": lambda how: losses.triplet_loss(Z, LABELS, gather_distributed=how),
    "TripletLoss": lambda how: losses.TripletLoss(gather_distributed=how),
    "contrastive_loss": lambda how: losses.contrastive_loss(Z, LABELS, gather_distributed=how),
    "ContrastiveLoss": lambda how: losses.ContrastiveLoss(gather_distributed=how),
    "MultiPositiveNTXentLoss": lambda how: losses.MultiPositiveNTXentLoss(gather_distributed=how),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("how", ["rings", "", None, 1, ["ring"]])
def test_no_such_strategy(name: str, how: Any) -> None:
    text = f"{name}: gather_distributed must be False, True, 'local', 'all_gather' or 'ring', got {how!r}"
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        FUNCTIONS[name](how)
