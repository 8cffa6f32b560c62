"""The sigmoid loss of SigLIP."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast._autograd import (
    distinct,
    first_order_only,
    product_side,
    unit_of,
    unit_rows_backward,
    unit_side,
)
from sslfast._verdict import JointChecks, Options, spelled, spelled_scales
from sslfast.distributed import exchange_shards, strategy_of, world_size
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._few_pairs import SIGMOID, few, few_pairs
from sslfast.losses._inputs import check_pair, check_scalar

_DIST_IMPLS = (None, "bidir", "shift", "reduce", "gather")


class SigLIPLoss(nn.Module):
    """The loss of SigLIP as a module, with open_clip's arguments; see :func:`siglip_loss`.

    Over several ranks the loss is that of the whole batch, the same on every rank, where open_clip's is that of the
    rank's own images; the gradients under DistributedDataParallel's averaging are the same.

    Args:
        cache_labels: taken for compatibility; there are no labels to cache. Default: False.
        rank: taken for compatibility; torch.distributed knows. Default: 0.
        world_size: contrast with the texts of all ranks if above 1. Default: 1.
        dist_impl: how the ranks share the work: ``"bidir"`` and ``"shift"`` pass the texts round, as
            ``gather_distributed="ring"`` of :func:`siglip_loss` does; None, ``"reduce"`` and ``"gather"`` gather them.
            Default: None.
        normalize: divide the features by their norms first. Default: False.

    Raises:
        TypeError: if ``world_size`` is not an int.
        ValueError: if ``dist_impl`` is another, or ``world_size`` is below 1, or above 1 and not that of
            torch.distributed (at the call).

    Example:
        >>> criterion = SigLIPLoss()
        >>> loss = criterion(image_features, text_features, model.logit_scale.exp(), model.logit_bias)
    """

    def __init__(
        self,
        cache_labels: bool = False,
        rank: int = 0,
        world_size: int = 1,
        dist_impl: str | None = None,
        *,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(dist_impl, (str, type(None))) or dist_impl not in _DIST_IMPLS:
            expected = "None, 'bidir', 'shift', 'reduce' or 'gather'"
            raise ValueError(f"SigLIPLoss: dist_impl must be {expected}, got {_check.shown(dist_impl)}")
        self.cache_labels = _check.boolean("SigLIPLoss", "cache_labels", cache_labels)
        self.rank = rank
        self.world_size = _check.integer("SigLIPLoss", "world_size", world_size, 1)
        self.dist_impl = dist_impl
        self.normalize = _check.boolean("SigLIPLoss", "normalize", normalize)

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: float | Tensor,
        logit_bias: float | Tensor | None,
        output_dict: bool = False,
    ) -> Tensor | dict[str, Tensor]:
        with JointChecks("SigLIPLoss", self.world_size > 1, image_features):
            if self.world_size > 1 and self.world_size != world_size():
                expected = f"that of torch.distributed, {world_size()}"
                raise ValueError(f"SigLIPLoss: world_size must be {expected}, got {self.world_size}")
            output_dict = _check.boolean("SigLIPLoss", "output_dict", output_dict)
        strategy = "ring" if self.dist_impl in ("bidir", "shift") else "all_gather"
        gather = strategy if self.world_size > 1 else False
        loss = siglip_loss(
            image_features,
            text_features,
            logit_scale,
            logit_bias,
            normalize=self.normalize,
            gather_distributed=gather,
        )
        return {"contrastive_loss": loss} if output_dict else loss

    def extra_repr(self) -> str:
        return f"world_size={self.world_size}"


def siglip_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: float | Tensor,
    logit_bias: float | Tensor | None = None,
    *,
    normalize: bool = False,
    gather_distributed: bool | str = False,
) -> Tensor:
    """Logistic loss of telling the N pairs of a batch from the N^2 - N other combinations of an image and a text.

    ``logits = logit_scale * image_features @ text_features.T + logit_bias``; ``labels = 2 * torch.eye(N) - 1``;
    ``loss = -F.logsigmoid(labels * logits).sum() / N``

    in O(N D) memory: the N x N logits are made in tiles, and the gradients in the same pass, from the same tiles:
    6 N^2 D FLOPs, or 2 N^2 D where nothing requires a gradient. Small losses keep their relative precision. Up to 256
    pairs on the CPU make all logits at once, half types widened.

    Args:
        image_features: (N, D), floating point, any strides; normalised, unless ``normalize``.
        text_features: (N, D), on the same device.
        logit_scale: factor of the similarities, a number or a tensor of one, which gets its gradient.
        logit_bias: added to the logits, a number or a tensor of one, which gets its gradient. Default: None, for 0.
        normalize: divide the features by their norms first. Default: False.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, divided by its
            number of pairs and the same on every rank, with gradients that are right under DistributedDataParallel's
            averaging; shards may differ in size. A rank takes its images against the texts of all ranks; the sums and
            the texts' gradients are reduced in forward, so that backward sends nothing. True or ``"all_gather"``
            gathers the texts of all ranks; ``"ring"`` passes them round while the ranks compute, so that none ever
            holds them all. False or ``"local"``: this rank's samples alone. The ranks have to agree
            on what requires a gradient. Without a process group, or with one rank, it changes nothing. Default: False.

    Returns:
        Scalar loss, float32, or float64 if a feature is.

    Raises:
        TypeError: if the features are not floating-point tensors, or float64 on a GPU, ``logit_scale`` or
            ``logit_bias`` is neither a number nor a floating-point tensor, or ``normalize`` not a bool.
        ValueError: if ``image_features`` is not (N, D) with N, D >= 1, ``text_features`` differs in shape or device, or
            ``logit_scale`` or ``logit_bias`` is, as a number, not finite or more than the dtype of the loss can hold,
            or, as a tensor, has more than one element or is on another device, ``gather_distributed`` is none of these,
            or D, a dtype or an option is not the same on every rank. Where one of several ranks raises, all do: the
            others a ValueError that names it.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023.
    """
    name = "siglip_loss"
    with JointChecks(name, gather_distributed, image_features):
        strategy = strategy_of(name, gather_distributed)
        check_pair(name, "image_features", image_features, "text_features", text_features)
        logit_scale = check_scalar(name, "logit_scale", logit_scale, image_features, text_features)
        logit_bias = 0.0 if logit_bias is None else logit_bias
        logit_bias = check_scalar(name, "logit_bias", logit_bias, image_features, text_features)
        normalize = _check.boolean(name, "normalize", normalize)
    if strategy == "local" and few(image_features, text_features):
        sides, share = (image_features, text_features), 1.0 / len(image_features)
        return few_pairs(name, SIGMOID, share, *sides, logit_scale, logit_bias, normalize=normalize)
    options = None
    if strategy != "local":
        options = spelled(
            gather_distributed=strategy,
            normalize=normalize,
            image_features=image_features,
            text_features=text_features,
        ) | spelled_scales(logit_scale=logit_scale, logit_bias=logit_bias)
    wide = torch.float64 if torch.float64 in (image_features.dtype, text_features.dtype) else torch.float32
    scale, bias = (
        number if isinstance(number, Tensor) else image_features.new_full((1,), number, dtype=wide)
        for number in (logit_scale, logit_bias)
    )
    operands = distinct(image_features, text_features, scale, bias)
    loss: Tensor = _SigLIP.apply(name, *operands, normalize, strategy, options, torch.is_grad_enabled())
    return loss


class _SigLIP(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, rows, columns, scale, bias, normalize, strategy, options, grad_enabled):  # type: ignore[no-untyped-def]
        dtype = torch.promote_types(rows.dtype, columns.dtype)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        norms = factors = (None, None)
        if normalize:
            sides, norms, factors = zip(*(unit_side(z, dtype) for z in (rows, columns)), strict=True)
        else:
            sides = tuple(product_side(z, dtype) for z in (rows, columns))
        numbers = [number.to(wide) for number in (scale, bias)]
        needs = [grad_enabled and needed for needed in ctx.needs_input_grad[1:3]]
        positives = torch.arange(len(rows), device=rows.device)
        if strategy == "local":
            loss, *products, d_scale, d_bias = ops.sigmoid_pairs(
                *sides, positives, *numbers, 1 / len(rows), *needs, *factors
            )
        else:
            loss, *products, d_scale, d_bias = _over_ranks(
                function, strategy, options, (*sides, *factors), positives, numbers[0], numbers[1], needs
            )
        units = sides if normalize else (None, None)  # of no other use in the backward pass
        ctx.save_for_backward(rows, columns, scale, bias, *units, *norms, *factors, *products, d_scale, d_bias)
        ctx.function = function
        # A rank has its features' part of the whole batch's gradient, and averaging divides the sum of the parts.
        ctx.world = 1 if strategy == "local" else world_size()
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        saved = ctx.saved_tensors
        inputs, sides, norms, factors = saved[:4], saved[4:6], saved[6:8], saved[8:10]
        products, numbers = saved[10:12], saved[12:]
        needs = ctx.needs_input_grad[1:5]
        with torch.no_grad():
            share = grad if ctx.world == 1 else grad * ctx.world
            found: list[Tensor | None] = []
            parts = zip(inputs, sides, norms, factors, products, needs, strict=False)
            for z, side, norm, factor, product, needed in parts:
                if not needed:
                    found.append(None)
                    continue
                result = product * share
                result = result if norm is None else unit_rows_backward(result, unit_of(side, factor), norm)
                found.append(result.to(z.dtype))
            for number, total, needed in zip(inputs[2:], numbers, needs[2:], strict=True):
                found.append((total * grad).to(number.dtype).reshape(number.shape) if needed else None)
        grads = (None if g is None else first_order_only(ctx.function, g, *inputs, grad) for g in found)
        return None, *grads, *[None] * 4


def _over_ranks(
    function: str,
    strategy: str,
    options: Options,
    sides: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    positives: Tensor,
    scale: Tensor,
    bias: Tensor,
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What the operator gives for this rank's images and texts, of the batch of all ranks; the numbers are sums.

    ``sides`` are images and texts and the factors of both.
    """
    images, texts, image_factors, text_factors = sides
    shards = exchange_shards(function, texts, options)
    results = scale.expand(texts.shape) if needs[1] else None
    exchange = blocks_over_ranks(strategy, shards, results)
    exchange.post(texts, text_factors)
    nobody = torch.full_like(positives, -1)
    share = 1 / sum(shards.sizes)
    found: list[Tensor] = []
    for distance, _, (block, block_factors) in exchange.blocks():
        picks = nobody if distance else positives
        loss, d_images, d_texts, d_scale, d_bias = ops.sigmoid_pairs(
            images, block, picks, scale, bias, share, *needs, image_factors, block_factors
        )
        part = [torch.stack([loss, d_scale, d_bias]), d_images]
        found = [a.add_(b) for a, b in zip(found, part, strict=True)] if found else part
        if needs[1]:
            exchange.leave(d_texts)
    sums, d_images = found
    d_texts = exchange.collect() if needs[1] else images[:0]
    dist.all_reduce(sums)
    loss, d_scale, d_bias = (total.clone() for total in sums)
    return loss, d_images, d_texts, d_scale, d_bias
