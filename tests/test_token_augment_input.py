"""augment_tokens and its rules: what they refuse, in one line, over tensors and over arrays."""

from __future__ import annotations

import pytest
import torch

from sslfast import host
from sslfast.augment import (
    CL4SRecAugment,
    CropTokens,
    DropTokens,
    InsertTokens,
    MaskTokens,
    ReorderTokens,
    RepeatTokens,
    ReplaceTokens,
    ShuffleSpans,
    ShuffleTokens,
    SwapTokens,
    augment_tokens,
    crop_items,
    reorder_items,
)

IDS = torch.full((2, 3), 7)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ids": [1]}, TypeError, "ids must be a tensor, got list"),
        ({"ids": torch.zeros(2, 3)}, TypeError, "ids must be int64 or int32, got torch.float32"),
        ({"ids": torch.zeros(3).long()}, ValueError, "ids must have shape (N, L) with L < 2^26, got (3,)"),
        ({"rules": 0.1}, TypeError, "rules must be a rule such as DropTokens(0.1) or several, got 0.1"),
        ({"rules": [0.1]}, TypeError, "rules must hold rules such as DropTokens(0.1), got 0.1"),
        ({"rules": []}, ValueError, "rules must be from 1 to 8, got 0"),
        ({"rules": [DropTokens()] * 9}, ValueError, "rules must be from 1 to 8, got 9"),
        ({"pad_id": 0.5}, TypeError, "pad_id must be an int, got float"),
        (
            {"attention_mask": torch.ones(2, 3)},
            TypeError,
            "attention_mask must be a bool or integer tensor, got torch.float32",
        ),
        ({"attention_mask": IDS[:, :2]}, ValueError, "attention_mask must have shape (2, 3), like ids, got (2, 2)"),
        ({"lengths": torch.ones(2)}, TypeError, "lengths must be an integer tensor, got torch.float32"),
        ({"lengths": IDS[0]}, ValueError, "lengths must have shape (2,), one a row, got (3,)"),
        (
            {"lengths": IDS[:, 0], "attention_mask": IDS},
            ValueError,
            "lengths must be None beside attention_mask, got both",
        ),
        ({"special_ids": 5}, TypeError, "special_ids must be a tuple or list of ints, got int"),
        ({"special_ids": range(17)}, TypeError, "special_ids must be a tuple or list of ints, got range"),
        ({"special_ids": [3] * 17}, ValueError, "special_ids must be at most 16 ids, got 17"),
        (
            {"special_tokens_mask": IDS[:1]},
            ValueError,
            "special_tokens_mask must have shape (2, 3), like ids, got (1, 3)",
        ),
        ({"rules": ReplaceTokens()}, ValueError, "synonyms must be given for ReplaceTokens and InsertTokens, got None"),
        ({"synonyms": (1, 2)}, TypeError, "synonyms must be a table that synonym_table made, got tuple"),
        ({"rules": MaskTokens()}, ValueError, "mask_id must be given for MaskTokens, got None"),
        ({"mask_id": -1}, ValueError, "mask_id must be at least 0, got -1"),
        ({"choose": "some"}, ValueError, "choose must be 'all', 'one' or 'distinct', got 'some'"),
        ({"choose": "distinct"}, ValueError, "choose 'distinct' needs 2 views and 2 rules or more, got 1 and 1"),
        ({"views": 9}, ValueError, "views must be in [1, 8], got 9"),
        ({"max_length": 2}, ValueError, "max_length must be in [3, 67108863], got 2"),
        ({"padding_side": "top"}, ValueError, "padding_side must be 'left' or 'right', got 'top'"),
        ({"positions": 1}, TypeError, "positions must be a bool, got 1"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
        ({"sample_ids": [1]}, TypeError, "sample_ids must be an int64 tensor, got list"),
    ],
)
def test_bad_input(arguments, error, message):
    arguments = {"ids": IDS, "rules": DropTokens()} | arguments
    with pytest.raises(error) as raised:
        augment_tokens(**arguments)
    assert str(raised.value) == f"augment_tokens: {message}"
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.augment_tokens(**arrays, seed=1)
    expected = message.replace("torch.", "").replace("a tensor", "an array").replace("tensor", "array")
    assert str(raised.value) == f"augment_tokens: {expected}"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DropTokens(1.5), ValueError, "DropTokens: rate must be a probability in [0, 1], got 1.5"),
        (
            lambda: DropTokens(selection="all"),
            ValueError,
            "DropTokens: selection must be 'bernoulli' or 'exact', got 'all'",
        ),
        (lambda: DropTokens(in_place=1), TypeError, "DropTokens: in_place must be a bool, got 1"),
        (lambda: SwapTokens(count=-1), ValueError, f"SwapTokens: count must be in [0, {2**26 - 1}], got -1"),
        (lambda: RepeatTokens("a"), TypeError, "RepeatTokens: rate must be a number, got str"),
        (
            lambda: ReplaceTokens(count=1, selection="bernoulli"),
            ValueError,
            "ReplaceTokens: count must be None with selection 'bernoulli', got 1",
        ),
        (lambda: InsertTokens(count=0.5), TypeError, "InsertTokens: count must be an int, got float"),
        (lambda: ShuffleSpans(0), ValueError, "ShuffleSpans: min_span must be in [1, 64], got 0"),
        (lambda: ShuffleSpans(5, 4), ValueError, "ShuffleSpans: max_span must be in [5, 64], got 4"),
        (lambda: ShuffleTokens(0), ValueError, f"ShuffleTokens: window must be in [1, {2**26 - 1}], got 0"),
        (lambda: CropTokens(0.0), ValueError, "CropTokens: ratio must be in (0, 1], got 0.0"),
        (lambda: ReorderTokens(float("nan")), ValueError, "ReorderTokens: ratio must be finite, got nan"),
        (lambda: MaskTokens(2), ValueError, "MaskTokens: ratio must be in (0, 1], got 2"),
        (lambda: crop_items([1]), TypeError, "crop_items: items must be a tensor, got list"),
        (
            lambda: reorder_items(IDS.float()),
            TypeError,
            "reorder_items: items must be int64 or int32, got torch.float32",
        ),
        (lambda: crop_items(IDS, 0), ValueError, "crop_items: ratio must be in (0, 1], got 0"),
        (lambda: reorder_items(IDS, 1.5), ValueError, "reorder_items: ratio must be in (0, 1], got 1.5"),
        (
            lambda: CL4SRecAugment(9, reorder_ratio=0),
            ValueError,
            "CL4SRecAugment: reorder_ratio must be in (0, 1], got 0",
        ),
        (lambda: CL4SRecAugment(0), ValueError, "CL4SRecAugment: mask_id must not be padding_id, got 0"),
        (lambda: CL4SRecAugment(9, distinct=1), TypeError, "CL4SRecAugment: distinct must be a bool, got 1"),
        (
            lambda: CL4SRecAugment(9, padding_side="x"),
            ValueError,
            "CL4SRecAugment: padding_side must be 'left' or 'right', got 'x'",
        ),
        (
            lambda: CL4SRecAugment(9)(IDS[0]),
            ValueError,
            "CL4SRecAugment: items must have shape (N, L) with L < 2^26, got (3,)",
        ),
    ],
)
def test_bad_rules(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
