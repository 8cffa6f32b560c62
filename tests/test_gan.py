"""Objectives of GANs against their definitions and analytic values."""

from __future__ import annotations

import functools
import math

import loss_oracle
import pytest
import torch
import torch.nn.functional as F

from sslfast.losses import (
    BiGANLoss,
    GANDiscriminatorLoss,
    GANGeneratorLoss,
    bigan_loss,
    gan_discriminator_loss,
    gan_generator_loss,
)
from sslfast.reference import gan as reference

OBJECTIVES = ["non_saturating", "hinge", "wasserstein"]
# Each objective with its definition and the number of its logits.
LOSSES = [
    *(
        (functools.partial(gan_discriminator_loss, objective=o), reference.discriminator_loss, (o,), 2)
        for o in OBJECTIVES
    ),
    *((functools.partial(gan_generator_loss, objective=o), reference.generator_loss, (o,), 1) for o in OBJECTIVES),
    *((functools.partial(bigan_loss, objective=o), reference.bigan_loss, (o,), 2) for o in OBJECTIVES),
    (
        functools.partial(gan_discriminator_loss, label_smoothing=0.1),
        reference.discriminator_loss,
        (OBJECTIVES[0], 0.1),
        2,
    ),
]
EACH = pytest.mark.parametrize(
    ("loss", "definition", "options", "count"), LOSSES, ids=[f"{row[0].func.__name__}-{row[2]}" for row in LOSSES]
)


@EACH
@pytest.mark.parametrize("shape", [(1,), (6, 1), (4, 1, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_definition(loss, definition, options, count, shape, dtype, device) -> None:
    inputs = (2 * torch.randn(count, *shape, dtype=dtype)).unbind()
    loss_oracle.assert_like_reference(loss, lambda *z: definition(*z, *options), inputs, device, factor=16)


@EACH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits(loss, definition, options, count, dtype, device) -> None:
    inputs = torch.randn(count, 30, 1).to(dtype).unbind()
    loss_oracle.assert_half_is_like_reference(loss, lambda *z: definition(*z, *options), inputs, device)


@EACH
def test_gradients_of_both_orders(loss, definition, options, count) -> None:
    inputs = [torch.randn(5, 1, dtype=torch.float64, requires_grad=True) for _ in range(count)]
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(lambda *z: loss(*(x * x for x in z)), inputs)  # hinge by itself is linear


@EACH
def test_strides_dtypes_autocast_checkpointing_and_compilation(loss, definition, options, count) -> None:
    inputs = torch.randn(count, 6, 4).unbind()
    loss_oracle.assert_takes_strides_and_mixed_dtypes(loss, *inputs)
    loss_oracle.assert_steady(loss, *inputs)
    torch._dynamo.reset()  # a limit of recompilations is counted over all tests
    loss_oracle.assert_compiles(loss, *inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_no_logit_overflows_and_none_loses_its_digits(dtype: torch.dtype) -> None:
    large = torch.tensor([6e4], dtype=dtype)
    zero = torch.zeros(1)
    log2 = math.log(2)
    assert gan_generator_loss(large) == 0
    torch.testing.assert_close(gan_generator_loss(-large).double(), large[0].double())
    torch.testing.assert_close(gan_discriminator_loss(-large, zero).item(), large.item() + log2)
    torch.testing.assert_close(bigan_loss(large, zero).item(), large.item() + log2)
    _, grad = loss_oracle.with_grads(gan_generator_loss, -large)
    assert grad == -1
    if dtype == torch.float64:  # F.softplus gives 30 beyond its threshold
        x = torch.tensor([-30.0], dtype=dtype)
        expected = torch.tensor(30 + math.log1p(math.exp(-30.0)), dtype=dtype)
        torch.testing.assert_close(gan_generator_loss(x), expected, rtol=1e-16, atol=0)


def test_analytic_values() -> None:
    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    assert gan_discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert gan_discriminator_loss(one, -one, "hinge") == 0
    assert gan_discriminator_loss(zero, one, "hinge") == 3
    assert gan_discriminator_loss(one, zero, "wasserstein") == -1
    assert gan_generator_loss(2 * one, "hinge") == gan_generator_loss(2 * one, "wasserstein") == -2
    # The smoothed loss is least at the logit of 1 - s.
    best = torch.tensor([math.log(0.9 / 0.1)], dtype=torch.float64)
    _, grad, _ = loss_oracle.with_grads(lambda r, f: gan_discriminator_loss(r, f, label_smoothing=0.1), best, zero)
    torch.testing.assert_close(grad, torch.zeros(1, dtype=torch.float64))
    # Labels swapped: encoder and generator gain where the discriminator loses.
    encoder, generator = torch.randn(2, 5)
    assert torch.equal(bigan_loss(encoder, generator), gan_discriminator_loss(generator, encoder))
    real, fake = torch.randn(8), torch.randn(8)
    labels = torch.full((8,), 0.8)
    expected = F.binary_cross_entropy_with_logits(real, labels) + F.binary_cross_entropy_with_logits(fake, 0 * labels)
    torch.testing.assert_close(gan_discriminator_loss(real, fake, label_smoothing=0.2), expected)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nan_and_inf_reach_the_loss(objective: str) -> None:
    good = torch.zeros(4)
    for bad in (math.nan, math.inf):
        spoiled = torch.tensor([0.0, bad, 0.0])
        for loss in (
            gan_discriminator_loss(good, spoiled, objective),
            gan_discriminator_loss(-spoiled, good, objective),
            gan_generator_loss(-spoiled, objective),
            bigan_loss(spoiled, good, objective),
        ):
            assert loss.isnan() if math.isnan(bad) else loss == bad


def test_modules() -> None:
    a, b = torch.randn(2, 5, 1)
    for o in OBJECTIVES:
        assert torch.equal(GANDiscriminatorLoss(o)(a, b), gan_discriminator_loss(a, b, o))
        assert torch.equal(GANGeneratorLoss(o)(a), gan_generator_loss(a, o))
        assert torch.equal(BiGANLoss(o)(a, b), bigan_loss(a, b, o))
    smooth = GANDiscriminatorLoss(label_smoothing=0.1)
    assert torch.equal(smooth(a, b), gan_discriminator_loss(a, b, label_smoothing=0.1))
    assert repr(smooth) == "GANDiscriminatorLoss(objective='non_saturating', label_smoothing=0.1)"
    assert repr(GANGeneratorLoss("hinge")) == "GANGeneratorLoss(objective='hinge')"
    assert repr(BiGANLoss()) == "BiGANLoss(objective='non_saturating')"


Z = torch.ones(4, 1)
NAMES = "objective must be 'non_saturating', 'hinge' or 'wasserstein', got"
BAD = [
    (
        gan_discriminator_loss,
        (Z.long(), Z),
        {},
        TypeError,
        "real_logits must be a floating-point tensor, got torch.int64",
    ),
    (gan_discriminator_loss, (Z, 1.0), {}, TypeError, "fake_logits must be a floating-point tensor, got float"),
    (
        gan_discriminator_loss,
        (Z, Z[:0]),
        {},
        ValueError,
        "fake_logits must have at least one element, got shape (0, 1)",
    ),
    (
        gan_discriminator_loss,
        (Z, Z.to("meta")),
        {},
        ValueError,
        "fake_logits must be on cpu, like real_logits, got meta",
    ),
    (gan_discriminator_loss, (Z, Z, "lsgan"), {}, ValueError, f"{NAMES} 'lsgan'"),
    (
        gan_discriminator_loss,
        (Z, Z),
        {"label_smoothing": 1.5},
        ValueError,
        "label_smoothing must be a probability in [0, 1], got 1.5",
    ),
    (gan_discriminator_loss, (Z, Z), {"label_smoothing": "a"}, TypeError, "label_smoothing must be a number, got str"),
    (
        gan_discriminator_loss,
        (Z, Z, "hinge"),
        {"label_smoothing": 0.1},
        ValueError,
        "label_smoothing goes with objective='non_saturating', got 'hinge'",
    ),
    (gan_generator_loss, (None,), {}, TypeError, "fake_logits must be a floating-point tensor, got NoneType"),
    (gan_generator_loss, (Z[:0],), {}, ValueError, "fake_logits must have at least one element, got shape (0, 1)"),
    (gan_generator_loss, (Z, None), {}, ValueError, f"{NAMES} None"),
    (bigan_loss, (Z, Z.to("meta")), {}, ValueError, "generator_logits must be on cpu, like encoder_logits, got meta"),
    (bigan_loss, (Z, Z, 3), {}, ValueError, f"{NAMES} 3"),
    (GANDiscriminatorLoss, (3,), {}, ValueError, f"{NAMES} 3"),
    (GANGeneratorLoss, ("",), {}, ValueError, f"{NAMES} ''"),
    (BiGANLoss, (None,), {}, ValueError, f"{NAMES} None"),
]


@pytest.mark.parametrize(("function", "args", "options", "error", "text"), BAD)
def test_bad_input(function, args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        function(*args, **options)
    assert str(caught.value) == f"{function.__name__}: {text}"
