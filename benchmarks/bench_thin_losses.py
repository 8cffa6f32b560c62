"""The losses that torch's operators do well when asked for the right ones, beside lightly's: Barlow Twins, VICReg,
SwAV, hypersphere; and alignment and uniformity beside their paper's code.

Floors, N rows of D features or K prototypes: Barlow Twins 6 N D^2 FLOPs, the correlations and two products of their
gradient, or where D > 4/3 N 8 N^2 D through N x N products; VICReg 8 N D^2 or 8 N^2 D likewise; uniformity 3 N^2 D,
half of the distances and the whole product of their gradient; hypersphere 6 N^2 D, that for each view. Alignment and
SwAV are passes over memory: each number of the inputs read and each of the gradients written once, and 3 more reads of
SwAV's 2 large crops, for the potentials of the assignments, and one for the assignments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

LARGE = 2  # crops of SwAV that assign
Criterion = Callable[..., Tensor]


def make_rows(device: torch.device, *, rows: int, width: int, views: int) -> list[Tensor]:
    first = torch.randn(rows, width)
    return [(first + 0.5 * torch.randn(rows, width)).to(device).requires_grad_() for _ in range(views)]


def make_scores(device: torch.device, *, rows: int, width: int, views: int) -> list[Tensor]:
    """Cosine similarities with prototypes, which are about N(0, 1 / dimension)."""
    first = torch.randn(rows, width) / 12
    return [(first + torch.randn(rows, width) / 24).to(device).requires_grad_() for _ in range(views)]


def ours(name: str) -> Criterion:
    import sslfast.losses

    return getattr(sslfast.losses, name)()


def theirs(name: str) -> Criterion:
    module = "lightly.loss.hypersphere_loss" if name == "HypersphereLoss" else "lightly.loss"
    return getattr(peers.load(module), name)()


def call(find: Callable[[], Criterion], inputs: list[Tensor]) -> Call:
    """The timed call: the loss and the gradients of all inputs."""
    loss_function = find()

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(*inputs)
        return loss.detach().squeeze(), *torch.autograd.grad(loss, inputs)

    return forward_and_backward


def of_crops(criterion: Criterion) -> Criterion:
    return lambda *crops: criterion(list(crops[:LARGE]), list(crops[LARGE:]))


def check(inputs: list[Tensor], theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss, and the same gradients relative to their largest element."""
    for i, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        relative = float((their - our).abs().max() / our.abs().max())
        assert relative <= 1e-3, f"{f'gradient {i}' if i else 'loss'} differs by {relative:.1e} of its largest element"


def eager_swav(high: list[Tensor], low: list[Tensor]) -> Tensor:
    """The paper's code, of one process."""
    total = 0.0
    for i, crop in enumerate(high):
        with torch.no_grad():
            q = torch.exp(crop / 0.05).T
            q /= q.sum()
            for _ in range(3):
                q /= q.sum(dim=1, keepdim=True) * q.shape[0]
                q /= q.sum(dim=0, keepdim=True) * q.shape[1]
            codes = (q * q.shape[1]).T
        others = [*high[:i], *high[i + 1 :], *low]
        total += sum(-(codes * torch.log_softmax(z / 0.1, dim=1)).sum(dim=1).mean() for z in others) / len(others)
    return total / len(high)


def eager_barlow_twins(z_a: Tensor, z_b: Tensor) -> Tensor:
    """The paper's code."""
    a, b = (torch.nn.functional.batch_norm(z, None, None, training=True) for z in (z_a, z_b))
    c = a.T @ b / len(a)
    off_diagonal = c.flatten()[:-1].view(len(c) - 1, len(c) + 1)[:, 1:]
    return (c.diagonal() - 1).square().sum() + 5e-3 * off_diagonal.square().sum()


def eager_vicreg(z_a: Tensor, z_b: Tensor) -> Tensor:
    """The formulas of the paper, through D x D covariances."""
    loss = 25 * torch.nn.functional.mse_loss(z_a, z_b)
    for z in (z_a, z_b):
        x = z - z.mean(dim=0)
        c = x.T @ x / (len(x) - 1)
        hinge = torch.relu(1 - (c.diagonal() + 1e-4).sqrt()).mean()
        loss = loss + 12.5 * hinge + (c.square().sum() - c.diagonal().square().sum()) / len(c)
    return loss


def eager_alignment(x: Tensor, y: Tensor) -> Tensor:
    """The paper's code."""
    return (x - y).norm(p=2, dim=1).pow(2).mean()


def eager_uniformity(x: Tensor, t: float = 2) -> Tensor:
    """The paper's code, of unit rows."""
    return torch.pdist(x, p=2).pow(2).mul(-t).exp().mean().log()


def eager_hypersphere(z_a: Tensor, z_b: Tensor) -> Tensor:
    x, y = (torch.nn.functional.normalize(z, dim=1) for z in (z_a, z_b))
    return eager_alignment(x, y) + (eager_uniformity(x, 1) + eager_uniformity(y, 1)) / 2


def of_unit_rows(criterion: Criterion) -> Criterion:
    return lambda *views: criterion(*(torch.nn.functional.normalize(z, dim=1) for z in views))


def on_sphere(op: str, rows: int, width: int, **options: Any) -> Case:
    """Alignment or uniformity, of rows that it normalises."""

    def find() -> Criterion:
        import sslfast.losses

        return partial(getattr(sslfast.losses, f"{op}_loss"), normalize=True)

    views, eager = {"alignment": (2, eager_alignment), "uniformity": (1, eager_uniformity)}[op]
    floor = {
        "alignment": {"work": 4 * 4 * rows * width, "unit": "B", "formula": "2 N D read and written"},
        "uniformity": {"work": 3 * rows**2 * width, "unit": "FLOP", "formula": "3 N^2 D"},
    }[op]
    return Case(
        op=op,
        size=f"{rows}x{width}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_rows, rows=rows, width=width, views=views),
        providers={"sslfast": partial(call, find), "eager torch": partial(call, lambda: of_unit_rows(eager))},
        check=check,
        devices=("cpu",),
        **floor,
        **options,
    )


def case(
    op: str, name: str, rows: int, width: int, work: float, formula: str, eager: Criterion | None = None, **options: Any
) -> Case:
    """A loss of two batches that goes by one name here and in lightly."""
    return Case(
        op=op,
        size=f"{rows}x{width}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_rows, rows=rows, width=width, views=2),
        providers={
            "sslfast": partial(call, partial(ours, name)),
            **({"eager torch": partial(call, lambda: eager)} if eager else {}),
            f"lightly {name}": partial(call, partial(theirs, name)),
        },
        check=check,
        work=work,
        formula=formula,
        **{"unit": "FLOP", "devices": ("cpu",)} | options,
    )


def barlow_twins(rows: int, width: int, **options: Any) -> Case:
    work = min(6 * rows * width**2, 8 * rows**2 * width)
    formula = "min(6 N D^2, 8 N^2 D)"
    return case("barlow_twins", "BarlowTwinsLoss", rows, width, work, formula, eager_barlow_twins, **options)


def vicreg(rows: int, width: int, **options: Any) -> Case:
    work = 8 * rows * width * min(rows, width)
    return case("vicreg", "VICRegLoss", rows, width, work, "8 N D min(N, D)", eager_vicreg, **options)


def hypersphere(rows: int, width: int, **options: Any) -> Case:
    # Eager torch only with few rows: lightly's is made of the same operators, and with many they take long.
    eager = eager_hypersphere if rows <= 1024 else None
    return case("hypersphere", "HypersphereLoss", rows, width, 6 * rows**2 * width, "6 N^2 D", eager, **options)


def swav(crops: int, rows: int, width: int, **options: Any) -> Case:
    return Case(
        op="swav",
        size=f"{crops} crops of {rows}x{width}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_scores, rows=rows, width=width, views=crops),
        providers={
            "sslfast": partial(call, lambda: of_crops(ours("SwAVLoss"))),
            "eager torch": partial(call, lambda: of_crops(eager_swav)),
            "lightly SwaVLoss": partial(call, lambda: of_crops(theirs("SwaVLoss"))),
        },
        check=check,
        work=4 * rows * width * (2 * crops + LARGE * 4),
        unit="B",
        formula="2 N K a crop + 4 N K a large one",
        devices=("cpu",),
        **options,
    )


def cases() -> list[Case]:
    return [
        barlow_twins(256, 128, quick=True),
        barlow_twins(256, 2048, quick=True),
        barlow_twins(256, 8192, memory=True, one_thread_only=True),
        barlow_twins(4096, 2048, one_thread_only=True),
        vicreg(256, 128, quick=True),
        vicreg(256, 2048, quick=True),
        vicreg(256, 4096, memory=True, one_thread_only=True),
        vicreg(2048, 2048, one_thread_only=True),
        swav(2, 256, 128, quick=True),
        swav(3, 64, 300, quick=True),
        swav(8, 512, 3000),
        on_sphere("alignment", 256, 128, quick=True),
        on_sphere("uniformity", 256, 128, quick=True),
        hypersphere(256, 128, quick=True),
        hypersphere(4096, 128, memory=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
