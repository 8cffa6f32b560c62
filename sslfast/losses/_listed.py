"""Softmax losses of listed pairs, those of a miner, in the place of all pairs: O(pairs) numbers beside the rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast._autograd import distinct, first_order_only, normalized
from sslfast.losses._inputs import widened, without_autocast
from sslfast.losses._strips import in_strips, parts_of_pairs, rows_at_once


def supcon_of_pairs(
    function: str, embeddings: Tensor, ref_emb: Tensor | None, pairs: Sequence[Tensor], scale: float
) -> Tensor:
    """The mean, over the anchors with a positive, of the log-sum-exp over their pairs less the mean of the positives.

    A pair counts once, however often it is listed.
    """
    _assert_exist(function, embeddings, ref_emb, pairs)
    columns = len(embeddings if ref_emb is None else ref_emb)
    count = len(embeddings)
    (near, first), (far, of_far) = (_once(pairs[at], pairs[at + 1], count, columns) for at in (0, 2))
    if first is None:
        _check_apart(function, near, far, columns)
        number = torch.bincount(near[0], minlength=count)
    else:
        number = near[0].new_zeros(count).index_add(0, near[0], first.long())
    positives, negatives, poison = _logits(function, embeddings, ref_emb, (*near, *far), scale)
    has = number > 0
    of_positives = torch.where(has, _logsumexp(_taken(positives, first, -torch.inf), near[0], count), 0.0)
    of_negatives = torch.where(has, _logsumexp(_taken(negatives, of_far, -torch.inf), far[0], count), -torch.inf)
    sums = positives.new_zeros(count).index_add(0, near[0], _taken(positives, first, 0.0))
    mean = sums / number.clamp_min(1)
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
    _assert_exist(function, embeddings, ref_emb, pairs)
    positives, negatives, poison = _logits(function, embeddings, ref_emb, pairs, scale)
    of_negatives = _logsumexp(negatives, pairs[2], len(embeddings))
    losses = F.softplus(of_negatives.index_select(0, pairs[0]) - positives, threshold=50.0)
    return losses.sum() / max(1, len(losses)) + poison


def _assert_exist(function: str, embeddings: Tensor, ref_emb: Tensor | None, pairs: Sequence[Tensor]) -> None:
    """Where :func:`check_rows_exist` did not look, on a GPU and in a compiled graph, asserts that rows exist.

    What follows numbers pairs by row and column: one that does not exist has the number of another.
    """
    others = ("embeddings", embeddings) if ref_emb is None else ("ref_emb", ref_emb)
    for rows, (name, z) in zip(pairs, (("embeddings", embeddings), others) * 2, strict=True):
        exist = ((rows >= 0) & (rows < len(z))).all()
        torch._assert_async(exist, f"{function}: indices_tuple must name rows of {name}, got one that does not exist")


def _once(rows: Tensor, columns: Tensor, row_count: int, count: int) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
    """The pairs of so many rows and columns, in order and without repetition; in a graph and on "meta", where
    values do not tell shapes, all of them, and which are not that before once more.
    """
    numbers, first = rows * count + columns, None
    if torch.compiler.is_compiling() or numbers.is_meta:
        numbers = torch.sort(numbers).values
        first = torch.cat([torch.ones_like(numbers[:1], dtype=torch.bool), numbers[1:] != numbers[:-1]])
    elif numbers.nbytes > row_count * count:  # then a byte for each pair is no more than the list
        numbers = torch.zeros(row_count * count, dtype=torch.bool, device=rows.device).index_fill_(0, numbers, True)
        numbers = numbers.nonzero().flatten()
    else:
        numbers = torch.unique(numbers)
    rows = torch.div(numbers, count, rounding_mode="floor")
    return (rows, numbers - rows * count), first


def _taken(values: Tensor, which: Tensor | None, otherwise: float) -> Tensor:
    return values if which is None else torch.where(which, values, otherwise)


def _check_apart(function: str, near: tuple[Tensor, Tensor], far: tuple[Tensor, Tensor], count: int) -> None:
    """On the CPU, that no pair is among both.

    Raises:
        ValueError: if one is.
    """
    if not near[0].is_cpu:
        return
    numbers, others = (rows * count + columns for rows, columns in (near, far))  # in order
    if not len(others):
        return
    both = numbers[others[torch.searchsorted(others, numbers).clamp_max(len(others) - 1)] == numbers]
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
        sides = distinct(units[0], units[-1])
        positives, negatives = (
            scale * _Similarities.apply(function, *sides, pairs[at], pairs[at + 1]) for at in (0, 2)
        )
        poison = torch.stack([unit.detach().sum() for unit in units]).sum() * 0.0
    return positives, negatives, poison


class _Similarities(torch.autograd.Function):
    """Inner products of pairs of rows and columns: one by one, some thousands at once, or, where they are many, from
    products of whole rows in strips.
    """

    @staticmethod
    def forward(ctx, function, rows, columns, i, j):  # type: ignore[no-untyped-def]
        found = rows.new_empty(len(i))
        if _by_rows(rows, columns, i):
            for strip, at, places in _strips(rows, columns, i, j):
                found[at] = (rows[strip] @ columns.T).flatten()[places]
        else:
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
            found = [torch.zeros_like(z) if needed else None for z, needed in zip((rows, columns), needs, strict=True)]
            if _by_rows(rows, columns, i):
                for strip, at, places in _strips(rows, columns, i, j):
                    weights = grad.new_zeros(len(rows[strip]) * len(columns)).index_add_(0, places, grad[at])
                    weights = weights.view(-1, len(columns))
                    if found[0] is not None:
                        torch.mm(weights, columns, out=found[0][strip])
                    if found[1] is not None:
                        found[1].addmm_(weights.T, rows[strip])
            else:
                sides = ((i, columns, j), (j, rows, i))
                for part in _parts(i):
                    for total, (own, others, at) in zip(found, sides, strict=True):
                        if total is not None:
                            pull = others.index_select(0, at[part]).mul_(grad[part].unsqueeze(1))
                            total.index_add_(0, own[part], pull)
        grads = (None if g is None else first_order_only(ctx.function, g, rows, columns, grad) for g in found)
        return None, *grads, None, None


def _by_rows(rows: Tensor, columns: Tensor, i: Tensor) -> bool:
    """Whether products are of whole rows; not in a graph: where the pairs of some of them begin, values tell."""
    return not torch.compiler.is_compiling() and in_strips(len(i), len(rows), len(columns))


def _parts(i: Tensor) -> list[slice]:
    """Some pairs at once; in a graph, which is to serve any number of them, all: the compiler makes no rows of them."""
    return [slice(None)] if torch.compiler.is_compiling() else parts_of_pairs(len(i))


def _strips(rows: Tensor, columns: Tensor, i: Tensor, j: Tensor) -> Iterator[tuple[slice, slice | Tensor, Tensor]]:
    """Some rows at once, the numbers of their pairs, and where in the rows' products these lie."""
    in_order = bool((i[1:] >= i[:-1]).all())  # as miners find them
    ordered, order = (i, None) if in_order else torch.sort(i, stable=True)
    step = rows_at_once(rows, len(columns))
    starts = torch.arange(0, len(rows) + step, step, device=i.device)
    bounds = torch.searchsorted(ordered, starts).tolist()
    for number, (first, last) in enumerate(itertools.pairwise(bounds)):
        start, at = number * step, slice(first, last) if order is None else order[first:last]
        yield slice(start, start + step), at, (i[at] - start) * len(columns) + j[at]


def _logsumexp(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """(count,) log-sum-exps of the values of each row; -inf of none, without a gradient that is NaN."""
    peaks = values.new_full((count,), -torch.inf).scatter_reduce(0, rows, values.detach(), "amax")
    peaks = torch.where(peaks.isfinite(), peaks, 0.0)
    total = values.new_zeros(count).index_add(0, rows, (values - peaks.index_select(0, rows)).exp())
    nothing = total == 0
    return torch.where(nothing, -torch.inf, peaks + torch.where(nothing, 1.0, total).log())
