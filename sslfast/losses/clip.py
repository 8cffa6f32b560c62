"""The contrastive loss of CLIP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check
from sslfast._verdict import JointChecks, spelled, spelled_scales
from sslfast.distributed import (
    count_rows,
    mean_gradient_over_ranks,
    mean_over_ranks,
    strategy_of,
    sum_over_ranks,
    world_size,
)
from sslfast.losses._cross import cross_softmax, two_way_mean
from sslfast.losses._cross_ranks import cross_softmax_over_ranks
from sslfast.losses._debias import check_tau_plus, debiased
from sslfast.losses._few_pairs import NO_OPTIONS, TWO_WAYS, Options, few, few_pairs
from sslfast.losses._inputs import check_pair, check_scalar
from sslfast.losses._kept import check_memory_budget


class CLIPLoss(nn.Module):
    """The loss of CLIP as a module, with open_clip's arguments; see :func:`clip_loss`.

    Over several ranks the loss is that of the whole batch, the same on every rank, and the gradients are those of one
    process under DistributedDataParallel's averaging, whatever ``local_loss`` and ``gather_with_grad`` say. (open_clip
    has these gradients with ``gather_with_grad=True``, and a share of them otherwise.)

    Args:
        local_loss: taken for compatibility. Default: False.
        gather_with_grad: taken for compatibility. Default: False.
        cache_labels: taken for compatibility; there are no labels to cache. Default: False.
        rank: taken for compatibility; torch.distributed knows. Default: 0.
        world_size: contrast with the pairs of all ranks if above 1. Default: 1.
        use_horovod: not supported. Default: False.
        normalize: divide the features by their norms first. Default: False.
        label_smoothing: share of the target that is spread over all N. Default: 0.
        tau_plus: share of positives among the negatives. Default: 0.
        strategy: how the ranks share the work if ``world_size`` is above 1: ``"all_gather"`` or ``"ring"``, see
            :func:`clip_loss`. Default: ``"all_gather"``.
        memory_budget: bytes of logits that may be kept for the gradient. Default: None, see :func:`clip_loss`.

    Raises:
        TypeError: if ``world_size`` is not an int, ``label_smoothing`` or ``tau_plus`` is not a number,
            ``memory_budget`` is neither None nor an int, or an argument that is False by default not a bool.
        ValueError: if ``use_horovod`` is true, ``world_size`` is below 1, ``label_smoothing`` is not in [0, 1] or
            ``tau_plus`` not in [0, 1), ``strategy`` is another, ``memory_budget`` is negative, or ``world_size`` is
            above 1 and not that of torch.distributed (at the call).

    Example:
        >>> criterion = CLIPLoss()
        >>> loss = criterion(image_features, text_features, logit_scale=model.logit_scale.exp())
    """

    def __init__(
        self,
        local_loss: bool = False,
        gather_with_grad: bool = False,
        cache_labels: bool = False,
        rank: int = 0,
        world_size: int = 1,
        use_horovod: bool = False,
        *,
        normalize: bool = False,
        label_smoothing: float = 0.0,
        tau_plus: float = 0.0,
        strategy: str = "all_gather",
        memory_budget: int | None = None,
    ) -> None:
        super().__init__()
        if _check.boolean("CLIPLoss", "use_horovod", use_horovod):
            raise ValueError("CLIPLoss: use_horovod is not supported, torch.distributed is")
        _check.one_of("CLIPLoss", "strategy", strategy, ("all_gather", "ring"))
        self.local_loss = _check.boolean("CLIPLoss", "local_loss", local_loss)
        self.gather_with_grad = _check.boolean("CLIPLoss", "gather_with_grad", gather_with_grad)
        self.cache_labels = _check.boolean("CLIPLoss", "cache_labels", cache_labels)
        self.rank = rank
        self.world_size = _check.integer("CLIPLoss", "world_size", world_size, 1)
        self.normalize = _check.boolean("CLIPLoss", "normalize", normalize)
        self.label_smoothing = _check.probability("CLIPLoss", "label_smoothing", label_smoothing)
        self.tau_plus = check_tau_plus("CLIPLoss", tau_plus)
        self.strategy = strategy
        self.memory_budget = check_memory_budget("CLIPLoss", memory_budget)

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: float | Tensor,
        logit_bias: float | Tensor | None = None,
        output_dict: bool = False,
    ) -> Tensor | dict[str, Tensor]:
        with JointChecks("CLIPLoss", self.world_size > 1, image_features):
            if self.world_size > 1 and self.world_size != world_size():
                expected = f"that of torch.distributed, {world_size()}"
                raise ValueError(f"CLIPLoss: world_size must be {expected}, got {self.world_size}")
            output_dict = _check.boolean("CLIPLoss", "output_dict", output_dict)
        loss = clip_loss(
            image_features,
            text_features,
            logit_scale,
            logit_bias,
            normalize=self.normalize,
            label_smoothing=self.label_smoothing,
            tau_plus=self.tau_plus,
            gather_distributed=self.strategy if self.world_size > 1 else False,
            memory_budget=self.memory_budget,
        )
        return {"contrastive_loss": loss} if output_dict else loss

    def extra_repr(self) -> str:
        return f"world_size={self.world_size}"


def clip_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: float | Tensor,
    logit_bias: float | Tensor | None = None,
    *,
    normalize: bool = False,
    label_smoothing: float = 0.0,
    tau_plus: float = 0.0,
    gather_distributed: bool | str = False,
    memory_budget: int | None = None,
) -> Tensor:
    """Symmetric cross-entropy of picking the text of every image and the image of every text of a batch.

    ``logits = logit_scale * image_features @ text_features.T``; ``labels = torch.arange(N)``;
    ``loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2``

    in O(N D) memory: the N x N logits are made in tiles, one pass for images and texts together, and made again for the
    gradients unless they are kept: 8 N^2 D FLOPs, or 6 where all are. The products of open_clip's loss cost 12.
    bfloat16 features are multiplied as such, with float32 sums. Small losses keep their relative precision. Up to 256
    pairs on the CPU make all logits at once and the gradients in forward, half types widened.

    Args:
        image_features: (N, D), floating point, any strides; normalised, unless ``normalize``.
        text_features: (N, D), on the same device.
        logit_scale: factor of the similarities, a number or a tensor of one, which gets its gradient.
        logit_bias: added to all logits, which changes nothing here; accepted as open_clip's models pass it, and its
            gradient is 0. Default: None.
        normalize: divide the features by their norms first. Default: False.
        label_smoothing: share of the target that is spread over all N texts or images, as in F.cross_entropy.
            Default: 0.
        tau_plus: debiased: the probability that a negative is of the pair's own class, whose part is taken out of the
            sums over the N - 1 negatives; features have to be normalised, by the model or by ``normalize``, which is
            not looked at: the least that such a sum can be is that of unit vectors. Default: 0.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            A rank takes its images against the texts of all ranks, which have to agree on what requires a gradient.
            True or ``"all_gather"`` gathers the embeddings of all ranks; ``"ring"`` passes them round while the ranks
            compute, so that none ever holds all of them at once. False or ``"local"``: this rank's samples
            alone. Forward and backward communicate: one that only some ranks call waits for ever. Without a process
            group, or with one rank, it changes nothing. Default: False.
        memory_budget: how many bytes of logits may be kept for the gradient, instead of being made again; 0 keeps none,
            4 N^2 (8 N^2 for float64, about 2 N^2 for bfloat16) keep all. On a GPU, over several ranks and of up to 256
            pairs on the CPU none are kept, whatever it says. Default: None, 2 MiB or 8 bytes (16 for float64) for every
            number of the features, which is O(N D).

    Returns:
        Scalar loss, float32, or float64 if a feature is.

    Raises:
        TypeError: if the features are not floating-point tensors, or float64 on a GPU, ``logit_scale`` or
            ``logit_bias`` is neither a number nor a floating-point tensor, ``label_smoothing`` or ``tau_plus`` is not a
            number, ``memory_budget`` is neither None nor an int, or ``normalize`` not a bool.
        ValueError: if ``image_features`` is not (N, D) with N, D >= 1, ``text_features`` differs in shape or device,
            ``logit_scale`` or ``logit_bias`` is, as a number, not finite or more than the dtype of the loss can hold,
            or, as a tensor, has more than one element or is on another device, ``label_smoothing`` is not in [0, 1],
            ``tau_plus`` is not in [0, 1), ``memory_budget`` is negative, ``gather_distributed`` is none of these, or D,
            a dtype or an option is not the same on every rank. Where one of several ranks raises, all do: the others a
            ValueError that names it.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """
    name = "clip_loss"
    with JointChecks(name, gather_distributed, image_features):
        strategy = strategy_of(name, gather_distributed)
        check_pair(name, "image_features", image_features, "text_features", text_features)
        logit_scale = check_scalar(name, "logit_scale", logit_scale, image_features, text_features)
        if logit_bias is not None:
            logit_bias = check_scalar(name, "logit_bias", logit_bias, image_features, text_features)
        normalize = _check.boolean(name, "normalize", normalize)
        smoothing = _check.probability(name, "label_smoothing", label_smoothing)
        tau_plus = check_tau_plus(name, tau_plus)
        budget = check_memory_budget(name, memory_budget)
    options = {}
    if strategy != "local":
        options = spelled(
            gather_distributed=strategy,
            normalize=normalize,
            label_smoothing=smoothing,
            tau_plus=tau_plus,
            image_features=image_features,
            text_features=text_features,
        ) | spelled_scales(logit_scale=logit_scale)
    plain = smoothing == tau_plus == 0.0
    if strategy == "local" and few(image_features, text_features):
        share, chosen = 0.5 / len(image_features), NO_OPTIONS if plain else Options(smoothing, tau_plus=tau_plus)
        sides = (image_features, text_features)
        loss = few_pairs(name, TWO_WAYS, share, *sides, logit_scale, normalize=normalize, options=chosen)
        return loss if not isinstance(logit_bias, Tensor) else _with_bias(loss, logit_bias)
    if isinstance(logit_scale, Tensor):  # one of a wider type would widen the loss
        wide = torch.float64 if torch.float64 in (image_features.dtype, text_features.dtype) else torch.float32
        logit_scale = logit_scale.to(wide).reshape(())
        if strategy != "local":
            logit_scale = mean_gradient_over_ranks(logit_scale)
    if plain and strategy == "local":
        loss = two_way_mean(name, image_features, text_features, logit_scale, normalize=normalize, memory_budget=budget)
        return loss if not isinstance(logit_bias, Tensor) else _with_bias(loss, logit_bias)
    positives = torch.arange(len(image_features), device=image_features.device)
    operands = (name, image_features, text_features, logit_scale, positives)
    if strategy == "local":
        row_lse, col_lse, positive = cross_softmax(*operands, two_way=True, normalize=normalize, memory_budget=budget)
    else:
        row_lse, col_lse, positive = cross_softmax_over_ranks(
            *operands, two_way=True, normalize=normalize, strategy=strategy, options=options
        )
    if tau_plus > 0.0:
        others = count_rows(text_features, strategy) - 1
        row_lse, col_lse = (debiased(lse, positive, others, tau_plus, logit_scale) for lse in (row_lse, col_lse))
    by_image, by_text = (F.softplus(lse - positive, threshold=50.0) for lse in (row_lse, col_lse))
    # An infinite feature may make nothing infinite but its own pair's logit, which would then count as a perfect pair.
    losses = torch.add(by_image + by_text, positive.detach(), alpha=0.0)
    if smoothing > 0.0:
        losses = torch.add(losses, positive, alpha=2 * smoothing)
    loss = (losses.mean() if strategy == "local" else mean_over_ranks(losses)) / 2
    if smoothing > 0.0:
        # Its share of the target moves from the positive to the mean over a row of logits, in both directions alike.
        # Products are sums, which autocast leaves alone.
        images, texts = (z.to(loss.dtype) for z in (image_features, text_features))
        if normalize:
            images, texts = F.normalize(images, dim=1), F.normalize(texts, dim=1)
        if strategy == "local":
            image, text = images.mean(dim=0), texts.mean(dim=0)
        else:
            sums = (images.sum(dim=0), texts.sum(dim=0), loss.new_full((1,), len(images)))
            means, count = sum_over_ranks(torch.cat(sums)).tensor_split([-1])
            image, text = (means / count).chunk(2)
        loss = loss - smoothing * logit_scale * (image * text).sum()
    return loss if not isinstance(logit_bias, Tensor) else _with_bias(loss, logit_bias)


def _with_bias(loss: Tensor, logit_bias: Tensor) -> Tensor:
    """The loss, which the bias does not change and which gives it a gradient of 0."""
    return loss + 0.0 * logit_bias.sum().to(loss.dtype)
