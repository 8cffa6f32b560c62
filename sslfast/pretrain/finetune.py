"""Training a whole network on a few labels: fine-tuning from pretrained weights, or the same from scratch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sslfast.pretrain.config import PretrainConfig, keyed_seed
from sslfast.pretrain.encoders import ImageEncoder
from sslfast.pretrain.pretraining import cosine_with_warmup
from sslfast.pretrain.simclr import augmentation

_BATCH_SIZE = 64
_LR = 1e-3
_WARMUP_STEPS = 10


def finetune(
    encoder: ImageEncoder,
    config: PretrainConfig,
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    *,
    classes: int,
    seed: int,
    steps: int = 80,
) -> Tensor:
    """Trains a copy of the encoder with a linear layer on top, and predicts the test images.

    Pretrained and random weights get the same number of steps, the same optimiser (AdamW, cosine with warm-up), the
    same draws, and the augmentation of the run (crop, flip and jitter), so that only the starting point differs.

    Args:
        encoder: The starting point; it is not changed.
        config: The settings of the run, for the augmentation.
        images: uint8 (N, C, H, W), labelled.
        labels: int64 (N,).
        test_images: uint8 (M, C, H, W).
        classes: Number of classes.
        seed: Key of all draws.
        steps: Optimiser steps of 64 images each, drawn again and again from the labelled ones.

    Returns:
        Predicted classes (M,).
    """
    torch.manual_seed(keyed_seed(seed, "fine-tune head"))
    encoder = copy.deepcopy(encoder).train()
    head = nn.Linear(encoder.dim, classes)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, _LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_with_warmup(step, _WARMUP_STEPS, steps))
    augment = augmentation(config, encoder, views=1)
    order = torch.Generator().manual_seed(keyed_seed(seed, "fine-tune order"))
    queue = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        while len(queue) < _BATCH_SIZE:
            queue = torch.cat([queue, torch.randperm(len(labels), generator=order)])
        batch, queue = queue[:_BATCH_SIZE], queue[_BATCH_SIZE:]
        step_seed = keyed_seed(seed, "fine-tune", step)
        torch.manual_seed(step_seed)
        (view,) = augment(images[batch], generator=step_seed)
        loss = nn.functional.cross_entropy(head(encoder.backbone(view)), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return head(encoder.embed(test_images)).argmax(dim=1)
