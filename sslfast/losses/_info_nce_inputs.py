"""What InfoNCE takes: every argument is checked, with one line of what was expected and what it got."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast import _check
from sslfast.losses._debias import check_tau_plus
from sslfast.losses._hard import check_negative_keys
from sslfast.losses._inputs import (
    are_pairs_on_cpu,
    check_device,
    check_floating,
    check_kernel_dtype,
    check_labels,
    check_rows,
    check_scalar,
    temperature_of,
)
from sslfast.losses._limits import check_margin, is_readable, positive_or_nan
from sslfast.losses._negative_kinds import HARD_KINDS, Hardness, Kinds

_REDUCTIONS = ("mean", "sum", "none")


def check_options(
    function: str,
    temperature: float | Tensor,
    margin: float | None,
    tau_plus: float,
    hardness_mode: str | None,
    hardness_strength: float,
    normalize: bool,
    reduction: str,
) -> tuple[float | None, float, float]:
    """Margin, tau_plus and strength as floats; raises TypeError or ValueError where an option is out of range."""
    check_reduction(function, reduction)
    strength = _hardness_strength(function, hardness_mode, hardness_strength)
    if isinstance(temperature, Tensor):
        check_scalar(function, "temperature", temperature, temperature)
        known = temperature.item() if is_readable(temperature) else math.nan
        if math.isfinite(known):  # what is not goes on into the loss
            temperature_of(function, known)
    else:
        known = temperature_of(function, temperature)
    if -math.inf < known < 0.0 and (margin is not None or strength > 0.0):
        option = "a margin" if margin is not None else "hardness_strength"
        raise ValueError(f"{function}: temperature must be positive with {option}, got {known}")
    margin = check_margin(function, margin)
    tau_plus = check_tau_plus(function, tau_plus, normalize)
    if tau_plus > 0.0 and strength > 0.0:
        raise ValueError(f"{function}: tau_plus must be 0 with hardness_strength, got {tau_plus}")
    return margin, tau_plus, strength


def _hardness_strength(function: str, mode: str | None, strength: float) -> float:
    number = _check.real(function, "hardness_strength", strength)
    if number < 0.0:
        raise ValueError(f"{function}: hardness_strength must be at least 0, got {strength}")
    if mode is not None:
        _check.one_of(function, "hardness_mode", mode, [*HARD_KINDS])
    elif number > 0.0:
        raise ValueError(f"{function}: hardness_mode must be given with hardness_strength, got None")
    return number


def hardness_of(
    function: str, mode: str | None, strength: float, kinds: Kinds, query: Tensor, keys: Tensor
) -> Hardness:
    """Of checked mode and strength; raises ValueError where there are no negatives that the mode is about, or the loss
    cannot hold the strength.
    """
    check_scalar(function, "hardness_strength", strength, query, keys)
    hardness = Hardness(mode, strength)
    if mode is not None and not kinds.any_of(hardness.kinds):
        raise ValueError(f"{function}: hardness_mode {mode!r} goes with {' or '.join(hardness.kinds)}, got none")
    return hardness


def check_reduction(function: str, reduction: str) -> None:
    """Raises ValueError where there is no such reduction."""
    _check.one_of(function, "reduction", reduction, _REDUCTIONS)


def scale_of(function: str, query: Tensor, temperature: float | Tensor, ordered: bool) -> float | Tensor:
    """1 / temperature, as a number or as (1,), float64, on the device of the query; NaN of a tensor not finite.

    Where logits have to be ``ordered`` as similarities are, also of a negative one that :func:`check_options` has not
    seen.
    """
    if not isinstance(temperature, Tensor):
        return 1.0 / temperature
    check_scalar(function, "temperature", temperature, query)
    wide = temperature.double().reshape(1)
    scale = torch.add(wide.reciprocal(), wide.detach(), alpha=0.0)  # the inverse of inf would be a plausible number
    return positive_or_nan(scale) if ordered else scale


def check_pairs(function: str, query: Tensor, keys: Tensor, positives: Tensor | None, symmetric: bool) -> None:
    """Raises TypeError or ValueError where queries, keys and the numbers of the positives do not go together."""
    if positives is None and are_pairs_on_cpu(query, keys):
        return
    check_rows(function, "query", query)
    check_rows(function, "positive_key", keys)
    width = query.shape[1]
    if positives is None and keys.shape != query.shape:
        expected = f"{tuple(query.shape)}, like query"
        raise ValueError(f"{function}: positive_key must have shape {expected}, got {tuple(keys.shape)}")
    if keys.shape[1] != width:
        raise ValueError(f"{function}: positive_key must have shape (M, {width}), got {tuple(keys.shape)}")
    check_device(function, "query", query, "positive_key", keys)
    check_kernel_dtype(function, query, keys)
    if positives is None:
        return
    check_labels(function, "positives", positives, "query", query)
    if not positives.is_cpu or torch.compiler.is_compiling():
        return
    low, high = (int(end) for end in positives.aminmax())
    if low < 0 or high >= len(keys):
        got = low if low < 0 else high
        raise ValueError(f"{function}: positives must be in [0, {len(keys) - 1}], rows of positive_key, got {got}")
    if symmetric and int(positives.long().bincount().amax()) > 1:
        raise ValueError(f"{function}: positives must name no key twice with symmetric, got {positives.tolist()[:8]}")


def kinds_of(
    function: str,
    in_batch: bool | None,
    query_negatives: bool,
    key_negatives: bool,
    key_to_query_negatives: bool,
    negative_keys: Tensor | None,
    queue: Tensor | None,
) -> Kinds:
    """Which negatives there are; raises TypeError where a bool is none, ValueError where no kind is asked for."""
    if in_batch is None:
        in_batch = negative_keys is None and queue is None
    kinds = Kinds(
        _check.boolean(function, "in_batch", in_batch),
        _check.boolean(function, "query_negatives", query_negatives),
        _check.boolean(function, "key_negatives", key_negatives),
        negative_keys,
        queue,
        _check.boolean(function, "key_to_query_negatives", key_to_query_negatives),
    )
    if not (kinds.in_batch or kinds.beside_keys):
        raise ValueError(f"{function}: in_batch must be True where there are no other negatives, got False")
    return kinds


def check_symmetric(function: str, symmetric: bool, kinds: Kinds, query: Tensor, keys: Tensor) -> None:
    """Raises ValueError where keys are asked to pick queries that are not theirs alone."""
    if symmetric and not (kinds.in_batch and len(keys) == len(query)):
        raise ValueError(f"{function}: symmetric goes with in_batch and as many keys as queries, got {len(keys)}")


def check_others(
    function: str, query: Tensor, negative_keys: Tensor | None, queue: Tensor | None, weights: Tensor | None
) -> None:
    """Raises TypeError or ValueError where further negatives or weights do not go with the queries."""
    n, width = query.shape
    if negative_keys is not None:
        check_negative_keys(function, negative_keys, "query", query, of_all=True)
    if queue is not None:
        check_floating(function, "queue", queue)
        if queue.dim() != 2 or queue.shape[1] != width or len(queue) < 1:
            raise ValueError(f"{function}: queue must have shape (K, {width}) with K >= 1, got {tuple(queue.shape)}")
        check_device(function, "query", query, "queue", queue)
    if weights is not None:
        check_floating(function, "weights", weights)
        if weights.shape != (n,):
            raise ValueError(f"{function}: weights must have shape ({n},), got {tuple(weights.shape)}")
        check_device(function, "query", query, "weights", weights)
        if weights.is_cpu and not torch.compiler.is_compiling() and (least := weights.amin().item()) < 0.0:
            raise ValueError(f"{function}: weights must be at least 0, got {least:g}")
    for name, constant in (("queue", queue), ("weights", weights)):
        if constant is not None and constant.requires_grad:
            raise ValueError(f"{function}: {name} must not require a gradient: detach it")
