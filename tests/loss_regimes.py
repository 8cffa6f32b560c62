"""The regimes that every contrastive loss of loss_cases.py is tested in."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from loss_cases import CASES, Inputs, LossCase, unit_rows
from torch import Tensor


@dataclass(frozen=True)
class Regime:
    """Where in training, how cold and how large.

    Attributes:
        loss: what a vanishing loss, or excess, comes to; None as training begins: the views are independent.
        temperature: divides the similarities.
        rows: N of a view.
        dim: D.
        low, high: norms of the rows, spread evenly in logarithm; for losses that normalise.
    """

    loss: float | None
    temperature: float
    rows: int
    dim: int
    low: float = 1.0
    high: float = 1.0

    def __str__(self) -> str:
        phase = "early" if self.loss is None else f"{self.loss:g}"
        norms = "" if self.low == self.high == 1.0 else f" norms {self.low:g} to {self.high:g}"
        return f"{phase} T={self.temperature:g} {self.rows}x{self.dim}{norms}"


# A covering set: every phase at several temperatures, every size in several phases, all norms early and late.
# Rows: 1 is the smallest batch, 2 the smallest with a negative, 3 is odd, 257 one more than a block and no multiple.
# D: 1 (signs only: no gradient through a norm), 3, 128 (SimCLR's), 513 (odd, above a block), 4096 (long sums).
# A loss of 1e-6 takes a margin of 14 and more between logits that temperature 1 holds within 2.
REGIMES = [
    Regime(None, 1.0, 1, 3),
    Regime(None, 0.5, 2, 1),
    Regime(None, 0.005, 3, 1, 1e-4, 1e4),
    Regime(None, 1.0, 257, 3),
    Regime(None, 0.1, 257, 128, 1e-4, 1e4),
    Regime(None, 0.005, 257, 3),
    Regime(None, 0.07, 3, 4096, 1e4, 1e4),
    Regime(None, 0.02, 3, 513, 1e-4, 1e-4),
    Regime(1e-2, 0.1, 3, 3),
    Regime(1e-2, 0.07, 257, 513),
    Regime(1e-2, 0.005, 2, 128, 1e-4, 1e-4),
    Regime(1e-4, 0.07, 48, 128),
    Regime(1e-4, 0.02, 257, 128, 1e-4, 1e4),
    Regime(1e-4, 0.04, 2, 3, 1e4, 1e4),
    Regime(1e-4, 0.005, 3, 4096),
    Regime(1e-6, 0.03, 3, 513, 1e4, 1e4),
    Regime(1e-6, 0.02, 257, 128),
    Regime(1e-6, 0.005, 257, 513, 1e-4, 1e4),
    Regime(1e-6, 0.02, 3, 4096, 1e-4, 1e4),
]


@functools.cache
def problem(name: str, regime: Regime) -> Inputs:
    """The inputs in float64.

    Late in training the second view is the first with noise, so much of it that the loss is the regime's. A loss that
    does not vanish takes the views at which NT-Xent does.
    """
    case = CASES[name]
    generator = torch.Generator().manual_seed(20260101)
    z0, z1 = (unit_rows(regime.rows, regime.dim, generator) for _ in range(2))
    if regime.loss is not None:
        if regime.rows <= regime.dim:  # samples apart, as training leaves them
            z0 = torch.linalg.qr(z0.T)[0].T.contiguous()
        z1 = _second_view(case if case.vanishes else CASES["nt_xent_loss"], regime, z0, z1)
    if case.normalizes:
        norms = regime.low * (regime.high / regime.low) ** torch.linspace(0, 1, regime.rows, dtype=torch.float64)
        z0, z1 = norms.unsqueeze(1) * z0, norms.flip(0).unsqueeze(1) * z1
    return case.inputs(z0, z1, regime.temperature)


def _second_view(case: LossCase, regime: Regime, z0: Tensor, noise: Tensor) -> Tensor:
    def view(share: float) -> Tensor:
        return F.normalize(z0 + share * (noise - z0), dim=1)

    def loss(share: float) -> float:
        inputs = case.inputs(z0, view(share), regime.temperature)
        return case.reference(*inputs, regime.temperature).item() - case.infimum

    assert regime.loss is not None
    low, high = 0.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if loss(middle) > regime.loss else (middle, high)
    assert abs(loss(low) / regime.loss - 1) < 0.01, f"no second view has a loss of {regime.loss}, but {loss(low)}"
    return view(low)


def rounding_of_weights(dtype: torch.dtype) -> float:
    """The relative error of a gradient whose weights were rounded to ``dtype`` for a product, as the GPU's are.

    Of bfloat16 2.5e-3: the errors of many weights add up at random, and few are not rounded.
    """
    return 0.0 if dtype == torch.float32 else 0.32 * torch.finfo(dtype).eps
