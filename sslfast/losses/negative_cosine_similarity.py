"""The negative cosine similarity of BYOL and SimSiam."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast.losses._inputs import check_floating, not_negative, widened, without_autocast


class NegativeCosineSimilarity(nn.Module):
    """Negative cosine similarity as a module; see :func:`negative_cosine_similarity`.

    Args:
        dim: the dimension that the similarity is taken along. Default: 1.
        eps: least norm that is divided by. Default: 1e-8.

    Raises:
        TypeError: if ``dim`` is not an int or ``eps`` not a number.
        ValueError: if ``eps`` is negative or not finite.

    Example:
        >>> criterion = NegativeCosineSimilarity()
        >>> loss = (criterion(p0, z1.detach()) + criterion(p1, z0.detach())) / 2
        >>> loss.backward()
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        name = "NegativeCosineSimilarity"
        self.dim = _check.integer(name, "dim", dim, -(2**63))
        self.eps = not_negative(name, "eps", eps)

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        return negative_cosine_similarity(x0, x1, self.dim, self.eps)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, eps={self.eps}"


def negative_cosine_similarity(x0: Tensor, x1: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Mean negative cosine similarity of two batches, the loss of BYOL (up to a factor and a constant) and SimSiam.

    ``loss = -F.cosine_similarity(x0, x1, dim, eps).mean()``

    with the value of lightly's ``NegativeCosineSimilarity``, without storing normalised copies. Accumulates in float32
    (float64 inputs in float64). Gradients flow into both arguments: detach the target. Where a norm is below ``eps``,
    the gradient is that of dividing by the constant ``eps``. Twice differentiable.

    Args:
        x0: floating point, (N, D) or any shape with at least one element, any strides; need not be normalised.
        x1: floating point, of the same shape or one that broadcasts with it, on the same device.
        dim: the dimension that the similarity is taken along. Default: 1.
        eps: least norm that is divided by. Default: 1e-8.

    Returns:
        Scalar loss in [-1, 1], float32, or float64 if an input is.

    Raises:
        TypeError: if x0 or x1 is not a floating-point tensor, ``dim`` is not an int or ``eps`` not a number.
        ValueError: if the shapes do not broadcast or hold no element, x1 is on another device than x0, there is no
            dimension ``dim``, or ``eps`` is negative or not finite.

    Reference: Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020; Chen and He, "Exploring Simple Siamese
    Representation Learning", CVPR 2021.
    """
    name = "negative_cosine_similarity"
    for argument, x in (("x0", x0), ("x1", x1)):
        check_floating(name, argument, x)
    try:
        shape = torch.broadcast_shapes(x0.shape, x1.shape)
    except RuntimeError:
        got = f"got {tuple(x1.shape)}"
        raise ValueError(f"{name}: x1 must broadcast with x0 of shape {tuple(x0.shape)}, {got}") from None
    if 0 in shape:
        raise ValueError(f"{name}: x0 and x1 must have at least one element, got shape {tuple(shape)}")
    if x1.device != x0.device:
        raise ValueError(f"{name}: x1 must be on {x0.device}, like x0, got {x1.device}")
    dim = _check.integer(name, "dim", dim, -(2**63))
    if not -len(shape) <= dim < len(shape):
        raise ValueError(f"{name}: dim must be a dimension of shape {tuple(shape)}, got {dim}")
    eps = not_negative(name, "eps", eps)
    with without_autocast(x0):
        x0, x1 = (x.expand(shape) for x in widened(x0, x1))
        cosine: Tensor = _Cosine.apply(x0, x1, dim, eps)
        return -cosine.mean()


class _Cosine(torch.autograd.Function):
    """Cosine similarity in three reductions, its gradients in one pass each.

    With n = max(|x|, eps): d cos / d x0 = x1 / (n0 n1) - cos x0 / n0^2, without the second term where eps is the
    larger. Where a second derivative may follow, the reductions are made again, as functions of the inputs.
    """

    @staticmethod
    def forward(ctx, x0, x1, dim, eps):  # type: ignore[no-untyped-def]
        cosine, norms = _cosine(x0, x1, dim, eps)
        ctx.save_for_backward(x0, x1, cosine, *norms)
        ctx.dim, ctx.eps = dim, eps
        return cosine.squeeze(dim)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x0, x1, cosine, *norms = ctx.saved_tensors
        if torch.is_grad_enabled():
            cosine, norms = _cosine(x0, x1, ctx.dim, ctx.eps)
        grad = grad.unsqueeze(ctx.dim)
        grads: list[Tensor | None] = [None, None]
        for i, (own, other, norm, other_norm) in enumerate(((x0, x1, *norms), (x1, x0, *reversed(norms)))):
            if ctx.needs_input_grad[i]:
                along = grad * cosine / norm / norm * (norm > ctx.eps)
                grads[i] = torch.addcmul(other * (grad / norm / other_norm), own, along, value=-1.0)
        return *grads, None, None


def _cosine(x0: Tensor, x1: Tensor, dim: int, eps: float) -> tuple[Tensor, list[Tensor]]:
    """The similarities and the norms, with ``dim`` kept as 1. Norms divide one by one: their product may underflow."""
    norms = [torch.linalg.vector_norm(x, dim=dim, keepdim=True).clamp_min(eps) for x in (x0, x1)]
    return (x0 * x1).sum(dim=dim, keepdim=True) / norms[0] / norms[1], norms
