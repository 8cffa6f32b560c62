"""Losses in float32 as a GPU makes them, through the Triton kernels, in every regime: natively with -m gpu; small ones
interpreted on the CPU.
"""

from __future__ import annotations

import pytest
import torch
from gpu_operators import use_launchers
from loss_bounds import assert_within_bounds
from loss_cases import CASES
from loss_regimes import REGIMES, Regime

pytest.importorskip("triton")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards

SMALL = [regime for regime in REGIMES if regime.rows <= 3 and regime.dim <= 513]
OTHERS = [pytest.param(regime, marks=pytest.mark.gpu) for regime in REGIMES if regime not in SMALL]


@pytest.mark.parametrize("regime", [*SMALL, *OTHERS], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_float32_is_within_its_bounds(name: str, regime: Regime, triton_device, monkeypatch) -> None:
    if triton_device.type == "cpu":
        use_launchers(monkeypatch)
    if regime.rows < CASES[name].least:
        pytest.skip("takes more rows: an error, in the test of the loss")
    assert_within_bounds(name, regime, torch.float32, triton_device)
