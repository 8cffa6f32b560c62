"""InfoNCE of any negatives and options, in tiles, of one rank or of all."""

from __future__ import annotations

from torch import Tensor

from sslfast._verdict import Options, spelled, spelled_scales
from sslfast.distributed import exchange_shards, mean_over_ranks, sum_over_ranks
from sslfast.losses._debias import debiased_losses
from sslfast.losses._negative_kinds import Hardness, Kinds
from sslfast.losses._negatives import Negatives
from sslfast.losses._smoothing import needs_exact_weights, smoothed_part


def tiled_info_nce(
    function: str,
    query: Tensor,
    keys: Tensor,
    kinds: Kinds,
    scale: float | Tensor,
    *,
    positives: Tensor | None,
    ids: tuple[Tensor, Tensor] | None,
    margin: float | None,
    tau_plus: float,
    smoothing: float,
    hardness: Hardness,
    symmetric: bool,
    weights: Tensor | None,
    normalize: bool,
    reduction: str,
    strategy: str,
    budget: int | None,
    options: Options | None,
) -> Tensor:
    """What :func:`info_nce_loss` returns, of arguments that it has checked.

    Args:
        scale: 1 / temperature, a number or a tensor of one.
        options: over ranks, what has to be the same on every one, as :func:`alike_on_ranks` gives it.
    """
    if strategy != "local" and not kinds.among_batch:
        exchange_shards(function, query, options)  # where no keys travel that would carry the verdict of other ranks

    summed = strategy == "local" and reduction != "none" and tau_plus == 0.0 and not symmetric
    negatives = Negatives(
        *(function, query, keys, positives, scale, margin, hardness, ids, normalize, strategy),
        *(summed, kinds.negative_keys, smoothing > 0.0, needs_exact_weights(smoothing, kinds), budget, options),
    )
    negatives.add(kinds, symmetric)

    weights = None if weights is None else weights.to(negatives.query.dtype).contiguous()
    smoothed = None
    if smoothing > 0.0:
        smoothed = smoothing * smoothed_part(negatives, kinds, symmetric)
    if summed:
        total = negatives.total(weights)
        if smoothed is not None:
            total = total + (smoothed if weights is None else smoothed * weights).sum()
    else:
        losses = debiased_losses(negatives, positives, tau_plus, symmetric)
        losses = losses if smoothed is None else losses + smoothed
        if strategy != "local" and reduction == "mean":
            return mean_over_ranks(losses, weights)
        losses = losses if weights is None else losses * weights
        if reduction == "none":
            return losses
        total = losses.sum() if strategy == "local" else sum_over_ranks(losses.sum())
    return total if reduction == "sum" else total / (len(query) if weights is None else weights.sum())


def alike_on_ranks(
    query: Tensor,
    keys: Tensor,
    kinds: Kinds,
    temperature: float | Tensor,
    *,
    positives: Tensor | None,
    ids: tuple[Tensor, Tensor] | None,
    margin: float | None,
    tau_plus: float,
    smoothing: float,
    hardness: Hardness,
    symmetric: bool,
    normalize: bool,
    reduction: str,
    strategy: str,
) -> Options:
    """What :func:`info_nce_loss` takes that has to be the same on every rank, by its names."""
    # A rank's own keys may take a gradient where those of others do not.
    others = None if kinds.negative_keys is None else kinds.negative_keys.detach()
    return spelled(
        gather_distributed=strategy,
        reduction=reduction,
        **kinds._replace(negative_keys=others)._asdict(),
        positives=positives,
        query_ids=None if ids is None else ids[0],
        symmetric=symmetric,
        normalize=normalize,
        margin=margin,
        tau_plus=tau_plus,
        label_smoothing=smoothing,
        hardness_mode=hardness.mode,
        hardness_strength=hardness.strength,
        query=query,
        positive_key=keys,
    ) | spelled_scales(temperature=temperature if isinstance(temperature, Tensor) else float(temperature))
