"""The run folder: the fixed name of every file, and writing that never leaves half a file behind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from sslfast.pretrain.config import TEXT_METHODS, PretrainConfig, UserError, suggest

CONFIG = "config.json"
METRICS = "metrics.csv"
ENCODER = "encoder.pt"
TOKENIZER = "tokenizer.json"
EVALUATION = "evaluation.json"
REPORT = "report.html"
LAST = Path("checkpoints", "last.ckpt")
BEST = Path("checkpoints", "best.ckpt")

# What the commands read from config.json; settings that are left out have their defaults.
_OF_UNIT = {"images": ("train_images", "test_images", "image_shape"), "texts": ("train_texts", "test_texts")}
_CONTENT = {
    "settings": ("method", "data"),
    "data": ("name", "classes", "skipped", "fingerprint"),
    "environment": ("started", "sslfast", "torch", "gpu"),
}


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Calls ``write`` on a temporary file beside ``path`` and renames it: a reader sees the old file or the new one.

    The file is flushed to the disk before the rename, so that a power cut does not leave an empty file either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes an indented JSON file atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def holds_checkpoint(run_dir: Path) -> bool:
    """Whether there is anything to continue: an epoch of the run was completed."""
    return any((run_dir / name).is_file() for name in (LAST, BEST, ENCODER))


def read_run(run_dir: Path) -> dict[str, Any]:
    """The content of a run's config.json.

    Raises:
        UserError: The folder holds no run, or its config.json is damaged or of another version.
    """
    path = run_dir / CONFIG
    if not path.is_file():
        raise UserError(f"{run_dir} holds no run (no {CONFIG})")
    run = read_json(path)
    if not isinstance(run, dict) or not all(isinstance(run.get(part, {}), dict) for part in _CONTENT):
        raise UserError(f"{path} is damaged (not the settings of a run)")
    lacking = [f"{part}.{key}" for part, keys in _CONTENT.items() for key in keys if key not in run.get(part, {})]
    if lacking:
        raise UserError(f"{path} is damaged (it lacks {', '.join(lacking[:3])}{', ...' * (len(lacking) > 3)})")
    unit = "texts" if run["settings"]["method"] in TEXT_METHODS else "images"
    lacking = [f"data.{key}" for key in _OF_UNIT[unit] if key not in run["data"]]
    if lacking:
        raise UserError(f"{path} is damaged (it lacks {', '.join(lacking)})")
    kinds = {field.name: str(field.type) for field in fields(PretrainConfig)}
    for name, value in run["settings"].items():
        if name not in kinds:
            raise UserError(
                f"{path} has an unknown setting '{name}'{suggest(name, kinds)}; another version of sslfast may know it"
            )
        # JSON has one kind of number: 1 is a float too.
        if type(value).__name__ not in (kinds[name], "int" if kinds[name] == "float" else kinds[name]):
            raise UserError(f"{path} is damaged (setting '{name}' must be {kinds[name]}, got {value!r})")
    return run


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: It is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of the decoder or of the encoding
        raise UserError(f"{path} is damaged ({error})") from error
