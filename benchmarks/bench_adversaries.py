"""The losses of adversaries, thin over torch's operators, beside the same in plain torch: discriminator's and
generator's objectives, the gradient penalty and R1 of a small critic, and PGD against a small network's loss.

Each does what plain torch does, in the same number of operators to a few; the rows show that checks, float32 sums and
draws that depend on the sample alone cost no more than noise. Floors: logits read once and their gradient written; for
the penalties and PGD the FLOPs of the networks' products: forward, backward and, for a penalty, the second derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness import Call, Case

WIDTH = 512
EPSILON, STEPS = 8 / 255, 3


class Inputs:
    """A critic of rows of WIDTH numbers, and rows: real ones, made ones and classes."""

    def __init__(self, device: torch.device, rows: int) -> None:
        layers = nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2)
        self.critic = nn.Sequential(*layers, nn.Linear(WIDTH, 1)).to(device)
        self.real = torch.rand(rows, WIDTH, device=device)
        self.made = torch.rand(rows, WIDTH, device=device)
        self.logits = [torch.randn(rows, 1, device=device).requires_grad_() for _ in range(2)]
        self.leaves = [p for p in self.critic.parameters() if p.dim() == 2]


def objectives(x: Inputs) -> tuple[Tensor, ...]:
    from sslfast.losses import gan_discriminator_loss, gan_generator_loss

    loss = gan_discriminator_loss(*x.logits) + gan_generator_loss(x.logits[1])
    return loss.detach(), *torch.autograd.grad(loss, x.logits)


def plain_objectives(x: Inputs) -> tuple[Tensor, ...]:
    real, made = x.logits
    loss = F.softplus(-real).mean() + F.softplus(made).mean() + F.softplus(-made).mean()
    return loss.detach(), *torch.autograd.grad(loss, x.logits)


def gradient_penalty(x: Inputs) -> tuple[Tensor, ...]:
    from sslfast.losses import gradient_penalty

    loss = gradient_penalty(x.critic, x.real, x.made, generator=0)
    return loss.detach(), *torch.autograd.grad(loss, x.leaves)


def plain_gradient_penalty(x: Inputs) -> tuple[Tensor, ...]:
    share = torch.rand(len(x.real), 1, device=x.real.device)
    between = (share * x.real + (1 - share) * x.made).requires_grad_()
    logits = x.critic(between)
    (grad,) = torch.autograd.grad(logits, between, torch.ones_like(logits), create_graph=True)
    loss = 10.0 * ((grad.norm(2, dim=1) - 1) ** 2).mean()
    return loss.detach(), *torch.autograd.grad(loss, x.leaves)


def r1(x: Inputs) -> tuple[Tensor, ...]:
    from sslfast.losses import r1_penalty

    real = x.real.clone().requires_grad_()
    loss = r1_penalty(x.critic(real), real)
    return loss.detach(), *torch.autograd.grad(loss, x.leaves)


def plain_r1(x: Inputs) -> tuple[Tensor, ...]:
    real = x.real.clone().requires_grad_()
    (grad,) = torch.autograd.grad(x.critic(real).sum(), real, create_graph=True)
    loss = 5.0 * grad.square().sum(dim=1).mean()
    return loss.detach(), *torch.autograd.grad(loss, x.leaves)


def attack(x: Inputs) -> tuple[Tensor, ...]:
    from sslfast.losses import AdversarialPerturbation

    return (AdversarialPerturbation(EPSILON, steps=STEPS)(lambda z: F.softplus(x.critic(z)).mean(), x.real),)


def plain_attack(x: Inputs) -> tuple[Tensor, ...]:
    moved = x.real.clone()
    for _ in range(STEPS):
        moved.requires_grad_()
        (grad,) = torch.autograd.grad(F.softplus(x.critic(moved)).mean(), moved)
        moved = moved.detach() + 2.5 * EPSILON / STEPS * grad.sign()
        moved = x.real + (moved - x.real).clamp(-EPSILON, EPSILON)
    return (moved,)


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    for their, our in zip(theirs, ours, strict=True):
        torch.testing.assert_close(their, our, rtol=1e-4, atol=1e-5)


def check_drawn(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """Points between the samples differ; the penalty and its gradients hardly do."""
    for their, our in zip(theirs, ours, strict=True):
        error = torch.linalg.vector_norm(their - our) / torch.linalg.vector_norm(our)
        assert error <= 0.1, f"relative difference {float(error):.3f}"


def call(function: Callable[[Inputs], tuple[Tensor, ...]], inputs: Inputs) -> Call:
    return partial(function, inputs)


def case(op: str, rows: int, ours: Any, plain: Any, work: float, unit: str, formula: str, **options: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows}x{WIDTH}" if unit == "FLOP" else f"{rows}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(Inputs, rows=rows),
        providers={"sslfast": partial(call, ours), "eager torch": partial(call, plain)},
        work=work,
        unit=unit,
        formula=formula,
        **{"check": check, "quick": True, "devices": ("cpu",)} | options,
    )


def cases() -> list[Case]:
    rows, product = 256, 2 * 256 * 2 * WIDTH**2
    return [
        case(
            "gan_objectives",
            57600,
            objectives,
            plain_objectives,
            2 * 2 * 4 * 57600,
            "B",
            "a read and a write of patches' logits",
        ),
        case(
            "gradient_penalty",
            rows,
            gradient_penalty,
            plain_gradient_penalty,
            5 * product,
            "FLOP",
            "5 products a layer",
            check=check_drawn,
        ),
        case("r1_penalty", rows, r1, plain_r1, 5 * product, "FLOP", "5 products a layer"),
        case("adversarial", rows, attack, plain_attack, STEPS * 2 * product, "FLOP", "2 products a layer and step"),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
