"""What a run shows and records while it goes: the progress line, metrics.csv, the size of the parameter updates."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import Logger
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sslfast.pretrain.files import write_atomically

COLUMNS = (
    "epoch",
    "step",
    "train_loss",
    "lr",
    "update_ratio",
    "val_loss",
    "samples_per_s",
    "data_wait",
    "val_accuracy",
)


def complete_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv; one that a kill has torn is left out."""
    with open(path, newline="") as file:
        # A torn line does not end; "24,1" of "24,190,..." would otherwise pass for step 1.
        rows = list(csv.DictReader(line for line in file if line.endswith("\n")))
    return [row for row in rows if None not in row and None not in row.values() and row["step"].isdigit()]


class MetricsCsv(Logger):
    """Appends one row per call to metrics.csv; cells without a value stay empty.

    The rows that are kept are written again at once and atomically: a kill finds them in the old file or in the new.

    Args:
        path: The file. Rows at or after ``first_step`` are dropped, as a resumed run writes them again.
        first_step: The optimiser step at which this run starts.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        super().__init__()
        rows = complete_rows(path) if first_step and path.is_file() else []
        kept = io.StringIO()
        writer = csv.DictWriter(kept, COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row for row in rows if int(row["step"]) < first_step)
        write_atomically(path, lambda file: file.write(kept.getvalue().encode()))
        self._file = open(path, "a", newline="")  # noqa: SIM115 - open for as long as the run lasts
        self._writer = csv.DictWriter(self._file, COLUMNS, restval="", extrasaction="ignore")

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The settings are in config.json."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Writes a row; losses and rates with six significant digits."""
        values = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in metrics.items()}
        self._writer.writerow({**values, "step": step})

    def save(self) -> None:
        self._file.flush()

    def finalize(self, status: str) -> None:
        self._file.flush()


class Recorder(Callback):
    """Logs, every ``log_every`` steps, the loss, the learning rate and the size of the update ||dw|| / ||w||.

    It also times the epoch: images or texts per second, and the share of the time in which the loop waited for data. A
    row for the epoch, with the validation loss, goes to the loggers before the checkpoint is written.
    """

    def __init__(self, log_every: int) -> None:
        self.log_every = log_every
        self.epoch_metrics: dict[str, float] = {}
        self._before: list[torch.Tensor] | None = None
        self._lr = self._idle_since = self._epoch_start = self._epoch_seconds = 0.0
        self._waited, self._samples = 0.0, 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._epoch_start = self._idle_since = time.perf_counter()
        self._waited, self._samples = 0.0, 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._waited += time.perf_counter() - self._idle_since
        self._samples += pl_module.count(batch)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        if trainer.global_step % self.log_every == 0:
            self._before = [p.detach().clone() for p in pl_module.parameters()]
            self._lr = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._before is not None:
            after = [p.detach() for p in pl_module.parameters()]
            change = _norm(list(torch._foreach_sub(after, self._before)))
            metrics = {
                "epoch": trainer.current_epoch,
                "train_loss": float(outputs["loss"]),
                "lr": self._lr,
                "update_ratio": float(change / _norm(after)),
            }
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=trainer.global_step - 1)
            self._before = None
        self._idle_since = time.perf_counter()
        self._epoch_seconds = self._idle_since - self._epoch_start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        metrics: dict[str, float] = {
            "epoch": trainer.current_epoch,
            "samples_per_s": self._samples / self._epoch_seconds,
            "data_wait": self._waited / self._epoch_seconds,
        }
        if (trainer.current_epoch + 1) % pl_module.config.val_every == 0:
            for name in ("val_loss", "val_accuracy"):  # the second of some methods alone
                if name in trainer.callback_metrics:
                    metrics[name] = float(trainer.callback_metrics[name])
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step - 1)
            logger.save()
        self.epoch_metrics = metrics


def _norm(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))


class ProgressLine(Callback):
    """A live progress bar on a terminal, about ten plain lines elsewhere.

    Args:
        console: Where to print.
        label: What stands in front.
        recorder: The callback that measured the epoch; it must come before this one.
    """

    def __init__(self, console: Console, label: str, recorder: Recorder) -> None:
        self.console, self.label, self.recorder = console, label, recorder
        self._bar: Progress | None = None
        self._val_loss = ""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}  {task.fields[text]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._bar.add_task(
            self.label,
            total=pl_module.config.epochs * pl_module.steps_per_epoch,
            completed=trainer.global_step,
            epoch=trainer.current_epoch,
            epochs=pl_module.config.epochs,
            text="",
        )
        self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=trainer.global_step, epoch=trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        metrics = self.recorder.epoch_metrics
        if "val_loss" in metrics:
            self._val_loss = f"val loss {metrics['val_loss']:.4f}  "
        if "val_accuracy" in metrics:
            self._val_loss += f"accuracy {metrics['val_accuracy']:.1%}  "
        unit = pl_module.config.unit
        text = f"{self._val_loss}{metrics['samples_per_s']:,.0f} {unit}/s  data wait {metrics['data_wait']:.0%}"
        epoch, epochs = trainer.current_epoch + 1, pl_module.config.epochs
        if self._bar is not None:
            self._bar.update(self._task, text=text)
        elif epoch % max(1, epochs // 10) == 0 or epoch == epochs:
            self.console.print(f"{self.label}  epoch {epoch}/{epochs}  {text}", highlight=False, soft_wrap=True)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
