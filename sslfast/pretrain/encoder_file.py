"""The file ``encoder.pt``: an encoder of images or texts with what is needed to build it again."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sslfast.pretrain.config import UserError
from sslfast.pretrain.encoders import ImageEncoder
from sslfast.pretrain.files import ENCODER, write_atomically

if TYPE_CHECKING:
    from sslfast.pretrain.bert import TextEncoder


def check_transformers(command: str) -> None:
    """Raises a UserError where the packages that texts need are not installed."""
    missing = [name for name in ("transformers", "tokenizers") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{command}: {' and '.join(missing)} not installed, which --method mlm needs; in the repository run: pip"
            " install --no-build-isolation '.[pretrain]'"
        )


def save_encoder(encoder: ImageEncoder | TextEncoder, path: Path) -> None:
    """Writes the encoder with what is needed to build it again."""
    weights = {name: value.cpu() for name, value in encoder.state_dict().items()}
    write_atomically(path, lambda file: torch.save({**encoder.saved(), "state_dict": weights}, file))


def load_encoder(run_dir: str | Path) -> ImageEncoder | TextEncoder:
    """See ``sslfast.pretrain.load_encoder``."""
    path = Path(run_dir) / ENCODER
    if not path.is_file():
        raise UserError(f"load_encoder: {run_dir} holds no finished run (no {ENCODER})")
    content = torch.load(path, map_location="cpu", weights_only=True)
    encoder: ImageEncoder | TextEncoder
    if content["settings"]["kind"] == "bert":
        check_transformers("load_encoder")
        from sslfast.pretrain.bert import TextEncoder

        encoder = TextEncoder(content["settings"])
    else:
        encoder = ImageEncoder(content["settings"], content["mean"], content["std"])
    encoder.load_state_dict(content["state_dict"])
    return encoder.eval()
