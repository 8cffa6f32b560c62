"""Gradients of few rows in half types as a GPU makes them: rounded once, at the end; through the Triton kernels, which
are interpreted on the CPU."""

from __future__ import annotations

import pytest
import torch
from gpu_operators import HALF, use_launchers
from loss_bounds import assert_within_bounds
from loss_regimes import Regime

pytest.importorskip("triton")

LOSSES = [
    "nt_xent_loss",
    "dcl_loss",
    "supcon_loss, pairs",
    "supcon_loss, references",
    "supcon_loss, three views",
    "multi_positive_nt_xent_loss, pairs",
    "clip_loss, normalize",
    "siglip_loss",
    "siglip_loss, normalize",
    "info_nce_loss, keys",
    "info_nce_loss, queue",
]
REGIMES = [
    Regime(None, 1.0, 2, 40, 0.1, 10.0),
    Regime(None, 1.0, 12, 40, 0.1, 10.0),
    Regime(None, 0.1, 40, 520, 0.1, 10.0),  # in strips
    Regime(1e-2, 0.07, 3, 300, 0.1, 10.0),
    Regime(1e-4, 0.02, 19, 24),
    Regime(1e-6, 0.005, 30, 520),
]


@pytest.fixture(autouse=True)
def as_on_a_gpu(triton_device, monkeypatch) -> None:
    if triton_device.type == "cpu":
        use_launchers(monkeypatch)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("regime", REGIMES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_weights_are_not_rounded(name: str, regime: Regime, dtype: torch.dtype, triton_device) -> None:
    assert_within_bounds(name, regime, dtype, triton_device)
