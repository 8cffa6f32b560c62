"""Bad input of masked_patch_loss."""

from __future__ import annotations

import pytest
import torch

from sslfast.losses import MaskedPatchLoss, masked_patch_loss

GOOD = {
    "pred": torch.zeros(2, 4, 48),
    "images": torch.zeros(2, 3, 8, 8),
    "mask": torch.ones(2, 4, dtype=torch.bool),
    "patch_size": 4,
}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pred": [1.0]}, TypeError, "pred must be a floating-point tensor, got list"),
        ({"images": 3}, TypeError, "images must be a floating-point or uint8 tensor, got int"),
        (
            {"images": torch.zeros(2, 3, 8, 8).long()},
            TypeError,
            "images must be a floating-point or uint8 tensor, got torch.int64",
        ),
        (
            {"images": torch.zeros(3, 8, 8)},
            ValueError,
            "images must have shape (N, C, H, W) or (N, C, T, H, W), got (3, 8, 8)",
        ),
        (
            {"images": torch.zeros(2, 3, 8, 8, requires_grad=True)},
            ValueError,
            "images must not require a gradient, as targets are constants: detach them",
        ),
        ({"patch_size": 3}, ValueError, "patch_size must divide images of (8, 8), got 3"),
        ({"patch_size": 0}, ValueError, "patch_size must be at least 1, got 0"),
        ({"patch_size": (2, 4, 4)}, ValueError, "patch_size must be (h, w), got (2, 4, 4)"),
        ({"patch_size": 4.0}, TypeError, "patch_size must be an int, got float"),
        (
            {"images": torch.zeros(2, 3, 4, 8, 8)},
            TypeError,
            "patch_size must be (t, h, w) for videos, got int",
        ),
        (
            {"pred": torch.zeros(2, 4, 47)},
            ValueError,
            "pred must have shape (2, 4, 48) or (2, 3, 8, 8), got (2, 4, 47)",
        ),
        ({"mask": torch.ones(2, 4)}, TypeError, "mask must be a bool tensor, got torch.float32"),
        (
            {"mask": torch.ones(2, 3).bool()},
            ValueError,
            "mask must have shape (2, 4) or (2, 2, 2), got (2, 3)",
        ),
        ({"mask": None}, ValueError, "either mask or ids must be given, got neither"),
        ({"num_items": -1.0}, ValueError, "num_items must be positive, got -1.0"),
        ({"num_items": "all"}, TypeError, "num_items must be a number, got str"),
        ({"num_items": torch.ones(2)}, ValueError, "num_items must have one element, got shape (2,)"),
        (
            {"num_items": 4, "reduction": "none"},
            ValueError,
            "num_items goes with reduction='mean', got 'none'",
        ),
        ({"ids": torch.zeros(2, 1).long()}, ValueError, "either mask or ids must be given, got both"),
        ({"mask": None, "ids": torch.zeros(2, 1)}, TypeError, "ids must be an int64 tensor, got torch.float32"),
        (
            {"mask": None, "ids": torch.zeros(3, 1).long()},
            ValueError,
            "ids must have shape (2, R) or (R,), got (3, 1)",
        ),
        (
            {"mask": None, "ids": torch.full((2, 1), 4)},
            ValueError,
            "ids must be in [-1, 3], patches of images, got 4",
        ),
        (
            {"mask": None, "ids": torch.full((3,), -2)},
            ValueError,
            "ids must be in [-1, 7], patches of images, got -2",
        ),
        (
            {"mask": None, "ids": torch.zeros(3).long(), "pred": torch.zeros(2, 48)},
            ValueError,
            "pred must have shape (3, 48), one row for each of ids, (2, 4, 48) or (2, 3, 8, 8), got (2, 48)",
        ),
        ({"norm_pix": "pixel"}, ValueError, "norm_pix must be a bool, 'patch' or 'channel', got 'pixel'"),
        (
            {"norm_pix": "channel", "patch_size": 1, "pred": torch.zeros(2, 64, 3)},
            ValueError,
            "patch_size must leave at least 2 pixels to normalise, got 1",
        ),
        ({"kind": "huber"}, ValueError, "kind must be 'mse', 'l1' or 'smooth_l1', got 'huber'"),
        ({"order": "qpc"}, ValueError, "order must be 'pqc' or 'cpq', got 'qpc'"),
        ({"beta": -1.0}, ValueError, "beta must be at least 0, got -1.0"),
        ({"eps": 0.0}, ValueError, "eps must be positive, got 0.0"),
        ({"reduction": "all"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'all'"),
        ({"mean": 0.5}, ValueError, "std must be given with mean, got None"),
        ({"mean": (0.5, 0.5), "std": 1.0}, ValueError, "mean must have 3 numbers, one per channel, got 2"),
        ({"mean": 0.5, "std": 0.0}, ValueError, "std must be positive, got 0.0"),
        (
            {"pred": torch.zeros(2, 4, 48, device="meta")},
            ValueError,
            "pred must be on cpu, like images, got meta",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        masked_patch_loss(**{**GOOD, **arguments})
    assert str(raised.value) == f"masked_patch_loss: {message}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"patch_size": 0}, ValueError, "patch_size must be at least 1, got 0"),
        ({"patch_size": -3}, ValueError, "patch_size must be at least 1, got -3"),
        ({"patch_size": "a"}, TypeError, "patch_size must be an int, got str"),
        ({"patch_size": (4,)}, ValueError, "patch_size must be (h, w), got (4,)"),
        ({"std": 0.0}, ValueError, "mean must be given with std, got None"),
        ({"mean": 0.5, "std": 0.0}, ValueError, "std must be positive, got 0.0"),
        ({"mean": "x", "std": 1.0}, TypeError, "mean must be a number, got str"),
        ({"mean": [0.5, 0.5], "std": (0.5, 0.5, 0.5)}, ValueError, "std must have 2 numbers, like mean, got 3"),
    ],
)
def test_bad_options_of_the_module(arguments, error, message) -> None:
    with pytest.raises(error) as caught:
        MaskedPatchLoss(**arguments)
    assert str(caught.value) == f"MaskedPatchLoss: {message}"


def test_good_options_of_the_module() -> None:
    MaskedPatchLoss((2, 16, 16), mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1])
    MaskedPatchLoss([8, 4], mean=0.5, std=(0.2, 0.2, 0.1))
