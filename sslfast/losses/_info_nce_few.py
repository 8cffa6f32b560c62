"""InfoNCE of few queries, in whichever way makes all similarities at once."""

from __future__ import annotations

from torch import Tensor

from sslfast.losses._few_joint import joint_info_nce
from sslfast.losses._few_pairs import Options
from sslfast.losses._info_nce_plain import plain_info_nce
from sslfast.losses._negative_kinds import Hardness, Kinds


def info_nce_of_few(
    function: str,
    query: Tensor,
    keys: Tensor,
    kinds: Kinds,
    hardness: Hardness,
    scale: float | Tensor,
    reduction: str,
    symmetric: bool,
    normalize: bool,
    options: Options,
) -> Tensor | None:
    """The losses of :func:`plain_info_nce`, or else of :func:`joint_info_nce`; None where tiles are to make them."""
    asked = scale, reduction, symmetric, normalize, options
    if hardness.strength == 0.0 and not kinds.key_to_query_negatives:
        loss = plain_info_nce(function, query, keys, kinds, *asked)
        if loss is not None:
            return loss
    return joint_info_nce(function, query, keys, kinds, hardness, *asked)
