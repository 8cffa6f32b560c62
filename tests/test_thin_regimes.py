"""The losses outside of loss_cases.py, from D = 1 to 4096 and in every dtype, against their definitions in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import loss_oracle
import pytest
import torch
from loss_oracle import Loss
from test_barlow_twins import views as uneven_views
from test_swav import on_crops
from test_vicreg import views as spread_views
from torch import Tensor

from sslfast import losses
from sslfast.reference import alignment_uniformity as of_hypersphere
from sslfast.reference.barlow_twins import barlow_twins_loss as barlow_twins_reference
from sslfast.reference.contrastive import contrastive_loss as contrastive_reference
from sslfast.reference.koleo import koleo_loss as koleo_reference
from sslfast.reference.negative_cosine_similarity import negative_cosine_similarity as cosine_reference
from sslfast.reference.swav import swav_loss as swav_reference
from sslfast.reference.triplet import triplet_loss as triplet_reference
from sslfast.reference.vicreg import vicreg_loss as vicreg_reference

SIZES = [(5, 1), (48, 3), (130, 128), (48, 513), (5, 4096)]  # N, D


@dataclass(frozen=True)
class Case:
    """A loss and its definition, as functions of the inputs.

    Attributes:
        ours: the loss.
        reference: its definition.
        inputs: makes the inputs of N rows of D numbers, in float64.
        factor: units of rounding that float32 and float64 may be off by, of the loss or of the largest gradient.
    """

    ours: Loss
    reference: Loss
    inputs: Callable[[int, int], Sequence[Tensor]]
    factor: float = 64.0


def views(n: int, d: int) -> list[Tensor]:
    z = torch.randn(n, d)
    return [z.double(), (z + 0.5 * torch.randn(n, d)).double()]


def crops(n: int, d: int) -> list[Tensor]:
    """Cosine-like scores of d prototypes."""
    z = torch.randn(n, d)
    return [(0.2 * (z + torch.randn(n, d))).double() for _ in range(3)]


def rows_and_references(n: int, d: int) -> list[Tensor]:
    return [torch.randn(n, d).double(), torch.randn(n + 3, d).double()]


def labelled(loss: Loss, reference: Loss, with_references: bool, classes: int, **options: object) -> Case:
    """Of two rows a class, or ``classes`` in all."""

    def labels(z: Tensor) -> Tensor:
        return torch.arange(len(z)) % (classes or len(z) // 2)

    def of(function: Loss) -> Loss:
        if not with_references:
            return lambda z: function(z, labels(z), **options)
        return lambda z, r: function(z, labels(z), ref_emb=r, ref_labels=labels(r), **options)

    inputs = rows_and_references if with_references else lambda n, d: rows_and_references(n, d)[:1]
    return Case(of(loss), of(reference), inputs, 512.0)


CASES = {
    "negative_cosine_similarity": Case(losses.negative_cosine_similarity, cosine_reference, views),
    "barlow_twins": Case(losses.barlow_twins_loss, barlow_twins_reference, uneven_views, 256.0),
    "vicreg": Case(losses.vicreg_loss, vicreg_reference, spread_views),
    "koleo": Case(losses.koleo_loss, koleo_reference, lambda n, d: views(n, d)[:1]),
    **{
        f"alignment, alpha={alpha}": Case(
            partial(losses.alignment_loss, alpha=alpha, normalize=True),
            partial(of_hypersphere.alignment_loss, alpha=alpha, normalize=True),
            views,
        )
        for alpha in (1.0, 2.0)
    },
    **{
        f"uniformity, t={t}": Case(
            partial(losses.uniformity_loss, t=t, normalize=True),
            partial(of_hypersphere.uniformity_loss, t=t, normalize=True),
            lambda n, d: views(n, d)[:1],
            64.0 * (1 + t),
        )
        for t in (0.5, 10.0)
    },
    "hypersphere": Case(losses.hypersphere_loss, of_hypersphere.hypersphere_loss, views),
    **{
        f"swav, T={t}": Case(
            on_crops(losses.swav_loss, 2, temperature=t), on_crops(swav_reference, 2, temperature=t), crops, 256.0
        )
        for t in (1.0, 0.1, 0.02)
    },
    **{
        f"triplet, {mining}{', references' * references}": labelled(
            losses.triplet_loss, triplet_reference, references, 4, margin=0.3, mining=mining
        )
        for mining in ("batch_all", "batch_hard", "semi_hard")
        for references in (False, True)
    },
    **{
        f"contrastive, {classes or 'pairs'}{', references' * references}": labelled(
            losses.contrastive_loss, contrastive_reference, references, classes, pos_margin=0.3, neg_margin=1.2
        )
        for classes in (0, 4)
        for references in (False, True)
    },
}


CORRELATED = ("barlow_twins", "vicreg")  # whose definitions make D x D numbers
# Semi-hard mining has borders, where rounding decides: with D = 1 gaps are equal, of many rows some lie next to one.
# These are in test_semi_hard_borders.py.
PROBLEMS = [
    (name, n, d)
    for name in CASES
    for n, d in SIZES
    if ("semi_hard" not in name or (d > 1 and n < 130)) and (name not in CORRELATED or d < 4096)
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("name", "n", "d"), PROBLEMS)
def test_oracle(name: str, n: int, d: int, dtype: torch.dtype) -> None:
    case = CASES[name]
    inputs = [z.to(dtype) for z in case.inputs(n, d)]
    # A unit row of one number is 1 or -1 and has no gradient: what is found is rounding, over its norm.
    if dtype in (torch.float64, torch.float32):
        factor = case.factor * (16 if d == 1 else 1)
        loss_oracle.assert_like_reference(case.ours, case.reference, inputs, factor=factor)
    else:
        floor = 1e-5 if d == 1 else 0.0
        loss_oracle.assert_half_is_like_reference(case.ours, case.reference, inputs, floor=floor)


@pytest.mark.parametrize(("name", "n", "d"), [at for at in PROBLEMS if len(CASES[at[0]].inputs(2, 1)) > 1])
def test_a_gradient_is_the_same_whatever_else_has_one(name: str, n: int, d: int) -> None:
    case = CASES[name]
    inputs = [z.float() for z in case.inputs(n, d)]
    _, *expected = loss_oracle.with_grads(case.ours, *inputs)
    for at, grad in enumerate(expected):
        leaves = [z.clone().requires_grad_(k == at) for k, z in enumerate(inputs)]
        case.ours(*leaves).backward()
        torch.testing.assert_close(leaves[at].grad, grad, rtol=1e-5, atol=1e-5 * grad.abs().max().item())
        assert all(leaf.grad is None for k, leaf in enumerate(leaves) if k != at)
