"""What wav2vec 2.0's contrastive loss says to bad input."""

from __future__ import annotations

import pytest
import torch

from sslfast.losses import wav2vec2_contrastive_loss

C, MASK = torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.bool)
NEGATIVES, AT = torch.zeros(2, 5, 3, dtype=torch.int32), torch.tensor([1, -1, 7])
CODES = "codes must have shape (2, 5) or (2, 5, G) with G >= 1"
BAD = [
    ((C[0], C[0], MASK), {}, ValueError, "context must have shape (B, T, D) with T, D >= 1, got (5, 4)"),
    ((C.int(), C, MASK), {}, TypeError, "context must be a floating-point tensor, got torch.int32"),
    ((C, None, MASK), {}, TypeError, "targets must be a floating-point tensor, got NoneType"),
    ((C, C[:1], MASK), {}, ValueError, "targets must have shape (2, 5, 4), like context, got (1, 5, 4)"),
    ((C, C), {}, ValueError, "either mask_time_indices or indices must be given, got neither"),
    ((C, C, MASK), {"indices": AT}, ValueError, "either mask_time_indices or indices must be given, got both"),
    ((C, C, MASK.int()), {}, TypeError, "mask_time_indices must be a bool tensor, got torch.int32"),
    ((C, C, MASK.T), {}, ValueError, "mask_time_indices must have shape (2, 5), like context, got (5, 2)"),
    ((C, C), {"indices": AT.int()}, TypeError, "indices must be an int64 tensor, got torch.int32"),
    ((C, C), {"indices": AT[None]}, ValueError, "indices must have shape (R,), got (1, 3)"),
    ((C, C), {"indices": AT + 3}, ValueError, "indices must be in [-1, 9], got 10"),
    (
        (C, C, MASK, NEGATIVES.float()),
        {},
        TypeError,
        "sampled_negative_indices must be an integer tensor, got torch.float32",
    ),
    ((C, C, MASK, NEGATIVES + 10), {}, ValueError, "sampled_negative_indices must be in [0, 9], got 10"),
    ((C, C, MASK, NEGATIVES[0]), {}, ValueError, "sampled_negative_indices must have shape (2, 5, K), got (5, 3)"),
    (
        (C, C, None, NEGATIVES[0]),
        {"indices": AT},
        ValueError,
        "sampled_negative_indices must have shape (2, 5, K) or (3, K), got (5, 3)",
    ),
    ((C, C, MASK), {"codes": C}, TypeError, "codes must be an integer tensor, got torch.float32"),
    ((C, C, MASK), {"codes": AT}, ValueError, f"{CODES}, got (3,)"),
    ((C, C, MASK), {"codes": torch.zeros(2, 5, 0, dtype=torch.int64)}, ValueError, f"{CODES}, got (2, 5, 0)"),
    ((C, C, MASK), {"num_negatives": 0}, ValueError, "num_negatives must be in [1, 2147483647], got 0"),
    ((C, C, MASK), {"temperature": 0.0}, ValueError, "temperature must be positive, got 0.0"),
    ((C, C, MASK), {"temperature": 1e-40}, ValueError, "temperature must be at least 1e-8, got 1e-40"),
    ((C, C, MASK), {"reduction": "batch"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'batch'"),
    ((C, C, MASK), {"sample_ids": AT}, ValueError, "sample_ids must have shape (2,), one a row, got (3,)"),
]


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD)
def test_bad_input(args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        wav2vec2_contrastive_loss(*args, **options)
    assert str(caught.value) == f"wav2vec2_contrastive_loss: {text}"
