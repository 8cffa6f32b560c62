"""A loss that draws nothing, as its options are, looks at its generator all the same, and leaves it as it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from sslfast import losses

Z, Y = torch.randn(6, 4), torch.arange(6) % 2
FRAMES, MASK = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
ONE = torch.tensor([1])
UNUSED: dict[str, tuple[str, Callable[..., Any]]] = {
    "all triplets": ("triplet_loss", partial(losses.triplet_loss, Z, Y)),
    "the hardest triplets": ("triplet_loss", partial(losses.TripletLoss(mining="batch_hard"), Z, Y)),
    "given triplets": (
        "triplet_loss",
        partial(losses.triplet_loss, Z, None, triplets_per_anchor=2, indices_tuple=(ONE, ONE, ONE)),
    ),
    "all items": ("masked_item_loss", partial(losses.masked_item_loss, Z, torch.randn(5, 4), Y)),
    "all items, module": ("masked_item_loss", partial(losses.MaskedItemLoss(), Z, torch.randn(5, 4), Y)),
    "given negatives": (
        "wav2vec2_contrastive_loss",
        partial(losses.wav2vec2_contrastive_loss, FRAMES, FRAMES, MASK, torch.zeros(2, 3, 2, dtype=torch.int64)),
    ),
    "the likeliest codes": (
        "gumbel_quantize",
        partial(losses.gumbel_quantize, FRAMES.unsqueeze(2), torch.randn(1, 4, 3), training=False),
    ),
    "a start at the centre": ("AdversarialPerturbation", partial(losses.AdversarialPerturbation(1.0), torch.sum, Z)),
}
each = pytest.mark.parametrize(("function", "call"), UNUSED.values(), ids=UNUSED)
BAD = [
    ("0", TypeError, "generator must be None, an int, a torch.Generator or an int64 tensor, got str"),
    (True, TypeError, "generator must be None, an int, a torch.Generator or an int64 tensor, got bool"),
    (torch.zeros(()), TypeError, "a seed tensor must be int64, got torch.float32"),
    (ONE.to("meta"), ValueError, "generator must be on the CPU, got meta"),
    (2**64, ValueError, "generator must be in [-9223372036854775808, 9223372036854775807], got 18446744073709551616"),
]


@each
@pytest.mark.parametrize(("generator", "error", "text"), BAD, ids=[b[2] for b in BAD])
def test_errors(function: str, call: Callable[..., Any], generator: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"{function}: {text}") + "$"):
        call(generator=generator)


@each
def test_nothing_is_drawn(function: str, call: Callable[..., Any]) -> None:
    generator = torch.Generator().manual_seed(3)
    states = torch.get_rng_state(), generator.get_state()
    for given in (None, generator, 5, torch.tensor(5)):
        call(generator=given)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(generator.get_state(), states[1])
