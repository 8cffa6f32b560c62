"""The compiled libraries, loaded once, and the handle by which Triton launchers register."""

from __future__ import annotations

from pathlib import Path

import torch

_PACKAGE = Path(__file__).parent.parent


def _load(name: str) -> None:
    library = _PACKAGE / name
    if not library.exists():
        raise ImportError(f"sslfast: {library} is missing: build it with `pip install --no-build-isolation -e .`")
    torch.ops.load_library(str(library))


_load("_ops.so")
if torch.version.cuda is not None and (_PACKAGE / "_ops_cuda.so").exists():
    _load("_ops_cuda.so")

triton_library = torch.library.Library("sslfast", "IMPL", "CUDA")
