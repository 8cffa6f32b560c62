"""What is wrong on one rank raises on every rank: none waits for another (gloo, CPU)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_differences import DIFFERENT, alike
from ranks import found_by_ranks
from torch import Tensor

from sslfast import losses
from sslfast.distributed import exchange_shards, gather_rows

STRATEGIES: tuple[bool | str, ...] = ("all_gather", "ring")
WRONG_WAYS = ("rings", None, 1)
WHOLE = (True,)  # of losses that every rank computes whole


def class_ids(z: Any) -> Tensor:
    return torch.arange(len(z) if isinstance(z, Tensor) and z.dim() else 3)


# Every loss whose ranks begin with the sizes of their shards: its function's name, and a call with rows and a strategy.
LOSSES: dict[str, tuple[tuple[bool | str, ...], Callable[[Any, Any], Tensor]]] = {
    "nt_xent_loss": (STRATEGIES, lambda z, how: losses.nt_xent_loss(z, z, gather_distributed=how)),
    "dcl_loss": (STRATEGIES, lambda z, how: losses.dcl_loss(z, z, gather_distributed=how)),
    "dclw_loss": (STRATEGIES, lambda z, how: losses.dclw_loss(z, z, gather_distributed=how)),
    "negative_mises_fisher_weights": (
        STRATEGIES[:1],
        lambda z, how: losses.negative_mises_fisher_weights(z, z, gather_distributed=how),
    ),
    "clip_loss": (STRATEGIES, lambda z, how: losses.clip_loss(z, z, 2.0, gather_distributed=how)),
    "siglip_loss": (STRATEGIES, lambda z, how: losses.siglip_loss(z, z, 2.0, gather_distributed=how)),
    "supcon_loss": (STRATEGIES, lambda z, how: losses.supcon_loss(z, class_ids(z), gather_distributed=how)),
    "info_nce_loss": (STRATEGIES, lambda z, how: losses.info_nce_loss(z, z, gather_distributed=how)),
    "info_nce_loss, queue": (
        STRATEGIES[:1],
        lambda z, how: losses.info_nce_loss(z, z, queue=torch.ones(5, 4), gather_distributed=how),
    ),
    "multi_positive_nt_xent_loss": (
        STRATEGIES,
        lambda z, how: losses.multi_positive_nt_xent_loss(z, class_ids(z), gather_distributed=how),
    ),
    "triplet_loss": (STRATEGIES, lambda z, how: losses.triplet_loss(z, class_ids(z), gather_distributed=how)),
    "triplet_loss, hardest": (
        STRATEGIES,
        lambda z, how: losses.triplet_loss(z, class_ids(z), mining="batch_hard", gather_distributed=how),
    ),
    "contrastive_loss": (
        STRATEGIES,
        lambda z, how: losses.contrastive_loss(z, class_ids(z), gather_distributed=how),
    ),
    "barlow_twins_loss": (WHOLE, lambda z, how: losses.barlow_twins_loss(z, z, gather_distributed=how)),
    "vicreg_loss": (WHOLE, lambda z, how: losses.vicreg_loss(z, z, gather_distributed=how)),
    "swav_loss": (WHOLE, lambda z, how: losses.swav_loss([z, z], [z], sinkhorn_gather_distributed=how)),
    "sinkhorn_knopp": (WHOLE, lambda z, how: losses.sinkhorn_knopp(z, gather_distributed=how)),
    "msn_loss": (WHOLE, lambda z, how: losses.msn_loss(z, z, z, gather_distributed=how)),
    "dino_loss": (WHOLE, lambda z, how: losses.dino_loss([z, z], [z, z], gather_distributed=how)),
    "dino_loss, balanced": (
        WHOLE,
        lambda z, how: losses.dino_loss([z, z], [z, z], centering="sinkhorn_knopp", gather_distributed=how),
    ),
}
MEMORIES: dict[str, Callable[[Any], Any]] = {
    "CrossBatchMemory": lambda z: losses.CrossBatchMemory(losses.SupConLoss(), 4, 8, gather_distributed=True)(
        z, class_ids(z)
    ),
    "MemoryBank": lambda z: losses.MemoryBank((8, 4), True).enqueue(z),
}


def weight_of_all(z0: Tensor, z1: Tensor) -> Tensor:
    return losses.negative_mises_fisher_weights(z0, z1, gather_distributed=True)


# What one of two ranks, rank 1, gives wrongly or alone: the call with whether it is that rank, and the errors of both.
ELSEWHERE = "ValueError: {}: arguments must be right on every rank, got an error on rank 1"
ALONE: dict[str, tuple[Callable[[Tensor, bool], Any], str, str]] = {
    "weight_fn": (
        lambda z, odd: losses.dcl_loss(z, z, 0.1, lambda a, b: a if odd else a[:, 0], gather_distributed=True),
        ELSEWHERE.format("dcl_loss"),
        "ValueError: dcl_loss: weight_fn must return shape (3,), got (3, 4)",
    ),
    "a weight_fn that raises": (
        lambda z, odd: losses.dcl_loss(z, z, 0.1, lambda a, b: a[:, 9 * odd].squeeze(), gather_distributed="ring"),
        ELSEWHERE.format("dcl_loss"),
        "IndexError: index 9 is out of bounds for dimension 1 with size 4",
    ),
    "a weight_fn of all ranks": (
        lambda z, odd: losses.dcl_loss(z, z, None if odd else 0.1, weight_of_all, gather_distributed=True),  # type: ignore[arg-type]
        ELSEWHERE.format("negative_mises_fisher_weights"),
        "TypeError: dcl_loss: temperature must be a number, got NoneType",
    ),
    "a weight_fn of all ranks, wrong": (
        lambda z, odd: losses.dcl_loss(
            z, z, 0.1, lambda a, b: weight_of_all(a, b[:2] if odd else b), gather_distributed=True
        ),
        ELSEWHERE.format("negative_mises_fisher_weights"),
        "ValueError: negative_mises_fisher_weights: z1 must have shape (3, 4), like z0, got (2, 4)",
    ),
    "NNMemoryBank": (
        lambda z, odd: losses.NNMemoryBank((8, 4), True)(z.repeat(1, 2) if odd else z, update=True),
        ELSEWHERE.format("NNMemoryBank"),
        "ValueError: NNMemoryBank: output must have shape (N, 4), got (3, 8)",
    ),
    "NNMemoryBank, update": (
        lambda z, odd: losses.NNMemoryBank((8, 4), True)(z, update=0 if odd else True),  # type: ignore[arg-type]
        ELSEWHERE.format("NNMemoryBank"),
        "TypeError: NNMemoryBank: update must be a bool, got 0",
    ),
    "output_dict": (
        lambda z, odd: losses.CLIPLoss(world_size=2)(z, z, 2.0, output_dict=0 if odd else True),  # type: ignore[arg-type]
        ELSEWHERE.format("clip_loss"),
        "TypeError: CLIPLoss: output_dict must be a bool, got 0",
    ),
    "world_size": (
        lambda z, odd: losses.SigLIPLoss(world_size=3 if odd else 2)(z, z, 2.0, 0.0),
        ELSEWHERE.format("siglip_loss"),
        "ValueError: SigLIPLoss: world_size must be that of torch.distributed, 2, got 3",
    ),
    "matryoshka": (
        lambda z, odd: losses.MatryoshkaLoss(losses.NTXentLoss(gather_distributed="ring"), (2, 4))(
            *[z[:, :3] if odd else z] * 2
        ),
        ELSEWHERE.format("nt_xent_loss"),
        "ValueError: MatryoshkaLoss: embeddings must be at least 4 wide, got 3",
    ),
    "matryoshka of a function": (
        lambda z, odd: losses.MatryoshkaLoss(partial(losses.info_nce_loss, gather_distributed=True), (2, 4))(
            z, z, queue=z if odd else None
        ),
        ELSEWHERE.format("info_nce_loss"),
        "ValueError: MatryoshkaLoss: queue must be given as negative_keys, whose prefixes are normalised",
    ),
    "matryoshka of a dict": (
        lambda z, odd: losses.MatryoshkaLoss(losses.CLIPLoss(world_size=2), (2, 4))(z, z, 2.0, output_dict=odd),
        ELSEWHERE.format("clip_loss"),
        "TypeError: MatryoshkaLoss: loss must return a tensor, got dict",
    ),
    "matryoshka of a dict at its only call": (
        lambda z, odd: losses.MatryoshkaLoss(losses.SigLIPLoss(world_size=2), (4,))(z, z, 2.0, 0.0, bool(odd)),
        ELSEWHERE.format("siglip_loss"),
        "TypeError: MatryoshkaLoss: loss must return a tensor, got dict",
    ),
    "matryoshka of a part of a dict": (
        lambda z, odd: losses.MatryoshkaLoss(partial(losses.CLIPLoss(world_size=2), output_dict=odd), (4,))(z, z, 2.0),
        ELSEWHERE.format("clip_loss"),
        "TypeError: MatryoshkaLoss: loss must return a tensor, got dict",
    ),
    "matryoshka of each rank's own": (
        lambda z, odd: losses.MatryoshkaLoss(losses.NTXentLoss(), (2, 4))(*[z[:, :3] if odd else z] * 2),
        "nothing",
        "ValueError: MatryoshkaLoss: embeddings must be at least 4 wide, got 3",
    ),
}
CASES = [(name, how) for name, (strategies, _) in LOSSES.items() for how in strategies]


def patches(z: Any, module: losses.IBOTPatchLoss | None = None) -> Tensor:
    """iBOT's loss of three patches, of all ranks but where a module says otherwise."""
    mask, weights = torch.ones(1, 3, dtype=torch.bool), torch.ones(3)
    if module is not None:
        return module(z, z, mask, masks_weight=weights)
    return losses.ibot_patch_loss(z, z, mask, masks_weight=weights, gather_distributed=True)


def said(function: Callable[..., Any], *given: Any) -> str:
    try:
        function(*given)
    except (IndexError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def rank_main(rank: int, world: int) -> Any:
    generator = torch.Generator().manual_seed(rank)
    rows = torch.randn(3, 4, generator=generator)
    wrong: dict[str, Any] = {"empty": rows[:0], "integers": rows.long(), "a list": [1.0], "one number": torch.ones(())}
    results: dict[Any, Any] = {}
    for name, how in CASES:
        call = LOSSES[name][1]
        for kind, given in wrong.items():
            results[name, how, kind] = said(call, given if rank == 1 else rows, how)
        for given in WRONG_WAYS:
            results[name, how, str(given)] = said(call, rows, given if rank == 1 else how)
        results[name, how, "all empty"] = said(call, rows[:0], how)
        # What is wrong has left nothing behind that the next call would meet.
        results[name, how, "right"] = said(call, rows, how)
    for name, (alone, *_) in ALONE.items():
        results[name] = said(alone, rows, rank == 1)
    for name, call in MEMORIES.items():
        results[name, "empty"] = said(call, rows[: 3 - 3 * rank])  # a memory may get nothing from a rank
        results[name, "wide"] = said(call, rows if rank == 0 else rows.repeat(1, 2))
    for name, (differ, _) in DIFFERENT.items():
        results[name] = said(differ, rows, rank == 1)
    results["centering"] = said(
        lambda z: losses.dino_loss([z, z], [z, z], centering="mean" if rank else "centering", gather_distributed=True),
        rows,
    )
    results["ibot"] = said(patches, rows if rank == 0 else rows.long())
    results["width"] = said(losses.msn_loss, rows, rows, rows if rank == 0 else rows[:2], 0.25)
    results["gathered width"] = said(LOSSES["sinkhorn_knopp"][1], rows if rank == 0 else rows[:, :3], True)
    results["gathered dtype"] = said(LOSSES["swav_loss"][1], rows if rank == 0 else rows.double(), True)
    # Losses of their own, whose centers are those of all: who raises tells nobody, and may call again.
    dino, ibot = losses.DINOLoss(4, center_momentum=0.5), losses.IBOTPatchLoss(4, center_momentum=0.5)
    for given in (rows, *[rows.long()] * rank, rows.double() if rank == 0 else rows):
        results["centers", len(results)] = said(lambda z: dino([z], [z, z]), given) + said(patches, given, ibot)
    results["means"] = [module.state_dict() for module in (dino, ibot)]
    results["gathered"] = str(len(gather_rows(rows[: 3 - 3 * rank])))
    results["ragged"] = said(exchange_shards, "f", rows if rank == 0 else rows.unsqueeze(2))
    results["deep"] = said(exchange_shards, "f", rows.reshape(3, 4, *[1] * 7))
    return results


def test_what_is_wrong_on_one_rank_raises_on_every_one(tmp_path: Path) -> None:
    ranks = found_by_ranks(rank_main, 2, tmp_path)
    for name, how in CASES:
        function = name.split(",")[0]
        first, second = ({kind: rank[name, how, kind] for kind in ("empty", "integers", "a list")} for rank in ranks)
        nothing = f"ValueError: {function}: rows must be at least 1 on every rank, got none on rank 1"
        assert first["empty"] == second["empty"] == nothing
        elsewhere = f"ValueError: {function}: arguments must be right on every rank, got an error on rank 1"
        for kind in ("integers", "a list", "one number"):
            assert ranks[0][name, how, kind] == elsewhere
            own = ranks[1][name, how, kind]
            assert own.startswith(("TypeError", "ValueError")), own
            assert own.split(": ")[1] == function
            assert "every rank" not in own
        for given in WRONG_WAYS:
            assert ranks[0][name, how, str(given)] == elsewhere
            own = ranks[1][name, how, str(given)]
            expected = "False, True, 'local', 'all_gather' or 'ring'" if how in STRATEGIES else "a bool"
            argument = "sinkhorn_gather_distributed" if function == "swav_loss" else "gather_distributed"
            assert own.split(": ", 1)[1] == f"{function}: {argument} must be {expected}, got {given!r}"
        for rank in ranks:
            assert rank[name, how, "all empty"] == nothing.replace("rank 1", "rank 0")
            assert rank[name, how, "right"] == "nothing"
    for name, (_, *errors) in ALONE.items():
        assert [rank[name] for rank in ranks] == errors
    for name, (_, error) in DIFFERENT.items():
        assert [rank[name] for rank in ranks] == [f"ValueError: {error}" if error else "nothing"] * 2, name
    assert ranks[0]["centering"] == ELSEWHERE.format("dino_loss")
    assert ranks[1]["centering"].startswith("ValueError: dino_loss: centering must be")
    for name in MEMORIES:
        assert [rank[name, "empty"] for rank in ranks] == ["nothing"] * 2
        texts = [rank[name, "wide"] for rank in ranks]
        assert texts[0] == f"ValueError: {name}: arguments must be right on every rank, got an error on rank 1"
        assert texts[1] == f"ValueError: {name}: embeddings must have shape (N, 4), got (3, 8)"
    elsewhere = "arguments must be right on every rank, got an error on rank 1"
    assert ranks[0]["ibot"] == f"ValueError: ibot_patch_loss: {elsewhere}"
    assert ranks[1]["ibot"].startswith("TypeError: ibot_patch_loss: teacher_out must be")
    calls = [[text for key, text in rank.items() if key[0] == "centers"] for rank in ranks]
    assert calls[0] == ["nothingnothing"] * 2
    assert calls[1][::2] == ["nothingnothing"] * 2
    assert calls[1][1].startswith("TypeError: DINOLoss: teacher_out[0] must be")
    rows = [torch.randn(3, 4, generator=torch.Generator().manual_seed(rank)) for rank in range(2)]
    every = torch.cat(rows).mean(0)
    center = every * 0.75
    for rank in ranks:
        assert rank["width"] == "nothing"
        assert rank["gathered width"] == f"ValueError: {alike('sinkhorn_knopp: the number of prototypes', 4, 3)}"
        different = alike("swav_loss: the dtypes of sums", ["float32"] * 3, ["float64"] * 3)
        assert rank["gathered dtype"] == f"ValueError: {different}"
        for state in rank["means"]:
            torch.testing.assert_close(next(iter(state.values())).flatten(), center)
        assert rank["gathered"] == "3"
        assert rank["ragged"] == "ValueError: f: rows must have the same shape on every rank, got [(4,), (4, 1)]"
        assert rank["deep"] == "ValueError: f: rows must have at most 8 dimensions, got 9"


@pytest.mark.parametrize("name", LOSSES)
def test_alone_the_error_is_the_own_one(name: str) -> None:
    """Without a process group nobody is told."""
    for how in LOSSES[name][0]:
        assert "every rank" not in said(LOSSES[name][1], torch.ones(0, 4), how)
