"""AdversarialPerturbation: steps of known length and direction, within the ball and the range, for any loss."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import losses
from sslfast.losses import AdversarialPerturbation
from sslfast.reference.adversarial import perturb as reference


def quadratic(x: Tensor) -> Tensor:
    """A loss whose gradient turns and differs from sample to sample."""
    width = x[0].numel()
    return (x.reshape(len(x), width) * torch.linspace(-1, 2, width, dtype=x.dtype) + 0.3).sin().pow(3).sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 2, 4, 4), (6,)])
@pytest.mark.parametrize(("steps", "clamp", "targeted"), [(1, None, False), (5, None, True), (5, (0.0, 1.0), False)])
def test_against_the_definition(norm, shape, steps, clamp, targeted) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    attack = AdversarialPerturbation(0.25, norm=norm, step_size=0.1, steps=steps, clamp=clamp, targeted=targeted)
    expected = reference(quadratic, x, 0.25, norm, 0.1, steps, clamp, targeted)
    torch.testing.assert_close(attack(quadratic, x), expected)
    found = attack(quadratic, x.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("clamp", [None, (0.0, 1.0)])
def test_steps_from_a_random_start_against_the_definition(norm, clamp) -> None:
    x = torch.rand(20, 6, dtype=torch.float64)
    options = {"norm": norm, "random_start": True, "clamp": clamp}
    start = AdversarialPerturbation(0.4, step_size=0, **options)(quadratic, x, generator=3)
    found = AdversarialPerturbation(0.4, step_size=0.1, steps=4, **options)(quadratic, x, generator=3)
    torch.testing.assert_close(found, reference(quadratic, x, 0.4, norm, 0.1, 4, clamp, start=start))


def test_of_a_linear_loss(device: torch.device) -> None:
    x = torch.zeros(2, 3, device=device)
    slope = torch.tensor([[3.0, 0.0, -4.0], [0.0, 0.0, 0.0]], device=device)

    def loss(x: Tensor) -> Tensor:
        return (x * slope).sum()

    fgsm = AdversarialPerturbation(0.5)
    assert torch.equal(fgsm(loss, x), 0.5 * slope.sign())
    assert torch.equal(AdversarialPerturbation(0.5, targeted=True)(loss, x), -0.5 * slope.sign())
    expected = torch.tensor([[0.3, 0.0, -0.4], [0.0, 0.0, 0.0]], device=device)
    torch.testing.assert_close(AdversarialPerturbation(0.5, norm="l2")(loss, x), expected)
    for norm in ("linf", "l2"):  # ten steps of a quarter of the radius end at the border, where one whole step does
        once, often = (AdversarialPerturbation(0.5, norm=norm, steps=steps)(loss, x) for steps in (1, 10))
        torch.testing.assert_close(once, often)
        none = AdversarialPerturbation(0.5, norm=norm, step_size=0)
        assert torch.equal(none(loss, x), x)
        assert torch.equal(AdversarialPerturbation(0, norm=norm, steps=3)(loss, x), x)


def test_the_length_of_an_l2_step_does_not_depend_on_that_of_the_gradient() -> None:
    x = torch.zeros(3, 4)
    for size in (1e-42, 1e-30, 1.0, 1e30):
        moved = AdversarialPerturbation(2.0, norm="l2")(lambda x, size=size: (x * size).sum(), x)
        torch.testing.assert_close(moved, torch.ones(3, 4))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_stays_in_the_ball_and_in_the_range(norm, random_start, dtype) -> None:
    x = torch.rand(50, 3, 4).to(dtype)
    for steps in (1, 4):
        options = {"norm": norm, "steps": steps, "random_start": random_start, "clamp": (0, 1)}
        x_adv = AdversarialPerturbation(0.2, step_size=0.15, **options)(quadratic, x, generator=1)
        assert x_adv.dtype == dtype
        assert ((x_adv >= 0) & (x_adv <= 1)).all()
        moved = (x_adv.double() - x.double()).flatten(1)
        length = moved.abs().amax(1) if norm == "linf" else moved.norm(dim=1)
        assert (length <= 0.2 + 4 * torch.finfo(dtype).eps).all()
        assert (length > 0.05).all()


def test_more_steps_find_a_higher_loss() -> None:
    net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))
    x, labels = torch.randn(64, 8), torch.randint(0, 4, (64,))

    def loss(x: Tensor) -> Tensor:
        return F.cross_entropy(net(x), labels)

    for norm, epsilon in (("linf", 0.3), ("l2", 1.0)):
        value = [loss(x)]
        for steps in (1, 20):
            value.append(loss(AdversarialPerturbation(epsilon, norm=norm, steps=steps)(loss, x)))
        assert value[0] < value[1] < value[2]
        targeted = AdversarialPerturbation(epsilon, norm=norm, steps=20, targeted=True)
        assert loss(targeted(loss, x)) < value[0]


def start_of(norm: str, shape: tuple[int, ...], seed: int, row_offset: int = 0) -> Tensor:
    attack = AdversarialPerturbation(2.0, norm=norm, step_size=0, random_start=True)
    x = torch.zeros(shape, dtype=torch.float64)
    return attack(torch.sum, x, generator=seed, row_offset=row_offset)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_random_starts_are_uniform_in_the_ball(size: int) -> None:
    rows = 4000
    grid = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows
    limit = 1.95 / math.sqrt(rows)  # Kolmogorov and Smirnov, 0.1 %
    box = start_of("linf", (rows, size), 1)
    for column in box.T:
        assert ((column.sort().values + 2) / 4 - grid).abs().max() < limit
    ball = start_of("l2", (rows, size), 2)
    radius = ball.norm(dim=1)
    assert ((radius.sort().values / 2) ** size - grid).abs().max() < limit
    unit = ball / radius.unsqueeze(1)
    assert unit.mean(0).abs().max() < 4 / math.sqrt(rows)
    second = unit.T @ unit / rows  # of uniform directions the identity by size
    assert (second - torch.eye(size, dtype=torch.float64) / size).abs().max() < 4 / math.sqrt(rows)
    assert torch.corrcoef(torch.stack([radius, unit[:, 0]]))[0, 1].abs() < 4 / math.sqrt(rows)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_draws(norm: str) -> None:
    whole = start_of(norm, (10, 3, 2), 5)
    assert torch.equal(whole, torch.cat([start_of(norm, (4, 3, 2), 5), start_of(norm, (6, 3, 2), 5, 4)]))
    assert not torch.equal(whole, start_of(norm, (10, 3, 2), 6))
    attack = AdversarialPerturbation(1.0, norm=norm, steps=3, random_start=True)
    x = torch.zeros(4, 3)
    seed = torch.tensor(5)
    assert torch.equal(attack(torch.sum, x, generator=seed), attack(torch.sum, x, generator=5))
    state = torch.get_rng_state()
    torch.randint(2**63 - 1, ())
    once = torch.get_rng_state()
    torch.set_rng_state(state)
    attack(torch.sum, x)
    assert torch.equal(torch.get_rng_state(), once)
    AdversarialPerturbation(1.0, norm=norm, steps=3)(torch.sum, x)
    assert torch.equal(torch.get_rng_state(), once)


Z, LABELS = torch.randn(8, 6), torch.arange(8) // 2
WEIGHT = torch.randn(9, 6, requires_grad=True)
LOSSES = {
    "nt_xent": lambda z: losses.nt_xent_loss(z, Z),
    "clip": lambda z: losses.clip_loss(z, Z, 10.0, normalize=True),
    "siglip": lambda z: losses.siglip_loss(z, Z, 10.0, -10.0, normalize=True),
    "info_nce": lambda z: losses.info_nce_loss(z, Z),
    "supcon": lambda z: losses.supcon_loss(z, LABELS),
    "triplet": lambda z: losses.triplet_loss(z, LABELS),
    "dcl": lambda z: losses.dcl_loss(z, Z),
    "vicreg": lambda z: losses.vicreg_loss(z, Z),
    "koleo": losses.KoLeoLoss(),
    "uniformity": losses.uniformity_loss,
    "linear_cross_entropy": lambda z: losses.linear_cross_entropy(z, WEIGHT, LABELS),
    "gan": lambda z: losses.gan_generator_loss(z @ WEIGHT.T),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_any_loss(name: str, norm: str) -> None:
    x = torch.randn(8, 6)
    loss = LOSSES[name]
    x_adv = AdversarialPerturbation(0.02, norm=norm)(loss, x)
    assert loss(x_adv) > loss(x)
    assert WEIGHT.grad is None


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_grad_mode_parameters_and_train_mode_stay(context) -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)).eval()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    x = torch.randn(6, 4, requires_grad=True)
    copy = x.detach().clone()
    attack = AdversarialPerturbation(0.1, steps=2)
    expected = attack(lambda x: net(x).square().sum(), x)
    with context():
        mode = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        x_adv = attack(lambda x: net(x).square().sum(), x)
        assert mode == (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    assert torch.equal(x_adv, expected)
    assert not x_adv.requires_grad
    assert torch.equal(x, copy)
    assert x.grad is None
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert not any(module.training for module in net)
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_a_loss_may_change_or_keep_what_it_gets() -> None:
    kept = []

    def loss(x: Tensor) -> Tensor:
        kept.append(x)
        return x.mul(1).add_(1).sum()

    x = torch.zeros(2, 3)
    AdversarialPerturbation(1.0, step_size=0.25, steps=3)(loss, x)
    assert [t.unique().item() for t in kept] == [0, 0.25, 0.5]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast(half: torch.dtype) -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8))
    x, other = torch.randn(2, 32, 8)

    def loss(x: Tensor) -> Tensor:
        seen.append(net(x).dtype)
        return losses.nt_xent_loss(net(x), other)

    seen: list[torch.dtype] = []
    attack = AdversarialPerturbation(0.05, steps=3, norm="l2")
    plain = attack(loss, x)
    with torch.autocast("cpu", dtype=half):
        found = attack(loss, x)
        assert torch.is_autocast_enabled("cpu")
    assert seen == [torch.float32] * 3 + [half] * 3
    assert found.dtype == torch.float32
    assert F.cosine_similarity(found - x, plain - x).min() > 0.99
    with torch.autocast("cpu", dtype=half):  # the casts of weights that autocast keeps have a graph
        net(x).float().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_nan_reaches_the_samples() -> None:
    x = torch.randn(3, 2)
    for norm in ("linf", "l2"):
        x_adv = AdversarialPerturbation(1.0, norm=norm)(lambda x: (x[1] * math.nan).sum() + x.sum(), x)
        assert x_adv[1].isnan().all()


def test_representation_and_strides() -> None:
    attack = AdversarialPerturbation(0.5, norm="l2", steps=5, clamp=[0, 1])
    text = "epsilon=0.5, norm='l2', step_size=0.25, steps=5, random_start=False, clamp=(0.0, 1.0), targeted=False"
    assert repr(attack) == f"AdversarialPerturbation({text})"
    x = torch.rand(4, 3, 5, 6)
    channels_last = x.to(memory_format=torch.channels_last)
    assert torch.equal(attack(quadratic, x), attack(quadratic, channels_last))


X = torch.ones(4, 3)
NAME = "AdversarialPerturbation"
BAD_OPTIONS = [
    ({"epsilon": -0.1}, ValueError, "epsilon must be at least 0, got -0.1"),
    ({"epsilon": math.inf}, ValueError, "epsilon must be finite, got inf"),
    ({"epsilon": "a"}, TypeError, "epsilon must be a number, got str"),
    ({"norm": "l1"}, ValueError, "norm must be 'linf' or 'l2', got 'l1'"),
    ({"step_size": -1}, ValueError, "step_size must be at least 0, got -1"),
    ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
    ({"steps": 1.5}, TypeError, "steps must be an int, got float"),
    ({"random_start": 1}, TypeError, "random_start must be a bool, got 1"),
    ({"clamp": 1}, TypeError, "clamp must be a pair of numbers, got int"),
    ({"clamp": (0, 1, 2)}, ValueError, "clamp must be a pair of numbers, got (0, 1, 2)"),
    ({"clamp": (1, 0)}, ValueError, "clamp must be two numbers in order, got (1, 0)"),
    ({"clamp": (0, math.nan)}, ValueError, "clamp must be finite, got nan"),
    ({"targeted": None}, TypeError, "targeted must be a bool, got None"),
]
BAD_CALLS = [
    ((None, X), {}, TypeError, "loss_fn must be callable, got NoneType"),
    ((torch.sum, X.byte()), {}, TypeError, "x must be a floating-point tensor, got torch.uint8"),
    ((torch.sum, X[:0]), {}, ValueError, "x must have shape (N, ...) with all sizes >= 1, got (0, 3)"),
    ((torch.sum, X[0, 0]), {}, ValueError, "x must have shape (N, ...) with all sizes >= 1, got ()"),
    ((lambda x: 1.0, X), {}, TypeError, "the result of loss_fn must be a floating-point tensor, got float"),
    ((lambda x: x, X), {}, ValueError, "loss_fn must return one number, got shape (4, 3)"),
    ((lambda x: X.sum(), X), {}, ValueError, "loss_fn must return a loss that depends on x"),
    ((lambda x: WEIGHT.sum(), X), {}, ValueError, "loss_fn must return a loss that depends on x"),
    ((torch.sum, X), {"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    (
        (torch.sum, X),
        {"generator": 1.5},
        TypeError,
        "generator must be None, an int, a torch.Generator or an int64 tensor, got float",
    ),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD_OPTIONS)
def test_bad_options(options, error, text) -> None:
    with pytest.raises(error) as caught:
        AdversarialPerturbation(**({"epsilon": 1.0} | options))
    assert str(caught.value) == f"{NAME}: {text}"


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD_CALLS)
def test_bad_calls(args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        AdversarialPerturbation(1.0, random_start=True)(*args, **options)
    assert str(caught.value) == f"{NAME}: {text}"
