"""InfoNCE as most batches have it: losses, their mean or their sum from one operator, on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.losses._few_losses import each_of_few_pairs
from sslfast.losses._few_pairs import (
    NO_OPTIONS,
    ROWS,
    TWO_WAYS,
    Options,
    beside_queue,
    few,
    few_pairs,
    options_of,
    queue_pairs,
    reduced,
    takes_passes,
)
from sslfast.losses._info_nce_inputs import check_others, check_pairs, check_reduction
from sslfast.losses._inputs import temperature_of, without_autocast
from sslfast.losses._negative_kinds import Kinds

_OTHER_KEYS = Kinds(True, False, False, None, None)


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
    if not (0.0 <= tau_plus < 1.0 and 0.0 <= label_smoothing <= 1.0):
        return None
    if (
        (tau_plus > 0.0 and not normalize)
        or not (type(symmetric) is type(normalize) is bool)
        or (symmetric and queue is not None)
    ):
        return None
    check_pairs(function, query, keys, None, symmetric)
    if queue is not None:
        check_others(function, query, None, queue, None)
    scale = 1.0 / temperature_of(function, temperature)
    check_reduction(function, reduction)
    kinds = _OTHER_KEYS if queue is None else Kinds(False, False, False, None, queue)
    options = options_of(label_smoothing, None, tau_plus, None, None, None)
    return plain_info_nce(function, query, keys, kinds, scale, reduction, symmetric, normalize, options)


def plain_info_nce(
    function: str,
    query: Tensor,
    keys: Tensor,
    kinds: Kinds,
    scale: float | Tensor,
    reduction: str,
    symmetric: bool,
    normalize: bool,
    options: Options,
) -> Tensor | None:
    """The losses from one operator, beside a queue alone, if reduced, or among the keys; None where there is none.

    All is checked. The factors of ``options`` are the weights of the queries, of any type.
    """
    others = kinds.negative_keys
    if kinds.query_negatives or kinds.key_negatives:
        return None
    if kinds.queue is not None:
        alone = not kinds.in_batch and others is None and options is NO_OPTIONS
        if not (alone and reduction != "none" and beside_queue(query)):
            return None
        share = 1.0 / query.shape[0] if reduction == "mean" else 1.0
        return queue_pairs(function, share, query, keys, kinds.queue, scale, normalize=normalize)
    further = 0 if others is None else len(others)
    in_passes = takes_passes(options, symmetric) and not (options.row_ids is others is None)
    if not kinds.in_batch or not few(query, keys, further, in_passes=in_passes):
        return None
    if options is not NO_OPTIONS and not _is_taken(options, symmetric, reduction):
        return None
    if others is not None:
        if others.dim() != 2 or others.dtype != keys.dtype:
            return None
        if not symmetric and options.positives is None:
            options = options._replace(positives=torch.arange(len(query), device=query.device))
        if options.row_ids is not None and options.col_ids is not None:
            options = options._replace(col_ids=_and_of_nobody(options.col_ids, options.row_ids, len(others)))
        with without_autocast(query):
            keys = torch.cat([keys, others])
    wide = torch.float64 if torch.float64 in (query.dtype, keys.dtype) else torch.float32
    options, share = reduced(options, query.shape[0], reduction, wide)
    kind, share = (TWO_WAYS, 0.5 * share) if symmetric else (ROWS, share)
    of_pairs = each_of_few_pairs if reduction == "none" else few_pairs
    return of_pairs(function, kind, share, query, keys, scale, normalize=normalize, options=options)


def _and_of_nobody(ids: Tensor, taken: Tensor, count: int) -> Tensor:
    """Ids, and as many more that none of those that are taken equals."""
    some = torch.arange(len(taken) + 1, device=taken.device)
    unused = some[~torch.isin(some, taken)][:1]
    return torch.cat([ids, unused.expand(count)])


def _is_taken(options: Options, symmetric: bool, reduction: str) -> bool:
    """Whether the operator takes these options together."""
    return not (symmetric and options.positives is not None) and (options.smoothing == 0.0 or reduction != "none")
