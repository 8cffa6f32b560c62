"""All and semi-hard triplets of few rows on the CPU with few labels, whose groups are large: against the definition, at
margins that all triplets, or none, are within, and where distances are equal.
"""

from __future__ import annotations

import itertools
from functools import partial

import margin_oracle
import pytest
import torch
from loss_oracle import assert_like_reference, with_grads
from margin_oracle import DISTANCES
from test_few_rows import assert_both_ways_agree

from sslfast.losses import triplet_loss
from sslfast.reference.triplet import triplet_loss as reference

# Two groups; one label; groups of no power of two; one row alone beside one label.
FEW_LABELS = [torch.arange(34) % 2, torch.zeros(9, dtype=torch.int64), torch.arange(30) // 21, torch.arange(9) // 8]
MARGINS = [
    *(("batch_all", margin) for margin in (0.0, 0.05, 1e4, -0.3)),
    *(("semi_hard", margin) for margin in (1e-9, 0.05, 1e4)),
]


@pytest.mark.parametrize(("mining", "margin"), MARGINS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_against_the_reference(mining: str, margin: float, distance: str) -> None:
    for y, dtype in itertools.product(FEW_LABELS, (torch.float32, torch.float64)):
        options = {"margin": margin, "mining": mining, "distance": distance}
        ours, definition = margin_oracle.on(triplet_loss, reference, y, **options)
        z = torch.randn(len(y), 6, dtype=dtype)
        if margin == 1e-9 and dtype == torch.float32:  # below its rounding: a positive reaches no farther than itself
            assert all(not x.any() for x in with_grads(ours, z))
            continue
        assert_like_reference(ours, definition, [z], factor=256)
        assert torch.equal(ours(z), with_grads(ours, z)[0])  # without a gradient


# Several positives and negatives are equally far, many are a margin apart, and one within a margin of 0 is none.
TIES = [
    *(("batch_all", margin) for margin in (0.0, 1.0, 2.0, -1.0)),
    *(("semi_hard", margin) for margin in (1.0, 2.0, 3.0)),
]


@pytest.mark.parametrize(("mining", "margin"), TIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tie_is_outside(mining: str, margin: float, dtype: torch.dtype) -> None:
    z = torch.randint(-2, 3, (24, 1)).to(dtype)
    z = torch.cat([z, -z])  # whole numbers about 0, whose distances are exact
    for y, reduction in itertools.product((torch.arange(48) % 2, torch.arange(48) // 15), ("mean_nonzero", "sum")):
        options = {"margin": margin, "mining": mining, "normalize": False, "reduction": reduction}
        ours, definition = margin_oracle.on(triplet_loss, reference, y, **options)
        (found, grad), (expected, truth) = with_grads(ours, z), with_grads(definition, z.double())
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0.0)
        torch.testing.assert_close(grad.double(), truth, rtol=1e-5, atol=1e-5 * float(truth.abs().max()))


@pytest.mark.parametrize("options", [{"smooth_loss": True}, {"swap": True, "smooth_loss": True}], ids=str)
def test_a_semi_hard_tie_has_no_soft_margin(options: dict[str, bool]) -> None:
    line, y = torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64), torch.tensor([0, 0, 1, 1])
    options = {"mining": "semi_hard", "normalize": False, "reduction": "sum", **options}
    for margin in (1.0, 2.0, 3.0, 5.0):
        ours, definition = margin_oracle.on(triplet_loss, reference, y, margin=margin, **options)
        for found, expected in zip(with_grads(ours, line), with_grads(definition, line), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("mining", ["batch_all", "semi_hard"])
def test_the_most_rows_are_as_more(mining: str) -> None:
    z = torch.randn(512, 3, dtype=torch.float64)
    assert_both_ways_agree(partial(triplet_loss, margin=0.1, mining=mining), z, torch.arange(512) % 2, 1e-9)
