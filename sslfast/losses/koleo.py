"""KoLeo, the regulariser that spreads embeddings (DINOv2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    p = positive(name, "p", p)
    eps = not_negative(name, "eps", eps)
    with without_autocast(x):
        (wide,) = widened(x)
        unit = F.normalize(wide, dim=1, eps=eps)
        neighbours = unit.index_select(0, _nearest(unit.detach()))
        return -(F.pairwise_distance(unit, neighbours, p, eps) + eps).log().mean()


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
