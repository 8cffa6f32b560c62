"""Losses in half types as a GPU makes them: rows as they are and float32 factors, through the Triton kernels, which are
interpreted on the CPU."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from gpu_operators import HALF, use_launchers, use_several_strips
from loss_bounds import cast, differentiated
from loss_cases import CASES, LossCase
from loss_regimes import Regime, problem
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sslfast import _autograd
from sslfast.losses.nt_xent import _FusedNTXent

pytest.importorskip("triton")


@pytest.fixture(autouse=True)
def as_on_a_gpu(triton_device, monkeypatch) -> Iterator[None]:
    """Without a GPU, the operators are the launchers and every half type is multiplied as it is."""
    if triton_device.type == "cpu":
        use_launchers(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
        yield


LOSSES = {
    name: CASES[name]
    for name in (
        "nt_xent_loss",
        "dcl_loss",
        "supcon_loss, pairs",
        "supcon_loss, references",
        "multi_positive_nt_xent_loss, pairs",
        "clip_loss, normalize",
        "siglip_loss",
        "siglip_loss, normalize",
        "info_nce_loss, keys",
        "info_nce_loss, queue",
    )
} | {
    "nt_xent_loss, fused": dataclasses.replace(
        CASES["nt_xent_loss"], ours=lambda z0, z1, temperature: _FusedNTXent.apply(z0, z1, 1 / temperature)
    )
}

# Temperatures from 1 to 0.005, early and late; norms that differ; D that registers hold, up to 512, and that goes in
# strips.
REGIMES = [
    Regime(None, 1.0, 65, 520, 0.1, 10.0),
    Regime(None, 0.1, 65, 128, 0.1, 10.0),
    Regime(None, 0.01, 65, 512, 0.1, 10.0),
    Regime(None, 0.005, 65, 128, 0.1, 10.0),
    Regime(1e-2, 0.07, 65, 520, 0.1, 10.0),
    Regime(1e-1, 0.01, 65, 520, 0.1, 10.0),
    Regime(1e-6, 0.02, 65, 512, 0.1, 10.0),
    Regime(1e-6, 0.005, 129, 128, 0.1, 10.0),
]


def scaled(function: Callable[..., Tensor], factor: float) -> Callable[..., Tensor]:
    return lambda *inputs: factor * function(*inputs)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("regime", REGIMES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_within_their_bound(name: str, regime: Regime, dtype: torch.dtype, triton_device) -> None:
    assert_gradient_errors_in_norm(name, regime, dtype, triton_device)


def test_the_regimes_take_registers_and_strips() -> None:
    from sslfast.kernels import _cross_launch, _launch, _sigmoid_launch

    ways = set()
    for rows, dim in {(regime.rows, regime.dim) for regime in REGIMES}:
        ways.add(
            (
                _launch.similarity_in_registers(2 * rows, dim, 2),
                _cross_launch.cross_in_registers(rows, rows, dim, 2),
                _cross_launch.one_way_in_registers(rows, rows, dim, 2, True, True),
                _sigmoid_launch.sigmoid_in_registers(rows, rows, dim, 2, True, True),
            )
        )
    assert ways == {(True,) * 4, (False,) * 4}


@pytest.mark.parametrize("regime", [REGIMES[1], dataclasses.replace(REGIMES[6], dim=128)], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_several_strips_are_within_it(name: str, regime: Regime, triton_device, monkeypatch) -> None:
    """Also of rows that registers hold, as where there are many."""
    monkeypatch.setattr("sslfast.kernels._launch.REGISTERS", False)
    use_several_strips(monkeypatch)
    assert_gradient_errors_in_norm(name, regime, torch.bfloat16, triton_device)


def assert_gradient_errors_in_norm(name: str, regime: Regime, dtype: torch.dtype, triton_device: torch.device) -> None:
    """Errors as the L2 norm over a gradient; loss_bounds.assert_within_bounds looks at elements and the loss, too."""
    case: LossCase = LOSSES[name]
    inputs = cast(case, problem(name.replace(", fused", ""), regime), dtype)
    factor = 1.0  # of the loss, for float16, whose range is small
    if dtype == torch.float16 and case.vanishes and regime.loss is not None:
        factor = 1.0 / regime.loss
    on_device = tuple(z.to(triton_device) for z in inputs)
    ours = differentiated(scaled(case.ours, factor), case, on_device, regime.temperature)
    wide = tuple(z.double() for z in inputs)
    truth = differentiated(scaled(case.reference, factor), case, wide, regime.temperature)
    assert ours[0].dtype == torch.float32
    if case.vanishes:
        assert abs(ours[0].item() / truth[0].item() - 1) <= 2 * torch.finfo(torch.float32).eps / regime.temperature
    bound = 2.5e-3 if dtype == torch.bfloat16 else 2.5e-3 / 4
    for z, f, g in zip(inputs, ours[1:], truth[1:], strict=False):
        if z.dim():
            assert (f.cpu().double() - g).norm() <= bound * g.norm()


@pytest.mark.parametrize(
    ("regime", "dtype"),
    [
        (dataclasses.replace(REGIMES[0], dim=128), torch.bfloat16),  # in registers
        *((REGIMES[k], torch.bfloat16) for k in (0, 5, 6)),
        (REGIMES[4], torch.float16),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["supcon_loss, three views", "supcon_loss, three references"])
def test_several_positives_are_within_it_too(name: str, regime: Regime, dtype: torch.dtype, triton_device) -> None:
    """Where all negatives weigh the same, the rounding of a few positives' weights would not average out: these are
    split. Where positives have become one, float32 similarities leave few digits of the gradient, as of plain torch's.
    """
    case: LossCase = CASES[name]
    inputs = cast(case, problem(name, regime), dtype)
    ours = differentiated(case.ours, case, tuple(z.to(triton_device) for z in inputs), regime.temperature)
    plain, truth = (
        differentiated(case.reference, case, tuple(z.to(dtype) for z in inputs), regime.temperature)
        for dtype in (torch.float32, torch.float64)
    )
    bound = 2.5e-3 if inputs[0].dtype == torch.bfloat16 else 2.5e-3 / 4
    for f, p, g in zip(ours[1:], plain[1:], truth[1:], strict=True):
        assert (f.cpu().double() - g).norm() <= bound * g.norm() + 2 * (p.double() - g).norm()


def test_sides_of_float16_stay_in_its_range(triton_device) -> None:
    z = (torch.logspace(-4, 4, 30).unsqueeze(1) * torch.randn(30, 16)).to(torch.float16)
    z[4] = 0
    side, inverse_norm, factors = _autograd.unit_side(z.to(triton_device), torch.float16)
    assert factors is not None
    assert side.dtype == torch.float16
    assert ((factors >= 0.5) & (factors < 1)).all()
    unit = _autograd.unit_of(side, factors)
    expected = z.double() / z.double().norm(dim=1, keepdim=True).clamp_min(1e-12)
    torch.testing.assert_close(unit.cpu().double(), expected, rtol=1e-6, atol=1e-7)
    norms = z.double().norm(dim=1).clamp_min(1e-12)
    torch.testing.assert_close(inverse_norm.cpu().flatten().double(), 1 / norms, rtol=1e-6, atol=0)


@pytest.fixture
def accumulation_in_float16() -> Iterator[None]:
    switch = torch.backends.cuda.matmul
    before = switch.allow_fp16_accumulation
    switch.allow_fp16_accumulation = True
    yield
    switch.allow_fp16_accumulation = before


@pytest.mark.parametrize(("dtype", "launched"), [(torch.float16, 0), (torch.bfloat16, 1)])
def test_products_where_torch_may_accumulate_in_float16(dtype, launched, accumulation_in_float16, monkeypatch) -> None:
    """No product of float16 that ends in float32, which cuBLAS then refuses."""
    from sslfast.kernels.weight_tile import add_product

    calls: list[object] = []
    monkeypatch.setattr(torch, "addmm", lambda *args, **options: calls.append(options["out_dtype"]))
    with FakeTensorMode():
        out, a, b = (torch.empty(n, m, device="cuda") for n, m in ((4, 5), (4, 8), (8, 5)))
        add_product(out, a.to(dtype), b.to(dtype))
    assert calls == [torch.float32] * launched


@pytest.mark.gpu
def test_products_of_float16_beside_that_switch(accumulation_in_float16) -> None:
    from sslfast.kernels.weight_tile import add_product

    a, b = (torch.randn(n, m, device="cuda", dtype=torch.float16) for n, m in ((64, 4096), (4096, 32)))
    out = torch.zeros(64, 32, device="cuda")
    add_product(out, a, b)
    torch.testing.assert_close(out.double(), a.double() @ b.double(), rtol=1e-4, atol=1e-3)
