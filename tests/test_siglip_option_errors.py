"""What siglip_loss and SigLIPLoss say of wrong options."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch

from sslfast.losses import SigLIPLoss, siglip_loss

GOOD = torch.ones(4, 3)
IDS = torch.arange(4)
BAD = [
    ({"image_ids": IDS}, ValueError, "text_ids must be given with image_ids, got None"),
    ({"text_ids": IDS}, ValueError, "image_ids must be given with text_ids, got None"),
    ({"image_ids": IDS.float(), "text_ids": IDS}, TypeError, "image_ids must be an integer tensor, got torch.float32"),
    (
        {"image_ids": IDS.to_sparse(), "text_ids": IDS},
        TypeError,
        "image_ids must be a plain strided tensor, got one of torch.sparse_coo",
    ),
    ({"image_ids": IDS, "text_ids": IDS[:2]}, ValueError, "text_ids must have shape (4,), got (2,)"),
    (
        {"image_ids": IDS, "text_ids": IDS.to("meta")},
        ValueError,
        "text_ids must be on cpu, like text_features, got meta",
    ),
    ({"margin": "0.1"}, TypeError, "margin must be a number, got str"),
    ({"margin": math.nan}, ValueError, "margin must be finite, got nan"),
    ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be a probability in [0, 1], got 1.5"),
    ({"label_smoothing": None}, TypeError, "label_smoothing must be a number, got NoneType"),
    ({"negative_keys": IDS}, TypeError, "negative_keys must be a floating-point tensor, got torch.int64"),
    ({"negative_keys": GOOD}, ValueError, "negative_keys must have shape (4, K, 3) with K >= 1, got (4, 3)"),
    (
        {"negative_keys": torch.ones(3, 2, 3)},
        ValueError,
        "negative_keys must have shape (4, K, 3) with K >= 1, got (3, 2, 3)",
    ),
    (
        {"negative_keys": torch.ones(4, 0, 3)},
        ValueError,
        "negative_keys must have shape (4, K, 3) with K >= 1, got (4, 0, 3)",
    ),
    (
        {"negative_keys": torch.ones(4, 2, 3, device="meta")},
        ValueError,
        "negative_keys must be on cpu, like image_features, got meta",
    ),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD, ids=[b[2] for b in BAD])
def test_errors(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"siglip_loss: {text}") + "$"):
        siglip_loss(GOOD, GOOD, 1.0, **options)
    if "margin" in options or "label_smoothing" in options:
        with pytest.raises(error, match="^" + re.escape(f"SigLIPLoss: {text}") + "$"):
            SigLIPLoss(**options)
