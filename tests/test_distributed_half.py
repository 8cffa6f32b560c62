"""Losses of half types over ranks are as exact as in one process: rows as they are, and float32 factors with them.

Also what travels, in bytes (gloo, CPU; the Triton kernels interpreted).
"""

from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_operators import HALF, use_launchers
from loss_cases import CASES
from loss_regimes import Regime, problem
from ranks import found_by_ranks
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sslfast import losses
from sslfast.reference.dcl import dcl_loss as dcl_reference
from sslfast.reference.info_nce import info_nce_loss as info_nce_reference
from sslfast.reference.multi_positive_nt_xent import multi_positive_nt_xent_loss as multi_positive_reference
from sslfast.reference.nt_xent import nt_xent_loss as nt_xent_reference
from sslfast.reference.supcon import supcon_loss as supcon_reference

SHARDS = {2: [25, 40], 3: [30, 4, 31]}
STRATEGIES = ("all_gather", "ring")
TEMPERATURES = {0.01: None, 0.07: 1e-2, 0.5: None}  # and NT-Xent's loss, or None as training begins
INTERPRETED = (
    "nt_xent",
    "multi-positive",
    "supcon, pairs over ranks",
    "clip, normalize",
    "siglip, normalize",
    "info_nce",
)
SENT = 8  # rows of each rank, where bytes are counted
TRAFFIC = ("nt_xent", "supcon", "clip, normalize", "siglip, normalize")
DIM = 80

# Of two views, labels and a temperature; ours takes how the ranks share it, too.
Loss = Callable[..., Tensor]


def clip(normalize: bool, a: Tensor, b: Tensor, y: Tensor, t: float, how: str) -> Tensor:
    return losses.clip_loss(a, b, 1 / t, normalize=normalize, gather_distributed=how)


def siglip(normalize: bool, a: Tensor, b: Tensor, y: Tensor, t: float, how: str) -> Tensor:
    return losses.siglip_loss(a, b, 2 / t, -1 / t, normalize=normalize, gather_distributed=how)


def from_case(name: str, factor: float = 1.0, *numbers: float) -> Loss:
    """The definition of a case with a scale, and a bias if it has one, as multiples of 1 / temperature."""
    reference = CASES[name].reference
    return lambda a, b, y, t: reference(a, b, *(a.new_tensor(n / t) for n in (factor, *numbers)), t)


LOSSES: dict[str, tuple[Loss, Loss]] = {
    "nt_xent": (
        lambda a, b, y, t, how: losses.nt_xent_loss(a, b, t, gather_distributed=how),
        lambda a, b, y, t: nt_xent_reference(a, b, t),
    ),
    "dcl": (
        lambda a, b, y, t, how: losses.dcl_loss(a, b, t, gather_distributed=how),
        lambda a, b, y, t: dcl_reference(a, b, t),
    ),
    "supcon": (
        lambda a, b, y, t, how: losses.supcon_loss(torch.cat([a, b]), y.repeat(2), t, gather_distributed=how),
        lambda a, b, y, t: supcon_reference(torch.cat([a, b]), y.repeat(2), t),
    ),
    "supcon, pairs over ranks": (
        lambda a, b, y, t, how: losses.supcon_loss(a, y, t, gather_distributed=how),
        lambda a, b, y, t: supcon_reference(a, y, t),
    ),
    "multi-positive": (
        lambda a, b, y, t, how: losses.multi_positive_nt_xent_loss(
            torch.cat([a, b]), y.repeat(2), t, gather_distributed=how
        ),
        lambda a, b, y, t: multi_positive_reference(torch.cat([a, b]), y.repeat(2), t),
    ),
    "clip": (partial(clip, False), from_case("clip_loss")),
    "clip, normalize": (partial(clip, True), from_case("clip_loss, normalize")),
    "siglip": (partial(siglip, False), from_case("siglip_loss", 2.0, -1.0)),
    "siglip, normalize": (partial(siglip, True), from_case("siglip_loss, normalize", 2.0, -1.0)),
    "info_nce": (
        lambda a, b, y, t, how: losses.info_nce_loss(
            a, b, temperature=t, query_ids=y, key_ids=y, symmetric=True, gather_distributed=how
        ),
        lambda a, b, y, t: info_nce_reference(a, b, None, t, query_ids=y, key_ids=y, symmetric=True).mean(),
    ),
    "info_nce, locked": (
        lambda a, b, y, t, how: losses.info_nce_loss(
            a, b.detach(), temperature=t, query_negatives=True, gather_distributed=how
        ),
        lambda a, b, y, t: info_nce_reference(a, b.detach(), None, t, query_negatives=True).mean(),
    ),
}


def data(name: str, temperature: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    norms = (1.0, 1.0) if name in ("clip", "siglip") else (0.1, 10.0)
    regime = Regime(TEMPERATURES[temperature], temperature, sum(SHARDS[2]), DIM, *norms)
    a, b = (z.to(dtype) for z in problem("nt_xent_loss", regime))
    return a, b, torch.arange(len(a)) % (len(a) // 2)


def own_rows(world: int, rank: int) -> slice:
    return slice(sum(SHARDS[world][:rank]), sum(SHARDS[world][: rank + 1]))


def differentiated(loss: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> list[Tensor]:
    """The loss and its gradients, 0 in a view that takes none."""
    leaves = [z.detach().requires_grad_() for z in (a, b)]
    value = loss(*leaves)
    value.backward()
    return [value.detach(), *(torch.zeros_like(z) if z.grad is None else z.grad for z in leaves)]


def cases(interpreted: bool) -> Iterator[tuple[str, float, torch.dtype, str]]:
    names = INTERPRETED if interpreted else [*LOSSES]
    for name, t, dtype, how in itertools.product(names, TEMPERATURES, HALF, STRATEGIES):
        # How rows travel changes nothing of what the kernels do, and the interpreter is slow.
        if not interpreted or (how == "ring") == (dtype == torch.bfloat16):
            yield name, t, dtype, how


class Traffic(TorchDispatchMode):
    """Bytes that this rank gives to the collectives of rows, each, and to single ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[str, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {"_allgather_base_": ("gathered", 1), "_reduce_scatter_base_": ("scattered", 1), "send": ("sent", 0)}
        kind = given.get(func.__name__.split(".")[0])
        if kind is not None:
            name, place = kind
            tensors = [args[place]] if isinstance(args[place], Tensor) else args[place]
            self.bytes[name] = self.bytes.get(name, 0) + sum(t.numel() * t.element_size() for t in tensors)
        return func(*args, **(kwargs or {}))


def traffic(name: str, how: str, dtype: torch.dtype) -> dict[str, int]:
    a, b, labels = data(name, 0.5, dtype)
    loss = partial(LOSSES[name][0], y=labels[:SENT], t=0.5, how=how)
    with Traffic() as found:
        differentiated(loss, a[:SENT], b[:SENT])
    return found.bytes


def expected_traffic(name: str, how: str, row: int, world: int) -> dict[str, int]:
    """The same by count, of rows that take so many bytes with their factor, if they have one.

    A float32 gradient of a row comes back, and vectors go with rows or come back: log-sum-exps, gradients of these,
    numbers and classes of rows. SupCon's rows go twice.
    """
    rows, grad = (2 if name in ("nt_xent", "supcon") else 1) * SENT, 4 * DIM
    if how == "all_gather":
        forth = {"nt_xent": row + 12, "supcon": 2 * row + 40, "clip": row + 8, "siglip": row}
        back = {"nt_xent": 8 + grad, "supcon": 8 + grad, "clip": 4 + grad, "siglip": grad}
        return {"gathered": rows * forth[name], "scattered": world * rows * back[name]}
    every, half = world - 1, world // 2  # steps; half of them where rows and columns are one
    sent = {
        "nt_xent": half * (2 * row + 20 + grad),
        "supcon": every * (row + 4) + half * (2 * row + 36 + grad),
        "clip": every * (2 * row + 12 + grad),
        "siglip": every * (row + grad),
    }
    return {"sent": rows * sent[name]} | ({"gathered": 8 * rows} if name == "supcon" else {})


def rank_main(rank: int, world: int, interpreted: bool) -> Any:
    if interpreted:
        importlib.import_module("conftest")  # the interpreter's products and casts of bfloat16
        use_launchers(pytest.MonkeyPatch())
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
    results: dict[Any, Any] = {}
    own = own_rows(world, rank)
    for name, t, dtype, how in cases(interpreted):
        a, b, labels = data(name, t, dtype)
        ours = partial(LOSSES[name][0], y=labels[own], t=t, how=how)
        results[name, t, dtype, how] = differentiated(ours, a[own], b[own])
    if not interpreted:
        for key in itertools.product(TRAFFIC, STRATEGIES, (torch.bfloat16, torch.float32)):
            results["traffic", *key] = traffic(*key)
    return results


def check(ranks: list[dict[Any, Any]], interpreted: bool) -> None:
    """Loss and gradients against float64; of a gradient the error of all its rows together."""
    truths: dict[Any, list[Tensor]] = {}
    for name, t, dtype, how in cases(interpreted):
        key = name, t, dtype
        if key not in truths:
            a, b, labels = data(*key)
            truths[key] = differentiated(partial(LOSSES[name][1], y=labels, t=t), a.double(), b.double())
        truth = truths[key]
        found = [rank[*key, how] for rank in ranks]
        case = f"{name}, {t}, {dtype}, {how}"
        for loss, *grads in found:
            assert loss.dtype == torch.float32
            assert all(grad.dtype == dtype for grad in grads)
            rounding = 2 * torch.finfo(torch.float32).eps / t
            assert (loss.double() - truth[0]).abs() <= rounding * max(1.0, truth[0].item()), case
        for *shards, g in zip(*(grads for _, *grads in found), truth[1:], strict=True):
            grad = torch.cat(shards).double() / len(ranks)  # DistributedDataParallel averages
            bound = 2.5e-3 if dtype == torch.bfloat16 else 2.5e-3 / 4
            assert (grad - g).norm() <= bound * g.norm(), case


@pytest.mark.parametrize("world", SHARDS)
def test_over_ranks_as_exact_as_in_one_process(world: int, tmp_path: Path) -> None:
    ranks = found_by_ranks(rank_main, world, tmp_path, False)
    check(ranks, interpreted=False)
    for name, how in itertools.product(TRAFFIC, STRATEGIES):
        for dtype, row in ((torch.bfloat16, 2 * DIM + 4), (torch.float32, 4 * DIM)):
            expected = expected_traffic(name.split(",")[0], how, row, world)
            assert all(rank["traffic", name, how, dtype] == expected for rank in ranks), (name, how, dtype)


def test_over_ranks_as_exact_in_triton(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("Triton runs natively here, and gloo takes no rows from a GPU")
    check(found_by_ranks(rank_main, 3, tmp_path, True), interpreted=True)
