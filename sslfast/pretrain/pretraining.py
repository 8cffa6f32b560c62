"""What the methods share as LightningModules: keyed draws, the optimiser, the schedule, the guard against NaN."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from sslfast.pretrain.config import PretrainConfig, UserError, keyed_seed

# A CUDA loss is looked at this rarely because looking waits for the GPU; NaN weights stay NaN, so none is missed.
_CUDA_GUARD_EVERY = 50


class NonFiniteLossError(UserError):
    """The loss became NaN or infinite."""


def cosine_with_warmup(step: int, warmup_steps: int, total_steps: int) -> float:
    """Factor of the learning rate: linear from 1/warmup_steps to 1, then half a cosine from 1 towards 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Pretraining(LightningModule, ABC):
    """One pretraining method: a subclass adds its heads and says what ``loss`` is.

    Args:
        config: The settings of the run.
        encoder: The network that is kept after pretraining.
        steps_per_epoch: Optimiser steps in an epoch, for the schedule.
    """

    encoder: Any

    def __init__(self, config: PretrainConfig, encoder: nn.Module, steps_per_epoch: int) -> None:
        super().__init__()
        self.config, self.encoder, self.steps_per_epoch = config, encoder, steps_per_epoch

    @abstractmethod
    def loss(self, batch: Any, seed: int) -> Tensor:
        """The loss of a batch, for images uint8 (N, C, H, W); every draw comes from ``seed``."""

    def count(self, batch: Any) -> int:
        """Images or texts in a batch."""
        return len(batch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of one batch, with draws keyed by the step."""
        seed = keyed_seed(self.config.seed, "train", self.global_step)
        torch.manual_seed(seed)  # dropout draws from torch's own generator
        loss = self.loss(batch, seed)
        last = batch_idx == self.steps_per_epoch - 1
        if (not loss.is_cuda or last or self.global_step % _CUDA_GUARD_EVERY == 0) and not torch.isfinite(loss):
            raise self._not_finite("loss", loss.item())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the loss of held-out data under the same draws each time, so that the curve is comparable."""
        loss = self.loss(batch, keyed_seed(self.config.seed, "validation", batch_idx))
        self.log("val_loss", loss, batch_size=len(batch), on_epoch=True, logger=False)

    def on_validation_epoch_end(self) -> None:
        """Stops before a checkpoint of such weights is written, and before early stopping takes NaN for no gain."""
        loss = float(self.trainer.callback_metrics["val_loss"])
        if not math.isfinite(loss):
            raise self._not_finite("validation loss", loss)

    def configure_optimizers(self) -> Any:
        """The optimiser with the schedule stepped after every batch; no penalty on biases and normalisation."""
        config = self.config
        weights = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [
            {"params": weights, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer: torch.optim.Optimizer
        if config.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, config.lr, momentum=0.9)
        else:
            kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
            optimizer = kind(groups, config.lr)
        warmup, total = config.warmup_epochs * self.steps_per_epoch, config.epochs * self.steps_per_epoch
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_with_warmup(step, warmup, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _not_finite(self, name: str, value: float) -> NonFiniteLossError:
        """The error, with what is left of the run and what may help."""
        advice = "a lower --lr or a longer --warmup-epochs may help"
        if self.current_epoch == 0:
            outcome = f"no checkpoint was written yet; {advice} (the same --out starts anew)"
        else:
            good = f"the last good checkpoint, after epoch {self.current_epoch - 1}, is kept in checkpoints/last.ckpt"
            outcome = f"{good}; {advice} (in another --out)"
        return NonFiniteLossError(
            f"pretrain: the {name} became {value} in epoch {self.current_epoch}, step {self.global_step}; {outcome}"
        )


def pixel_mask(mask: Tensor, patch_size: int, image_size: int) -> Tensor:
    """Blows a patch mask (N, L), True = masked, up to pixels (N, 1, image_size, image_size)."""
    side = image_size // patch_size
    grid = mask.view(-1, 1, side, side)
    return grid.repeat_interleave(patch_size, dim=2).repeat_interleave(patch_size, dim=3)


def projector(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """SimCLR's two-layer projection head."""
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs)
    )
