"""What CLIPLoss and clip_loss say to bad arguments."""

from __future__ import annotations

import math
import re

import pytest
import torch
from image_text_cases import assert_rank_is_checked

from sslfast.losses import CLIPLoss, clip_loss

GOOD = torch.ones(4, 3)
BAD = [
    ([GOOD, GOOD, 1.0], {"memory_budget": -1}, ValueError, "memory_budget must be at least 0, got -1"),
    ([GOOD, GOOD, 1.0], {"memory_budget": "all"}, TypeError, "memory_budget must be an int, got str"),
    ([GOOD, GOOD[:2], 1.0], {}, ValueError, "text_features must have shape (4, 3), like image_features, got (2, 3)"),
    ([GOOD.long(), GOOD, 1.0], {}, TypeError, "image_features must be a floating-point tensor, got torch.int64"),
    ([GOOD[:0], GOOD[:0], 1.0], {}, ValueError, "image_features must have shape (N, D) with N, D >= 1, got (0, 3)"),
    ([GOOD, None, 1.0], {}, TypeError, "text_features must be a floating-point tensor, got NoneType"),
    ([GOOD[0], GOOD[0], 1.0], {}, ValueError, "image_features must have shape (N, D) with N, D >= 1, got (3,)"),
    ([GOOD, GOOD.to("meta"), 1.0], {}, ValueError, "text_features must be on cpu, like image_features, got meta"),
    ([GOOD, GOOD, None], {}, TypeError, "logit_scale must be a number, got NoneType"),
    ([GOOD, GOOD, math.nan], {}, ValueError, "logit_scale must be finite, got nan"),
    ([GOOD, GOOD, 1.0, math.nan], {}, ValueError, "logit_bias must be finite, got nan"),
    ([GOOD, GOOD, 1.0, "1"], {}, TypeError, "logit_bias must be a number, got str"),
    ([GOOD, GOOD, 1.0, torch.ones(2)], {}, ValueError, "logit_bias must have one element, got shape (2,)"),
    (
        [GOOD, GOOD, 1.0, torch.ones(1, device="meta")],
        {},
        ValueError,
        "logit_bias must be on cpu, like the features, got meta",
    ),
    ([GOOD, GOOD, 1.0], {"tau_plus": -0.1}, ValueError, "tau_plus must be in [0, 1), got -0.1"),
    ([GOOD, GOOD, 1.0], {"label_smoothing": "a"}, TypeError, "label_smoothing must be a number, got str"),
    ([GOOD, GOOD, "1"], {}, TypeError, "logit_scale must be a number, got str"),
    ([GOOD, GOOD, math.inf], {}, ValueError, "logit_scale must be finite, got inf"),
    ([GOOD, GOOD, 1e39], {}, ValueError, "logit_scale must be finite in float32, got 1e+39"),
    ([GOOD, GOOD, 1.0, -1e39], {}, ValueError, "logit_bias must be finite in float32, got -1e+39"),
    ([GOOD, GOOD, torch.ones(2)], {}, ValueError, "logit_scale must have one element, got shape (2,)"),
    ([GOOD, GOOD, torch.ones(1).long()], {}, TypeError, "logit_scale must be a floating-point tensor, got torch.int64"),
    (
        [GOOD, GOOD, torch.ones(1, device="meta")],
        {},
        ValueError,
        "logit_scale must be on cpu, like the features, got meta",
    ),
    ([GOOD, GOOD, 1.0], {"label_smoothing": 2}, ValueError, "label_smoothing must be a probability in [0, 1], got 2"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args, kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"clip_loss: {text}") + "$"):
        clip_loss(*args, **kwargs)


def test_module_errors() -> None:
    with pytest.raises(ValueError, match=r"^CLIPLoss: use_horovod is not supported, torch.distributed is$"):
        CLIPLoss(use_horovod=True)
    with pytest.raises(TypeError, match=r"^CLIPLoss: world_size must be an int, got NoneType$"):
        CLIPLoss(world_size=None)
    assert_rank_is_checked(CLIPLoss)
    with pytest.raises(ValueError, match=r"^CLIPLoss: memory_budget must be at least 0, got -1$"):
        CLIPLoss(memory_budget=-1)
    with pytest.raises(ValueError, match=r"^CLIPLoss: strategy must be 'all_gather' or 'ring', got 'local'$"):
        CLIPLoss(strategy="local")
    with pytest.raises(ValueError, match=r"^CLIPLoss: world_size must be that of torch.distributed, 1, got 2$"):
        CLIPLoss(world_size=2)(GOOD, GOOD, 1.0)


@pytest.mark.gpu
def test_errors_on_a_gpu() -> None:
    z = torch.randn(4, 3, dtype=torch.float64, device="cuda")
    with pytest.raises(TypeError, match="float64 is supported on the CPU"):
        clip_loss(z, z, 1.0)
