"""CLIP with ids, a margin, hard negatives or, of many pairs, smoothing: InfoNCE both ways, of features as they are."""

from __future__ import annotations

import math

from torch import Tensor

from sslfast._verdict import Options
from sslfast.losses._few_pairs import options_of
from sslfast.losses._info_nce_few import info_nce_of_few
from sslfast.losses._info_nce_tiles import tiled_info_nce
from sslfast.losses._limits import check_margin, is_readable, positive_or_nan
from sslfast.losses._negative_kinds import Hardness, Kinds


def margin_of_logits(function: str, margin: float | None, logit_scale: float | Tensor) -> float | None:
    """``margin`` as a float, or None, of a scale that is checked.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite, or the scale, where it is known, is 0 or less: logits are compared, which only
            a positive one orders as similarities are.
    """
    margin = check_margin(function, margin)
    if isinstance(logit_scale, Tensor):
        logit_scale = logit_scale.item() if margin is not None and is_readable(logit_scale) else math.nan
    if margin is not None and -math.inf < logit_scale <= 0.0:  # what is not finite goes on into the loss
        raise ValueError(f"{function}: logit_scale must be positive with a margin, got {logit_scale}")
    return margin


def clip_with_options(
    function: str,
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: float | Tensor,
    *,
    ids: tuple[Tensor, Tensor] | None,
    margin: float | None,
    negative_keys: Tensor | None,
    smoothing: float,
    tau_plus: float,
    normalize: bool,
    strategy: str,
    budget: int | None,
    options: Options,
) -> Tensor:
    """What :func:`clip_loss` returns, of arguments that it has checked.

    Args:
        options: over ranks, what has to be the same on every one.
    """
    if margin is not None:
        logit_scale = positive_or_nan(logit_scale)
    kinds, hardness = Kinds(True, False, False, negative_keys, None), Hardness(None, 0.0)
    sides = (function, image_features, text_features, kinds)
    if strategy == "local" and not (ids is margin is negative_keys is None):  # with smoothing alone it is many pairs
        chosen = options_of(smoothing, margin, tau_plus, ids=ids)
        loss = info_nce_of_few(*sides, hardness, logit_scale, "mean", True, normalize, chosen)
        if loss is not None:
            return loss
    return tiled_info_nce(
        *sides,
        logit_scale,
        positives=None,
        ids=ids,
        margin=margin,
        tau_plus=tau_plus,
        smoothing=smoothing,
        hardness=hardness,
        symmetric=True,
        weights=None,
        normalize=normalize,
        reduction="mean",
        strategy=strategy,
        budget=budget,
        options=options,
    )
