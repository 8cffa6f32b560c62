"""The settings of one pretraining run: defaults for each method and data set, and every check on them."""

from __future__ import annotations

import difflib
import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

METHODS = ("simclr", "masked-pixels", "mae")
BUILTIN_DATA = ("digits", "fashion-mnist")
OPTIMIZERS = ("adam", "adamw", "sgd")
NORMS = ("batch", "group")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed")


class UserError(Exception):
    """A mistake the user can mend: shown as one line without a traceback, exit code 2."""


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the outcome of a run.

    Attributes:
        method: One of ``METHODS``.
        data: ``digits``, ``fashion-mnist`` or the absolute path of a folder of images.
        seed: Every random draw is keyed by it.
        epochs: Passes over the training images.
        batch_size: Images per step (SimCLR sees two views of each).
        optimizer: ``adam``, ``adamw`` or ``sgd`` (momentum 0.9).
        lr: Peak learning rate, reached after the warm-up.
        weight_decay: L2 penalty (decoupled for ``adamw``); not applied to biases and normalisation layers.
        dropout: Probability, on the features (ResNet) or inside the blocks (ViT).
        warmup_epochs: Epochs of linear warm-up before the cosine decay to zero.
        patience: Validations without a new best loss before the run stops early; 0 = never.
        val_every: Epochs between validations.
        val_fraction: Share of the training images held out for the validation loss; never the test images.
        temperature: SimCLR: temperature of NT-Xent.
        crop_scale: SimCLR: least share of the image that a random resized crop keeps.
        hflip: SimCLR: probability of a horizontal flip.
        jitter: SimCLR: strength of brightness, contrast and saturation; a quarter of it for hue.
        erase_ratio: SimCLR: share of the patches of each view that is blanked; 0 = none.
        mask_ratio: masked-pixels and mae: share of the patches that is hidden.
        patch_size: Side of a patch in pixels.
        width: ResNet: channels of the first stage; ViT: half the token dimension (even).
        norm: ResNet: ``batch`` or ``group`` normalisation.
        pool_grid: ResNet: the last feature map is averaged to this many cells per side.
        image_size: Side to which the images are resized.
        threads: CPU threads.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``32-true`` or ``bf16-mixed``.
        log_every: Steps between two rows of metrics.csv.
        skip_unreadable: Leave out image files that cannot be decoded instead of stopping.
    """

    method: str
    data: str
    seed: int = 0
    epochs: int = 100
    batch_size: int = 256
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    dropout: float = 0.0
    warmup_epochs: int = 5
    patience: int = 0
    val_every: int = 1
    val_fraction: float = 0.1
    temperature: float = 0.2
    crop_scale: float = 0.2
    hflip: float = 0.5
    jitter: float = 0.4
    erase_ratio: float = 0.0
    mask_ratio: float = 0.6
    patch_size: int = 4
    width: int = 32
    norm: str = "batch"
    pool_grid: int = 2
    image_size: int = 64
    threads: int = 1
    device: str = "auto"
    precision: str = "32-true"
    log_every: int = 1
    skip_unreadable: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return asdict(self)


_METHOD_DEFAULTS: dict[str, dict[str, Any]] = {
    "simclr": {},
    "masked-pixels": {"batch_size": 128},
    "mae": {"batch_size": 128, "mask_ratio": 0.75, "weight_decay": 0.05, "warmup_epochs": 10},
}

# What was tuned on each embedded data set; a folder of images keeps the general defaults.
_DATA_DEFAULTS: dict[str, dict[str, Any]] = {
    # A digit that is mirrored or cut to a fifth is no longer that digit.
    "digits": {
        "image_size": 8,
        "patch_size": 2,
        "hflip": 0.0,
        "crop_scale": 0.3,
        "lr": 2e-3,
        "epochs": 40,
        "pool_grid": 1,
    },
    "fashion-mnist": {"image_size": 28, "lr": 2e-3, "epochs": 10, "warmup_epochs": 1, "log_every": 5},
}
_BOTH_DEFAULTS: dict[tuple[str, str], dict[str, Any]] = {
    ("simclr", "digits"): {"erase_ratio": 0.125, "temperature": 0.5},
    ("masked-pixels", "digits"): {"mask_ratio": 0.5},
    ("mae", "digits"): {"epochs": 400, "lr": 1e-3, "mask_ratio": 0.6, "val_every": 5},
    ("mae", "fashion-mnist"): {"epochs": 20, "lr": 1e-3, "width": 48},
}


def suggest(value: str, choices: Iterable[str]) -> str:
    """`` (did you mean 'simclr'?)`` for a misspelt value, or an empty string when nothing is close."""
    close = difflib.get_close_matches(value.lower(), list(choices), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def keyed_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed that depends on its arguments alone.

    Every draw of a run takes its seed from here, keyed by what it is for and by epoch or step, never from the state of
    a generator: a resumed run therefore makes the draws that the uninterrupted run would have made.
    """
    text = ":".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def option_name(field: str) -> str:
    """The command line option of a setting: ``batch_size`` -> ``--batch-size``."""
    return "--" + field.replace("_", "-")


def _with_absolute_data(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the path of a folder made absolute: a run is also read from another working directory."""
    data = given.get("data")
    if data and data not in BUILTIN_DATA and Path(data).is_dir():
        return {**given, "data": str(Path(data).resolve())}
    return dict(given)


def resolve(given: Mapping[str, Any]) -> PretrainConfig:
    """Fills the defaults of the method and data set into the settings the user gave, and checks them all.

    Args:
        given: Settings by field name of ``PretrainConfig``; ``method`` and ``data`` are required.

    Returns:
        The checked configuration.

    Raises:
        UserError: One or more settings are wrong; all of them are listed in one line.
    """
    missing = [option_name(name) for name in ("method", "data") if not given.get(name)]
    if missing:
        raise UserError(f"pretrain: missing {' and '.join(missing)}")
    given = _with_absolute_data(given)
    method, data = given["method"], given["data"]
    values = {
        **_METHOD_DEFAULTS.get(method, {}),
        **_DATA_DEFAULTS.get(data, {}),
        **_BOTH_DEFAULTS.get((method, data), {}),
    }
    # A short run keeps its warm-up to a fifth of its epochs unless the user asks for more.
    if "epochs" in given and "warmup_epochs" not in given and isinstance(given["epochs"], int):
        default = values.get("warmup_epochs", PretrainConfig.warmup_epochs)
        values["warmup_epochs"] = min(default, max(0, given["epochs"]) // 5)
    if "epochs" in given and "val_every" not in given:  # and validates at least once
        values["val_every"] = min(values.get("val_every", PretrainConfig.val_every), max(1, given["epochs"]))
    config = PretrainConfig(**{**values, **given})
    mistakes = _mistakes(config)
    if mistakes:
        raise UserError("pretrain: " + "; ".join(mistakes))
    return config


def _mistakes(config: PretrainConfig) -> list[str]:
    """Every wrong setting of a configuration, in words."""
    found = []

    def choice(field: str, choices: Iterable[str]) -> None:
        value = getattr(config, field)
        if value not in choices:
            found.append(
                f"{option_name(field)} must be one of {', '.join(choices)}, got '{value}'{suggest(value, choices)}"
            )

    def bound(field: str, wanted: str, holds: bool) -> None:
        if not holds:
            found.append(f"{option_name(field)} must be {wanted}, got {getattr(config, field)}")

    choice("method", METHODS)
    if config.data not in BUILTIN_DATA and not Path(config.data).is_dir():
        fault = "not a folder" if Path(config.data).exists() else "folder not found"
        hint = suggest(config.data, BUILTIN_DATA)
        found.append(f"--data must be digits, fashion-mnist or a folder of images; {fault}: '{config.data}'{hint}")
    choice("optimizer", OPTIMIZERS)
    choice("norm", NORMS)
    choice("device", DEVICES)
    choice("precision", PRECISIONS)
    for field in ("epochs", "val_every", "width", "patch_size", "pool_grid", "image_size", "threads", "log_every"):
        bound(field, "at least 1", getattr(config, field) >= 1)
    cpus = os.cpu_count() or 1
    bound("threads", f"at most {cpus}, the CPUs of this machine", config.threads <= cpus)
    if config.epochs >= 1:
        bound("val_every", f"at most --epochs {config.epochs}", config.val_every <= config.epochs)
    for field in ("lr", "temperature", "crop_scale"):
        bound(field, "positive", math.isfinite(getattr(config, field)) and getattr(config, field) > 0)
    for field in ("weight_decay", "jitter"):
        bound(field, "zero or more", math.isfinite(getattr(config, field)) and getattr(config, field) >= 0)
    for field in ("dropout", "erase_ratio"):
        bound(field, "at least 0 and below 1", 0 <= getattr(config, field) < 1)
    bound("crop_scale", "at most 1", not config.crop_scale > 1)
    bound("hflip", "between 0 and 1", 0 <= config.hflip <= 1)
    bound("mask_ratio", "between 0 and 1, both excluded", 0 < config.mask_ratio < 1)
    bound("val_fraction", "above 0 and at most 0.5", 0 < config.val_fraction <= 0.5)
    bound("batch_size", "at least 2", config.batch_size >= 2)
    bound("patience", "zero or more", config.patience >= 0)
    bound("seed", "zero or more", config.seed >= 0)
    bound(
        "warmup_epochs", f"zero or more and below --epochs {config.epochs}", 0 <= config.warmup_epochs < config.epochs
    )
    if config.norm == "group" and config.width % 4:
        found.append(f"--width must be a multiple of 4 with --norm group, got {config.width}")
    if config.method == "mae" and config.width % 2:
        # The encoder's 2 * width is shared by 4 attention heads, the decoder's width by 2.
        found.append(f"--width must be even with --method mae, got {config.width}")
    # simclr hides patches too where it erases some; the other methods do not look at --erase-ratio.
    hidden = "erase_ratio" if config.method == "simclr" else "mask_ratio"
    ratio = getattr(config, hidden)
    if config.patch_size < 1 or (config.method == "simclr" and ratio == 0):
        return found
    if config.image_size % config.patch_size:
        found.append(f"--patch-size must divide --image-size {config.image_size}, got {config.patch_size}")
    elif 0 < ratio < 1:
        patches = (config.image_size // config.patch_size) ** 2
        kept = int(patches * (1 - ratio) + 1e-12 * patches)  # rounded as sslfast.masking does
        if not 0 < kept < patches:
            found.append(
                f"{option_name(hidden)} {ratio} keeps {kept} of {patches} patches; some must be kept, some hidden"
            )
    return found


def changed_settings(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Settings that were given on resuming and differ from those of the interrupted run, in words."""
    known = {field.name for field in fields(PretrainConfig)}
    return [
        f"{option_name(name)} was {saved.get(name)}, now {value}"
        for name, value in _with_absolute_data(given).items()
        if name in known and saved.get(name) != value
    ]
