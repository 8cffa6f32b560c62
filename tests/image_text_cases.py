"""Images, texts and hard negatives, with ids and margins for them: what tests of CLIP's and SigLIP's options share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from oracle import assert_no_worse
from torch import Tensor

D, K = 16, 3


def features(n: int, dtype: torch.dtype = torch.float64, d: int = D) -> tuple[Tensor, Tensor, Tensor]:
    """Images, texts and hard negatives of each image, all about as near to each other as texts are to images."""
    images = F.normalize(torch.randn(n, d, dtype=torch.float64), dim=1)
    texts = F.normalize(images + torch.randn(n, d, dtype=torch.float64) / d**0.5, dim=1)
    hard = F.normalize(images.unsqueeze(1) + torch.randn(n, K, d, dtype=torch.float64) / d**0.5, dim=2)
    return images.to(dtype), texts.to(dtype), hard.to(dtype)


def over_own(images: Tensor, texts: Tensor, hard: Tensor | None = None) -> Tensor:
    """How much more similar than a pair are its image and other texts, its text and other images, and hard negatives.

    (N, 2 N + K), of hard negatives (N, K, D) of one image each or (K, D) of all.
    """
    similarities = images @ texts.T
    groups = [similarities, similarities.T]
    if hard is not None:
        groups.append((hard @ images.unsqueeze(2)).squeeze(2))
    return torch.cat(groups, dim=1) - (images * texts).sum(dim=1, keepdim=True)


def clear_margin(images: Tensor, texts: Tensor, hard: Tensor | None = None) -> float:
    """A margin near -0.2 times the pairs' similarity that no other one is near: rounding must not decide what is left
    out.
    """
    over = over_own(images, texts, hard).flatten()
    size = (images * texts).sum(dim=1).mean()
    some = over[(over > -0.3 * size) & (over < -0.1 * size)].sort().values
    widest = some.diff().argmax()
    return float(some[widest : widest + 2].mean())


def some_ids(n: int) -> dict[str, Tensor]:
    """An image in three has the text of another pair for its own, too, and some have none of that pair's id."""
    ids = torch.arange(n, dtype=torch.int32) % (2 * n // 3 + 1)
    return {"image_ids": ids, "text_ids": torch.where(torch.arange(n) % 5 == 0, 10 * n, ids.long())}


def wide(inputs: list[Any]) -> list[Any]:
    return [z if z is None else z.double() for z in inputs]


def assert_no_worse_than(
    reference: Callable[..., list[Tensor]],
    ours: Callable[..., list[Tensor]],
    inputs: list[Any],
    options: dict[str, Any],
    device: torch.device,
    scale: float,
) -> None:
    """Loss and gradients on the device against the reference's, of these inputs and in float64."""
    there = {key: x.to(device) if isinstance(x, Tensor) else x for key, x in options.items()}
    found = ours(*(None if z is None else z.to(device) for z in inputs), **there)
    same, truth = (reference(*given, **options) for given in (inputs, wide(inputs)))
    eps = torch.finfo(inputs[0].dtype).eps
    for k, r, g in zip(found, same, truth, strict=True):
        assert_no_worse(k, r, g, 32 * eps * scale * g.abs().max().item())


def assert_rank_is_checked(module: type[torch.nn.Module]) -> None:
    name = module.__name__
    for rank in ("3", None):
        with pytest.raises(TypeError, match=rf"^{name}: rank must be an int, got {type(rank).__name__}$"):
            module(rank=rank)
    for rank in (-1, 2):
        with pytest.raises(ValueError, match=rf"^{name}: rank must be in \[0, 1\], got {rank}$"):
            module(rank=rank, world_size=2)
    assert module(rank=1, world_size=2).rank == 1
