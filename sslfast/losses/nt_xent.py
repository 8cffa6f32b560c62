"""NT-Xent, the contrastive loss of SimCLR."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast._autograd import first_order_only
from sslfast.distributed import gather_rows

_EPS = 1e-12  # of F.normalize


class NTXentLoss(nn.Module):
    """NT-Xent as a module; see :func:`nt_xent_loss`.

    Args:
        temperature: divides the cosine similarities. Default: 0.5, lightly's.
        gather_distributed: contrast with the samples of all ranks. Default: False.

    Raises:
        TypeError: if ``temperature`` is not a number.
        ValueError: if ``abs(temperature)`` is below 1e-8.

    Example:
        >>> criterion = NTXentLoss(temperature=0.1)
        >>> loss = criterion(model(view0), model(view1))
        >>> loss.backward()
    """

    def __init__(self, temperature: float = 0.5, *, gather_distributed: bool = False) -> None:
        super().__init__()
        self.temperature = _temperature("NTXentLoss", temperature)
        self.gather_distributed = gather_distributed

    def forward(self, z0: Tensor, z1: Tensor) -> Tensor:
        return nt_xent_loss(z0, z1, self.temperature, gather_distributed=self.gather_distributed)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, gather_distributed={self.gather_distributed}"


def nt_xent_loss(z0: Tensor, z1: Tensor, temperature: float = 0.5, *, gather_distributed: bool = False) -> Tensor:
    """Normalised temperature-scaled cross-entropy between two views of a batch.

    Every one of the 2N views has to pick the other view of its sample among the 2N - 1 others, by cosine similarity:

    ``z = F.normalize(torch.cat([z0, z1]), dim=1)``;
    ``loss = F.cross_entropy((z @ z.T / temperature).fill_diagonal_(-inf), [N, ..., 2N - 1, 0, ..., N - 1])``

    with the value and the gradients of lightly's ``NTXentLoss``, in O(N D) memory: the 2N x 2N similarities are made
    in tiles, half of them because they are symmetric, and made again for the gradient. Accumulates in float32
    (float64 inputs in float64). Small losses keep their relative precision (log1p of the negatives' share).

    Args:
        z0: embeddings of the first views, shape (N, D), floating point, any strides; need not be normalised.
        z1: embeddings of the second views, same shape and device.
        temperature: divides the similarities; a negative one turns them round, as in lightly. Default: 0.5.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Every rank computes all of it. (lightly returns the rank's share, whose mean over ranks this is.)
            Default: False.

    Returns:
        Scalar loss, float32, or float64 if an input is. With N = 1 there are no negatives and the loss is 0.

    Raises:
        TypeError: if z0 or z1 is not a floating-point tensor, or is float64 on a GPU, or ``temperature`` is not a
            number.
        ValueError: if z0 is not (N, D) with N, D >= 1, z1 differs in shape or device, or ``abs(temperature)`` is
            below 1e-8.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.
    """
    name = "nt_xent_loss"
    for argument, z in (("z0", z0), ("z1", z1)):
        if not isinstance(z, Tensor) or not z.is_floating_point():
            got = z.dtype if isinstance(z, Tensor) else type(z).__name__
            raise TypeError(f"{name}: {argument} must be a floating-point tensor, got {got}")
    if z0.dim() != 2 or 0 in z0.shape:
        raise ValueError(f"{name}: z0 must have shape (N, D) with N, D >= 1, got {tuple(z0.shape)}")
    if z1.shape != z0.shape:
        raise ValueError(f"{name}: z1 must have shape {tuple(z0.shape)}, like z0, got {tuple(z1.shape)}")
    if z1.device != z0.device:
        raise ValueError(f"{name}: z1 must be on {z0.device}, like z0, got {z1.device}")
    if z0.is_cuda and torch.float64 in (z0.dtype, z1.dtype):
        raise TypeError(f"{name}: float64 is supported on the CPU, got float64 on {z0.device}")
    scale = 1.0 / _temperature(name, temperature)
    if gather_distributed:
        z0, z1 = gather_rows(z0), gather_rows(z1)
    loss: Tensor = _NTXent.apply(z0, z1, scale)
    return loss


def _temperature(function: str, temperature: float) -> float:
    number = _check.real(function, "temperature", temperature)
    if abs(number) < 1e-8:
        raise ValueError(f"{function}: temperature must be at least 1e-8 in absolute value, got {temperature}")
    return number


class _NTXent(torch.autograd.Function):
    """loss_i = softplus(n_i - s_i) with n the log-sum-exp over the negatives and s the positive's logit.

    Its derivatives are a_i = sigmoid(n_i - s_i) in n_i and -a_i in s_i, exact however small the loss is.
    """

    @staticmethod
    def forward(ctx, z0, z1, scale):  # type: ignore[no-untyped-def]
        z = torch.cat([z0, z1])
        wide = z.double() if z.dtype == torch.float64 else z.float()
        inverse_norm = torch.linalg.vector_norm(wide, dim=1, keepdim=True).clamp_min(_EPS).reciprocal()
        unit = wide * inverse_norm
        # On a GPU the tensor cores multiply in the input's dtype; the CPU multiplies in float32.
        rows = unit.to(z.dtype) if z.is_cuda else unit
        positives = torch.arange(len(z), device=z.device).roll(len(z0))
        lse, positive_logits = ops.similarity_softmax_forward(rows, positives, scale, 1.0)
        margin = lse - positive_logits
        ctx.save_for_backward(z0, z1, rows, inverse_norm, positives, lse, margin)
        ctx.scale = scale
        return F.softplus(margin, threshold=50.0).mean()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        z0, z1, rows, inverse_norm, positives, lse, margin = ctx.saved_tensors
        with torch.no_grad():
            share = torch.sigmoid(margin) * (grad / len(margin))
            grad_z = ops.similarity_softmax_backward(rows, positives, lse, share, -share, ctx.scale, 1.0)
            # d(z / max(|z|, eps)), in place: without the projection where eps is the larger.
            along = (grad_z * rows).sum(dim=1, keepdim=True) * (inverse_norm < 1 / _EPS)
            grads = grad_z.addcmul_(rows, along, value=-1).mul_(inverse_norm).chunk(2)
        grad_z0, grad_z1 = (
            first_order_only("nt_xent_loss", part.to(z.dtype), z0, z1, grad) if needed else None
            for part, z, needed in zip(grads, (z0, z1), ctx.needs_input_grad, strict=False)
        )
        return grad_z0, grad_z1, None
