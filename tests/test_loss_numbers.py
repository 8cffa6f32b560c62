"""Numbers of losses that float32 does not hold: refused by name, not inf or NaN; float64 inputs take them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from sslfast import losses

LABELS = torch.arange(6) // 2


def gradient_penalty(x: Tensor, **options: float) -> Tensor:
    return losses.gradient_penalty(lambda z: z.square().sum(1), x, x.flip(0), generator=0, **options)


def r1_penalty(x: Tensor, **options: float) -> Tensor:
    x = x.clone().requires_grad_()
    return losses.r1_penalty(x.square().sum(1), x, **options)


def of_two(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, **options: loss(x, x.flip(0), **options)


def of_classes(loss: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, **options: loss(x, x, LABELS, **options)


def vocab_parallel(x: Tensor, **options: float) -> Any:
    return losses.vocab_parallel_cross_entropy(x, x, LABELS, **options)


ROWS: list[tuple[str, Callable[..., Any], list[str]]] = [
    ("uniformity_loss", losses.uniformity_loss, ["t"]),
    ("alignment_loss", of_two(losses.alignment_loss), ["alpha"]),
    ("hypersphere_loss", of_two(losses.hypersphere_loss), ["t", "lam", "alpha"]),
    ("barlow_twins_loss", of_two(losses.barlow_twins_loss), ["lambda_param"]),
    ("vicreg_loss", of_two(losses.vicreg_loss), ["lambda_param", "mu_param", "nu_param", "eps"]),
    ("koleo_loss", losses.koleo_loss, ["p", "eps"]),
    ("gradient_penalty", gradient_penalty, ["weight", "center", "grad_scale"]),
    ("r1_penalty", r1_penalty, ["weight", "grad_scale"]),
    ("linear_cross_entropy", of_classes(losses.linear_cross_entropy), ["softcap", "z_loss"]),
    ("masked_lm_loss", of_classes(losses.masked_lm_loss), ["softcap", "z_loss"]),
    ("vocab_parallel_cross_entropy", vocab_parallel, ["softcap", "z_loss"]),
    ("swav_loss", lambda x, **options: losses.swav_loss([x, x.flip(0)], [], **options), ["sinkhorn_epsilon"]),
    ("sinkhorn_knopp", losses.sinkhorn_knopp, ["epsilon"]),
    ("msn_loss", lambda x, **options: losses.msn_loss(x, x.flip(0), x, **options), ["regularization_weight"]),
    ("triplet_loss", partial(losses.triplet_loss, labels=LABELS), ["margin"]),
    ("contrastive_loss", partial(losses.contrastive_loss, labels=LABELS), ["pos_margin", "neg_margin"]),
]
NUMBERS = [(name, call, number) for name, call, numbers in ROWS for number in numbers]


@pytest.mark.parametrize(("name", "call", "number"), NUMBERS, ids=[f"{name}-{number}" for name, _, number in NUMBERS])
def test_numbers_fit_float32(name: str, call: Callable[..., Any], number: str) -> None:
    x = torch.linspace(-3, 2, 36).sin().view(6, 6)
    text = f"{name}: {number} must be finite in float32, got 1e+39"
    for z in (x, x.bfloat16()):
        with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
            call(z, **{number: 1e39})
    assert call(x.double(), **{number: 1e39}).dtype == torch.float64
