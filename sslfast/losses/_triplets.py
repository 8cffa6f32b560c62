"""Distances in strips of rows, the triplets among them, and their loss with its gradients: the part of TripletLoss
that computes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast.distributed import Shards
from sslfast.losses._labels import LabelGroups, without_own
from sslfast.losses._points import Points, add_gradients, apart_of, keep, pull, scaled
from sslfast.losses._points_ranks import points_of
from sslfast.random import STREAMS

_TRIPLETS = 4096  # mined or given triplets whose embeddings are held at once
_FEW = 64  # thresholds up to which comparing with each is faster than searching among them; an int8 counts them


def triplets_in_strips(
    function: str,
    embeddings: Tensor,
    ref_emb: Tensor | None,
    labels: Tensor,
    ref_labels: Tensor | None,
    copies: Tensor | None,
    margin: float,
    semi_hard: bool,
    distance: str,
    normalize: bool,
    reduction: str,
    shards: Shards | None = None,
) -> Tensor:
    """The loss of all triplets, or of the semi-hard ones; arguments as checked by :func:`triplet_loss`.

    With ``shards`` the references are the rows of all ranks, and the loss is that of all.
    """
    sides = (embeddings, ref_emb, labels, ref_labels, copies)
    loss: Tensor = _AllTriplets.apply(function, *sides, margin, semi_hard, distance, normalize, reduction, shards)
    return loss


def given_triplets(
    function: str,
    embeddings: Tensor,
    ref_emb: Tensor | None,
    triplets: tuple[Tensor, Tensor, Tensor],
    valid: Tensor | None,
    terms: tuple[float, bool, bool],
    distance: str,
    normalize: bool,
    reduction: str,
    shards: Shards | None = None,
) -> Tensor:
    """The loss of the triplets with these rows, (T,) anchors, positives and negatives, but for those not ``valid``.

    ``terms`` are the margin, whether to swap, and whether the margin is soft; ``shards`` as of
    :func:`triplets_in_strips`.
    """
    loss: Tensor = _GivenTriplets.apply(
        function, embeddings, ref_emb, triplets, valid, terms, distance, normalize, reduction, shards
    )
    return loss


@torch.no_grad()
def hardest(
    embeddings: Tensor,
    ref_emb: Tensor | None,
    labels: Tensor,
    ref_labels: Tensor | None,
    copies: Tensor | None,
    distance: str,
    normalize: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Per anchor the row of its farthest positive and of its nearest negative, and whether it has both."""
    points = Points(embeddings, ref_emb, distance, normalize)
    farthest, positives, nearest, negatives = extremes(points, labels, ref_labels, copies)
    return positives, negatives, (farthest != -torch.inf) & (nearest != torch.inf)


def extremes(
    points: Points, labels: Tensor, ref_labels: Tensor | None, copies: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How far each row's farthest positive is, squared if distances are roots, which column it is, and the same of its
    nearest negative; -inf and inf of none.
    """
    # Strip by strip into vectors that are there before: parts that outlived their strip would lie where the next one is
    # to be, and every strip would take memory of its own.
    count = len(labels)
    farthest, nearest = points.rows.new_empty((2, count))
    positives, negatives = torch.empty((2, count), dtype=torch.int64, device=labels.device)
    column_labels = labels if ref_labels is None else ref_labels
    own = torch.arange(count, device=labels.device) if ref_labels is None else copies
    for start, stop in points.strips():
        between = points.distances(start, stop, root=False)
        same = labels[start:stop, None] == column_labels
        no_negative = same if copies is None else ~without_own(~same, copies, start)
        nearest[start:stop], negatives[start:stop] = between.masked_fill(no_negative, torch.inf).min(dim=1)
        between.masked_fill_(~without_own(same, own, start), -torch.inf)
        farthest[start:stop], positives[start:stop] = between.max(dim=1)
    return farthest, positives, nearest, negatives


@torch.no_grad()
def drawn_triplets(
    labels: Tensor,
    ref_labels: Tensor | None,
    copies: Tensor | None,
    per_anchor: int,
    seed: Tensor,
    row_offset: int = 0,
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """So many triplets of every row, and which of them are some; draws are those of the row plus the offset."""
    words = ops.philox_words(labels, seed, STREAMS["triplet"], len(labels), -(-2 * per_anchor // 4), row_offset)
    words = words.flatten(1)[:, : 2 * per_anchor].long() & 0xFFFFFFFF
    groups = LabelGroups(labels, ref_labels, copies)
    positives, negatives, valid = groups.drawn(words.view(len(labels), per_anchor, 2).permute(2, 0, 1))
    anchors = torch.arange(len(labels), device=labels.device).unsqueeze(1).expand_as(positives)
    triplets = (anchors.flatten(), positives.flatten(), negatives.flatten())
    return triplets, valid.unsqueeze(1).expand_as(positives).flatten()


class _AllTriplets(torch.autograd.Function):
    """The loss is sum_ij G_ij d_ij + margin * (terms above 0), where G_ip counts the negatives that are nearer than
    d_ip + margin, and -G_in the positives that reach beyond n: whole numbers, and the gradient of the distances.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,
        function,
        embeddings,
        ref_emb,
        labels,
        ref_labels,
        copies,
        margin,
        semi_hard,
        distance,
        normalize,
        reduction,
        shards,
    ):
        with torch.no_grad():
            points = points_of(embeddings, ref_emb, distance, normalize, shards)
            groups = LabelGroups(labels, ref_labels, copies)
            column_labels = labels if ref_labels is None else ref_labels
            needed = any(ctx.needs_input_grad[1:3])
            grads = points.zeros() if needed else []
            count = torch.zeros((), dtype=torch.int64, device=embeddings.device)
            total = torch.zeros((), dtype=torch.float64, device=embeddings.device)
            taken = count.clone()
            for start, stop in points.strips():
                between = points.distances(start, stop)
                negative = labels[start:stop, None] != column_labels
                if copies is not None:
                    negative = without_own(negative, copies, start)
                index, valid = groups.positives(start, stop)
                weights, active = _weights(between, negative, index, valid, margin, semi_hard)
                count += active
                total += (weights.double() * between).sum()  # terms near 0 are what large ones leave
                if reduction == "mean" and not semi_hard:
                    taken += (valid.sum(dim=1) * negative.sum(dim=1)).sum()
                if needed:
                    add_gradients(points, start, stop, between, weights, grads)
            total, count, taken = points.over_ranks(total, count, taken)
            terms = taken if reduction == "mean" and not semi_hard else count
            share = 1.0 if reduction == "sum" else terms.clamp_min(1).double().reciprocal()
            loss = ((total + margin * count.double()) * share).to(points.rows.dtype) + points.poison
            grads = points.gradients([grad.mul_(share) for grad in grads])
            keep(ctx, function, points, grads)
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, *scaled(ctx, grad), *[None] * 9)


def _weights(
    between: Tensor, negative: Tensor, index: Tensor, valid: Tensor, margin: float, semi_hard: bool
) -> tuple[Tensor, Tensor]:
    """G of a strip, and how many terms are above 0; ``index`` (rows, W) are the columns of the valid positives."""
    to_positives, order = between.gather(1, index).masked_fill_(~valid, -torch.inf).sort(dim=1)
    weights, counts = counted(between, negative, to_positives, margin, semi_hard)
    weights.scatter_add_(1, index.gather(1, order), counts.to(between.dtype))
    return weights, counts.sum()


def counted(
    between: Tensor, negative: Tensor, to_positives: Tensor, margin: float, semi_hard: bool
) -> tuple[Tensor, Tensor]:
    """G of a strip's negatives, 0 elsewhere, and that of its positives, (rows, W) int64.

    ``to_positives`` are the distances of the positives, sorted, -inf in the place of none.
    """
    places, counts = _reach(between, to_positives + margin, negative, inclusive=False)
    if semi_hard:
        others, too_near = _reach(between, to_positives, negative, inclusive=True)
        places, counts = places - others, counts - too_near
    else:
        places = places - to_positives.shape[1]
    return places.to(between.dtype).mul_(negative), counts


def _reach(between: Tensor, thresholds: Tensor, negative: Tensor, *, inclusive: bool) -> tuple[Tensor, Tensor]:
    """How many thresholds of its row do not reach each distance, and how many negatives each threshold reaches.

    Thresholds (rows, W) are sorted; what equals one is reached where ``inclusive``.
    """
    width = thresholds.shape[1]
    if width <= _FEW:
        places = torch.zeros_like(between, dtype=torch.int8)
        for threshold in thresholds.unsqueeze(2).unbind(dim=1):
            places += (between > threshold if inclusive else between >= threshold).view(torch.int8)
        places = places.long()
    else:
        places = torch.searchsorted(thresholds, between, right=not inclusive)
    reached = torch.zeros(len(between), width + 1, dtype=torch.int64, device=between.device)
    counts = reached.scatter_add_(1, places, negative.long()).cumsum(dim=1)
    return places, counts[:, :width]


def sum_of_triplets(
    units: list[Tensor],
    distance: str,
    triplets: tuple[Tensor, Tensor, Tensor],
    valid: Tensor | None,
    terms: tuple[float, bool, bool],
    reduction: str,
    grads: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """The sum of the terms and the number to divide it by; adds its gradients to those given, if there are any.

    Triplets one by one, some thousands at once, from the differences of their embeddings: ``units`` are those of the
    anchors and, if they are others, of positives and negatives.
    """
    margin, swap, smooth = terms
    total = units[0].new_zeros(())
    count = torch.zeros((), dtype=torch.int64, device=total.device)
    for start in range(0, len(triplets[0]), _TRIPLETS):
        chosen = slice(start, start + _TRIPLETS)
        rows = [part[chosen] for part in triplets]
        sides = (units[0], units[-1], units[-1])
        a, p, n = (side.index_select(0, i) for side, i in zip(sides, rows, strict=True))
        d_ap, d_an = apart_of(a, p, distance), apart_of(a, n, distance)
        excess = d_ap - d_an + margin
        if swap:
            d_pn = apart_of(p, n, distance)
            swapped = d_pn < d_an
            excess = torch.where(swapped, d_ap - d_pn + margin, excess)
        taken = torch.ones_like(excess, dtype=torch.bool) if valid is None else valid[chosen]
        losses = F.softplus(excess, threshold=50.0) if smooth else excess.clamp_min(0.0)
        losses = torch.where(taken, losses, 0.0)
        total += losses.sum()
        count += (taken if reduction == "mean" else losses > 0).sum()
        if not grads:
            continue
        slope = torch.where(taken, torch.sigmoid(excess) if smooth else (excess > 0).to(excess.dtype), 0.0)
        kept = torch.where(swapped, 0.0, slope) if swap else slope
        grad_a, grad_p = pull(a, p, d_ap, slope, distance)
        more_a, grad_n = pull(a, n, d_an, -kept, distance)
        if swap:
            more_p, more_n = pull(p, n, d_pn, kept - slope, distance)
            grad_p, grad_n = grad_p + more_p, grad_n + more_n
        grads[0].index_add_(0, rows[0], grad_a + more_a)
        grads[-1].index_add_(0, rows[1], grad_p).index_add_(0, rows[2], grad_n)
    return total, count


class _GivenTriplets(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ref_emb, triplets, valid, terms, distance, normalize, reduction, shards
    ):
        with torch.no_grad():
            points = points_of(embeddings, ref_emb, distance, normalize, shards)
            grads = points.zeros() if any(ctx.needs_input_grad[1:3]) else []
            total, count = sum_of_triplets(points.units, distance, triplets, valid, terms, reduction, grads)
            total, count = points.over_ranks(total + points.poison, count)
            share = 1.0 if reduction == "sum" else count.clamp_min(1).to(total.dtype).reciprocal()
            grads = points.gradients([grad.mul_(share) for grad in grads])
            keep(ctx, function, points, grads)
        return total * share

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, *scaled(ctx, grad), *[None] * 7)
