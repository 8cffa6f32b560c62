"""The negative cosine similarity of BYOL and SimSiam."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast._autograd import distinct, is_last_plain, traced_once
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
    shape = x0.shape
    if x1.shape != shape:
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
    rows = (_rows(x if x.shape == shape else x.expand(shape), dim) for x in widened(x0, x1))
    loss: Tensor = _NegativeCosine.apply(*distinct(*rows), eps, torch.is_grad_enabled())
    return loss


def _rows(x: Tensor, dim: int) -> Tensor:
    """A view or a copy (N, D) that has ``dim`` last, its rows contiguous."""
    if dim not in (-1, x.dim() - 1):
        x = x.movedim(dim, -1)
    if x.dim() != 2:
        x = x.reshape(-1, x.shape[-1])
    return x if x.stride(1) == 1 else x.contiguous()


class _NegativeCosine(torch.autograd.Function):
    """The gradients of a loss with gradient 1 are made in forward, while the rows are in the cache.

    Where a second derivative may follow, they are made again, as functions of the inputs.
    """

    @staticmethod
    def forward(ctx, x0, x1, eps, grad_enabled):  # type: ignore[no-untyped-def]
        needs = [grad_enabled and needed for needed in ctx.needs_input_grad[:2]]
        loss, *grads = ops.negative_cosine_similarity(x0, x1, eps, *needs)
        ctx.save_for_backward(x0, x1, *grads)
        ctx.eps = eps
        return loss

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x0, x1, *grads = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            with without_autocast(x0):
                grads = [found * grad for found in _in_torch(x0, x1, ctx.eps, *needs)[1:]]
        elif not is_last_plain(grad):
            grads = [found * grad if needed else found for found, needed in zip(grads, needs, strict=True)]
        return *(found if needed else None for found, needed in zip(grads, needs, strict=True)), None, None


def _in_torch(x0: Tensor, x1: Tensor, eps: float, need_x0: bool, need_x1: bool) -> tuple[Tensor, Tensor, Tensor]:
    """``ops.negative_cosine_similarity`` in plain torch: what a GPU runs, and what can be differentiated.

    With n = max(|x|, eps): d cos / d x0 = x1 / (n0 n1) - cos x0 / n0^2, without the second term where eps is the
    larger. Norms divide one by one: their product may underflow.
    """
    norms = [torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(eps) for x in (x0, x1)]
    cosine = (x0 * x1).sum(dim=1, keepdim=True) / norms[0] / norms[1]
    grads = []
    for own, other, norm, other_norm, needed in ((x0, x1, *norms, need_x0), (x1, x0, *reversed(norms), need_x1)):
        if not needed:
            grads.append(own.new_empty((0, own.shape[1])))
            continue
        share = (-1.0 / len(x0)) / norm
        along = share * cosine / norm * (norm > eps)
        grads.append(torch.addcmul(other * (share / other_norm), own, along, value=-1.0))
    return -cosine.mean(), *grads


ops.triton_library.impl("negative_cosine_similarity", _in_torch)
