"""The options of clip_loss that its tests try, alone and together."""

from __future__ import annotations

from typing import Any

import torch
from image_text_cases import D, clear_margin, features, some_ids
from torch import Tensor

SCALE = 8.0
# Of ids, of a margin, of smoothing, of hard negatives: of one image each, or of all.
CHOICES = {
    "ids": (True, False, 0.0, ""),
    "margin": (False, True, 0.0, ""),
    "hard of each": (False, False, 0.0, "each"),
    "hard of all": (False, False, 0.0, "all"),
    "ids and margin": (True, True, 0.0, ""),
    "ids, smoothing": (True, False, 0.1, ""),
    "margin, hard of all": (False, True, 0.0, "all"),
    "smoothing, hard of each": (False, False, 1.0, "each"),
    "everything": (True, True, 0.2, "each"),
    "everything, hard of all": (True, True, 0.2, "all"),
}


def chosen(
    name: str,
    n: int,
    dtype: torch.dtype = torch.float64,
    sizes: tuple[float, ...] = (1.0, 1.0, 1.0),
    d: int = D,
) -> tuple[list[Any], dict[str, Any]]:
    """Images, texts and hard negatives or None, of lengths from half their size to one and a half; and options."""
    ids, margin, smoothing, hard = CHOICES[name]
    inputs: list[Any] = [*features(n, d=d)]
    if sizes != (1.0, 1.0, 1.0):
        inputs = [size * (0.5 + torch.rand(*z.shape[:-1], 1)) * z for size, z in zip(sizes, inputs, strict=True)]
    inputs = [z.to(dtype) for z in inputs]
    inputs[2] = {"": None, "each": inputs[2], "all": inputs[2].flatten(0, 1)[: max(1, n // 2)]}[hard]
    options: dict[str, Any] = {"label_smoothing": smoothing} | (some_ids(n) if ids else {})
    if margin:
        options["margin"] = clear_margin(*(z if z is None else z.double() for z in inputs))
    return inputs, options


def with_grads(function, images: Tensor, texts: Tensor, hard: Tensor | None, **options: Any) -> list[Tensor]:
    """Loss and gradients of features, scale and, if there are any, of hard negatives."""
    wide = torch.float64 if images.dtype == torch.float64 else torch.float32
    scale = torch.tensor(SCALE, dtype=wide, device=images.device)
    leaves = [z.detach().clone().requires_grad_() for z in (images, texts, scale, *([] if hard is None else [hard]))]
    loss = function(*leaves[:3], **options, **({} if hard is None else {"negative_keys": leaves[3]}))
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def symmetric(
    function,
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    *,
    image_ids: Tensor | None = None,
    text_ids: Tensor | None = None,
    negative_keys: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """InfoNCE both ways, ours or by definition, as a function of what clip_loss takes."""
    ids = {} if image_ids is None else {"query_ids": image_ids, "key_ids": text_ids}
    options |= {"in_batch": True, "symmetric": True}
    return function(images, texts, negative_keys, 1 / scale, **ids, **options).mean()
