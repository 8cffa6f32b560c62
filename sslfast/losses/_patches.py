"""The autograd function of losses over patches."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, is_last_plain
from sslfast.losses._classes import mean_of
from sslfast.losses._patch_inputs import PatchOptions
from sslfast.losses._patch_places import Places


def patch_losses(
    function: str, places: Places, images: Tensor, options: PatchOptions, num_items: Tensor | float | None = None
) -> Tensor:
    """The loss of predictions that are checked already; a mean is divided by ``num_items`` where they are given."""
    found: Tensor = _PatchLoss.apply(
        function,
        options,
        torch.is_grad_enabled(),
        places.pred,
        images,
        places.mask,
        places.ids,
        places.sound,
        num_items,
    )
    return found.view(places.shape) if options.reduction == "none" else found


def _run(
    pred: Tensor,
    images: Tensor,
    mask: Tensor | None,
    ids: Tensor | None,
    weights: Tensor | None,
    options: PatchOptions,
    need_grad: bool,
) -> tuple[Tensor, Tensor]:
    results: tuple[Tensor, Tensor] = ops.masked_patch(
        pred.detach(), images, mask, ids, weights, list(options.patch), *options[1:-2], need_grad
    )
    return results


class _PatchLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, options, grad_enabled, pred, images, mask, ids, sound, num_items):  # type: ignore[no-untyped-def]
        wide = torch.float64 if pred.dtype == torch.float64 else torch.float32
        share = None
        if options.reduction == "mean":
            if num_items is None:
                share = (ids >= 0 if mask is None else mask).sum(dtype=wide).clamp_min_(1).reciprocal_().view(1)
            else:
                share = mean_of(torch.ones(1, dtype=wide, device=pred.device), num_items)
            share = share if options.factor == 1.0 else share * options.factor
        elif options.factor != 1.0:
            share = torch.full((1,), options.factor, dtype=wide, device=pred.device)
        if sound is not None:
            share = torch.ones(1, dtype=wide, device=pred.device) if share is None else share
            share = torch.where(sound, share, torch.nan)
        early = grad_enabled and ctx.needs_input_grad[3] and pred.dtype == wide and options.reduction != "none"
        losses, grad = _run(pred, images, mask, ids, share, options, early)
        ctx.function, ctx.options, ctx.early = function, options, early
        ctx.save_for_backward(pred, *((grad,) if early else (images, mask, ids, share)))
        if options.reduction == "none":
            return losses if share is None else losses * share
        total = losses.sum()
        return total if share is None else total * share.squeeze(0)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        pred, *saved = ctx.saved_tensors
        with torch.no_grad():
            if ctx.early:
                (found,) = saved
                found = found if is_last_plain(grad) else found * grad
            else:
                images, mask, ids, share = saved
                weights = grad if share is None else grad * share
                weights = weights.contiguous() if ctx.options.reduction == "none" else weights.reshape(1)
                _, found = _run(pred, images, mask, ids, weights, ctx.options, True)
        return None, None, None, first_order_only(ctx.function, found, pred, grad), *[None] * 5
