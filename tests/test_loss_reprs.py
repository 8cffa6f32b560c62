"""What a module of a loss shows: every option that changes its number and is not the default."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sslfast import losses


def weights(z0: Tensor, z1: Tensor) -> Tensor:
    return (z0 * z1).sum(1)


TEMPERATURES = "teacher_temp=0.04, student_temp=0.1"
SHOWN: list[tuple[nn.Module, str]] = [
    (losses.NTXentLoss(), "temperature=0.5, gather_distributed=False"),
    (
        losses.NTXentLoss(0.1, gather_distributed="ring", tau_plus=0.2),
        "temperature=0.1, gather_distributed='ring', tau_plus=0.2",
    ),
    (losses.DCLLoss(weight_fn=weights), f"temperature=0.1, weight_fn={weights!r}, gather_distributed=False"),
    (losses.DCLWLoss(sigma=0.7), "temperature=0.1, sigma=0.7, gather_distributed=False"),
    (losses.SupConLoss(gather_distributed="ring"), "temperature=0.1, gather_distributed='ring'"),
    (losses.DINOLoss(6, center_momentum=0.8), f"6, {TEMPERATURES}, center_momentum=0.8, centering='centering'"),
    (
        losses.DINOLoss(6, 0.02, warmup_teacher_temp_epochs=3),
        "6, warmup_teacher_temp=0.02, teacher_temp=0.04, warmup_teacher_temp_epochs=3, student_temp=0.1, "
        "centering='centering'",
    ),
    (losses.IBOTPatchLoss(6, center_momentum=0.8), f"6, {TEMPERATURES}, center_momentum=0.8, centering='centering'"),
    (
        losses.HubertLoss(features_pen_weight=2),
        "temperature=0.1, pred_masked_weight=1.0, pred_nomask_weight=0.0, features_pen_weight=2.0, reduction='sum'",
    ),
    (losses.GradientPenalty(grad_scale=2), "weight=10.0, center=1.0, grad_scale=2.0"),
    (losses.R1Penalty(grad_scale=2), "weight=10.0, grad_scale=2.0"),
    (losses.MaskedPatchLoss(4, eps=0.1), "patch_size=4, norm_pix=False, kind='mse', eps=0.1"),
    (
        losses.MaskedFeatureLoss(eps=0.1),
        "kind='smooth_l1', beta=1.0, norm_layers=None, norm_targets=None, scale=None, eps=0.1",
    ),
    (
        losses.InfoNCELoss(nn.Parameter(torch.tensor(0.5))).to("meta"),
        "temperature=meta, reduction='mean', symmetric=False",
    ),
]


@pytest.mark.parametrize(("module", "text"), SHOWN, ids=[type(module).__name__ for module, _ in SHOWN])
def test_options_are_shown(module: nn.Module, text: str) -> None:
    assert module.extra_repr() == text
    assert text in repr(module)


def test_strategies_are_quoted() -> None:
    for module in (
        losses.TripletLoss(mining="batch_hard", gather_distributed="ring"),
        losses.ContrastiveLoss(gather_distributed="ring"),
    ):
        assert module.extra_repr().endswith("gather_distributed='ring'")
