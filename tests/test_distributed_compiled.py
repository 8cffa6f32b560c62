"""Losses over several ranks in one graph of torch.compile, or in parts (gloo, CPU)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ranks import found_by_ranks
from torch import Tensor

from sslfast.distributed import mean_gradient_over_ranks, sum_over_ranks
from sslfast.losses import (
    MatryoshkaLoss,
    MSNLoss,
    barlow_twins_loss,
    contrastive_loss,
    dino_loss,
    ibot_patch_loss,
    msn_loss,
    multi_positive_nt_xent_loss,
    nt_xent_loss,
    swav_loss,
    triplet_loss,
)
from sslfast.losses._smoothing import _SumOfAll

MASK = torch.ones(1, 3, dtype=torch.bool)
WHOLE: dict[str, Callable[[Tensor], Tensor]] = {
    "swav": lambda z: swav_loss([z, z * 2], [z * 3], sinkhorn_gather_distributed=True),
    "msn": lambda z: msn_loss(z, z.detach() * 2, z * 3, gather_distributed=True),
    "msn, prefixes": lambda z: MatryoshkaLoss(MSNLoss(gather_distributed=True), (2, 4))(z, z.detach() * 2, z * 3),
    "dino, balanced": lambda z: dino_loss([z, z], [z, z * 2], centering="sinkhorn_knopp"),
    "dino, gathered": lambda z: dino_loss([z, z], [z, z * 2], gather_distributed=True),
    "ibot": lambda z: ibot_patch_loss(
        z, z * 2, MASK, masks_weight=torch.ones(3), centering="sinkhorn_knopp", gather_distributed=True
    ),
}

LABELS = torch.tensor([0, 1, 0])
# Losses whose graphs break where the ranks hear from each other.
IN_PARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contrastive": lambda z: contrastive_loss(z, LABELS, gather_distributed="ring"),
    "triplet, drawn": lambda z: triplet_loss(
        z, LABELS, 0.9, triplets_per_anchor=2, generator=1, gather_distributed=True
    ),
    "triplet": lambda z: triplet_loss(z, LABELS, 0.9, gather_distributed=True),
    "triplet, hardest": lambda z: triplet_loss(z, LABELS, 0.9, mining="batch_hard", gather_distributed="ring"),
    "triplet, ring": lambda z: triplet_loss(z, LABELS, 0.9, gather_distributed="ring"),
    "triplet, swap, ring": lambda z: triplet_loss(z, LABELS, 0.9, swap=True, gather_distributed="ring"),
    "triplet, drawn, ring": lambda z: triplet_loss(
        z, LABELS, 0.9, triplets_per_anchor=2, generator=1, gather_distributed="ring"
    ),
    "multi-positive": lambda z: multi_positive_nt_xent_loss(z, LABELS, gather_distributed=True),
}

# Functions of what ranks share whose gradients, in plain torch, have gradients themselves.
TWICE: dict[str, Callable[[Tensor], Tensor]] = {
    "msn": WHOLE["msn"],
    "sum": lambda z: sum_over_ranks(z**2).pow(2).sum(),
    "mean gradient": lambda z: mean_gradient_over_ranks(z**2).pow(2).sum(),
}
FIRST = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)


def refused(loss: Callable[[Tensor], Tensor], rows: Tensor) -> str:
    """What a second derivative behind the compiler's backend "eager" says."""
    torch._dynamo.reset()
    value = torch.compile(loss, fullgraph=True, backend="eager")(rows)
    (grad,) = torch.autograd.grad(value, rows, create_graph=True)
    try:
        torch.autograd.grad(grad.square().sum(), rows)
    except RuntimeError as error:
        return str(error)
    return "nothing"


def of_a_mean(z: Tensor) -> Tensor:
    """Each rank makes its own use of what all have."""
    return (mean_gradient_over_ranks(z.pow(3)) * (2 + dist.get_rank())).pow(2).sum()


def of_a_sum(z: Tensor) -> Tensor:
    return (_SumOfAll.apply(z.pow(3)) * (2 + dist.get_rank())).pow(2).sum()


BY_RANKS = (of_a_mean, of_a_sum)


def second_derivative(loss: Callable[[Tensor], Tensor], rows: Tensor) -> list[Tensor]:
    """Along ``FIRST``, that of the gradient's product with ``FIRST``, and its central difference."""

    def product(z: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(loss(z), z, create_graph=True)
        return (grad * FIRST).sum()

    leaf = rows.clone().requires_grad_()
    (second,) = torch.autograd.grad(product(leaf), leaf)
    near = [product((rows + step * FIRST).requires_grad_()).detach() for step in (1e-5, -1e-5)]
    return [(second * FIRST).sum(), (near[0] - near[1]) / 2e-5]


def broken(loss: Callable[[Tensor], Tensor], rows: Tensor) -> bool:
    try:
        torch.compile(loss, fullgraph=True, backend="eager")(rows)
    except torch._dynamo.exc.TorchDynamoException:
        return True
    return False


def where_one_compiles(rank: int, rows: Tensor) -> list[str]:
    """What a rank says that shares its loss with one that is compiled, with the same options and with another."""

    def loss(z: Tensor, weight: float) -> Tensor:
        return barlow_twins_loss(z, z * 2, weight, gather_distributed=True)

    torch._dynamo.reset()
    compiled = torch.compile(loss, backend="eager") if rank else loss
    found = []
    for weight in (0.1, 0.3 + 0.1 * rank, 0.5):
        try:
            torch.autograd.grad(compiled(rows, weight), rows)
            found.append("nothing")
        except ValueError as error:
            found.append(str(error))
    return found


def rank_main(rank: int, world: int) -> Any:
    rows = torch.randn(3, 4, generator=torch.Generator().manual_seed(rank)).requires_grad_()
    results: dict[str, Any] = {}
    for name, loss in WHOLE.items():
        torch._dynamo.reset()
        found = []
        for each in (loss, torch.compile(loss, fullgraph=True, backend="eager")):
            value = each(rows)
            found.append([value.detach(), *torch.autograd.grad(value, rows)])
        results[name] = found
    for name, loss in IN_PARTS.items():
        torch._dynamo.reset()
        values = [each(rows) for each in (loss, torch.compile(loss, backend="eager"))]
        results[name] = [[value.detach(), *torch.autograd.grad(value, rows)] for value in values]
    torch._dynamo.reset()
    results["nt_xent"] = broken(lambda z: nt_xent_loss(z, z * 2, gather_distributed=True), rows)
    results |= {f"{name}, twice": refused(loss, rows) for name, loss in TWICE.items()}
    results["one compiles"] = where_one_compiles(rank, rows)
    results["second"] = [second_derivative(f, FIRST.cos()) for f in BY_RANKS]
    return results


def test_over_ranks_in_one_graph(tmp_path: Path) -> None:
    ranks = found_by_ranks(rank_main, 2, tmp_path)
    for results in ranks:
        for name in (*WHOLE, *IN_PARTS):
            torch.testing.assert_close(results[name][1], results[name][0])
            assert results[name][0][1].any(), name
        assert results["nt_xent"]
        different = "lambda_param must be alike on every rank, got 0.3 on rank 0 and 0.4 on rank 1"
        assert results["one compiles"] == ["nothing", f"barlow_twins_loss: {different}", "nothing"]
        for name in TWICE:
            assert results[f"{name}, twice"].startswith("torch.compile: second derivatives are not supported"), name
    for shares in zip(*(results["second"] for results in ranks), strict=True):
        by_torch, by_differences = (sum(each) for each in zip(*shares, strict=True))
        torch.testing.assert_close(by_torch, by_differences, rtol=1e-6, atol=1e-7)
        assert by_torch
