"""InfoNCE without options, as most batches have it: a mean or a sum of losses from one operator, on the CPU."""

from __future__ import annotations

from torch import Tensor

from sslfast.losses._few_pairs import ROWS, TWO_WAYS, beside_queue, few, few_pairs, queue_pairs
from sslfast.losses._info_nce_inputs import check_others, check_pairs, check_reduction
from sslfast.losses._inputs import temperature_of


def quick_info_nce(
    function: str,
    query: Tensor,
    keys: Tensor,
    queue: Tensor | None,
    temperature: float | Tensor,
    tau_plus: float,
    label_smoothing: float,
    reduction: str,
    symmetric: bool,
    normalize: bool,
) -> Tensor | None:
    """:func:`plain_info_nce` where nothing has been checked yet, and all that is not an argument here is its default.

    A small batch would wait for the checks of all that it does not have: those of what it has are made here, in the
    order of :func:`info_nce_loss`, which makes them all where this gives None.

    Returns:
        The loss; None where an option asks for more, or is of a type that may be wrong, or no operator makes the loss
        in one call.

    Raises:
        TypeError, ValueError: what :func:`info_nce_loss` raises.
    """
    if not (type(temperature) is type(tau_plus) is type(label_smoothing) is float and type(reduction) is str):
        return None
    if tau_plus != 0.0 or label_smoothing != 0.0 or reduction == "none":
        return None
    if not (type(symmetric) is type(normalize) is bool) or (symmetric and queue is not None):
        return None
    check_pairs(function, query, keys, None, symmetric)
    if queue is not None:
        check_others(function, query, None, queue, None)
    scale = 1.0 / temperature_of(function, temperature)
    check_reduction(function, reduction)
    return plain_info_nce(function, query, keys, queue, scale, reduction, symmetric, normalize)


def plain_info_nce(
    function: str,
    query: Tensor,
    keys: Tensor,
    queue: Tensor | None,
    scale: float | Tensor,
    reduction: str,
    symmetric: bool,
    normalize: bool,
) -> Tensor | None:
    """The mean or the sum of the losses from one operator, among the keys or beside a queue; None where none is."""
    share = 1.0 / query.shape[0] if reduction == "mean" else 1.0
    if queue is not None:
        if not beside_queue(query):
            return None
        return queue_pairs(function, share, query, keys, queue, scale, normalize=normalize)
    if not few(query, keys):
        return None
    kind, share = (TWO_WAYS, 0.5 * share) if symmetric else (ROWS, share)
    return few_pairs(function, kind, share, query, keys, scale, normalize=normalize)
