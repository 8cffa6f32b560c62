"""Masks of permutation language modelling as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from distributions import follows
from scipy import stats

from sslfast.masking import permutation_mask

ALPHA = 1e-4  # of each test


def law_of_masks(length: int, probability: Fraction, longest: int, mode: str) -> dict[int, Fraction]:
    """Code of every mask (bit t: token t is masked) -> its probability, by the definition."""
    law: Counter[int] = Counter()

    def spans(begin: int, code: int, chance: Fraction) -> None:
        if begin >= length:
            law[code] += chance
            return
        for drawn in range(1, longest + 1):
            context = int(drawn / probability)
            room = min(context, length - begin) if mode == "exact" else context
            share = Fraction(room * drawn, context)  # what a context cut off has of its span, rounded at random
            for span, rounded in ((int(share), 1 - share % 1), (int(share) + 1, share % 1)):
                for first in range(begin, begin + room - span + 1) if rounded else ():
                    masked = sum(1 << t for t in range(first, min(first + span, length)))
                    spans(begin + context, code | masked, chance * rounded / longest / (room - span + 1))

    spans(0, 0, Fraction(1))
    if mode == "exact":  # a row with nothing masked gets a token, any alike
        nothing = Fraction(law.pop(0, 0))
        for token in range(length):
            law[1 << token] += nothing / length
    return law


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize(("length", "share", "longest"), [(10, 3, 2), (12, 2, 3), (8, 6, 5)])
def test_every_mask_is_as_likely_as_its_spans(length, share, longest, mode):
    """Lengths and starts of the spans, spans cut off at the end, and rows without any."""
    law = law_of_masks(length, Fraction(1, share), longest, mode)
    assert sum(law.values()) == 1
    ids = torch.ones(40_000, length, dtype=torch.int64)
    options = {"plm_probability": 1 / share, "max_span_length": longest, "dtype": torch.bool, "mode": mode}
    mask = permutation_mask(ids, mask_token_id=9, generator=3, **options).mask.numpy()
    chances = np.zeros(2**length)
    chances[list(law)] = [float(chance) for chance in law.values()]
    assert follows(mask @ (1 << np.arange(length)), chances)


def test_every_order_of_the_masked_is_equally_likely():
    out = permutation_mask(torch.ones(24_000, 4).long(), mask_token_id=9, plm_probability=1.0, generator=1)
    assert out.mask.all()
    orders = np.unique(out.order.numpy() @ [64, 16, 4, 1], return_counts=True)[1]
    assert len(orders) == 24
    assert stats.chisquare(orders).pvalue > ALPHA


def test_as_much_is_masked_in_the_last_context():
    """Exact mode masks the share of a whole context in what is left of one."""
    rows, length = 20_000, 40  # one span of two tokens in twelve: three contexts and four tokens
    probabilities = {"plm_probability": 1 / 6, "max_span_length": 2}
    mask = permutation_mask(torch.ones(rows, length).long(), mask_token_id=9, generator=2, **probabilities).mask
    per_row = mask.sum(1).double()
    deviation = float(per_row.std()) / rows**0.5
    assert abs(float(per_row.mean()) - length / 6) < 4 * deviation
