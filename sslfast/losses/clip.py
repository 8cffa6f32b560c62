"""The contrastive loss of CLIP."""

from __future__ import annotations

from torch import Tensor, nn

from sslfast import _check
from sslfast._verdict import JointChecks, Options, spelled, spelled_scales
from sslfast.distributed import strategy_of, world_size
from sslfast.losses._clip_options import clip_with_options, margin_of_logits
from sslfast.losses._clip_tiles import clip_in_tiles
from sslfast.losses._debias import check_tau_plus
from sslfast.losses._few_pairs import TWO_WAYS, few, few_pairs, options_of
from sslfast.losses._hard import check_negative_keys
from sslfast.losses._ids import ids_of
from sslfast.losses._inputs import check_pair, check_scalar
from sslfast.losses._kept import check_memory_budget
from sslfast.losses._limits import check_margin
from sslfast.losses._shown import shown_options

_NAMES = ("image_features", "text_features", "image_ids", "text_ids")


class CLIPLoss(nn.Module):
    """The loss of CLIP as a module, with open_clip's arguments; see :func:`clip_loss`.

    Over several ranks the loss is that of the whole batch, the same on every rank, and the gradients are those of one
    process under DistributedDataParallel's averaging, whatever ``local_loss`` and ``gather_with_grad`` say. (open_clip
    has these gradients with ``gather_with_grad=True``, and a share of them otherwise.)

    Args:
        local_loss: taken for compatibility. Default: False.
        gather_with_grad: taken for compatibility. Default: False.
        cache_labels: taken for compatibility; there are no labels to cache. Default: False.
        rank: below ``world_size``; taken for compatibility, as torch.distributed knows. Default: 0.
        world_size: contrast with the pairs of all ranks if above 1. Default: 1.
        use_horovod: not supported. Default: False.
        normalize: divide the features by their norms first. Default: False.
        margin: leave out negatives more similar than the pair by this much. Default: None, none.
        label_smoothing: share of the target that is spread over the candidates. Default: 0.
        tau_plus: share of positives among the negatives. Default: 0.
        strategy: how the ranks share the work if ``world_size`` is above 1: ``"all_gather"`` or ``"ring"``, see
            :func:`clip_loss`. Default: ``"all_gather"``.
        memory_budget: bytes of logits that may be kept for the gradient. Default: None, see :func:`clip_loss`.

    Raises:
        TypeError: if ``world_size`` is not an int, ``margin``, ``label_smoothing`` or ``tau_plus`` is not a number,
            ``memory_budget`` is neither None nor an int, or an argument that is False by default not a bool.
        ValueError: if ``use_horovod`` is true, ``world_size`` is below 1, ``margin`` is not finite, ``label_smoothing``
            not in [0, 1] or ``tau_plus`` not in [0, 1), ``strategy`` is another, ``memory_budget`` is negative, or
            ``world_size`` is above 1 and not that of torch.distributed (at the call).

    Example:
        >>> criterion = CLIPLoss()
        >>> loss = criterion(image_features, text_features, logit_scale=model.logit_scale.exp())
        >>> loss = criterion(**model(images, texts), image_ids=sources, text_ids=sources)  # two captions of one image
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
        margin: float | None = None,
        label_smoothing: float = 0.0,
        tau_plus: float = 0.0,
        strategy: str = "all_gather",
        memory_budget: int | None = None,
    ) -> None:
        super().__init__()
        self.use_horovod = _check.boolean("CLIPLoss", "use_horovod", use_horovod)
        if self.use_horovod:
            raise ValueError("CLIPLoss: use_horovod is not supported, torch.distributed is")
        _check.one_of("CLIPLoss", "strategy", strategy, ("all_gather", "ring"))
        self.local_loss = _check.boolean("CLIPLoss", "local_loss", local_loss)
        self.gather_with_grad = _check.boolean("CLIPLoss", "gather_with_grad", gather_with_grad)
        self.cache_labels = _check.boolean("CLIPLoss", "cache_labels", cache_labels)
        self.world_size = _check.integer("CLIPLoss", "world_size", world_size, 1)
        self.rank = _check.integer("CLIPLoss", "rank", rank, 0, self.world_size - 1)
        self.normalize = _check.boolean("CLIPLoss", "normalize", normalize)
        self.margin = check_margin("CLIPLoss", margin)
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
        *,
        image_ids: Tensor | None = None,
        text_ids: Tensor | None = None,
        negative_keys: Tensor | None = None,
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
            image_ids=image_ids,
            text_ids=text_ids,
            margin=self.margin,
            label_smoothing=self.label_smoothing,
            tau_plus=self.tau_plus,
            negative_keys=negative_keys,
            gather_distributed=self.strategy if self.world_size > 1 else False,
            memory_budget=self.memory_budget,
        )
        return {"contrastive_loss": loss} if output_dict else loss

    def extra_repr(self) -> str:
        return shown_options(self, CLIPLoss, "world_size")


def clip_loss(
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
    tau_plus: float = 0.0,
    negative_keys: Tensor | None = None,
    gather_distributed: bool | str = False,
    memory_budget: int | None = None,
) -> Tensor:
    """Symmetric cross-entropy of picking the text of every image and the image of every text of a batch.

    ``logits = logit_scale * image_features @ text_features.T``; ``labels = torch.arange(N)``;
    ``loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2``

    in O(N D) memory: the N x N logits are made in tiles, one pass for images and texts together, and made again for the
    gradients unless they are kept: 8 N^2 D FLOPs, or 6 where all are. The products of open_clip's loss cost 12.
    bfloat16 features are multiplied as such, with float32 sums, but on the CPU widened beside much smoothing. Small
    losses keep their relative precision. Up to 512 pairs on the CPU (256 of bfloat16 with most options) make all logits
    at once, half types widened, and the gradients in forward but for hard negatives of one image each; docs/losses.md
    says when.

    Args:
        image_features: (N, D), floating point, any strides; normalised, unless ``normalize``.
        text_features: (N, D), on the same device.
        logit_scale: factor of the similarities, a number or a tensor of one, which gets its gradient.
        logit_bias: added to all logits, which changes nothing here; accepted as open_clip's models pass it, and its
            gradient is 0. Default: None.
        normalize: divide the features by their norms first. Default: False.
        image_ids: (N,) integers, with ``text_ids``: an image and a text of another pair with the same id (two captions
            of one image, say) are no negatives of each other. Default: None.
        text_ids: (N,) integers. Default: None.
        margin: a text, or an image of that text, whose similarity is above that of the pair by more than this is taken
            for a false negative and left out; similarities are ``image_features @ text_features.T``. With a positive
            ``logit_scale``, which a tensor on a GPU or in a compiled graph is not asked for: the loss is NaN then.
            Default: None, none is.
        label_smoothing: share of the target that is spread over all N texts or images, as in F.cross_entropy, or with
            these options over the candidates: the own one and the negatives that ids and margin leave. Default: 0.
        tau_plus: debiased: the probability that a negative is of the pair's own class, whose part is taken out of the
            sums over the N - 1 negatives, and those of ``negative_keys``, counted before ids and margin; features have
            to be normalised, by the model or by ``normalize``, which is not looked at: the least that such a sum can be
            is that of unit vectors. Default: 0.
        negative_keys: further texts, negatives of the images alone, of any floating dtype: (K, D) of every image, or
            (N, K, D), hard ones of one image each; normalised, unless ``normalize``. The margin leaves them out, too.
            They get a gradient if they require one. Default: None.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            A rank takes its images against the texts of all ranks, which have to agree on what requires a gradient.
            True or ``"all_gather"`` gathers the embeddings of all ranks; ``"ring"`` passes them round while the ranks
            compute, so that none ever holds all of them at once. ``negative_keys`` are the rank's own. False or
            ``"local"``: this rank's samples alone. Forward and backward communicate: one that only some ranks call
            waits for ever. Without a process group, or with one rank, it changes nothing. Default: False.
        memory_budget: how many bytes of logits may be kept for the gradient, instead of being made again, by all passes
            together; 0 keeps none, 4 N^2 (8 N^2 for float64, about 2 N^2 for bfloat16 but with a margin or much
            smoothing) keep all, and those of ``negative_keys`` (K, D) that take a gradient as many a logit. On a GPU
            and over several ranks none are kept, and what the CPU makes at once does not ask for it. Default: None, 2
            MiB or 8 bytes (16 for float64) for every number of both sides, which is O(N D), for each pass: one, and one
            with such ``negative_keys``.

    Returns:
        Scalar loss, float32, or float64 if a feature is.

    Raises:
        TypeError: if features or ``negative_keys`` are not floating-point tensors, or float64 on a GPU, ``logit_scale``
            or ``logit_bias`` is neither a number nor a floating-point tensor, ids are not integers, ``margin``,
            ``label_smoothing`` or ``tau_plus`` is not a number, ``memory_budget`` is neither None nor an int, or
            ``normalize`` not a bool.
        ValueError: if ``image_features`` is not (N, D) with N, D >= 1, ``text_features`` differs in shape or device,
            ``logit_scale`` or ``logit_bias`` is, as a number, not finite or more than the dtype of the loss can hold,
            or, as a tensor, has more than one element or is on another device, ids or ``negative_keys`` have another
            shape or device, one of ``image_ids`` and ``text_ids`` is given alone, ``margin`` is not finite, or
            ``logit_scale`` with it 0 or less, ``label_smoothing`` is not in [0, 1], ``tau_plus`` not in [0, 1),
            ``memory_budget`` is negative, ``gather_distributed`` is none of these, or D, a dtype or an option is not
            the same on every rank. Where one of several ranks raises, all do: the others a ValueError that names it.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """
    name = "clip_loss"
    has_options = not (image_ids is text_ids is margin is negative_keys is None)
    ids: tuple[Tensor, Tensor] | None = None
    with JointChecks(name, gather_distributed, image_features):
        strategy = strategy_of(name, gather_distributed)
        check_pair(name, "image_features", image_features, "text_features", text_features)
        logit_scale = check_scalar(name, "logit_scale", logit_scale, image_features, text_features)
        if logit_bias is not None:
            logit_bias = check_scalar(name, "logit_bias", logit_bias, image_features, text_features)
        normalize = _check.boolean(name, "normalize", normalize)
        if has_options:
            ids = ids_of(name, image_features, text_features, image_ids, text_ids, _NAMES)
            margin = margin_of_logits(name, margin, logit_scale)
        smoothing = _check.probability(name, "label_smoothing", label_smoothing)
        tau_plus = check_tau_plus(name, tau_plus)
        if negative_keys is not None:
            check_negative_keys(name, negative_keys, "image_features", image_features, of_all=True)
        budget = check_memory_budget(name, memory_budget)
    options: Options = {}
    if strategy != "local":
        options = spelled(
            gather_distributed=strategy,
            normalize=normalize,
            image_ids=None if ids is None else ids[0],
            margin=margin,
            label_smoothing=smoothing,
            tau_plus=tau_plus,
            # A rank's own negatives may take a gradient where those of others do not.
            negative_keys=None if negative_keys is None else negative_keys.detach(),
            image_features=image_features,
            text_features=text_features,
        ) | spelled_scales(logit_scale=logit_scale)
    sides = (image_features, text_features)
    if not has_options and strategy == "local" and few(image_features, text_features):
        share, chosen = 0.5 / len(image_features), options_of(smoothing, None, tau_plus)
        loss = few_pairs(name, TWO_WAYS, share, *sides, logit_scale, normalize=normalize, options=chosen)
    elif has_options or smoothing > 0.0:
        loss = clip_with_options(
            *(name, *sides, logit_scale),
            ids=ids,
            margin=margin,
            negative_keys=negative_keys,
            smoothing=smoothing,
            tau_plus=tau_plus,
            normalize=normalize,
            strategy=strategy,
            budget=budget,
            options=options,
        )
    else:
        loss = clip_in_tiles(name, *sides, logit_scale, tau_plus, normalize, strategy, budget, options)
    # The bias does not change the loss, and gets a gradient of 0.
    return loss if not isinstance(logit_bias, Tensor) else loss + 0.0 * logit_bias.sum().to(loss.dtype)
