"""From what the user gave to the settings of a run: defaults for each method and data set, and every check."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from sslfast.pretrain.config import (
    BUILTIN_DATA,
    DEVICES,
    IMAGE_DATA,
    IMAGE_METHODS,
    METHODS,
    NORMS,
    OPTIMIZERS,
    PRECISIONS,
    TEXT_DATA,
    TEXT_METHODS,
    PretrainConfig,
    UserError,
    option_name,
    suggest,
)

_METHOD_DEFAULTS: dict[str, dict[str, Any]] = {
    "simclr": {},
    "masked-pixels": {"batch_size": 128},
    "mae": {"batch_size": 128, "mask_ratio": 0.75, "weight_decay": 0.05, "warmup_epochs": 10},
    "mlm": {
        "batch_size": 32,
        "mask_ratio": 0.3,
        "epochs": 16,
        "lr": 2e-3,
        "weight_decay": 0.01,
        "warmup_epochs": 1,
        "width": 64,
        "log_every": 5,
    },
}

# Given with a method of the other kind, these would be ignored in silence.
_OF_IMAGES = (
    "temperature", "crop_scale", "hflip", "jitter", "erase_ratio", "patch_size", "norm", "pool_grid", "image_size",
)  # fmt: skip
_OF_TEXTS = ("vocab_size", "max_length", "depth", "whole_words")

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


def _with_absolute_data(given: Mapping[str, Any], method: str | None) -> dict[str, Any]:
    """The settings with the path of the data made absolute: a run is also read from another working directory."""
    data = given.get("data") or ""
    usable = data != "" and (Path(data).is_dir() or (method in TEXT_METHODS and Path(data).is_file()))
    if usable and data not in BUILTIN_DATA:
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
    given = _with_absolute_data(given, given["method"])
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
    mistakes = [*_mistakes(config), *_other_kind(config, given)]
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
    found += _data_mistakes(config)
    choice("optimizer", OPTIMIZERS)
    choice("norm", NORMS)
    choice("device", DEVICES)
    choice("precision", PRECISIONS)
    for field in (
        "epochs",
        "val_every",
        "width",
        "patch_size",
        "pool_grid",
        "image_size",
        "depth",
        "threads",
        "log_every",
    ):
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
    if config.method in TEXT_METHODS:
        return found + _text_mistakes(config)
    if config.method == "mae" and config.width % 2:
        # The encoder's 2 * width is shared by 4 attention heads, the decoder's width by 2.
        found.append(f"--width must be even with --method mae, got {config.width}")
    if config.method == "mae" and config.patch_size == 1:
        # The mean of a patch is taken from it, its deviation is divided out: nothing is left of a single grey pixel.
        found.append("--patch-size must be at least 2 with --method mae, got 1")
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


def _data_mistakes(config: PretrainConfig) -> list[str]:
    """What is wrong with ``--data``, for images or for texts."""
    texts = config.method in TEXT_METHODS
    known, others = (TEXT_DATA, IMAGE_DATA) if texts else (IMAGE_DATA, TEXT_DATA)
    path = Path(config.data)
    if config.data in known or (config.data not in others and (path.is_dir() or (texts and path.is_file()))):
        return []
    wanted = "glosses, a file or a folder of texts (.txt)" if texts else "digits, fashion-mnist or a folder of images"
    if config.data in others:
        methods = IMAGE_METHODS if texts else TEXT_METHODS
        hint = f"for --method {' or '.join(methods)}"
        return [f"--data must be {wanted} with --method {config.method}, got '{config.data}', which is {hint}"]
    fault = "not a folder" if path.exists() else "no such file or folder" if texts else "folder not found"
    return [f"--data must be {wanted}; {fault}: '{config.data}'{suggest(config.data, BUILTIN_DATA)}"]


def _text_mistakes(config: PretrainConfig) -> list[str]:
    """Wrong settings of the model of texts."""
    found = []
    if config.width % 2:
        found.append(f"--width must be even with --method {config.method}, got {config.width}")
    if not 100 <= config.vocab_size <= 2**20:
        found.append(f"--vocab-size must be between 100 and {2**20}, got {config.vocab_size}")
    if not 4 <= config.max_length <= 4096:
        found.append(f"--max-length must be between 4 and 4096, got {config.max_length}")
    return found


def _other_kind(config: PretrainConfig, given: Mapping[str, Any]) -> list[str]:
    """Settings of images that were given with a method of texts, and the other way round."""
    if config.method not in METHODS:
        return []
    unit, foreign = ("texts", _OF_IMAGES) if config.method in TEXT_METHODS else ("images", _OF_TEXTS)
    names = [option_name(name) for name in foreign if name in given]
    return [f"{', '.join(names)}: not for --method {config.method}, which takes {unit}"] if names else []


def changed_settings(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Settings that were given on resuming and differ from those of the interrupted run, in words."""
    known = {field.name for field in fields(PretrainConfig)}
    return [
        f"{option_name(name)} was {saved.get(name)}, now {value}"
        for name, value in _with_absolute_data(given, saved.get("method")).items()
        if name in known and saved.get(name) != value
    ]
