"""Distances in strips of rows, the triplets among them, and their loss with its gradients: the part of TripletLoss
that computes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast._autograd import first_order_only, unit_rows, unit_rows_backward
from sslfast.losses._inputs import widened
from sslfast.losses._labels import LabelGroups
from sslfast.losses._strips import rows_at_once

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
) -> Tensor:
    """The loss of all triplets, or of the semi-hard ones; arguments as checked by :func:`triplet_loss`."""
    loss: Tensor = _AllTriplets.apply(
        function, embeddings, ref_emb, labels, ref_labels, copies, margin, semi_hard, distance, normalize, reduction
    )
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
) -> Tensor:
    """The loss of the triplets with these rows, (T,) anchors, positives and negatives, but for those not ``valid``.

    ``terms`` are the margin, whether to swap, and whether the margin is soft.
    """
    loss: Tensor = _GivenTriplets.apply(
        function, embeddings, ref_emb, triplets, valid, terms, distance, normalize, reduction
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
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    points = _Points(embeddings, ref_emb, distance, normalize)
    groups = LabelGroups(labels, ref_labels, copies)
    column_labels = labels if ref_labels is None else ref_labels
    for start, stop in points.strips():
        between = points.distances(start, stop, root=False)
        same = labels[start:stop, None] == column_labels
        no_negative = same if copies is None else ~groups.without_own(~same, start)
        nearest, negative = between.masked_fill(no_negative, torch.inf).min(dim=1)
        farthest, positive = between.masked_fill_(~groups.without_own(same, start), -torch.inf).max(dim=1)
        found.append((positive, negative, (farthest != -torch.inf) & (nearest != torch.inf)))
    positives, negatives, both = (torch.cat(parts) for parts in zip(*found, strict=True))
    return positives, negatives, both


class _Points:
    """Rows and columns in the dtype of accumulation, normalised where asked, about their centre where only differences
    count: the square of a distance is then not the difference of far larger numbers.
    """

    def __init__(self, embeddings: Tensor, ref_emb: Tensor | None, distance: str, normalize: bool) -> None:
        self.distance, self.normalize = distance, normalize
        self.inputs = [embeddings] if ref_emb is None else [embeddings, ref_emb]
        sides = widened(*self.inputs)
        self.factors: list[Tensor] = []
        if normalize:
            pairs = [unit_rows(z) for z in sides]
            sides, self.factors = [unit for unit, _ in pairs], [factor for _, factor in pairs]
        self.units = sides
        if distance != "cosine":
            center = sides[-1].mean(dim=0)
            sides = [z - center for z in sides]
        self.rows, self.columns = sides[0], sides[-1]
        self.squares = [z.square().sum(dim=1) for z in (self.rows, self.columns)]
        self.poison = torch.stack([(z * 0.0).sum() for z in sides]).sum()  # NaN if a number is NaN or infinite, else 0

    def strips(self) -> list[tuple[int, int]]:
        count, width = len(self.rows), len(self.columns)
        step = rows_at_once(self.rows, width)
        return [(start, min(start + step, count)) for start in range(0, count, step)]

    def distances(self, start: int, stop: int, *, root: bool = True) -> Tensor:
        """Distances of some rows from all columns, (rows, M); squared where no root is wanted."""
        rows = self.rows[start:stop]
        if self.distance == "cosine":
            return (rows @ self.columns.T).neg_()
        squares = self.squares[0][start:stop, None] + self.squares[1]
        least = squares * (8 * torch.finfo(squares.dtype).eps)
        between = squares.addmm_(rows, self.columns.T, alpha=-2.0)
        between.masked_fill_(between <= least, 0.0)  # equal rows are apart by the rounding of the product
        return between.sqrt_() if root and self.distance == "euclidean" else between

    def gradients(self, grads: list[Tensor]) -> list[Tensor]:
        """From the gradients of the points to those of the inputs, in place; none of none."""
        if self.normalize and grads:
            found = zip(grads, self.units, self.factors, strict=True)
            grads = [unit_rows_backward(grad, unit, factor) for grad, unit, factor in found]
        return [grad.to(z.dtype) for grad, z in zip(grads, self.inputs, strict=False)]

    def zeros(self) -> list[Tensor]:
        return [torch.zeros_like(z) for z in self.units]


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
    ):
        with torch.no_grad():
            points = _Points(embeddings, ref_emb, distance, normalize)
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
                    negative = groups.without_own(negative, start)
                index, valid = groups.positives(start, stop)
                weights, active = _weights(between, negative, index, valid, margin, semi_hard)
                count += active
                total += (weights.double() * between).sum()  # terms near 0 are what large ones leave
                if reduction == "mean" and not semi_hard:
                    taken += (valid.sum(dim=1) * negative.sum(dim=1)).sum()
                if needed:
                    _add_gradients(points, start, stop, between, weights, grads)
            terms = taken if reduction == "mean" and not semi_hard else count
            share = 1.0 if reduction == "sum" else terms.clamp_min(1).double().reciprocal()
            loss = ((total + margin * count.double()) * share).to(points.rows.dtype) + points.poison
            grads = points.gradients([grad.mul_(share) for grad in grads])
        ctx.save_for_backward(embeddings, ref_emb, *grads)
        ctx.function = function
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, *_scaled(ctx, grad), *[None] * 8)


def _scaled(ctx, grad):  # type: ignore[no-untyped-def]
    """The saved gradients of embeddings and references, times the incoming one."""
    embeddings, ref_emb, *grads = ctx.saved_tensors
    inputs = [embeddings] if ref_emb is None else [embeddings, ref_emb]
    found: list[Tensor | None] = [None, None]
    for i, needed in enumerate(ctx.needs_input_grad[1:3]):
        if needed:
            with torch.no_grad():
                product = (grads[i] * grad).to(grads[i].dtype)
            found[i] = first_order_only(ctx.function, product, *inputs, grad)
    return found


def _weights(
    between: Tensor, negative: Tensor, index: Tensor, valid: Tensor, margin: float, semi_hard: bool
) -> tuple[Tensor, Tensor]:
    """G of a strip, and how many terms are above 0; ``index`` (rows, W) are the columns of the valid positives."""
    nearest, order = between.gather(1, index).masked_fill_(~valid, -torch.inf).sort(dim=1)
    places, counts = _reach(between, nearest + margin, negative, inclusive=False)
    if semi_hard:
        others, too_near = _reach(between, nearest, negative, inclusive=True)
        places, counts = places - others, counts - too_near
    else:
        places = places - nearest.shape[1]
    weights = places.to(between.dtype).mul_(negative)
    weights.scatter_add_(1, index.gather(1, order), counts.to(between.dtype))
    return weights, counts.sum()


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


def _add_gradients(
    points: _Points, start: int, stop: int, between: Tensor, weights: Tensor, grads: list[Tensor]
) -> None:
    """Adds the gradients of a strip of distances to those of the points."""
    rows, grad_rows = points.rows[start:stop], grads[0][start:stop]
    if points.distance != "cosine":
        if points.distance == "euclidean":
            weights = torch.where(between > 0, weights / between, 0.0)
        else:
            weights.mul_(2.0)
        grad_rows.addcmul_(rows, weights.sum(dim=1, keepdim=True))
        grads[-1].addcmul_(points.columns, weights.sum(dim=0).unsqueeze(1))
    grad_rows.addmm_(weights, points.columns, alpha=-1.0)
    grads[-1].addmm_(weights.T, rows, alpha=-1.0)


class _GivenTriplets(torch.autograd.Function):
    """Triplets one by one, some thousands at once, from the differences of their embeddings."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ref_emb, triplets, valid, terms, distance, normalize, reduction
    ):
        margin, swap, smooth = terms
        with torch.no_grad():
            points = _Points(embeddings, ref_emb, distance, normalize)
            needed = any(ctx.needs_input_grad[1:3])
            grads = points.zeros() if needed else []
            total = points.poison.clone()
            count = torch.zeros((), dtype=torch.int64, device=embeddings.device)
            for start in range(0, len(triplets[0]), _TRIPLETS):
                chosen = slice(start, start + _TRIPLETS)
                rows = [part[chosen] for part in triplets]
                sides = (points.units[0], points.units[-1], points.units[-1])
                a, p, n = (side.index_select(0, i) for side, i in zip(sides, rows, strict=True))
                d_ap, d_an = _apart(a, p, distance), _apart(a, n, distance)
                excess = d_ap - d_an + margin
                if swap:
                    d_pn = _apart(p, n, distance)
                    swapped = d_pn < d_an
                    excess = torch.where(swapped, d_ap - d_pn + margin, excess)
                taken = torch.ones_like(excess, dtype=torch.bool) if valid is None else valid[chosen]
                losses = F.softplus(excess, threshold=50.0) if smooth else excess.clamp_min(0.0)
                losses = torch.where(taken, losses, 0.0)
                total += losses.sum()
                count += (taken if reduction == "mean" else losses > 0).sum()
                if not needed:
                    continue
                slope = torch.where(taken, torch.sigmoid(excess) if smooth else (excess > 0).to(excess.dtype), 0.0)
                kept = torch.where(swapped, 0.0, slope) if swap else slope
                grad_a, grad_p = _pull(a, p, d_ap, slope, distance)
                more_a, grad_n = _pull(a, n, d_an, -kept, distance)
                if swap:
                    more_p, more_n = _pull(p, n, d_pn, kept - slope, distance)
                    grad_p, grad_n = grad_p + more_p, grad_n + more_n
                grads[0].index_add_(0, rows[0], grad_a + more_a)
                grads[-1].index_add_(0, rows[1], grad_p).index_add_(0, rows[2], grad_n)
            share = 1.0 if reduction == "sum" else count.clamp_min(1).to(total.dtype).reciprocal()
            grads = points.gradients([grad.mul_(share) for grad in grads])
        ctx.save_for_backward(embeddings, ref_emb, *grads)
        ctx.function = function
        return total * share

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, *_scaled(ctx, grad), *[None] * 6)


def _apart(x: Tensor, y: Tensor, distance: str) -> Tensor:
    """Distances of pairs of rows, (T,)."""
    if distance == "cosine":
        return -(x * y).sum(dim=1)
    squared = (x - y).square().sum(dim=1)
    return squared.sqrt() if distance == "euclidean" else squared


def _pull(x: Tensor, y: Tensor, apart: Tensor, weight: Tensor, distance: str) -> tuple[Tensor, Tensor]:
    """The gradients of ``weight * apart`` in both rows of each pair."""
    if distance == "cosine":
        return y * -weight.unsqueeze(1), x * -weight.unsqueeze(1)
    weight = torch.where(apart > 0, weight / apart, 0.0) if distance == "euclidean" else 2.0 * weight
    grad = (x - y).mul_(weight.unsqueeze(1))
    return grad, -grad
