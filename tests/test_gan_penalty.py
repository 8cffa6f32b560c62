"""Penalties on gradients against their definitions, by linear critics, and where they are easily wrong."""

from __future__ import annotations

import math

import pytest
import torch
from oracle import assert_no_worse
from torch import Tensor, nn

from sslfast.losses import GradientPenalty, R1Penalty, gradient_penalty, nt_xent_loss, r1_penalty
from sslfast.random import STREAMS, philox_words
from sslfast.reference import gan as reference


def critic(*sizes: int, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(sizes[0], 8), nn.Tanh(), nn.Linear(8, sizes[1])).to(dtype)


def share_of(seed: int, rows: int) -> Tensor:
    """What a sample has of the real one."""
    words = philox_words(seed, rows, 1, stream=STREAMS["gan_interpolate"])[:, 0, 0]
    return ((words >> 9).double() + 0.5) / 2**23


@pytest.mark.parametrize("shape", [(1, 4), (5, 4), (3, 2, 2, 3)])
@pytest.mark.parametrize("center", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_penalty_against_the_definition(shape, center, dtype) -> None:
    real, fake = torch.randn(2, *shape, dtype=dtype)
    net = critic(math.prod(shape[1:]), 3, dtype=dtype)
    share = share_of(7, shape[0]).view(-1, *[1] * (len(shape) - 1))
    found = gradient_penalty(net, real, fake, 4.0, center, generator=7)
    found = [found, *torch.autograd.grad(found, list(net.parameters()), allow_unused=True, materialize_grads=True)]

    def by_definition(wide: torch.dtype) -> list[Tensor]:
        points = (share * real.double() + (1 - share) * fake.double()).to(wide)
        net.to(wide)
        loss = reference.gradient_penalty(net, [points], 4.0, center)
        return [loss, *torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, materialize_grads=True)]

    for f, r, g in zip(found, by_definition(dtype), by_definition(torch.float64), strict=True):
        assert f.dtype == dtype
        assert_no_worse(f.detach(), r.detach(), g.detach(), 16 * torch.finfo(dtype).eps * max(1, g.abs().max().item()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_r1_against_the_definition(dtype) -> None:
    real = torch.randn(5, 2, 3, dtype=dtype, requires_grad=True)
    net = critic(6, 3, dtype=dtype)
    logits = net(real)
    found, truth = r1_penalty(logits, real, 3.0), reference.r1_penalty(net, [real], 3.0)
    torch.testing.assert_close(found, truth)
    weights = [net[1].weight, net[3].weight]
    torch.testing.assert_close(
        torch.autograd.grad(found, weights, retain_graph=True), torch.autograd.grad(truth, weights)
    )
    logits.sum().backward()  # the graph is there still


@pytest.mark.parametrize("center", [0.0, 1.0, 2.5])
def test_a_linear_critic(center: float, device: torch.device) -> None:
    weight = torch.tensor([3.0, 0.0, 4.0], device=device, requires_grad=True)
    real, fake = torch.randn(2, 6, 3, device=device)
    penalty = gradient_penalty(lambda x: x @ weight, real, fake, 10.0, center)
    torch.testing.assert_close(penalty.item(), 10 * (5 - center) ** 2)
    (grad,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(grad, 20 * (5 - center) * weight.detach() / 5)
    real.requires_grad_()
    penalty = r1_penalty(real @ weight, real, 10.0)
    torch.testing.assert_close(penalty.item(), 5.0 * 25)
    torch.testing.assert_close(torch.autograd.grad(penalty, weight)[0], 10 * weight.detach())


def test_pairs_have_one_norm_and_one_share() -> None:
    a, b = torch.tensor([3.0], requires_grad=True), torch.tensor([4.0, 0.0], requires_grad=True)
    seen = []

    def net(x: Tensor, z: Tensor) -> Tensor:
        seen.append((x, z))
        return x @ a + z @ b

    real, fake = (torch.ones(5, 1), torch.ones(5, 2)), (torch.zeros(5, 1), torch.zeros(5, 2))
    torch.testing.assert_close(gradient_penalty(net, real, fake, generator=3).item(), 160.0)
    ((x, z),) = seen
    assert torch.equal(x.expand(5, 2), z)
    torch.testing.assert_close(x.flatten().double(), share_of(3, 5))
    leaves = [t.clone().requires_grad_() for t in real]
    torch.testing.assert_close(r1_penalty(net(*leaves), leaves).item(), 125.0)
    x_only = gradient_penalty(lambda x, z: x @ a, real, fake, generator=3)  # z has the gradient 0
    torch.testing.assert_close(x_only.item(), 40.0)


@pytest.mark.parametrize("center", [0.0, 1.0])
def test_gradcheck_of_both_orders(center: float) -> None:
    real, fake = torch.randn(2, 4, 3, dtype=torch.float64)

    def penalty(w: Tensor, v: Tensor) -> Tensor:
        return gradient_penalty(lambda x: (x @ w).tanh() @ v, real, fake, 2.0, center, generator=1)

    def r1(w: Tensor, v: Tensor) -> Tensor:
        x = real.detach().requires_grad_()
        return r1_penalty((x @ w).tanh() @ v, x)

    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((3, 5), (5,))]
    for function in (penalty, r1):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_r1_reaches_what_made_the_samples() -> None:
    """Samples with a graph of their own, an encoder's, keep it."""
    z = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: r1_penalty((z * z).pow(3).sum(1), z), z)


def test_a_gradient_of_zero_gives_no_nan() -> None:
    weight = torch.zeros(3, requires_grad=True)
    real, fake = torch.randn(2, 4, 3)
    for center, expected in ((1.0, 10.0), (0.0, 0.0)):
        penalty = gradient_penalty(lambda x: x @ weight, real, fake, center=center)
        assert penalty == expected
        assert torch.autograd.grad(penalty, weight)[0].isfinite().all()
    weight.data[0] = math.nan
    assert gradient_penalty(lambda x: x @ weight, real, fake).isnan()


def test_the_curvature_where_the_gradient_is_zero() -> None:
    """With center 0 the penalty of a linear critic is 10 |w|^2, of second derivative 20 everywhere."""
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    points = torch.randn(2, 4, 3, dtype=torch.float64)
    penalty = gradient_penalty(lambda x: x @ weight, *points, center=0.0)
    (grad,) = torch.autograd.grad(penalty, weight, create_graph=True)
    assert torch.autograd.grad(grad.sum(), weight)[0].tolist() == [20.0] * 3


def test_draws() -> None:
    real, fake = torch.ones(2000, 1, dtype=torch.float64), torch.zeros(2000, 1, dtype=torch.float64)
    points: list[Tensor] = []

    def net(x: Tensor) -> Tensor:
        points.append(x.detach().flatten())
        return x.square()

    values = [gradient_penalty(net, real, fake, generator=9)]
    values += [gradient_penalty(net, real[:800], fake[:800], generator=9)]
    values += [gradient_penalty(net, real[800:], fake[800:], generator=torch.tensor(9), row_offset=800)]
    assert torch.equal(points[0], torch.cat(points[1:]))
    torch.testing.assert_close(values[0], 0.4 * values[1] + 0.6 * values[2])
    uniform = points[0].sort().values
    distance = (uniform - (torch.arange(2000) + 0.5) / 2000).abs().max()
    assert distance < 1.95 / math.sqrt(2000)  # Kolmogorov and Smirnov, 0.1 %
    state = torch.get_rng_state()
    torch.randint(2**63 - 1, ())
    once = torch.get_rng_state()
    torch.set_rng_state(state)
    gradient_penalty(net, real, fake)
    assert torch.equal(torch.get_rng_state(), once)


def test_nothing_else_is_touched() -> None:
    net = critic(3, 1, dtype=torch.float32).eval()
    real, fake = torch.randn(2, 4, 3, requires_grad=True)
    penalty = gradient_penalty(net, real, fake, generator=1)
    assert all(p.grad is None for p in net.parameters())
    assert not net.training
    assert torch.autograd.grad(penalty, [real, fake], allow_unused=True, retain_graph=True) == (None, None)
    with torch.no_grad():
        value = gradient_penalty(net, real, fake, generator=1)
        leaf = real.detach().requires_grad_()
        with torch.enable_grad():
            logits = net(leaf)
        assert not r1_penalty(logits, leaf).requires_grad
    assert torch.equal(value, penalty)
    assert not value.requires_grad


def test_a_loss_of_one_derivative_says_so() -> None:
    real, fake = torch.randn(2, 4, 3)
    weight = torch.eye(3, requires_grad=True)
    penalty = gradient_penalty(lambda x: nt_xent_loss(x @ weight, x), real, fake)
    with pytest.raises(RuntimeError, match="second derivatives are not supported"):
        penalty.backward()


def test_modules() -> None:
    net = critic(3, 1, dtype=torch.float32)
    real, fake = torch.randn(2, 4, 3)
    real.requires_grad_()
    found = GradientPenalty(2.0, 0.5)(net, real, fake, generator=1, row_offset=3)
    assert torch.equal(found, gradient_penalty(net, real, fake, 2.0, 0.5, generator=1, row_offset=3))
    assert torch.equal(R1Penalty(2.0)(net(real), real), r1_penalty(net(real), real, 2.0))
    assert repr(GradientPenalty()) == "GradientPenalty(weight=10.0, center=1.0)"
    assert repr(R1Penalty()) == "R1Penalty(weight=10.0)"


X = torch.ones(4, 3)
LEAF = X.clone().requires_grad_()


def net(x: Tensor, z: Tensor | None = None) -> Tensor:
    return x.sum(1)


PATH = "discriminator must return logits that depend on its input, got some"
BAD = [
    (gradient_penalty, (None, X, X), {}, TypeError, "discriminator must be callable, got NoneType"),
    (gradient_penalty, (net, X.long(), X), {}, TypeError, "real must be a floating-point tensor, got torch.int64"),
    (gradient_penalty, (net, X, (X, X)), {}, ValueError, "fake must have 1 tensors, like real, got 2"),
    (
        gradient_penalty,
        (net, (X, X), (X, None)),
        {},
        TypeError,
        "fake[1] must be a floating-point tensor, got NoneType",
    ),
    (gradient_penalty, (net, (X, X[:2]), (X, X)), {}, ValueError, "real[1] must have 4 samples, like real[0], got 2"),
    (gradient_penalty, (net, (), ()), {}, ValueError, "real must have at least one tensor, got none"),
    (
        gradient_penalty,
        (net, X[:0], X[:0]),
        {},
        ValueError,
        "real must have shape (N, ...) with all sizes >= 1, got (0, 3)",
    ),
    (gradient_penalty, (net, X, X[:2]), {}, ValueError, "fake must have shape (4, 3), like real, got (2, 3)"),
    (gradient_penalty, (net, X, X.to("meta")), {}, ValueError, "fake must be on cpu, like real, got meta"),
    (gradient_penalty, (net, X, X, -1.0), {}, ValueError, "weight must be at least 0, got -1.0"),
    (gradient_penalty, (net, X, X, 1, math.inf), {}, ValueError, "center must be finite, got inf"),
    (
        gradient_penalty,
        (net, X, X),
        {"generator": "a"},
        TypeError,
        "generator must be None, an int, a torch.Generator or an int64 tensor, got str",
    ),
    (gradient_penalty, (net, X, X), {"grad_scale": 0.0}, ValueError, "grad_scale must be positive, got 0.0"),
    (gradient_penalty, (net, X, X), {"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    (
        gradient_penalty,
        (lambda x: 1.0, X, X),
        {},
        TypeError,
        "the discriminator's result must be a floating-point tensor, got float",
    ),
    (gradient_penalty, (lambda x: X, X, X), {}, ValueError, f"{PATH} without a graph"),
    (gradient_penalty, (lambda x: LEAF.sum(1), X, X), {}, ValueError, f"{PATH} that do not"),
    (r1_penalty, (1.0, LEAF), {}, TypeError, "real_logits must be a floating-point tensor, got float"),
    (r1_penalty, (X, [1]), {}, TypeError, "real[0] must be a floating-point tensor, got int"),
    (r1_penalty, (X, X), {}, ValueError, "real must require a gradient before the discriminator takes it"),
    (r1_penalty, (X, LEAF), {}, ValueError, "real_logits must depend on real, got some without a graph"),
    (r1_penalty, (2 * LEAF, [LEAF + 1]), {}, ValueError, "real_logits must depend on real, got some that do not"),
    (r1_penalty, (2 * LEAF, LEAF, "a"), {}, TypeError, "weight must be a number, got str"),
    (r1_penalty, (2 * LEAF, LEAF), {"grad_scale": "a"}, TypeError, "grad_scale must be a number, got str"),
    (GradientPenalty, (), {"grad_scale": -1}, ValueError, "grad_scale must be positive, got -1"),
    (R1Penalty, (), {"grad_scale": 0}, ValueError, "grad_scale must be positive, got 0"),
    (GradientPenalty, (-1,), {}, ValueError, "weight must be at least 0, got -1"),
    (GradientPenalty, (1, None), {}, TypeError, "center must be a number, got NoneType"),
    (R1Penalty, (-1,), {}, ValueError, "weight must be at least 0, got -1"),
]


@pytest.mark.parametrize(("function", "args", "options", "error", "text"), BAD)
def test_bad_input(function, args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        function(*args, **options)
    assert str(caught.value) == f"{function.__name__}: {text}"


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradient_penalty_where_grad_mode_is_off(off) -> None:
    net, real, fake = critic(4, 1), *torch.randn(2, 5, 4, dtype=torch.float64)
    expected = gradient_penalty(net, real, fake, generator=3)
    with off():
        found = gradient_penalty(net, real, fake.clone(), generator=3)
        of_pairs = gradient_penalty(lambda x, z: net(x) + net(z), (real, real), (fake, fake), generator=3)
        assert torch.is_inference_mode_enabled() == (off is torch.inference_mode)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach())
    pairs = gradient_penalty(lambda x, z: net(x) + net(z), (real, real), (fake, fake), generator=3)
    torch.testing.assert_close(of_pairs, pairs.detach())
