"""Softmax losses of listed pairs, those of a miner, in the place of all pairs: O(pairs) numbers beside the rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast._autograd import distinct, first_order_only, normalized
from sslfast.losses._inputs import widened, without_autocast

_PAIRS = 4096  # pairs whose embeddings are held at once


def supcon_of_pairs(
    function: str, embeddings: Tensor, ref_emb: Tensor | None, pairs: Sequence[Tensor], scale: float
) -> Tensor:
    """The mean, over the anchors with a positive, of the log-sum-exp over their pairs less the mean of the positives.

    A pair counts once, however often it is listed.
    """
    columns = len(embeddings if ref_emb is None else ref_emb)
    near, far = _once(pairs[0], pairs[1], columns), _once(pairs[2], pairs[3], columns)
    _check_apart(function, near, far, columns)
    positives, negatives, poison = _logits(function, embeddings, ref_emb, (*near, *far), scale)
    count = len(embeddings)
    number = torch.bincount(near[0], minlength=count)
    has = number > 0
    of_positives = torch.where(has, _logsumexp(positives, near[0], count), 0.0)
    of_negatives = torch.where(has, _logsumexp(negatives, far[0], count), -torch.inf)
    mean = positives.new_zeros(count).index_add(0, near[0], positives) / number.clamp_min(1)
    # A single positive has NT-Xent's form, in which a small loss keeps its precision.
    single = F.softplus(of_negatives - of_positives, threshold=50.0)
    terms = torch.where(number == 1, single, torch.logaddexp(of_negatives, of_positives) - mean)
    return torch.where(has, terms, 0.0).sum() / has.sum().clamp_min(1) + poison


def nt_xent_of_pairs(
    function: str, embeddings: Tensor, ref_emb: Tensor | None, pairs: Sequence[Tensor], scale: float
) -> Tensor:
    """The mean over the positive pairs of the cross-entropy of each among it and its anchor's negative pairs.

    A pair counts as often as it is listed, as a positive and as a negative.
    """
    positives, negatives, poison = _logits(function, embeddings, ref_emb, pairs, scale)
    of_negatives = _logsumexp(negatives, pairs[2], len(embeddings))
    losses = F.softplus(of_negatives.index_select(0, pairs[0]) - positives, threshold=50.0)
    return losses.sum() / max(1, len(losses)) + poison


def _once(rows: Tensor, columns: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The pairs without repetition, of that many columns."""
    numbers = torch.unique(rows * count + columns)
    return torch.div(numbers, count, rounding_mode="floor"), numbers % count


def _check_apart(function: str, near: tuple[Tensor, Tensor], far: tuple[Tensor, Tensor], count: int) -> None:
    """On the CPU, that no pair is among both.

    Raises:
        ValueError: if one is.
    """
    if not near[0].is_cpu or torch.compiler.is_compiling():
        return
    numbers = [rows * count + columns for rows, columns in (near, far)]
    both = numbers[0][torch.isin(*numbers, assume_unique=True)]
    if len(both):
        expected = "no pair as a positive and as a negative one"
        raise ValueError(f"{function}: indices_tuple must list {expected}, got {divmod(int(both[0]), count)}")


def _logits(
    function: str, embeddings: Tensor, ref_emb: Tensor | None, pairs: Sequence[Tensor], scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of positive and of negative pairs, and a number that is NaN if one of the embeddings is, else 0."""
    inputs = [embeddings] if ref_emb is None else [embeddings, ref_emb]
    with without_autocast(embeddings):
        units = [normalized(function, z) for z in widened(*inputs)]
        similar = _Similarities.apply(
            function, *distinct(units[0], units[-1]), torch.cat([pairs[0], pairs[2]]), torch.cat([pairs[1], pairs[3]])
        )
        poison = torch.stack([unit.detach().sum() for unit in units]).sum() * 0.0
    positives, negatives = (scale * similar).split([len(pairs[0]), len(pairs[2])])
    return positives, negatives, poison


class _Similarities(torch.autograd.Function):
    """Inner products of pairs of rows and columns, some thousands at once."""

    @staticmethod
    def forward(ctx, function, rows, columns, i, j):  # type: ignore[no-untyped-def]
        found = rows.new_empty(len(i))
        for part in _parts(i):
            found[part] = (rows.index_select(0, i[part]) * columns.index_select(0, j[part])).sum(dim=1)
        ctx.save_for_backward(rows, columns, i, j)
        ctx.function = function
        return found

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        rows, columns, i, j = ctx.saved_tensors
        needs = ctx.needs_input_grad[1:3]
        with torch.no_grad():
            sides = ((rows, i, columns, j), (columns, j, rows, i))
            found = [torch.zeros_like(side[0]) if needed else None for side, needed in zip(sides, needs, strict=True)]
            for part in _parts(i):
                for total, (_, own, others, at) in zip(found, sides, strict=True):
                    if total is not None:
                        pull = others.index_select(0, at[part]).mul_(grad[part].unsqueeze(1))
                        total.index_add_(0, own[part], pull)
        grads = (None if g is None else first_order_only(ctx.function, g, rows, columns, grad) for g in found)
        return None, *grads, None, None


def _parts(pairs: Tensor) -> list[slice]:
    return [slice(start, start + _PAIRS) for start in range(0, len(pairs), _PAIRS)]


def _logsumexp(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """(count,) log-sum-exps of the values of each row; -inf of none, without a gradient that is NaN."""
    peaks = values.new_full((count,), -torch.inf).scatter_reduce(0, rows, values.detach(), "amax")
    peaks = torch.where(peaks.isfinite(), peaks, 0.0)
    total = values.new_zeros(count).index_add(0, rows, (values - peaks.index_select(0, rows)).exp())
    nothing = total == 0
    return torch.where(nothing, -torch.inf, peaks + torch.where(nothing, 1.0, total).log())
