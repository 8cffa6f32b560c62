"""The sigmoid loss of SigLIP."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast._autograd import normalized_side
from sslfast._verdict import JointChecks, spelled, spelled_scales
from sslfast.distributed import strategy_of, world_size
from sslfast.losses._few_pairs import SIGMOID, few, few_pairs, options_of
from sslfast.losses._hard import check_negative_keys
from sslfast.losses._ids import ids_of
from sslfast.losses._inputs import check_pair, check_scalar
from sslfast.losses._limits import check_margin, most_similar
from sslfast.losses._shown import shown_options
from sslfast.losses._siglip_options import hard_mean
from sslfast.losses._sigmoid import sigmoid_mean

_DIST_IMPLS = (None, "bidir", "shift", "reduce", "gather")
_NAMES = ("image_features", "text_features", "image_ids", "text_ids")


class SigLIPLoss(nn.Module):
    """The loss of SigLIP as a module, with open_clip's arguments; see :func:`siglip_loss`.

    Over several ranks the loss is that of the whole batch, the same on every rank, where open_clip's is that of the
    rank's own images; the gradients under DistributedDataParallel's averaging are the same.

    Args:
        cache_labels: taken for compatibility; there are no labels to cache. Default: False.
        rank: below ``world_size``; taken for compatibility, as torch.distributed knows. Default: 0.
        world_size: contrast with the texts of all ranks if above 1. Default: 1.
        dist_impl: how the ranks share the work: ``"bidir"`` and ``"shift"`` pass the texts round, as
            ``gather_distributed="ring"`` of :func:`siglip_loss` does; None, ``"reduce"`` and ``"gather"`` gather them.
            Default: None.
        normalize: divide the features by their norms first. Default: False.
        margin: leave out texts more similar to an image than its own by this much. Default: None, none.
        label_smoothing: moves the targets of all pairs to 1 - e / 2 and e / 2. Default: 0.

    Raises:
        TypeError: if ``world_size`` is not an int, ``margin`` or ``label_smoothing`` not a number, or ``cache_labels``
            or ``normalize`` not a bool.
        ValueError: if ``dist_impl`` is another, ``margin`` is not finite, ``label_smoothing`` not in [0, 1], or
            ``world_size`` is below 1, or above 1 and not that of torch.distributed (at the call).

    Example:
        >>> criterion = SigLIPLoss()
        >>> loss = criterion(image_features, text_features, model.logit_scale.exp(), model.logit_bias)
        >>> loss = criterion(**model(images, texts), image_ids=sources, text_ids=sources)  # two captions of one image
    """

    def __init__(
        self,
        cache_labels: bool = False,
        rank: int = 0,
        world_size: int = 1,
        dist_impl: str | None = None,
        *,
        normalize: bool = False,
        margin: float | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(dist_impl, (str, type(None))) or dist_impl not in _DIST_IMPLS:
            expected = "None, 'bidir', 'shift', 'reduce' or 'gather'"
            raise ValueError(f"SigLIPLoss: dist_impl must be {expected}, got {_check.shown(dist_impl)}")
        self.cache_labels = _check.boolean("SigLIPLoss", "cache_labels", cache_labels)
        self.world_size = _check.integer("SigLIPLoss", "world_size", world_size, 1)
        self.rank = _check.integer("SigLIPLoss", "rank", rank, 0, self.world_size - 1)
        self.dist_impl = dist_impl
        self.normalize = _check.boolean("SigLIPLoss", "normalize", normalize)
        self.margin = check_margin("SigLIPLoss", margin)
        self.label_smoothing = _check.probability("SigLIPLoss", "label_smoothing", label_smoothing)

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: float | Tensor,
        logit_bias: float | Tensor | None,
        output_dict: bool = False,
        *,
        image_ids: Tensor | None = None,
        text_ids: Tensor | None = None,
        negative_keys: Tensor | None = None,
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
            image_ids=image_ids,
            text_ids=text_ids,
            margin=self.margin,
            label_smoothing=self.label_smoothing,
            negative_keys=negative_keys,
            gather_distributed=gather,
        )
        return {"contrastive_loss": loss} if output_dict else loss

    def extra_repr(self) -> str:
        return shown_options(self, SigLIPLoss, "world_size")


def siglip_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: float | Tensor,
    logit_bias: float | Tensor | None = None,
    *,
    normalize: bool = False,
    image_ids: Tensor | None = None,
    text_ids: Tensor | None = None,
    margin: float | None = None,
    label_smoothing: float = 0.0,
    negative_keys: Tensor | None = None,
    gather_distributed: bool | str = False,
) -> Tensor:
    """Logistic loss of telling the N pairs of a batch from the N^2 - N other combinations of an image and a text.

    ``logits = logit_scale * image_features @ text_features.T + logit_bias``; ``labels = 2 * torch.eye(N) - 1``;
    ``loss = -F.logsigmoid(labels * logits).sum() / N``

    in O(N D) memory: the N x N logits are made in tiles, and the gradients in the same pass, from the same tiles:
    6 N^2 D FLOPs, or 2 N^2 D where nothing requires a gradient. Small losses keep their relative precision. Up to 512
    pairs on the CPU (256 of bfloat16) make all logits at once, half types widened.

    Args:
        image_features: (N, D), floating point, any strides; normalised, unless ``normalize``.
        text_features: (N, D), on the same device.
        logit_scale: factor of the similarities, a number or a tensor of one, which gets its gradient.
        logit_bias: added to the logits, a number or a tensor of one, which gets its gradient. Default: None, for 0.
        normalize: divide the features by their norms first. Default: False.
        image_ids: (N,) integers, with ``text_ids``: an image and a text of another pair with the same id (two captions
            of one image, say) are left out, not told apart. Default: None.
        text_ids: (N,) integers. Default: None.
        margin: a text whose similarity with an image is above that of the image's own text by more than this is taken
            for a false negative of that image and left out; similarities are ``image_features @ text_features.T``,
            whatever the scale. Texts have no margin of their own: swap the features for it. Default: None, none is.
        label_smoothing: share e of the targets that is spread over both labels, which become 1 - e / 2 and e / 2: adds
            (e / 2) y logit for every pair that counts, y = 1 or -1. Default: 0.
        negative_keys: (N, K, D), hard negatives of one image each, of any floating dtype: further negatives in its sum,
            unless the margin leaves them out; normalised, unless ``normalize``. They get a gradient if they require
            one. Default: None.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, divided by its
            number of pairs and the same on every rank, with gradients that are right under DistributedDataParallel's
            averaging; shards may differ in size. A rank takes its images against the texts of all ranks; the sums and
            the texts' gradients are reduced in forward, so that backward sends nothing. True or ``"all_gather"``
            gathers the texts of all ranks; ``"ring"`` passes them round while the ranks compute, so that none ever
            holds them all. False or ``"local"``: this rank's samples alone. The ranks have to agree on what requires a
            gradient. ``negative_keys`` are the rank's own; with them backward communicates, too, if scale or bias
            requires a gradient. Without a process group, or with one rank, it changes nothing. Default: False.

    Returns:
        Scalar loss, float32, or float64 if a feature is.

    Raises:
        TypeError: if features or ``negative_keys`` are not floating-point tensors, or float64 on a GPU, ``logit_scale``
            or ``logit_bias`` is neither a number nor a floating-point tensor, ids are not integers, ``margin`` or
            ``label_smoothing`` is not a number, or ``normalize`` not a bool.
        ValueError: if ``image_features`` is not (N, D) with N, D >= 1, ``text_features`` differs in shape or device,
            ``logit_scale`` or ``logit_bias`` is, as a number, not finite or more than the dtype of the loss can hold,
            or, as a tensor, has more than one element or is on another device, ids or ``negative_keys`` have another
            shape or device, one of ``image_ids`` and ``text_ids`` is given alone, ``margin`` is not finite,
            ``label_smoothing`` is not in [0, 1], ``gather_distributed`` is none of these, or D, a dtype or an option is
            not the same on every rank. Where one of several ranks raises, all do: the others a ValueError that names
            it.
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
        ids = ids_of(name, image_features, text_features, image_ids, text_ids, _NAMES)
        margin = check_margin(name, margin)
        smoothing = _check.probability(name, "label_smoothing", label_smoothing)
        if negative_keys is not None:
            check_negative_keys(name, negative_keys, "image_features", image_features, of_all=False)
    few_at_once = strategy == "local" and few(image_features, text_features)
    share, chosen = 1.0 / len(image_features), options_of(smoothing, margin, ids=ids)
    if few_at_once and negative_keys is None:
        sides = (image_features, text_features)
        return few_pairs(name, SIGMOID, share, *sides, logit_scale, logit_bias, normalize=normalize, options=chosen)
    options = None
    if strategy != "local":
        options = spelled(
            gather_distributed=strategy,
            normalize=normalize,
            image_ids=image_ids,
            margin=margin,
            label_smoothing=smoothing,
            # A rank's own negatives may take a gradient where those of others do not.
            negative_keys=None if negative_keys is None else negative_keys.detach(),
            image_features=image_features,
            text_features=text_features,
        ) | spelled_scales(logit_scale=logit_scale, logit_bias=logit_bias)
    dtype = torch.promote_types(image_features.dtype, text_features.dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    scale, bias = (
        number if isinstance(number, Tensor) else image_features.new_full((1,), number, dtype=wide)
        for number in (logit_scale, logit_bias)
    )
    if margin is None and negative_keys is None:
        return sigmoid_mean(
            *(name, image_features, text_features, scale, bias),
            normalize=normalize,
            strategy=strategy,
            options=options,
            ids=ids,
            smoothing=smoothing,
        )
    # All that follows is made of the features in the dtype of accumulation: gradients in half types are rounded once.
    scale, bias = scale.to(wide), bias.to(wide)
    images, image_side = _accumulated(image_features, normalize, wide, dtype)
    texts, text_side = _accumulated(text_features, normalize, wide, dtype)
    limits = None if margin is None else most_similar(images, texts, margin)
    if few_at_once:
        loss = few_pairs(name, SIGMOID, share, images, texts, scale, bias, normalize=False, options=chosen)
    else:
        loss = sigmoid_mean(
            *(name, images, texts, scale.reshape(1), bias.reshape(1)),
            normalize=False,
            strategy=strategy,
            options=options,
            ids=ids,
            limits=limits,
            smoothing=smoothing,
            dtype=dtype,
            sides=(*image_side, *text_side),
        )
    if negative_keys is None:
        return loss
    return loss + hard_mean(
        *(name, images, negative_keys, scale, bias),
        limits=limits,
        smoothing=smoothing,
        normalize=normalize,
        strategy=strategy,
    )


def _accumulated(
    features: Tensor, normalize: bool, wide: torch.dtype, dtype: torch.dtype
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    """Features in the dtype of accumulation, normalised if that is asked for; and the side and the factors that they
    are multiplied by, or None where these are the features themselves.
    """
    if normalize:
        return normalized_side("siglip_loss", features, wide, dtype)
    return features.to(wide), (None, None)
