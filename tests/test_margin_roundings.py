"""A copy of the positive is as similar as this, and at a margin of 0 stays, however wide rows are: similarities that
come from products in other orders differ by more roundings then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from sslfast.losses import _few_pairs, _info_nce_few, clip_loss, info_nce_loss, siglip_loss
from sslfast.losses import info_nce as module
from sslfast.losses._limits import most_similar
from sslfast.reference.clip import clip_loss as clip_reference
from sslfast.reference.info_nce import info_nce_loss as info_nce_reference
from sslfast.reference.siglip import siglip_loss as siglip_reference

PAIRS = 32


def all_info_nce(*sides: Tensor, margin: float, normalize: bool) -> Tensor:
    return info_nce_reference(*sides, temperature=1.0, margin=margin, normalize=normalize).mean()


def all_clip(*sides: Tensor, margin: float, normalize: bool) -> Tensor:
    return clip_reference(*sides, 1.0, margin=margin, normalize=normalize)


def all_siglip(*sides: Tensor, margin: float, normalize: bool) -> Tensor:
    return siglip_reference(*sides, 1.0, 0.0, margin=margin, normalize=normalize)


# Each loss and the way of making it: in one operator, of one matrix of similarities, in tiles.
WAYS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], str]] = {
    "info_nce at once": (partial(info_nce_loss, temperature=1.0), all_info_nce, "few"),
    "info_nce jointly": (partial(info_nce_loss, temperature=1.0), all_info_nce, "joint"),
    "info_nce in tiles": (partial(info_nce_loss, temperature=1.0), all_info_nce, "tiles"),
    "clip at once": (partial(clip_loss, logit_scale=1.0), all_clip, "few"),
    "clip in tiles": (partial(clip_loss, logit_scale=1.0), all_clip, "tiles"),
    "siglip at once": (partial(siglip_loss, logit_scale=1.0, logit_bias=0.0), all_siglip, "few"),
    "siglip in tiles": (partial(siglip_loss, logit_scale=1.0, logit_bias=0.0), all_siglip, "tiles"),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[..., Tensor], ...]:
    ours, reference, how = WAYS[request.param]
    if how == "joint":
        monkeypatch.setattr(module, "quick_info_nce", lambda *arguments: None)
        monkeypatch.setattr(_info_nce_few, "plain_info_nce", lambda *arguments: None)
    if how == "tiles":
        monkeypatch.setattr(_few_pairs, "_MOST", 0)
    return ours, reference


def alike(dtype: torch.dtype, width: int) -> tuple[Tensor, Tensor]:
    """Rows near one another, whose products are mostly above 0, so that their sums grow; every second key twice."""
    base = torch.randn(width, dtype=dtype)
    query, keys = (base + 0.1 * torch.randn(PAIRS, width, dtype=dtype) for _ in range(2))
    keys[1::2] = keys[::2]
    return query, keys


@pytest.mark.parametrize("normalize", [True, False])
def test_a_copy_of_the_positive_stays_at_any_width(way, normalize: bool) -> None:
    loss, reference = way
    for width in (1, 300, 16384, 32768):
        for _ in range(3):
            query, keys = alike(torch.float64, width)
            if not normalize:
                query, keys = (z / width**0.5 for z in (query, keys))
            exact = reference(query, keys, margin=1e-10, normalize=normalize)
            found = loss(query, keys, margin=0.0, normalize=normalize)
            torch.testing.assert_close(found, exact, rtol=1e-9, atol=0)


def test_no_more_than_roundings_are_allowed(way) -> None:
    """What is more similar than the positive by twice as much is left out."""
    loss, reference = way
    for width in (128, 4096, 65536):
        roundings = max(16.0, width**0.5) * 2.0**-23
        keys = torch.zeros(2, width)
        keys[0, 0], keys[1, 0] = 1.0, 1.0 + 2 * roundings
        both = torch.eye(1, width).expand(2, width)
        exact = reference(both.double(), keys.double(), margin=0.0, normalize=False)
        found = loss(both, keys, margin=0.0, normalize=False)
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [16, 4096, 65536])
def test_roundings_of_sums_in_one_order(dtype: torch.dtype, width: int) -> None:
    """One product after the other, which no sum in blocks is as far from."""
    rows, own = alike(dtype, width)
    sums = torch.zeros(PAIRS, dtype=dtype)
    for products in (rows * own).T.contiguous():
        sums += products
    exact = (rows.double() * own.double()).sum(dim=1)
    allowed = most_similar(rows, own, 0.0).double() - exact
    assert ((sums.double() - exact).abs() <= allowed / 2).all()
