"""masked_feature_loss has the numbers of data2vec, I-JEPA and V-JEPA."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from feature_examples import make
from loss_oracle import with_grads
from torch import Tensor

from sslfast.losses import masked_feature_loss
from sslfast.masking import mask_indices


@pytest.mark.parametrize("layers", [1, 3])
def test_data2vec_audio_normalises_the_mean_over_time(layers, device):
    """fairseq's ``instance_norm_target_layer`` with ``instance_norm_targets``, of features (T, B, C)."""
    pred, teacher, mask = make(2, 9, 6, layers=layers)
    made = [F.instance_norm(layer.transpose(1, 2)) for layer in teacher]
    y = F.instance_norm(sum(made) / len(made)).transpose(1, 2)
    expected = F.mse_loss(pred[mask], y[mask], reduction="none").sum(-1).mean() / 6**0.5
    lying = [layer.transpose(0, 1).contiguous().to(device).transpose(0, 1) for layer in teacher]
    norms = {"norm_layers": "instance", "norm_targets": "instance", "scale": 6**-0.5}
    found = masked_feature_loss(pred.to(device), lying, mask.to(device), kind="mse", **norms)
    torch.testing.assert_close(found.cpu(), expected)


def data2vec(x: Tensor, layers: list[Tensor], mask: Tensor, loss_beta: float, norm: str) -> Tensor:
    """Data2VecAudioModel.forward and the criterion's division; layers (T, B, C), x the projected masked rows."""
    results = layers
    if norm == "instance":
        results = [F.instance_norm(tl.permute(1, 2, 0)).transpose(1, 2) for tl in results]
    else:
        results = [F.layer_norm(tl, tl.shape[-1:]).transpose(0, 1) for tl in results]
    y = sum(results) / len(results)
    y = F.layer_norm(y, y.shape[-1:])[mask]
    if loss_beta == 0:
        loss = F.mse_loss(x, y, reduction="none").sum(dim=-1)
    else:
        loss = F.smooth_l1_loss(x, y, reduction="none", beta=loss_beta).sum(dim=-1)
    return loss.sum() * (1 / math.sqrt(x.size(-1))) / loss.numel()


@pytest.mark.parametrize("norm", ["instance", "layer"])
@pytest.mark.parametrize("loss_beta", [0.0, 0.25])
def test_numbers_of_data2vec(loss_beta, norm):
    _, teacher, mask = make(layers=4, dtype=torch.float64)
    layers = [layer.transpose(0, 1).contiguous() for layer in teacher]  # fairseq's (T, B, C)
    x = torch.randn(int(mask.sum()), 20, dtype=torch.float64)
    indices = mask_indices(mask).indices[: len(x)]
    options = {"kind": "smooth_l1" if loss_beta else "mse", "beta": loss_beta or 1.0}

    def ours(x):
        views = [layer.transpose(0, 1) for layer in layers]
        norms = {"norm_layers": norm, "norm_targets": "layer"}
        return masked_feature_loss(x, views, ids=indices, scale=20**-0.5, **norms, **options)

    expected = with_grads(lambda x: data2vec(x, layers, mask, loss_beta, norm), x)
    torch.testing.assert_close(with_grads(ours, x), expected, rtol=1e-10, atol=1e-12)


def apply_masks(x: Tensor, masks: list[Tensor]) -> Tensor:
    return torch.cat([torch.gather(x, 1, m.unsqueeze(-1).repeat(1, 1, x.size(-1))) for m in masks], dim=0)


@pytest.mark.parametrize("contexts", [1, 2])
def test_numbers_of_ijepa(contexts):
    _, (h,), _ = make(dtype=torch.float64)
    masks_pred = [torch.stack([torch.randperm(7)[:3] for _ in range(3)]) for _ in range(4)]
    z = torch.randn(4 * contexts * 3, 3, 20, dtype=torch.float64)

    def ijepa(z):
        """forward_target and loss_fn, with repeat_interleave_batch."""
        y = apply_masks(F.layer_norm(h, (h.size(-1),)), masks_pred)
        y = torch.cat([torch.cat([y[i * 3 : (i + 1) * 3]] * contexts, dim=0) for i in range(4)], dim=0)
        return F.smooth_l1_loss(z, y)

    expected = with_grads(ijepa, z)
    found = with_grads(lambda z: masked_feature_loss(z, h, ids=masks_pred, norm_targets="layer"), z)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    each = masked_feature_loss(z, h, ids=masks_pred, norm_targets="layer", reduction="none")
    assert each.shape == z.shape[:2]
    torch.testing.assert_close(each.mean(), expected[0])


def test_numbers_of_vjepa():
    _, (h,), _ = make(dtype=torch.float64)
    masks = torch.stack([torch.randperm(7)[:4] for _ in range(3)])
    z = torch.randn(3, 4, 20, dtype=torch.float64)
    target = apply_masks(F.layer_norm(h, (h.size(-1),)), [masks])
    expected = with_grads(lambda z: torch.mean(torch.abs(z - target) ** 1.0) / 1.0, z)
    for ids in (masks, [masks]):
        found = with_grads(lambda z, i=ids: masked_feature_loss(z, h, ids=i, kind="l1", norm_targets="layer"), z)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
