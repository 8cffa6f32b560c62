"""The products of InfoNCE of few queries: all similarities at once, and their weights back to what they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import is_last_plain, unit_rows
from sslfast.losses._few_pairs import Options
from sslfast.losses._negative_kinds import Hardness


class Columns(NamedTuple):
    """How many columns the similarities have of each kind, in the operator's order."""

    queries_of_keys: int  # this and the next are similarities with the positive keys, the rest with the queries
    keys_of_keys: int
    queries: int
    keys: int
    others: int  # of all queries
    queue: int
    hard: int  # of one query each

    @property
    def at_queries(self) -> int:
        return self.queries_of_keys + self.keys_of_keys

    @property
    def at_keys(self) -> int:
        return self.at_queries + self.queries

    @property
    def at_hard(self) -> int:
        return self.at_keys + self.keys + self.others + self.queue

    @property
    def makes_queries_of_keys(self) -> bool:
        """Whether a product makes them: they are the keys' columns once more where there are these."""
        return self.queries_of_keys > 0 and self.keys == 0

    def harder(self, hardness: Hardness) -> tuple[int, int]:
        """The first column that is hard, and the one behind the last."""
        if hardness.strength == 0.0:
            return 0, 0
        if hardness.of("queue"):  # so all of these kinds are
            return self.at_keys, sum(self)
        if hardness.of("in_batch"):
            return self.at_keys, self.at_keys + self.keys
        begin = self.at_keys + self.keys if self.others else self.at_hard
        return begin, begin + self.others + self.hard


class Request(NamedTuple):
    """What the loss is asked for beside its inputs."""

    function: str
    columns: Columns
    kinds: tuple[bool, ...]  # as the operator takes them
    hard: tuple[int, int, float]
    queue: Tensor | None
    wide: torch.dtype
    normalize: bool
    each: bool
    scale: float
    share: float
    options: Options
    grad_enabled: bool


class Kept(NamedTuple):
    """What backward needs: inputs that take a gradient, sides of the products, and what became of these."""

    query: Tensor | None
    keys: Tensor | None
    others: Tensor | None
    scale: Tensor | None
    q: Tensor
    k: Tensor
    p: Tensor  # the positive of every query, where it is needed; its weight is in slopes, not in weights
    q_norm: Tensor | None
    k_norm: Tensor | None
    o_norm: Tensor | None
    with_queries: Tensor | None
    with_keys: Tensor | None
    hard: Tensor | None
    similar_hard: Tensor | None
    weights: Tensor
    slopes: Tensor
    of_scale: Tensor
    positives: Tensor | None


def losses_of(
    r: Request,
    query: Tensor,
    keys: Tensor,
    others: Tensor | None,
    scale: Tensor | None,
    needs: tuple[bool, ...],
) -> tuple[Tensor, Kept]:
    """The losses, and what backward needs, with all inputs."""
    columns, positives, weigh = r.columns, r.options.positives, any(needs)
    at_queries, at_hard = columns.at_queries, columns.at_hard
    q, q_norm = _side(r, query, weigh and not needs[0])
    k, k_norm = _side(r, keys, weigh and not needs[1])
    o, o_norm, hard, similar_hard = None, None, None, None
    if columns.others:
        assert others is not None
        o, o_norm = _side(r, others, weigh and not needs[2])
    queue = None if r.queue is None else r.queue.to(r.wide)
    with_queries = _joined(q if columns.queries else None, k if columns.keys else None, o, queue)
    if weigh and with_queries is not None and with_queries is r.queue:
        with_queries = with_queries.clone()  # it may change before backward
    with_keys = _joined(q if columns.makes_queries_of_keys else None, k if columns.keys_of_keys else None)
    p = k
    if positives is not None and (with_keys is not None or needs[0]):
        p = k.index_select(0, positives)

    width = sum(columns)
    if with_queries is not None and with_queries.shape[0] == width:
        similar = q @ with_queries.T
    else:
        similar = q.new_empty((q.shape[0], width))
        if with_queries is not None:
            torch.mm(q, with_queries.T, out=_part(similar, at_queries, at_hard))
    if with_keys is not None:
        torch.mm(p, with_keys.T, out=_part(similar, at_queries - with_keys.shape[0], at_queries))
    if columns.queries_of_keys and not columns.makes_queries_of_keys:
        again = _part(similar, columns.at_keys, columns.at_keys + columns.keys).T
        similar[:, : columns.queries_of_keys] = again if positives is None else again.index_select(0, positives)
    if columns.hard:
        assert others is not None
        hard = _exact(others, r.wide)
        similar_hard, o_norm = ops.own_similarities(q, hard, r.normalize)
        _part(similar, at_hard, width).copy_(similar_hard)
    losses, weights, slopes, of_scale = ops.joint_softmax(
        similar, q, k, scale, r.scale, r.share, *r.kinds, *r.hard, r.normalize, r.each, weigh, *r.options
    )
    if weigh and not r.each:
        _fold(columns, weights, positives)
    sides = q, k, p, q_norm, k_norm, o_norm, with_queries, with_keys, hard, similar_hard
    return losses, Kept(query, keys, others, scale, *sides, weights, slopes, of_scale, positives)


def gradients_of(r: Request, kept: Kept, grad: Tensor) -> list[Tensor | None]:
    """The gradients of query, keys, further keys and scale, where they are needed."""
    columns, weights, slopes = r.columns, kept.weights, kept.slopes
    at_queries, at_hard = columns.at_queries, columns.at_hard
    if r.each or not is_last_plain(grad):
        factor = grad.unsqueeze(1) if r.each else grad
        weights = weights * factor
        if r.each:
            _fold(columns, weights, kept.positives)
        slopes = slopes * factor
    # Gradients of the sides, to be added up: of queries, keys, the keys of the queries, and further keys.
    of_q: list[Tensor] = []
    of_k: list[Tensor] = []
    of_p: list[Tensor] = []
    of_o: list[Tensor] = []
    need_q, need_k, need_o = (z is not None for z in kept[:3])
    if kept.with_queries is not None:
        if need_q:
            of_q.append(_part(weights, at_queries, at_hard) @ kept.with_queries)
        if (need_q and columns.queries) or (need_k and columns.keys) or (need_o and columns.others):
            own = _part(weights, at_queries, at_hard - columns.queue)
            _deal(own.T @ kept.q, (of_q, of_k, of_o), columns[2:5])
    if kept.with_keys is not None:
        sizes = (kept.with_keys.shape[0] - columns.keys_of_keys, columns.keys_of_keys)
        own = _part(weights, at_queries - sum(sizes), at_queries)
        if need_k:
            of_p.append(own @ kept.with_keys)
        if (need_q and sizes[0]) or (need_k and sizes[1]):
            _deal(own.T @ kept.p, (of_q, of_k), sizes)
    if kept.hard is not None:
        own = _part(weights, at_hard, weights.shape[1]).contiguous()
        norms = (kept.similar_hard, kept.o_norm) if r.normalize else (None, None)
        of_query, of_hard = ops.own_similarities_backward(own, kept.q, kept.hard, *norms, need_q, need_o)
        of_q.append(of_query)
        of_o.append(of_hard)
    # A positive's weight is as large as all others of its row together: in a product with these, whose sums would be of
    # its size from there on, it would cost larger roundings at every column.
    if need_q:
        _add_pairs(of_q, slopes, kept.p)
    if need_k:
        positives = kept.positives
        _add_pairs(of_k if positives is None and of_k else of_p, slopes, kept.q)
        if of_p:
            own = _sum(of_p)
            of_k.append(own if positives is None else torch.zeros_like(kept.k).index_add(0, positives, own))
    found: list[Tensor | None] = [
        None if z is None else _to_input(r, _sum(parts), z, norm)
        for z, parts, norm in zip(kept[:3], (of_q, of_k, of_o), (kept.q_norm, kept.k_norm, kept.o_norm), strict=True)
    ]
    of_scale = None
    if kept.scale is not None:
        of_scale = (kept.of_scale * grad).sum().to(kept.scale.dtype).reshape(kept.scale.shape)
    return [*found, of_scale]


def _part(matrix: Tensor, begin: int, end: int) -> Tensor:
    """These columns."""
    return matrix if end - begin == matrix.shape[1] else matrix[:, begin:end]


def _add_pairs(parts: list[Tensor], weights: Tensor, rows: Tensor) -> None:
    """Adds ``weights * rows`` to the first of the parts, which this may change."""
    if parts:
        parts[0].addcmul_(weights, rows)
    else:
        parts.append(weights * rows)


def _deal(rows: Tensor, hands: Sequence[list[Tensor]], sizes: tuple[int, ...]) -> None:
    """Gives each of the hands so many rows."""
    if max(sizes) == rows.shape[0]:
        hands[sizes.index(rows.shape[0])].append(rows)
        return
    for hand, size, part in zip(hands, sizes, rows.split(sizes), strict=True):
        if size:
            hand.append(part)


def _fold(columns: Columns, weights: Tensor, positives: Tensor | None) -> None:
    """Adds the weights of the queries of keys to those of the keys that these are once more."""
    if columns.queries_of_keys == 0 or columns.makes_queries_of_keys:
        return
    own, again = (
        _part(weights, columns.at_keys, columns.at_keys + columns.keys),
        weights[:, : columns.queries_of_keys].T,
    )
    if positives is None:
        own += again
    else:
        own.index_add_(1, positives, again)


def _side(r: Request, z: Tensor, constant: bool) -> tuple[Tensor, Tensor | None]:
    """Rows as the products take them, and their inverse norms."""
    if r.normalize:
        return unit_rows(_exact(z, r.wide))
    return _constant(z, r.wide, constant), None


def _exact(z: Tensor, wide: torch.dtype) -> Tensor:
    """In ``wide`` where it or ``z`` is float64; a half type that float32 holds is left as it is."""
    z = z.to(wide) if torch.float64 in (wide, z.dtype) else z
    return z if z.stride(-1) == 1 else z.contiguous()


def _constant(z: Tensor, wide: torch.dtype, constant: bool) -> Tensor:
    """In ``wide``, contiguous; a copy of what is constant, which may change before backward."""
    rows = z.to(wide).contiguous()
    return rows.clone() if constant and rows is z else rows


def _joined(*parts: Tensor | None) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if len(there) > 1 else there[0] if there else None


def _sum(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _to_input(r: Request, grad: Tensor, z: Tensor, norm: Tensor | None) -> Tensor:
    """The gradient of an input from that of its side."""
    if norm is not None and z.dim() == 2:
        grad = ops.unit_rows_gradient(grad.contiguous(), _exact(z, r.wide), norm)
    return grad.to(z.dtype)
