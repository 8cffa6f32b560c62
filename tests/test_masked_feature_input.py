"""Bad input of masked_feature_loss."""

from __future__ import annotations

import pytest
import torch

from sslfast.losses import masked_feature_loss

P, T, M = torch.zeros(2, 4, 3), torch.zeros(2, 4, 3), torch.ones(2, 4).bool()
ONE = torch.zeros(2, 1).long()
BAD = [
    ((P.int(), T, M), {}, TypeError, "pred must be a floating-point tensor, got torch.int32"),
    ((P, 3, M), {}, TypeError, "targets must be a tensor or a list of them, got int"),
    ((P, T[0], M), {}, ValueError, "targets must have shape (N, L, D), got (4, 3)"),
    ((P, [], M), {}, ValueError, "targets must have 1 to 48 layers, got 0"),
    (
        (P, [T, T[:1]], M),
        {},
        ValueError,
        "targets[1] must be torch.float32 of shape (2, 4, 3) on cpu, like targets[0], "
        "got torch.float32 of shape (1, 4, 3) on cpu",
    ),
    (
        (P, T.clone().requires_grad_(), M),
        {},
        ValueError,
        "targets must not require a gradient, as targets are constants: detach them",
    ),
    ((P[:1], T, M), {}, ValueError, "pred must have shape (2, 4, 3), got (1, 4, 3)"),
    ((P, T, M.float()), {}, TypeError, "mask must be a bool tensor, got torch.float32"),
    ((P, T, M.T), {}, ValueError, "mask must have shape (2, 4), got (4, 2)"),
    ((P, T), {}, ValueError, "either mask or ids must be given, got neither"),
    ((P, T), {"ids": ONE + 4}, ValueError, "ids must be in [-1, 3], tokens of targets, got 4"),
    ((P, T), {"ids": 3}, TypeError, "ids must be an int64 tensor or a list of them, got int"),
    ((P, [T, None], M), {}, TypeError, "targets[1] must be a floating-point tensor, got NoneType"),
    ((P, T), {"ids": []}, ValueError, "ids must have at least 1 block, got 0"),
    ((P, T), {"ids": [ONE.int()]}, TypeError, "ids[0] must be an int64 tensor, got torch.int32"),
    (
        (P, T),
        {"ids": [ONE, ONE[:1]]},
        ValueError,
        "ids[1] must have shape (2, R), R the same in every block, got (1, 1)",
    ),
    ((P, T), {"ids": [ONE, ONE - 2]}, ValueError, "ids[1] must be in [-1, 3], tokens of targets, got -2"),
    (
        (P, T),
        {"ids": [ONE]},
        ValueError,
        "pred must have shape (K * 2, 1, D), a row for each of ids, got (2, 4, 3)",
    ),
    ((P, T, M), {"kind": "huber"}, ValueError, "kind must be 'mse', 'l1' or 'smooth_l1', got 'huber'"),
    ((P, T, M), {"norm_layers": "batch"}, ValueError, "norm_layers must be None, 'instance' or 'layer', got 'batch'"),
    ((P, T, M), {"norm_targets": "group"}, ValueError, "norm_targets must be None, 'instance' or 'layer', got 'group'"),
    (
        (P, T, M),
        {"norm_targets": ["layer"]},
        ValueError,
        "norm_targets must be None, 'instance' or 'layer', got ['layer']",
    ),
    ((P, T, M), {"num_items": 0}, ValueError, "num_items must be positive, got 0"),
    (
        (P, T, M),
        {"num_items": 3, "reduction": "sum"},
        ValueError,
        "num_items goes with reduction='mean', got 'sum'",
    ),
    ((P, T, M), {"scale": 0.0}, ValueError, "scale must be positive, got 0.0"),
    ((P, T, M), {"eps": -1.0}, ValueError, "eps must be positive, got -1.0"),
    ((P, T, M), {"beta": "1"}, TypeError, "beta must be a number, got str"),
    ((P, T, M), {"reduction": "all"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'all'"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "message"), BAD)
def test_bad_input(args, kwargs, error, message):
    with pytest.raises(error) as raised:
        masked_feature_loss(*args, **kwargs)
    assert str(raised.value) == f"masked_feature_loss: {message}"
