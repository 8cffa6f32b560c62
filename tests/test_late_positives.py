"""SupCon's several positives, late in training and at every temperature, in half types: what bounds the gradient."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from loss_bounds import FLOAT32, cast, differentiated
from loss_cases import CASES, Inputs, LossCase
from loss_regimes import Regime, problem

TEMPERATURES = [0.005, 0.02, 0.07, 0.1, 1.0]
ROWS, DIM = 80, 96  # more dimensions than samples: negatives of one weight, whose rounding would not average out


@functools.cache
def late(name: str, temperature: float, excess: float) -> Inputs:
    """Samples apart and the views of each so near that the loss is ``excess`` above its infimum, where it can be.

    At the higher temperatures the negatives alone keep it further away: there the views are one, and so they are where
    a loss has no infimum that is known.
    """
    case = CASES[name]
    z0, noise = problem("nt_xent_loss", Regime(None, temperature, ROWS, DIM))
    z0 = torch.linalg.qr(z0.T)[0].T.contiguous()

    def inputs(share: float) -> Inputs:
        return case.inputs(z0, F.normalize(z0 + share * (noise - z0), dim=1), temperature)

    low, high = 0.0, 1.0
    for _ in range(16 if case.infimum else 0):
        middle = (low + high) / 2
        above = case.ours(*inputs(middle), temperature).item() - case.infimum > excess
        low, high = (low, middle) if above else (middle, high)
    return inputs(low)


def similarity_floor(case: LossCase, temperature: float, loss: float) -> float:
    """What float32 similarities alone leave of the gradient, relative to it, as the L2 norm over a tensor.

    Of n near positives row i's weights are softmax_p - 1 / n = (S_ip - mean S_ip) / n, to first order, and S is a
    similarity over the temperature. Near 1 a float32 similarity is off by up to eps = 2^-23 (the products' sum and the
    two unit rows), S by eps / temperature. The excess of the loss over log n is half the variance of S over the
    positives, so that what remains of the difference is sqrt(2 excess): the error is eps / temperature of that.
    """
    excess = loss - case.infimum if case.infimum else math.inf
    return FLOAT32.eps / temperature / math.sqrt(2 * excess)


NEAR = [name for name, case in CASES.items() if name.startswith("supcon") and case.infimum]
ALONE = [name for name, case in CASES.items() if name.startswith("supcon") and case.shares]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("name", "excess"), [*((name, e) for name in NEAR for e in (1e-2, 1e-4, 1e-6)), *((name, 0.0) for name in ALONE)]
)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_gradient_of_half_types(name: str, temperature: float, excess: float, dtype: torch.dtype, device) -> None:
    case = CASES[name]
    inputs = cast(case, late(name, temperature, excess), dtype)
    truth = differentiated(case.reference, case, tuple(z.double() for z in inputs), temperature)
    factor = 1 / max(g.abs().max().item() for g in truth[1:])  # float16's range is small
    there = tuple(z.to(device) for z in inputs)
    found = [z.cpu() for z in differentiated(lambda *z: factor * case.ours(*z), case, there, temperature)]
    once = 2.5e-3 if dtype == torch.bfloat16 else 2.5e-3 / 4
    limit = max(once, similarity_floor(case, temperature, truth[0].item()))
    for f, g in zip(found[1:], truth[1:], strict=True):
        assert (f.double() - factor * g).norm() <= limit * factor * g.norm()
