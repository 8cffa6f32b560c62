"""Penalties on gradients in half types and under autocast, where the first gradient is small."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast.losses import GradientPenalty, R1Penalty, gradient_penalty, r1_penalty
from sslfast.reference import gan as reference


def critic() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast(half: torch.dtype) -> None:
    net = critic()
    real, fake = torch.randn(2, 16, 6)
    plain = gradient_penalty(net, real, fake, generator=5)
    truth = torch.autograd.grad(plain, net[0].weight)[0]
    leaf = real.clone().requires_grad_()
    plain_r1 = r1_penalty(net(leaf), leaf)
    seen = []
    handle = net[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=half):
        found = gradient_penalty(net, real, fake, generator=5)
        grad = torch.autograd.grad(found, net[0].weight)[0]
        r1 = r1_penalty(net(leaf), leaf)
    handle.remove()
    assert seen == [half, half]
    assert found.dtype == r1.dtype == grad.dtype == torch.float32
    torch.testing.assert_close(found, plain, rtol=3e-2, atol=0)
    torch.testing.assert_close(r1, plain_r1, rtol=3e-2, atol=0)
    assert (grad - truth).norm() < 3e-2 * truth.norm()
    # 4,096 numbers of 2^-3: a sum of squares in half precision would stop early.
    many, vector = torch.zeros(2, 4096, dtype=half), torch.full((4096,), 0.125, dtype=half)
    assert gradient_penalty(lambda x: x @ vector, many, many, 1.0) == 49.0


def small_critic(x: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Its gradients are about 1e-7, a sixteenth of which is float16's smallest step; its weights are normal numbers."""
    return F.leaky_relu(x @ (1e-3 * first), 0.2) @ (1e-4 * last)


@pytest.mark.parametrize("autocast", [False, True])
def test_small_gradients_in_float16(autocast: bool) -> None:
    real, fake = torch.randn(2, 20, 6)
    leaves = [torch.randn(6, 8, requires_grad=True), torch.randn(8, 1, requires_grad=True)]
    truth = reference.r1_penalty(lambda x: small_critic(x, *leaves), [real.clone().requires_grad_()], 10.0)
    truths = [truth, *torch.autograd.grad(truth, leaves)]
    half = torch.float32 if autocast else torch.float16

    def penalties(scale: float) -> list[Tensor]:
        with torch.autocast("cpu", torch.float16, enabled=autocast):
            x = real.to(half).requires_grad_()
            logits = small_critic(x, *(w.to(half) for w in leaves))
            assert logits.dtype == torch.float16
            r1 = r1_penalty(logits, x, grad_scale=scale)
            gp = gradient_penalty(
                lambda z: small_critic(z, *(w.to(half) for w in leaves)),
                *(real.to(half), fake.to(half)),
                10.0,
                0.0,
                generator=1,
                grad_scale=scale,
            )
        assert r1.dtype == gp.dtype == torch.float32
        return [r1, *(g / 2.0**40 for g in torch.autograd.grad(2.0**40 * r1, leaves, retain_graph=True)), gp]

    def error(found: Tensor, true: Tensor) -> float:
        return float(torch.linalg.vector_norm(found - true) / torch.linalg.vector_norm(true))

    found = penalties(2.0**12)
    for ours, true in zip(found[:3], truths, strict=True):
        assert error(ours.detach(), true.detach()) < 3e-3
    gp = gradient_penalty(lambda x: small_critic(x, *leaves), real, fake, 10.0, 0.0, generator=1)
    assert error(found[3].detach(), gp.detach()) < 3e-3
    assert error(penalties(1.0)[0].detach(), truth.detach()) > 1e-2  # what it is against
    for ours, same in zip(penalties(2.0**16), penalties(2.0**15), strict=True):  # a scaler begins with 2^16
        assert torch.equal(ours, same)


def test_a_scale_changes_nothing_in_float32() -> None:
    net, real, fake = critic(), *torch.randn(2, 5, 6)
    leaf = real.clone().requires_grad_()
    assert torch.equal(
        GradientPenalty(grad_scale=8.0)(net, real, fake, generator=1), gradient_penalty(net, real, fake, generator=1)
    )
    assert torch.equal(R1Penalty(grad_scale=8.0)(net(leaf), leaf), r1_penalty(net(leaf), leaf))
