"""Checkpoints after every epoch, written so that a kill at any moment leaves a complete one behind."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from sslfast.pretrain.files import BEST, LAST, write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file and renames it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_atomically(Path(path), lambda file: torch.save(checkpoint, file))


class LastAndBest(Checkpoint):
    """Keeps checkpoints/last.ckpt and, by the lowest validation loss, checkpoints/best.ckpt.

    The state of a run is written once per epoch. Where it is the best so far, best.ckpt becomes a second name of it
    before last.ckpt does: a kill in between repeats the epoch and writes best.ckpt again, with the same content.

    Args:
        run_dir: The run folder.
        val_every: Epochs between validations.
    """

    def __init__(self, run_dir: Path, val_every: int) -> None:
        self.run_dir, self.val_every = run_dir, val_every
        self.best_loss, self.best_epoch = math.inf, -1

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_loss, self.best_epoch = state_dict["best_loss"], state_dict["best_epoch"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        improved = False
        if (trainer.current_epoch + 1) % self.val_every == 0 and "val_loss" in trainer.callback_metrics:
            loss = float(trainer.callback_metrics["val_loss"])
            improved = loss < self.best_loss
            if improved:
                self.best_loss, self.best_epoch = loss, trainer.current_epoch
        last = self.run_dir / LAST
        pending = last.with_name(".pending.ckpt")
        trainer.save_checkpoint(pending)
        if improved:
            second_name = last.with_name(".best.ckpt")
            second_name.unlink(missing_ok=True)
            try:
                os.link(pending, second_name)
            except OSError:  # a file system without hard links
                shutil.copyfile(pending, second_name)
            os.replace(second_name, self.run_dir / BEST)
        os.replace(pending, last)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU; it holds tensors and plain values only."""
    return torch.load(path, map_location="cpu", weights_only=True)
