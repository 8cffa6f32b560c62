"""The compiled libraries, and one handle and one fake kernel per operator.

The torch dispatcher is the only backend switch: the CPU key is C++ from ``_ops.so``, the CUDA key is CUDA C++ from
``_ops_cuda.so`` or a Triton launcher, imported when it first runs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

__all__ = ["philox_words", "token_mask"]


def _load(name: str) -> None:
    library = Path(__file__).with_name(name)
    if not library.exists():
        raise ImportError(f"sslfast: {library} is missing: build it with `pip install --no-build-isolation -e .`")
    torch.ops.load_library(str(library))


_load("_ops.so")
if torch.version.cuda is not None and Path(__file__).with_name("_ops_cuda.so").exists():
    _load("_ops_cuda.so")

_triton = torch.library.Library("sslfast", "IMPL", "CUDA")


# ---- philox_words: C++ on the CPU, Triton on the GPU

philox_words = torch.ops.sslfast.philox_words.default


@torch.library.register_fake("sslfast::philox_words")
def _(like: Tensor, seed: Tensor, stream: int, rows: int, elements: int, row_offset: int) -> Tensor:
    return like.new_empty((rows, elements, 4), dtype=torch.int32)


def _philox_words_triton(like: Tensor, seed: Tensor, stream: int, rows: int, elements: int, row_offset: int) -> Tensor:
    from sslfast.kernels.philox import philox_words

    return philox_words(like, seed, stream, rows, elements, row_offset)


_triton.impl("philox_words", _philox_words_triton)


# ---- token_mask: C++ on the CPU, CUDA on the GPU

token_mask = torch.ops.sslfast.token_mask.default


@torch.library.register_fake("sslfast::token_mask")
def _(ids: Tensor, special: Tensor | None, seed: Tensor, *args: object) -> tuple[Tensor, Tensor, Tensor]:
    rows, length = ids.shape
    masked = ids.new_empty((rows * length,), dtype=torch.int64)
    return ids.new_empty((rows, length)), ids.new_empty((rows, length)), masked
