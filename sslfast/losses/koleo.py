"""KoLeo, the regulariser that spreads embeddings (DINOv2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import ops
from sslfast._autograd import is_last_plain, traced_once
from sslfast.losses._inputs import check_rows, check_two_rows, not_negative, positive, widened, without_autocast

_SEARCH_ROWS = 128  # rows whose similarities with the batch are held at once
_WHOLE_ROWS = 512  # so many rows are compared in one product: 1 MiB of float32


class KoLeoLoss(nn.Module):
    """KoLeo as a module; see :func:`koleo_loss`.

    Args:
        p: degree of the norm of the distance. Default: 2.
        eps: least norm, and added to each difference and each distance. Default: 1e-8.

    Raises:
        TypeError: if ``p`` or ``eps`` is not a number.
        ValueError: if ``p`` is not positive and finite, or ``eps`` is negative or not finite.

    Example:
        >>> koleo = KoLeoLoss()
        >>> loss = criterion(z0, z1) + 0.1 * (koleo(z0) + koleo(z1))
        >>> loss.backward()
    """

    def __init__(self, p: float = 2, eps: float = 1e-8) -> None:
        super().__init__()
        self.p = positive("KoLeoLoss", "p", p)
        self.eps = not_negative("KoLeoLoss", "eps", eps)

    def forward(self, x: Tensor) -> Tensor:
        return koleo_loss(x, self.p, self.eps)

    def extra_repr(self) -> str:
        return f"p={self.p}, eps={self.eps}"


def koleo_loss(x: Tensor, p: float = 2, eps: float = 1e-8) -> Tensor:
    """Minus the mean log distance of each unit vector to its nearest neighbour in the batch.

    ``u = F.normalize(x, dim=1, eps=eps)``; ``j = (u @ u.T).fill_diagonal_(-2).argmax(1)``;
    ``loss = -(F.pairwise_distance(u, u[j], p, eps) + eps).log().mean()``

    with the value and the gradients of lightly's ``KoLeoLoss``. The neighbours are searched for in blocks of 128 rows:
    O(N) memory beside the embeddings. Accumulates in float32 (float64 inputs in float64). Twice differentiable, with
    the choice of the neighbours constant.

    Args:
        x: embeddings, shape (N, D), floating point, any strides; need not be normalised.
        p: degree of the norm of the distance. Default: 2.
        eps: least norm, and added to each difference and each distance. Default: 1e-8.

    Returns:
        Scalar loss, float32, or float64 for float64 inputs.

    Raises:
        TypeError: if ``x`` is not a floating-point tensor, or ``p`` or ``eps`` is not a number.
        ValueError: if ``x`` is not (N, D) with N >= 2 and D >= 1, ``p`` is not positive and finite, or ``eps`` is
            negative or not finite.

    Reference: Sablayrolles et al., "Spreading Vectors for Similarity Search", ICLR 2019; Oquab et al., "DINOv2:
    Learning Robust Visual Features without Supervision", TMLR 2024.
    """
    name = "koleo_loss"
    check_rows(name, "x", x)
    check_two_rows(name, "x", x)
    p = positive(name, "p", p, x)
    eps = not_negative(name, "eps", eps, x)
    (wide,) = widened(x)
    rows = wide if wide.stride(1) == 1 else wide.contiguous()
    if p == 2.0:
        loss: Tensor = _KoLeo.apply(rows, eps, torch.is_grad_enabled())
        return loss
    _, neighbours, _ = ops.koleo(rows.detach(), eps, False)
    with without_autocast(x):
        unit = F.normalize(rows, dim=1, eps=eps)
        return -(F.pairwise_distance(unit, unit.index_select(0, neighbours), p, eps) + eps).log().mean()


class _KoLeo(torch.autograd.Function):
    """The gradient of a loss with gradient 1 is made in forward.

    Where a second derivative may follow, it is made again, as a function of the embeddings.
    """

    @staticmethod
    def forward(ctx, x, eps, grad_enabled):  # type: ignore[no-untyped-def]
        loss, neighbours, grad_x = ops.koleo(x, eps, grad_enabled and ctx.needs_input_grad[0])
        ctx.save_for_backward(x, neighbours, grad_x)
        ctx.eps = eps
        return loss

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, neighbours, grad_x = ctx.saved_tensors
        if torch.is_grad_enabled():
            with without_autocast(x):
                grad_x = _gradient(x, neighbours, ctx.eps)
        elif is_last_plain(grad):
            return grad_x, None, None
        return grad_x * grad, None, None


def _in_torch(x: Tensor, eps: float, need_grad: bool) -> tuple[Tensor, Tensor, Tensor]:
    """``ops.koleo`` in plain torch: what a GPU runs."""
    with without_autocast(x):  # which an operator that is called inside it does not leave
        unit = F.normalize(x, dim=1, eps=eps)
        neighbours = _nearest(unit)
        loss = -(F.pairwise_distance(unit, unit.index_select(0, neighbours), 2.0, eps) + eps).log().mean()
        return loss, neighbours, _gradient(x, neighbours, eps) if need_grad else x.new_empty((0, x.shape[1]))


def _gradient(x: Tensor, neighbours: Tensor, eps: float) -> Tensor:
    """The gradient, by torch's operators: csrc/include/sslfast/koleo.h has the formula."""
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    divisor = norm.clamp_min(eps)
    unit = x / divisor
    apart = unit - unit.index_select(0, neighbours) + eps
    distance = torch.linalg.vector_norm(apart, dim=1, keepdim=True)
    direction = apart * torch.where(distance == 0, 0.0, 1.0 / distance)
    own = direction * ((-1.0 / len(x)) / (distance + eps))
    grad = own.index_add(0, neighbours, -own)
    along = (grad * unit).sum(dim=1, keepdim=True) * (norm > eps)
    return (grad - along * unit) / divisor


ops.triton_library.impl("koleo", _in_torch)


def _nearest(unit: Tensor) -> Tensor:
    """For each row, the first of the others that it has the largest product with."""
    if len(unit) <= _WHOLE_ROWS:
        similarity = unit @ unit.T
        return similarity.fill_diagonal_(-2.0).max(dim=1).indices
    best = unit.new_full((len(unit),), -2.0)
    index = torch.zeros(len(unit), dtype=torch.int64, device=unit.device)
    for start in range(0, len(unit), _SEARCH_ROWS):
        # The products are symmetric: rows take theirs from here on, the columns beyond take them transposed.
        stop = min(start + _SEARCH_ROWS, len(unit))
        similarity = unit[start:stop] @ unit[start:].T
        similarity.diagonal().fill_(-2.0)
        beyond = similarity[:, stop - start :].T.contiguous()  # max is slow across rows
        for part, (value, place) in (
            (slice(start, stop), similarity.max(dim=1)),
            (slice(stop, None), beyond.max(dim=1)),
        ):
            closer = value > best[part]  # in a tie the earlier one stays
            best[part] = torch.where(closer, value, best[part])
            index[part] = torch.where(closer, place + start, index[part])
    return index
