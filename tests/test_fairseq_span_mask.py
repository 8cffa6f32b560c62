"""time_mask(mode="fairseq"): the reference bit for bit with every option, in both faces."""

from __future__ import annotations

import pytest
import torch
from time_masks import same_everywhere, some_lengths

LAWS = [
    {"mask_type": "static"},
    {"mask_type": "uniform", "mask_other": 1.5},
    {"mask_type": "normal", "mask_other": 3.0},
    {"mask_type": "poisson"},
]
PLACES = [
    {},
    {"idc_select_ver": 2},
    {"no_overlap": True},
    {"no_overlap": True, "min_space": 3},
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law["mask_type"])
@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize(
    ("length", "arguments"),
    [
        (1, {"mask_length": 1, "min_masks": 1}),  # a span would leave no frame
        (12, {"mask_length": 2, "mask_prob": 0.9}),  # some lengths of nothing, some rows full
        (150, {}),
        (300, {"mask_length": 40, "mask_prob": 0.9}),  # Poisson's law by a series; hardly a place for them
        (160, {"mask_length": 1, "mask_prob": 0.9, "num_mask_ver": 1}),  # many spans, one rounding
    ],
)
def test_fairseqs_spans_equal_reference(device, law, place, length, arguments):
    options = {"mode": "fairseq", **arguments, **law, **place}
    lengths = some_lengths(6, length)
    same_everywhere(device, 6, length, seed=5, **options)
    options |= {"require_same_masks": True, "mask_dropout": 0.2, "lengths": lengths}
    same_everywhere(device, 6, length, seed=6, row_offset=2**40, **options)


@pytest.mark.parametrize("options", [{"require_same_masks": True}, {"require_same_masks": True, "add_masks": True}, {}])
@pytest.mark.parametrize("mask_dropout", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("padded", [False, True])
def test_fairseq_adjustments(device, options, mask_dropout, padded):
    rows, length = 7, 120
    lengths = torch.tensor([120, 90, 60, 120, 33, 100, 77]) if padded else None
    arguments = {"mode": "fairseq", "seed": 3, "lengths": lengths, "min_masks": 2, **options}
    spans = same_everywhere(device, rows, length, **(arguments | {"require_same_masks": False, "add_masks": False}))
    mask = same_everywhere(device, rows, length, mask_dropout=mask_dropout, **arguments)
    counts = spans.sum(1)
    if options.get("add_masks"):
        counts = counts.amax().expand(rows)
    elif options:
        counts = counts.amin().expand(rows)
    assert mask.sum(1).tolist() == [n - round(n * mask_dropout) for n in counts.tolist()]
    if not options.get("add_masks"):
        assert not (mask & ~spans).any()
