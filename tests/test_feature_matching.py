"""Feature matching of GANs against its definition and analytic values."""

from __future__ import annotations

import functools

import loss_oracle
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.losses import FeatureMatchingLoss, feature_matching_loss
from sslfast.reference import gan as reference

MATCHES = ["pairs", "mean"]


def layers(*sizes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(size, dtype=dtype) for size in sizes]


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_feature_matching_against_the_definition(match: str, dtype: torch.dtype, device: torch.device) -> None:
    sizes = ((5, 7), (5, 3, 4, 2), (5,))
    real = layers(*sizes, dtype=dtype)
    loss_oracle.assert_like_reference(
        lambda *f: feature_matching_loss([r.to(f[0].device) for r in real], f, match),
        lambda *f: reference.feature_matching_loss([r.to(f[0].dtype) for r in real], f, match),
        layers(*sizes, dtype=dtype),
        device,
    )


def test_feature_matching_of_one_layer_and_of_batches_without_pairs() -> None:
    real, fake = layers((6, 3), (6, 3))
    torch.testing.assert_close(feature_matching_loss(real, fake), F.l1_loss(fake, real))
    torch.testing.assert_close(feature_matching_loss(real, real.flip(0), "mean"), torch.zeros((), dtype=torch.float64))
    some = feature_matching_loss(real[:2], fake, "mean")
    torch.testing.assert_close(some, (real[:2].mean(0) - fake.mean(0)).square().sum())


@pytest.mark.parametrize("match", MATCHES)
def test_gradients_of_feature_matching(match: str) -> None:
    real = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    fake = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: feature_matching_loss(real.detach(), f, match), fake)
    assert torch.autograd.gradgradcheck(lambda f: feature_matching_loss(real.detach(), f * f, match), fake)
    assert torch.autograd.grad(feature_matching_loss(real, fake, match), real, allow_unused=True) == (None,)
    loss = functools.partial(feature_matching_loss, real.float().detach(), match=match)
    loss_oracle.assert_steady(loss, fake.float())
    torch._dynamo.reset()  # a limit of recompilations is counted over all tests
    loss_oracle.assert_compiles(loss, fake.float())


def test_module() -> None:
    a, b = torch.randn(2, 5, 1)
    for m in MATCHES:
        assert torch.equal(FeatureMatchingLoss(m)([a], [b]), feature_matching_loss(a, b, m))
    assert repr(FeatureMatchingLoss()) == "FeatureMatchingLoss(match='pairs')"


Z = torch.ones(4, 1)
BAD = [
    (feature_matching_loss, (Z, Z, "l2"), {}, ValueError, "match must be 'pairs' or 'mean', got 'l2'"),
    (feature_matching_loss, ([], []), {}, ValueError, "real_features must have at least one tensor, got none"),
    (
        feature_matching_loss,
        ([Z], [Z, Z]),
        {},
        ValueError,
        "fake_features must have 1 layers, like real_features, got 2",
    ),
    (
        feature_matching_loss,
        ([Z, Z], [Z, Z[:, :0]]),
        {},
        ValueError,
        "fake_features[1] must have shape (N, ...) with all sizes >= 1, got (4, 0)",
    ),
    (feature_matching_loss, (Z, 2), {}, TypeError, "fake_features must be a floating-point tensor, got int"),
    (
        feature_matching_loss,
        (Z, Z[:2]),
        {},
        ValueError,
        "fake_features must have shape (4, 1), like real_features, got (2, 1)",
    ),
    (
        feature_matching_loss,
        ([Z], [Z.expand(4, 3)], "mean"),
        {},
        ValueError,
        "fake_features[0] must have shape (N, 1) for any N, like real_features[0], got (4, 3)",
    ),
    (FeatureMatchingLoss, ("",), {}, ValueError, "match must be 'pairs' or 'mean', got ''"),
]


@pytest.mark.parametrize(("function", "args", "options", "error", "text"), BAD)
def test_bad_input(function, args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        function(*args, **options)
    assert str(caught.value) == f"{function.__name__}: {text}"
