"""The run folder: the fixed name of every file, and writing that never leaves half a file behind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from sslfast.pretrain.config import UserError

CONFIG = "config.json"
METRICS = "metrics.csv"
ENCODER = "encoder.pt"
EVALUATION = "evaluation.json"
REPORT = "report.html"
LAST = Path("checkpoints", "last.ckpt")
BEST = Path("checkpoints", "best.ckpt")


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


def read_run(run_dir: Path) -> dict[str, Any]:
    """The content of a run's config.json.

    Raises:
        UserError: The folder holds no run, or its config.json is damaged.
    """
    path = run_dir / CONFIG
    if not path.is_file():
        raise UserError(f"{run_dir} holds no run (no {CONFIG})")
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is damaged ({error})") from error
