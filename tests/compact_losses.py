"""Losses by positions against the same losses by a mask or labels, with their gradients."""

from __future__ import annotations

import torch

from sslfast import masking
from sslfast.losses import (
    hubert_loss,
    masked_code_loss,
    masked_feature_loss,
    masked_item_loss,
    masked_lm_loss,
    masked_patch_loss,
    wav2vec2_contrastive_loss,
)


def hidden_states(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), requires_grad=True)


def same(ours: torch.Tensor, theirs: torch.Tensor, given: torch.Tensor) -> None:
    """The losses and their gradients."""
    assert theirs > 0
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, given)[0] for loss in (ours, theirs)))


def check_token_losses(labels: torch.Tensor, indices: torch.Tensor) -> None:
    hidden, weight = hidden_states(*labels.shape, 8), torch.randn(1001, 8)
    same(masked_lm_loss(hidden, weight, labels, indices=indices), masked_lm_loss(hidden, weight, labels), hidden)
    same(masked_item_loss(hidden, weight, labels, indices=indices), masked_item_loss(hidden, weight, labels), hidden)


def check_patch_losses(mask: torch.Tensor, indices: torch.Tensor) -> None:
    rows, flat = len(mask), mask.flatten(1)
    hidden, images = hidden_states(rows, flat.shape[1], 12), torch.randn(rows, 3, *(2 * s for s in mask.shape[1:]))
    same(
        masked_patch_loss(hidden, images, ids=indices, patch_size=2),
        masked_patch_loss(hidden, images, flat, patch_size=2),
        hidden,
    )
    codes, weight = torch.arange(flat.numel()).view(flat.shape) % 19, torch.randn(19, 12)
    code_loss = masked_code_loss(hidden, weight, codes, indices=indices)
    same(code_loss, masked_code_loss(hidden, weight, codes, flat), hidden)
    teacher = torch.randn(hidden.shape)
    same(masked_feature_loss(hidden, teacher, ids=indices), masked_feature_loss(hidden, teacher, flat), hidden)


def check_frame_losses(mask: torch.Tensor, indices: torch.Tensor) -> None:
    hidden, clusters = hidden_states(*mask.shape, 8), torch.randn(11, 8)
    labels = torch.arange(mask.numel()).view(mask.shape) % 11
    ours = hubert_loss(hidden, clusters, labels, indices=indices)
    same(ours, hubert_loss(hidden, clusters, labels, mask), hidden)
    targets, options = torch.randn(hidden.shape), {"num_negatives": 5, "generator": 1}
    negatives = masking.sample_negatives(mask, 5, generator=1)
    same(
        wav2vec2_contrastive_loss(hidden, targets, None, negatives, indices=indices),
        wav2vec2_contrastive_loss(hidden, targets, mask, **options),
        hidden,
    )
