"""One pretraining run from configuration to encoder.pt: the Trainer, resuming, what goes to the run folder."""

from __future__ import annotations

import logging
import platform
import signal
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import sklearn
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

import sslfast
from sslfast.pretrain.checkpoints import AtomicCheckpointIO, LastAndBest, read_checkpoint
from sslfast.pretrain.config import PretrainConfig, UserError
from sslfast.pretrain.data import load_data, load_run_data
from sslfast.pretrain.encoder_file import check_transformers, save_encoder
from sslfast.pretrain.files import CONFIG, ENCODER, LAST, METRICS, holds_checkpoint, read_run, write_json
from sslfast.pretrain.image_data import ImageData
from sslfast.pretrain.methods import load_method, prepare
from sslfast.pretrain.pretraining import Pretraining
from sslfast.pretrain.progress import MetricsCsv, ProgressLine, Recorder
from sslfast.pretrain.settings import changed_settings, resolve
from sslfast.pretrain.text_data import TextData


def pretrain(given: Mapping[str, Any], run_dir: Path, *, resume: bool = False, console: Console) -> None:
    """Runs or continues a pretraining run.

    Args:
        given: The settings the user gave, by field name of ``PretrainConfig``. On resuming these may be left out.
        run_dir: The run folder; its layout is described in docs/pretraining.md.
        resume: Continue the run in ``run_dir`` from its last complete epoch.
        console: Where progress is shown.

    Raises:
        UserError: A wrong setting, unusable data, no GPU where one is asked for, a folder that already holds a run
            with a checkpoint, nothing to resume, changed settings on resuming, or a loss that is not finite.
        KeyboardInterrupt: Ctrl-C; the last complete epoch is kept.
    """
    config, saved = _configuration(given, run_dir, resume, console)
    if saved is not None and (run_dir / ENCODER).is_file():
        console.print(f"{run_dir} is already complete; nothing left to do", highlight=False, soft_wrap=True)
        return
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("pretrain: --device cuda, but torch finds no GPU; sslfast doctor says more")
    if config.unit == "texts":
        check_transformers("pretrain")
    torch.set_num_threads(config.threads)
    data = load_data(config) if saved is None else load_run_data(run_dir, saved, "pretrain --resume")
    if data.skipped:
        kind = "files" if config.unit == "texts" else "images"
        console.print(
            f"skipped {len(data.skipped)} unreadable {kind}: {', '.join(data.skipped[:3])}",
            highlight=False,
            soft_wrap=True,
        )
    module, train_batches, val_batches = prepare(config, data, run_dir, resumed=saved is not None)
    if saved is None:
        write_json(run_dir / CONFIG, {"settings": config.to_dict(), **provenance(config, data)})
    checkpoint = run_dir / LAST if (run_dir / LAST).is_file() else None
    _fit(module, run_dir, checkpoint, train_batches, val_batches, console)
    finished = load_method(run_dir, data)
    save_encoder(finished.encoder, run_dir / ENCODER)


def provenance(config: PretrainConfig, data: ImageData | TextData) -> dict[str, Any]:
    """What a reader needs to judge and repeat a run: the data and the software."""
    return {
        "data": data.described(),
        "environment": {
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "sslfast": sslfast.__version__,
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "gpu": torch.cuda.get_device_name() if config.device != "cpu" and torch.cuda.is_available() else None,
        },
    }


def _configuration(
    given: Mapping[str, Any], run_dir: Path, resume: bool, console: Console
) -> tuple[PretrainConfig, dict[str, Any] | None]:
    """The settings of the run, and the content of config.json where it is continued."""
    if run_dir.exists() and not run_dir.is_dir():
        raise UserError(f"pretrain: --out {run_dir} is a file, not a folder")
    if not resume:
        if holds_checkpoint(run_dir):
            raise UserError(f"pretrain: {run_dir} already holds a run; --resume continues it, or choose another --out")
        config = resolve(given)
        if (run_dir / CONFIG).exists():  # nothing is lost, and the settings may be what stopped it
            console.print(f"{run_dir} holds no complete epoch: starting anew", highlight=False, soft_wrap=True)
        return config, None
    if not (run_dir / CONFIG).is_file():
        raise UserError(f"pretrain --resume: nothing to resume in {run_dir} (no {CONFIG})")
    saved = read_run(run_dir)
    changes = changed_settings(saved["settings"], given)
    if changes:
        raise UserError(
            f"pretrain --resume: the run in {run_dir} was started with other settings: {'; '.join(changes)}"
        )
    return PretrainConfig(**saved["settings"]), saved


def _fit(
    module: Pretraining, run_dir: Path, checkpoint: Path | None, train_batches: Any, val_batches: Any, console: Console
) -> None:
    """Trains to the end or to the first mishap; nothing but the current epoch is ever lost."""
    config = module.config
    first_step, stopped = 0, False
    if checkpoint is not None:
        content = read_checkpoint(checkpoint)
        first_step = content["global_step"]
        stopped = any(state.get("stopped_epoch", 0) > 0 for state in content["callbacks"].values())
        console.print(
            f"resuming {run_dir} after epoch {content['epoch'] + 1}/{config.epochs}", highlight=False, soft_wrap=True
        )
    if stopped:
        return
    _quieten()
    recorder = Recorder(config.log_every)
    callbacks: list[Callback] = [recorder, ProgressLine(console, run_dir.name, recorder)]
    if config.patience:
        callbacks.append(EarlyStopping("val_loss", patience=config.patience, check_on_train_epoch_end=False))
    callbacks.append(LastAndBest(run_dir, config.val_every))
    board = TensorBoardLogger(
        run_dir,
        name="",
        version="tensorboard",
        default_hp_metric=False,
        purge_step=first_step,  # what an interrupted run logged from here on, 0 included, is logged again
    )
    trainer = Trainer(
        # Not Lightning's "auto", which may pick a device that sslfast has no operators for.
        accelerator="gpu" if config.device != "cpu" and torch.cuda.is_available() else "cpu",
        devices=1,
        precision="bf16-mixed" if config.precision == "bf16-mixed" else "32-true",
        max_epochs=config.epochs,
        check_val_every_n_epoch=config.val_every,
        log_every_n_steps=config.log_every,
        callbacks=callbacks,
        logger=[MetricsCsv(run_dir / METRICS, first_step), board],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=run_dir,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
    )
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, train_batches, val_batches, ckpt_path=checkpoint)
    except SystemExit:  # Lightning turns Ctrl-C into this, and has already closed the logs
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, on_interrupt)  # which it also leaves ignored
    if trainer.current_epoch < config.epochs:
        console.print(
            f"stopped early after epoch {trainer.current_epoch}: {config.patience} validations without a lower loss",
            highlight=False,
            soft_wrap=True,
        )


def _quieten() -> None:
    """Silences Lightning's notices on hardware and loaders: the batches are in memory already."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="torch.jit")
