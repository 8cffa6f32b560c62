"""Images of a batch mixed with one another: how is drawn apart from its being done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from sslfast import _batch_rules, _check, ops
from sslfast._arguments import numbered_rows
from sslfast._autograd import traced_once
from sslfast.augment import _float_batch
from sslfast.random import Generator, seed_tensor

# Columns of the parameters of a batch: 0 an image that stays, 1 a blend, 2 a box; the index of the partner; lambda, the
# weight of the image's own label, and in a blend of its pixels; the box that is the partner's, in pixels.
MIX_PARAMS = ("kind", "partner", "lam", "top", "left", "height", "width")

# What only the kernels on the CPU find out, in their words; a GPU does not wait for it.
_CLASSES, _PERMUTATION = "must be in [0, num_classes)", "must be a permutation"
_WRONG = {
    _PERMUTATION: lambda: "mix_images: params must have a permutation of the batch for partners where inplace",
}

MixRules: TypeAlias = "tuple[int, int, float, float, float, float, int, float, float, bool]"


class MixedLabels(NamedTuple):
    """Two labels of each image and the weight of the first: a loss is ``lam * loss(a) + (1 - lam) * loss(b)``."""

    labels_a: Tensor
    labels_b: Tensor
    lam: Tensor


def sample_mix(
    rows: int,
    image_size: tuple[int, int],
    *,
    mixup_alpha: float = 1.0,
    cutmix_alpha: float = 0.0,
    cutmix_minmax: tuple[float, float] | None = None,
    prob: float = 1.0,
    switch_prob: float = 0.5,
    mode: str = "batch",
    partner: str = "roll",
    box: str = "torchvision",
    correct_lam: bool = True,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draws how ``mix_images`` and ``mix_labels`` mix a batch: lambda ~ Beta(alpha, alpha), boxes, partners.

    Lambda is drawn without rejection from four words, in arithmetic of equal bits on the CPU and the GPU. No host
    synchronisation on a GPU.

    Args:
        rows: number of images N, at least 0.
        image_size: (height, width), in pixels.
        mixup_alpha: of the blends; 0: no blends. Default: 1.
        cutmix_alpha: of the boxes; 0: no boxes. Default: 0.
        cutmix_minmax: (low, high): sides of boxes uniform within these shares of the image's, and boxes on. Default:
            None, from lambda.
        prob: probability of mixing. Default: 1.
        switch_prob: probability of a box, where there are both. Default: 0.5.
        mode: "batch": all images share one draw, which depends on the seed alone. "pair": image i and image N - 1 - i
            share theirs, which depends on (seed, number of the earlier). "elem": everyone draws, (seed, number).
            Default: "batch".
        partner: "roll": the image before, as in torchvision. "flip": image N - 1 - i, as in timm. "permutation": a
            random one, which may be the image itself. Default: "roll".
        box: "torchvision" or "timm": whose rounding of a box's sides. Default: "torchvision".
        correct_lam: lambda of a box is the share of the image outside it. Default: True.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Partners are within the shard. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: None, that of ``sample_ids``, else torch's default.

    Returns:
        float32 (N, 7), whose columns ``MIX_PARAMS`` names.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, both alphas are 0, a word is not one of these, pairs are not mirrored
            (``mode="pair"`` goes with ``partner="flip"``), or the generator is on another GPU.

    Reference: Zhang et al., "mixup", ICLR 2018; Yun et al., "CutMix", ICCV 2019; timm.data.Mixup.
    """
    name = "sample_mix"
    rules = _batch_rules.mix_rules(
        name, mixup_alpha, cutmix_alpha, cutmix_minmax, prob, switch_prob, mode, partner, box, correct_lam
    )
    rows = _check.integer(name, "rows", rows, 0, 2**24)
    size = _float_batch.check_size(name, image_size)
    at = sample_ids.device if device is None and isinstance(sample_ids, Tensor) else device
    like = torch.empty((), device=at)
    return draw_mix(name, like, rows, size, rules, generator, row_offset, sample_ids)


def draw_mix(
    name: str,
    like: Tensor,
    rows: int,
    size: tuple[int, int],
    rules: MixRules,
    generator: Generator,
    row_offset: int,
    sample_ids: Tensor | None,
) -> Tensor:
    """The parameters of a batch, on the device of ``like``; raises what ``sample_mix`` does."""
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, rows, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    return ops.batch_mix_params(like, seed, sample_ids, rows, *size, *rules, row_offset)


def mix_images(images: Tensor, params: Tensor, *, inplace: bool = False) -> Tensor:
    """Mixes images as ``params`` say: ``lam * x[i] + (1 - lam) * x[partner]``, or the box of the partner in x[i].

    One pass over the batch: each value read from memory once and written once; boxes in place are all that is touched.
    In float32 a blend has the bits of ``x.roll(1, 0).mul(1 - lam).add(x.mul(lam))``; narrower types are rounded once.
    Pixels that are not used, those under a box and those of an image that stays, are copied or left, never multiplied.
    A blend of bytes is worked out in float32 and rounded to the nearest byte, half up; torchvision raises an error.
    The gradient reaches both images; it is the same mixing turned round. No host synchronisation on a GPU.

    Args:
        images: float32, bfloat16, float16, float64 or uint8, shape (N, C, H, W), any strides.
        params: float32, shape (N, 7), on the device of ``images``: from ``sample_mix``, or by hand with the columns of
            ``MIX_PARAMS``. Not read on the host: partners are clipped to the batch, boxes to the image.
        inplace: change ``images`` and return it. Partners have to be a permutation of the batch then; the CPU checks
            that, a GPU leaves images that are in no cycle as they are. Default: False.

    Returns:
        ``images`` where ``inplace``, else a new tensor, in the memory format of ``images`` (channels last or
        contiguous).

    Raises:
        TypeError: ``images`` or ``params`` is not a tensor of these types, or ``inplace`` no bool.
        ValueError: a shape or device is wrong; or, where ``inplace``, ``images`` needs a gradient, is expanded or has
            lines that are not contiguous, N is above 8192, or partners on the CPU are no permutation.
    """
    name = "mix_images"
    _float_batch.check_batch(name, images, bytes_too=True)
    params = _float_batch.check_params(name, params, images, len(MIX_PARAMS))
    inplace = _check.boolean(name, "inplace", inplace)
    if not inplace:
        return _mixed(_float_batch.in_lines(images), params)
    _float_batch.check_in_place(name, images)
    if images.shape[0] > _float_batch.MOST_IN_PLACE:
        raise ValueError(
            f"{name}: images must be at most {_float_batch.MOST_IN_PLACE} where inplace, got {len(images)}"
        )
    if torch.is_grad_enabled() and images.requires_grad:
        raise ValueError(f"{name}: inplace must be False for images that need a gradient, got True")
    _guarded(lambda: ops.batch_mix_(images, params), _WRONG)
    return images


def _partners(params: Tensor) -> Tensor:
    """Clipped to the batch, as the operator clips them."""
    return params[:, 1].nan_to_num().clamp(0, max(params.shape[0] - 1, 0)).long()


def _mixed(images: Tensor, params: Tensor) -> Tensor:
    if torch.is_grad_enabled() and images.requires_grad:
        return _Mix.apply(images, params)
    return ops.batch_mix(images, params)


class _Mix(torch.autograd.Function):
    """Linear in the images; the backward is the adjoint."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, params: Tensor) -> Tensor:
        ctx.save_for_backward(params)
        return ops.batch_mix(images, params)

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _MixAdjoint.apply(_float_batch.in_lines(grad), ctx.saved_tensors[0]), None


class _MixAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, params: Tensor) -> Tensor:
        ctx.save_for_backward(params)
        rows = params.shape[0]
        sorted_partners, users = _partners(params).sort(stable=True)
        starts = torch.searchsorted(sorted_partners, torch.arange(rows + 1, device=params.device))
        return ops.batch_mix_backward(grad, params, users, starts)

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _mixed(_float_batch.in_lines(grad), ctx.saved_tensors[0]), None


def mix_labels(
    labels: Tensor | None,
    params: Tensor,
    *,
    num_classes: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor | MixedLabels:
    """Mixes labels as ``mix_images`` mixes images: soft targets, or both labels and lambda.

    Args:
        labels: int64 (N,), class ids; or floating point (N, K), soft or multi-label targets; or None, which counts the
            images, for losses that tell the images of a batch apart.
        params: float32 (N, 7), of ``sample_mix``.
        num_classes: K of the soft targets that class ids become. Default: None, both labels and lambda are returned.
        label_smoothing: of the classes, as in timm: 1 - s + s / K for the class, s / K for the others. Default: 0.

    Returns:
        (N, K) targets ``lam * y[i] + (1 - lam) * y[partner]``, float32 for class ids, else in the type of ``labels``;
        or, for ids without ``num_classes``, ``MixedLabels(labels_a, labels_b, lam)``, each (N,).

    Raises:
        TypeError: ``labels`` or ``params`` is not a tensor of these types, or a number has the wrong type.
        ValueError: a shape, device or number is out of range, or a class id on the CPU is none below ``num_classes``.
            On a GPU, which is not waited for, the targets of such an image and of who has it for a partner are NaN.
    """
    name = "mix_labels"
    if not isinstance(params, Tensor) or params.dtype != torch.float32:
        got = params.dtype if isinstance(params, Tensor) else type(params).__name__
        raise TypeError(f"{name}: params must be a float32 tensor, got {got}")
    if params.dim() != 2 or params.shape[1] != len(MIX_PARAMS):
        raise ValueError(f"{name}: params must have shape (N, {len(MIX_PARAMS)}), got {tuple(params.shape)}")
    rows = params.shape[0]
    smoothing = _check.probability(name, "label_smoothing", label_smoothing)
    if labels is None:
        labels = torch.arange(rows, device=params.device)
    if not isinstance(labels, Tensor) or not (labels.dtype == torch.int64 or labels.is_floating_point()):
        got = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"{name}: labels must be an int64 or floating-point tensor, got {got}")
    soft = labels.is_floating_point()
    if labels.dim() != 1 + soft or labels.shape[0] != rows:
        expected = f"({rows}, K), being soft" if soft else f"({rows},), being class ids"
        raise ValueError(f"{name}: labels must have shape {expected}, got {tuple(labels.shape)}")
    if labels.device != params.device:
        raise ValueError(f"{name}: labels must be on {params.device}, like params, got {labels.device}")
    if num_classes is not None:
        num_classes = _check.integer(name, "num_classes", num_classes, 1)
        if soft and labels.shape[1] != num_classes:
            raise ValueError(f"{name}: labels must have shape ({rows}, {num_classes}), got {tuple(labels.shape)}")
    if soft:
        lam, partners = params[:, 2], _partners(params)
        weight = lam[:, None].to(labels.dtype)
        return labels * weight + labels[partners] * (1 - weight)
    if num_classes is None:
        return MixedLabels(labels, labels[_partners(params)], params[:, 2])
    return _guarded(
        lambda: ops.mix_targets(labels.contiguous(), params.detach().contiguous(), num_classes, smoothing),
        {_CLASSES: lambda: f"{name}: labels must be in [0, {num_classes}), got {labels.min():d} to {labels.max():d}"},
    )


def _guarded(call: Callable[[], Any], messages: dict[str, Callable[[], str]]) -> Any:
    """``call()``, whose errors are told in words of the caller."""
    if torch.compiler.is_compiling():
        return call()
    try:
        return call()
    except RuntimeError as error:
        found = next((message for words, message in messages.items() if words in str(error)), None)
        if found is None:
            raise
        raise ValueError(found()) from None
