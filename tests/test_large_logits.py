"""Losses of masked prediction whose logits are 1e4, and under autocast, against their definitions in plain torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.losses import (
    hubert_loss,
    masked_code_loss,
    masked_feature_loss,
    masked_item_loss,
    masked_patch_loss,
    wav2vec2_contrastive_loss,
)

B, T, D, V = 2, 12, 16, 30
MASK = torch.zeros(B, T, dtype=torch.bool)
MASK[0, 1:8] = MASK[1, 3:6] = True
TARGETS = torch.arange(B * T).view(B, T) * 7 % V
LABELS = TARGETS.masked_fill(~MASK, -100)
NEGATIVES = torch.tensor([[1, 5, 7], [15, 17, 16]]).repeat_interleave(T, 0).view(B, T, 3)
IMAGES = torch.randn(B, 1, 12, 16, generator=torch.Generator().manual_seed(0))  # 3 x 4 patches of 16 numbers
Loss = Callable[..., Tensor]


def on(z: Tensor, *tensors: Tensor) -> list[Tensor]:
    """What is constant, on the device of ``z``."""
    return [each.to(z.device) for each in tensors]


def of_classes(x: Tensor, w: Tensor) -> Tensor:
    return F.cross_entropy(x[MASK] @ w.T, TARGETS[MASK])


def of_patches(x: Tensor, _: Tensor) -> Tensor:
    patches = IMAGES.to(x.dtype).view(B, 3, 4, 4, 4).transpose(2, 3).reshape(B, T, D)
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return (x - (patches - mean) / (variance + 1e-6).sqrt()).square().mean(2)[MASK].mean()


def of_features(x: Tensor, y: Tensor) -> Tensor:
    return F.smooth_l1_loss(x[MASK], F.layer_norm(y.detach(), (D,))[MASK])


def of_distractors(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    at = torch.cat([torch.arange(B * T)[:, None], NEGATIVES.flatten(0, 1)], dim=1)
    keys = y.flatten(0, 1)[at].view(B, T, 4, D)
    logits = F.cosine_similarity(x.unsqueeze(2), keys, dim=3) / temperature
    same = torch.arange(B * T).view(B, T, 1) == NEGATIVES
    logits = torch.cat([logits[..., :1], logits[..., 1:].masked_fill(same, -torch.inf)], dim=2)[MASK]
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64), reduction="sum")


def of_clusters(x: Tensor, w: Tensor, temperature: float) -> Tensor:
    logits = F.normalize(x, dim=2)[MASK] @ F.normalize(w, dim=1).T / temperature
    return F.cross_entropy(logits, TARGETS[MASK], reduction="sum")


# name -> the loss and its definition, of two tensors and a temperature, and the rows of the second: classes or frames.
CASES: dict[str, tuple[Loss, Loss, tuple[int, ...]]] = {
    "masked_item": (lambda x, w, _: masked_item_loss(x, w, *on(x, LABELS)), lambda x, w, _: of_classes(x, w), (V,)),
    "masked_code": (
        lambda x, w, _: masked_code_loss(x, w, *on(x, TARGETS, MASK)),
        lambda x, w, _: of_classes(x, w),
        (V,),
    ),
    "masked_patch": (
        lambda x, y, _: masked_patch_loss(x, *on(x, IMAGES.to(y.dtype), MASK), 4, norm_pix=True),
        lambda x, y, _: of_patches(x, y),
        (B, T),
    ),
    "masked_feature": (
        lambda x, y, _: masked_feature_loss(x, y.detach(), *on(x, MASK), norm_targets="layer"),
        lambda x, y, _: of_features(x, y),
        (B, T),
    ),
    "wav2vec2": (
        lambda x, y, t: wav2vec2_contrastive_loss(x, y, *on(x, MASK, NEGATIVES), temperature=t),
        of_distractors,
        (B, T),
    ),
    "hubert": (lambda x, w, t: hubert_loss(x, w, *on(x, TARGETS, MASK), temperature=t), of_clusters, (V,)),
}


def results(loss: Loss, inputs: list[Tensor], temperature: float, device: torch.device | str = "cpu") -> list[Tensor]:
    leaves = [x.detach().clone().to(device).requires_grad_() for x in inputs]
    value = loss(*leaves, temperature)
    grads = torch.autograd.grad(value, leaves, allow_unused=True)
    return [value.detach().cpu(), *(g.cpu() for g in grads if g is not None)]


def error(found: Tensor, true: Tensor) -> float:
    return float(torch.linalg.vector_norm(found.double() - true) / torch.linalg.vector_norm(true))


@pytest.mark.parametrize("name", CASES)
def test_logits_of_ten_thousand(name: str, device: torch.device) -> None:
    loss, definition, rows = CASES[name]
    # With norms that are divided out it is the temperature that makes logits large.
    inputs, temperature = [1e3 * torch.randn(B, T, D), torch.randn(*rows, D)], 1e-4
    found, plain = results(loss, inputs, temperature, device), results(definition, inputs, temperature)
    truth = results(definition, [x.double() for x in inputs], temperature)
    assert truth[0] > 500
    assert len(found) == len(truth)
    for ours, theirs, true in zip(found, plain, truth, strict=True):
        assert ours.isfinite().all()
        assert error(ours, true) <= 2 * error(theirs, true) + 1e-4, name


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(name: str, dtype: torch.dtype, device: torch.device) -> None:
    loss, definition, rows = CASES[name]
    inputs = [torch.randn(B, T, D), torch.randn(*rows, D)]
    with torch.autocast(device.type, dtype):
        found = results(loss, inputs, 0.2, device)
    truth = results(definition, [x.double() for x in inputs], 0.2)
    assert all(x.dtype == torch.float32 for x in found)
    for ours, true in zip(found, truth, strict=True):
        assert error(ours, true) <= 2e-2, name
