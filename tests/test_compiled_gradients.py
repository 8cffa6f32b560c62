"""Losses that take a gradient themselves, in one graph of torch.compile; and second derivatives behind it.

The backends "eager", which runs what dynamo has traced, and "aot_eager", which has the backward pass traced, too.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sslfast.augment import mix_images, sample_mix
from sslfast.losses import (
    AdversarialPerturbation,
    GradientPenalty,
    R1Penalty,
    SwAVLoss,
    barlow_twins_loss,
    dino_loss,
    gradient_penalty,
    koleo_loss,
    linear_cross_entropy,
    msn_loss,
    negative_cosine_similarity,
    nt_xent_loss,
    r1_penalty,
    replaced_token_loss,
    vicreg_loss,
)
from sslfast.masking import corrupt_features, gather_patches

BACKENDS = ["eager", "aot_eager"]
NET = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
SIDE = nn.Linear(2, 1)
ENCODER = nn.Linear(3, 3)
REAL, FAKE, CODE = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 2)
LEAF = REAL.clone().requires_grad_()
SEED = torch.tensor(1)
GOALS = torch.tensor([1, 2, 0, 4])
MIXED = sample_mix(4, (1, 1), generator=1)


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


def compiled(function: Callable[[], Tensor], backend: str) -> Callable[[], Tensor]:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


def under_autocast() -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return gradient_penalty(NET, REAL, FAKE, generator=1)


def r1_of_what_is_made() -> Tensor:
    made = ENCODER(REAL)
    return r1_penalty(NET(made), made)


PENALTIES = {
    "gradient_penalty": lambda: GradientPenalty()(NET, REAL, FAKE, generator=1),
    "of pairs": lambda: gradient_penalty(
        lambda x, z: NET(x) + SIDE(z) ** 2, (REAL, CODE), (FAKE, -CODE), 2.0, 0.0, generator=1
    ),
    "scaled": lambda: gradient_penalty(NET, REAL, FAKE, generator=1, grad_scale=8.0),
    "autocast": under_autocast,
    "r1_penalty": lambda: R1Penalty()(NET(LEAF), LEAF),
    "r1_penalty, made": r1_of_what_is_made,
    # Only what lies between the samples and the logits is differentiated twice.
    "a function beside": lambda: gradient_penalty(
        lambda x: (x @ Square.apply(NET[0].weight).T).tanh(), REAL, FAKE, generator=1
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PENALTIES)
def test_penalties(name: str, backend: str) -> None:
    parameters = [*NET.parameters(), *SIDE.parameters(), *ENCODER.parameters(), LEAF]
    losses = [f() for f in (PENALTIES[name], compiled(PENALTIES[name], backend))]
    grads = [torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True) for loss in losses]
    assert any(g.any() for g in grads[0])
    torch.testing.assert_close([losses[1], *grads[1]], [losses[0], *grads[0]])
    with torch.no_grad():
        if "r1" not in name:
            value = compiled(PENALTIES[name], backend)()
            assert not value.requires_grad
            torch.testing.assert_close(value, losses[0].detach())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("critic", [lambda x: Square.apply(x).sum(1), lambda x: nt_xent_loss(x, FAKE)])
def test_a_function_that_would_lose_its_second_derivative(critic, backend: str) -> None:
    with pytest.raises(
        RuntimeError, match=r"gradient_penalty: a compiled graph must not differentiate a torch\.autograd"
    ):
        compiled(lambda: gradient_penalty(critic, REAL, FAKE, generator=1), backend)()


@pytest.mark.parametrize("backend", BACKENDS)
def test_r1_of_logits_that_are_made_outside(backend: str) -> None:
    logits = NET(LEAF)
    with pytest.raises(Exception, match="real_logits must depend on real"):
        compiled(lambda: r1_penalty(logits, LEAF), backend)()
    torch._dynamo.reset()
    found = torch.compile(lambda: r1_penalty(logits, LEAF), backend=backend)()  # the graph breaks
    torch.testing.assert_close(found, r1_penalty(logits, LEAF))


ATTACKS = {
    "fgsm": lambda: AdversarialPerturbation(0.1)(lambda x: NET(x).sum(), REAL),
    "pgd": lambda: AdversarialPerturbation(0.1, steps=3, random_start=True, clamp=(-1, 1))(
        lambda x: nt_xent_loss(NET[0](x), NET[0](REAL)), REAL, generator=1
    ),
    "l2": lambda: AdversarialPerturbation(0.1, steps=2, norm="l2", targeted=True)(
        lambda x: dino_loss([FAKE], [x, x]) + linear_cross_entropy(x, NET[0].weight, GOALS), REAL
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks(name: str, backend: str) -> None:
    found = compiled(ATTACKS[name], backend)()
    assert not found.requires_grad
    assert not torch.equal(found, REAL)
    torch.testing.assert_close(found, ATTACKS[name]())


SECOND = {
    "nt_xent_loss": lambda z: nt_xent_loss(z, FAKE),
    "linear_cross_entropy": lambda z: linear_cross_entropy(z, NET[0].weight, GOALS),
}
# They have a second derivative, which dynamo would leave out.
TWICE = {
    "vicreg": lambda z: vicreg_loss(z, FAKE),
    "barlow_twins": lambda z: barlow_twins_loss(z, FAKE),
    "koleo": koleo_loss,
    "negative_cosine_similarity": lambda z: negative_cosine_similarity(z, FAKE),
    "replaced_token": lambda z: replaced_token_loss(z, FAKE > 0),
    "replaced_token, none": lambda z: replaced_token_loss(z, FAKE > 0, reduction="none").sum(),
    "msn": lambda z: msn_loss(z, FAKE, NET[0].weight),
    "mix_images": lambda z: mix_images(z.view(4, 1, 1, 3), MIXED).pow(3).sum(),
    "swav": lambda z: SwAVLoss()([FAKE, z], []),
    "gather_patches": lambda z: gather_patches(z.unsqueeze(0), torch.tensor([[0, 2]])).pow(3).sum(),
    "corrupt_features": lambda z: corrupt_features(z, 0.5, generator=SEED)[0].pow(3).sum(),
}


LEFT_OUT = {"nt_xent": SECOND["nt_xent_loss"], "torch": lambda z: z.exp().sum()}


@pytest.mark.parametrize("name", [*LEFT_OUT, "vicreg"])
def test_torch_knows_no_second_derivative_behind_aot(name: str) -> None:
    """As the documentation warns: where it does not raise, the term is missing."""
    loss = compiled((LEFT_OUT | TWICE)[name], "aot_eager")
    (grad,) = torch.autograd.grad(loss(LEAF), LEAF, create_graph=True)
    if name not in LEFT_OUT:
        with pytest.raises(RuntimeError, match="does not currently support double backward"):
            torch.autograd.grad(grad.square().sum(), LEAF)
        return
    (second,) = torch.autograd.grad(grad.square().sum() + LEAF.sum(), LEAF)
    assert torch.equal(second, torch.ones_like(second))


@pytest.mark.parametrize("name", SECOND | TWICE)
def test_a_second_derivative_is_refused_behind_dynamo(name: str) -> None:
    plain = (SECOND | TWICE)[name]
    loss = compiled(plain, "eager")
    (grad,) = torch.autograd.grad(loss(LEAF), LEAF)
    assert not grad.requires_grad
    torch.testing.assert_close(grad, torch.autograd.grad(plain(LEAF), LEAF)[0])
    for beside in (0.0, LEAF.sum()):
        (twice,) = torch.autograd.grad(loss(LEAF), LEAF, create_graph=True)
        assert torch.equal(twice, grad)
        who = name if name in SECOND else "torch.compile"
        with pytest.raises(RuntimeError, match=f"^{who}: second derivatives are not supported"):
            torch.autograd.grad(twice.square().sum() + beside, LEAF)
    leaf = LEAF.detach().requires_grad_()
    kept = loss(leaf)
    for times in (1, 2):
        kept.backward(retain_graph=True)
        assert not leaf.grad.requires_grad
        torch.testing.assert_close(leaf.grad, times * grad)
