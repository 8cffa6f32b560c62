"""Rings of the newest rows: what the banks and memories of embeddings share."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.losses._inputs import check_floating


def check_width(function: str, name: str, rows: Tensor, width: int) -> None:
    """Floating-point rows of that width, any number of them.

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it has another shape.
    """
    check_floating(function, name, rows)
    if rows.dim() != 2 or rows.shape[1] != width:
        raise ValueError(f"{function}: {name} must have shape (N, {width}), got {tuple(rows.shape)}")


@torch.no_grad()
def write_ring(pointer: Tensor, *rings: tuple[Tensor, Tensor]) -> Tensor:
    """Puts a batch in the place of the oldest rows of rings that are in step. Never waits for a GPU.

    Args:
        pointer: (1,) int64, where the next row goes; moved on.
        rings: a ring (K, ...) and the batch (N, ...) for it; N may be anything, K is the same for all.

    Returns:
        (N,) int64, where each row of the batch lies, or -1 where others of the batch have taken its place.
    """
    num, count = len(rings[0][0]), len(rings[0][1])
    if pointer.is_cpu and type(pointer) is Tensor and not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
        start = int(pointer)
        if start + count <= num:  # in one piece
            for ring, batch in rings:
                ring[start : start + count].copy_(batch)
            pointer.fill_((start + count) % num)
            return torch.arange(start, start + count)
    place = (pointer + torch.arange(count, device=pointer.device)) % num
    newest = slice(max(0, count - num), count)
    for ring, batch in rings:
        ring.index_copy_(0, place[newest], batch.detach()[newest].to(ring))
    pointer.add_(count).remainder_(num)
    place[: newest.start] = -1
    return place
