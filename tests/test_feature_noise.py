"""add_feature_noise: bit for bit the reference in every type, gradients, and nothing where nothing is to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslfast import host, ops
from sslfast.augment import add_feature_noise
from sslfast.reference import feature_noise as reference

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SHAPES = [(0, 3), (3, 0), (1, 1), (5, 7), (3, 1030), (40, 16)]


def _same(ours, expected):
    assert ours.dtype == expected.dtype
    assert torch.equal(ours.cpu(), expected)


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equals_reference(device, dtype, noise):
    for shape in SHAPES:
        x = torch.randn(shape).to(dtype)
        scale, std = torch.rand(shape[1]), torch.rand(shape[1]) + 0.5
        for options in (
            {"scale": 0.3},
            {"scale": 0.3, "std": std},
            {"scale": scale.double(), "std": std.double(), "probability": 0.4},
            {"scale": 2, "probability": 0.0},
            {"scale": 0.7, "row_offset": 2**40},
        ):
            expected = reference.add_feature_noise(x, noise=noise, seed=-5, **options)
            given = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
            _same(add_feature_noise(x.to(device), noise=noise, generator=-5, **given), expected)
            if dtype != torch.bfloat16:
                arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
                ours = host.add_feature_noise(x.numpy(), noise=noise, seed=-5, **arrays)
                _same(torch.from_numpy(ours), expected)


def test_any_strides(device):
    base = torch.randn(40, 60)
    for x in (base.T, base[::2, 1::3], base[:1].expand(5, 60)):
        _same(add_feature_noise(x.to(device), generator=3), reference.add_feature_noise(x, seed=3))
    record = np.zeros((6, 9), dtype=[("flag", "i1"), ("value", "f4")])
    expected = reference.add_feature_noise(torch.zeros(6, 9), seed=3)
    _same(torch.from_numpy(host.add_feature_noise(record["value"], seed=3)), expected)


def test_nan_and_inf_stay(device):
    x = torch.tensor([[float("nan"), float("inf"), -float("inf"), 1.0]], device=device)
    out = add_feature_noise(x, generator=1)
    assert out[0, 0].isnan()
    assert out[0, 1:3].tolist() == [float("inf"), -float("inf")]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradient_is_the_identity(device, dtype):
    x = torch.randn(4, 9, device=device).to(dtype).requires_grad_()
    weights = torch.randn(4, 9, device=device).to(dtype)
    (grad,) = torch.autograd.grad((add_feature_noise(x, probability=0.5, generator=1) * weights).sum(), x)
    assert torch.equal(grad, weights)
    cube = add_feature_noise(x.double(), generator=1).pow(3).sum()
    (first,) = torch.autograd.grad(cube, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.isfinite().all()


def test_composes(device):
    x = torch.randn(4, 9, device=device)
    factors = torch.rand(9, device=device)
    torch.library.opcheck(ops.feature_noise, (x, factors, torch.tensor(3), None, 0.5, 0.4, True, 0))
    compiled = torch.compile(add_feature_noise, fullgraph=True, backend="aot_eager")
    for given in (x, x.clone().requires_grad_()):
        assert torch.equal(compiled(given, 0.5, generator=3), add_feature_noise(given, 0.5, generator=3))


X = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, "x must be a tensor, got list"),
        ({"x": X[0]}, ValueError, "x must have shape (N, D), got (3,)"),
        ({"scale": -0.1}, ValueError, "scale must be at least 0, got -0.1"),
        ({"scale": "a"}, TypeError, "scale must be a number, got str"),
        ({"scale": float("inf")}, ValueError, "scale must be finite, got inf"),
        ({"scale": torch.ones(3).long()}, TypeError, "scale must be a floating-point tensor, got torch.int64"),
        ({"scale": torch.ones(2)}, ValueError, "scale must have shape (3,), one a feature, got (2,)"),
        ({"std": 1.0}, TypeError, "std must be a floating-point tensor, got float"),
        ({"std": torch.ones(1, 3)}, ValueError, "std must have shape (3,), one a feature, got (1, 3)"),
        ({"noise": "normal"}, ValueError, "noise must be 'gaussian' or 'uniform', got 'normal'"),
        ({"probability": 1.5}, ValueError, "probability must be a probability in [0, 1], got 1.5"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    arguments = {"x": X} | arguments
    with pytest.raises(error) as raised:
        add_feature_noise(**arguments)
    assert str(raised.value) == f"add_feature_noise: {message}"
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.add_feature_noise(**arrays, seed=1)
    expected = message.replace("torch.", "").replace("a tensor", "an array").replace("tensor", "array")
    assert str(raised.value) == f"add_feature_noise: {expected}"


def test_types():
    with pytest.raises(TypeError) as raised:
        add_feature_noise(X.long())
    expected = "add_feature_noise: x must be float32, float64, bfloat16 or float16, got torch.int64"
    assert str(raised.value) == expected
    with pytest.raises(TypeError) as raised:
        host.add_feature_noise(X.long().numpy(), seed=1)
    assert str(raised.value) == "add_feature_noise: x must be float16, float32 or float64, got int64"
