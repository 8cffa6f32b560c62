"""The blocks of csrc/cuda/image_augment*.cu on the CPU, their lanes by turns: image_augment_block.cpp says how."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from sslfast import augment as A
from sslfast.augment._transform import Transform

ROOT = Path(__file__).parents[1]
TYPES = [torch.uint8, torch.float32, torch.bfloat16, torch.float16]
LANES = 256
MARGIN = 256  # elements on both sides of the views, which stay

reads = (ctypes.c_int64 * 3)()  # by the last call: of one element, of a word, of sixteen bytes
stores = (ctypes.c_int64 * 3)()  # of one element, of two, of four


@functools.cache
def compiled() -> ctypes.CDLL:
    flags = ["-O1", "-std=c++17", "-fno-strict-aliasing", "-shared", "-fPIC"]
    includes = [f"-I{ROOT / 'csrc/include'}", f"-I{ROOT / 'csrc'}"]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "block.so"
        source = str(ROOT / "tests/image_augment_block.cpp")
        subprocess.run(["g++", *flags, *includes, source, "-o", library], check=True)
        return ctypes.CDLL(str(library))


def plan_walk(rows: int, channels: int, height: int, width: int, processors: int) -> tuple[int, int, int]:
    """Bytes that views by RandAugment need to wait in, how many views are made at once, and by how many blocks each."""
    found = (ctypes.c_int64 * 3)()
    compiled().plan_walk(*map(ctypes.c_int64, (rows, channels, height, width, processors)), found)
    return found[0], found[1], found[2]


def shared_bytes(channels: int, across: int = 20, down: int = 20) -> tuple[int, int]:
    """Bytes of shared memory that a block needs, those of its kernel's own variables among them, for a blur of this
    reach: of views made whole, and of passes.
    """
    found = (ctypes.c_int64 * 2)()
    compiled().shared_bytes(channels, across, down, found)
    return found[0], found[1]


def in_blocks(
    transform: Transform,
    images: Tensor,
    params: Tensor,
    *,
    reversed: bool = False,
    lanes: int = LANES,
    many: int = 1,
    walking: int = 0,
    waiting: int = 2**29,
    shift: int = 0,
) -> tuple[Tensor, int]:
    """Views of ``params`` by blocks, and how many stores took four elements. With ``walking`` as so many blocks make
    them pass by pass, with ``waiting`` bytes for the planes of views, and how many blocks shared a view. The views
    begin ``shift`` elements behind a multiple of 64 bytes.
    """
    (segment,) = transform._plan.segments
    channels, views = images.shape[1], params.shape[0] // max(len(images), 1)
    size = segment.resample.view(*images.shape[2:])
    lists = len(segment.settings) - 3 * len(segment.codes)
    mean, std = transform._plan.normalisation("block", channels, images.dtype == torch.uint8)
    dtype = getattr(torch, transform._plan.dtype or "float32")
    last = A._images.has_channels_last(images)
    values = views * len(images) * channels * size[0] * size[1]
    memory = torch.full((values + 2 * MARGIN,), 77, dtype=dtype)
    begin = MARGIN // 2 + shift + -memory.data_ptr() % 64 // dtype.itemsize
    out = memory[begin : begin + values]
    if last:
        out = out.view(views * len(images), *size, channels).permute(0, 3, 1, 2)
    else:
        out = out.view(views * len(images), channels, *size)

    def numbers(kind: type, values: list) -> ctypes.Array:
        return (kind * len(values))(*values)

    made = compiled().make_views(
        ctypes.c_void_p(images.data_ptr()),
        numbers(ctypes.c_int64, [*images.shape[2:], *images.stride()[1:]]),
        numbers(
            ctypes.c_int64,
            [len(images), images.stride(0), channels, views, params.shape[1], len(segment.codes), *size, lists],
        ),
        TYPES.index(images.dtype),
        TYPES.index(dtype),
        ctypes.c_void_p(params.data_ptr()),
        numbers(ctypes.c_int64, segment.codes),
        numbers(ctypes.c_double, segment.settings),
        numbers(ctypes.c_double, mean),
        numbers(ctypes.c_double, std),
        int(last),
        ctypes.c_void_p(out.data_ptr()),
        lanes,
        int(reversed),
        ctypes.c_int64(many),
        ctypes.c_int64(walking),
        ctypes.c_int64(waiting),
    )
    assert bool((memory[:begin] == 77).all())
    assert bool((memory[begin + values :] == 77).all())
    compiled().count_reads(reads)
    compiled().count_stores(stores)
    return out, made
