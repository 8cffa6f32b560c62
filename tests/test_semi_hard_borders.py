"""Semi-hard triplets next to a border, where rounding decides whether 0 < d_an - d_ap < margin holds.

For these, and for no others, it is open whether they are taken: one of them may add its term or nothing, to the loss
and to the gradients of its three rows. The sum of all the others has to be the definition's.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loss_oracle import with_grads
from torch import Tensor

from sslfast.losses import triplet_loss
from sslfast.reference.triplet import _distances

MARGIN = 0.3
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def rounding_of(between: Tensor, distance: str, eps: float) -> Tensor:
    """What distances of unit rows may be off by: squares and cosines by a few eps, of which a root makes more."""
    error = 8 * eps
    if distance != "euclidean":
        return torch.full_like(between, error)
    squared = between.square()
    return torch.maximum((squared + error).sqrt() - between, between - (squared - error).clamp_min(0).sqrt())


def taken_and_open(inputs: list[Tensor], y: Tensor, ry: Tensor, distance: str, eps: float) -> tuple[Tensor, Tensor]:
    """Rows of the triplets that are semi-hard by more than rounding, (T, 3), and of those next to a border, (U, 3)."""
    between = _distances(inputs[0], inputs[-1], distance, True)
    error = rounding_of(between, distance, eps)
    same = y[:, None] == ry
    positive = same if len(inputs) > 1 else same & ~torch.eye(len(y), dtype=torch.bool)
    triplets = positive[:, :, None] & ~same[:, None, :]
    gap = between[:, None, :] - between[:, :, None]
    error = error[:, None, :] + error[:, :, None]
    taken = triplets & (gap > error) & (gap < MARGIN - error)
    others = (gap < -error) | (gap > MARGIN + error)
    return taken.nonzero(), (triplets & ~taken & ~others).nonzero()


def sum_of(triplets: Tensor, inputs: list[Tensor], margin: float, **options: Any) -> list[Tensor]:
    """The sum of the terms of these triplets and its gradients."""

    def loss(z: Tensor, r: Tensor | None = None) -> Tensor:
        rows = tuple(triplets.T.contiguous())
        return triplet_loss(z, None, margin, indices_tuple=rows, ref_emb=r, reduction="sum", **options)

    return with_grads(loss, *inputs)


@pytest.mark.parametrize("way", ["at once", "in strips", "one by one"])
@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
@pytest.mark.parametrize("references", [False, True])
@pytest.mark.parametrize(("n", "d"), [(5, 1), (130, 128)])  # gaps of exactly 0, as of 1 and -1; many triplets
def test_all_but_the_open_ones_are_the_definitions(
    n: int, d: int, references: bool, distance: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "in strips":
        monkeypatch.setattr("sslfast.losses._few_rows.MOST_ROWS", 0)
    options = {"distance": distance, "smooth_loss": way == "one by one"}
    y, ry = torch.arange(n) % 4, torch.arange(n + 3 * references) % 4

    def ours(z: Tensor, r: Tensor | None = None) -> Tensor:
        given = {} if r is None else {"ref_emb": r, "ref_labels": ry}
        return triplet_loss(z, y, MARGIN, mining="semi_hard", reduction="sum", **given, **options)

    for dtype in DTYPES:
        inputs = [torch.randn(rows, d).to(dtype) for rows in ((n, n + 3) if references else (n,))]
        eps = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
        wide = [z.double() for z in inputs]
        taken, unsure = taken_and_open(wide, y, ry, distance, eps)
        assert len(unsure) < (len(taken) / 1000 if d > 1 else 100)
        expected = sum_of(taken, wide, MARGIN, **options)
        # Of a margin at which none of them is without a term, as one beyond the border is.
        added = [sum_of(one[None], wide, MARGIN + 1e-3, **options) for one in unsure]
        found = with_grads(ours, *inputs)
        for at, (f, g) in enumerate(zip(found, expected, strict=True)):
            least, most = (
                g + sum((each[at].clamp(**end) for each in added), torch.zeros_like(g))
                for end in ({"max": 0.0}, {"min": 0.0})
            )
            allowed = 512 * eps * max(1.0, g.abs().max().item())
            if f.dtype != g.dtype:  # rounded once, at the end
                allowed = allowed + 0.51 * torch.finfo(f.dtype).eps * torch.maximum(least.abs(), most.abs())
            assert (f >= least - allowed).all()
            assert (f <= most + allowed).all()
        if way != "one by one":  # a gap of 0 is a term of the margin, one of the margin is one of 0
            count = (found[0].double() - expected[0]) / MARGIN
            assert abs(count - count.round()) < 0.1
