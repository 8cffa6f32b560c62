"""InfoNCE against a queue, the loss of MoCo."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, unit_rows, unit_rows_backward
from sslfast.distributed import mean_over_ranks
from sslfast.losses._inputs import check_floating, check_pair, temperature_of


def info_nce_loss(
    query: Tensor,
    positive_key: Tensor,
    *,
    queue: Tensor,
    temperature: float = 0.1,
    reduction: str = "mean",
    gather_distributed: bool = False,
) -> Tensor:
    """InfoNCE of queries that have to pick their positive key among it and a queue of constant negatives.

    ``q, k = F.normalize(query, dim=1), F.normalize(positive_key, dim=1)``;
    ``logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / temperature``;
    ``loss = F.cross_entropy(logits, torch.zeros(N, dtype=torch.long), reduction=reduction)``

    The N x K logits are never stored, and forward makes what backward needs: 4 N K D FLOPs altogether, where the
    formula above takes as many and six passes over the logits. The queue is read in forward only, so it may be changed
    before ``backward()``. Accumulates in float32 (float64 inputs in float64).

    Args:
        query: (N, D), floating point, any strides; need not be normalised.
        positive_key: (N, D), on the same device; need not be normalised. It gets a gradient if it requires one.
        queue: (K, D) with K >= 1, the negatives of every query, taken as they are (MoCo's are unit vectors); no
            gradient.
        temperature: divides the similarities; a negative one turns them round. Default: 0.1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        gather_distributed: with torch.distributed initialised and ``reduction="mean"``, the mean over the queries of
            all ranks, the same on every rank, with gradients that are right under DistributedDataParallel's
            averaging; shards may differ in size. Default: False.

    Returns:
        Scalar loss, or (N,) for ``reduction="none"``; float32, or float64 if ``query`` or ``positive_key`` is.

    Raises:
        TypeError: if a tensor is not floating point, or ``query`` or ``positive_key`` is float64 on a GPU, or
            ``temperature`` is not a number.
        ValueError: if ``query`` is not (N, D) with N, D >= 1, ``positive_key`` differs in shape or device, ``queue`` is
            not (K, D) with K >= 1, is on another device or requires a gradient, ``abs(temperature)`` is below 1e-8,
            ``reduction`` is none of the three, or ``gather_distributed`` is asked for with another than ``"mean"``.
        RuntimeError: at a second derivative, which is not supported.

    Reference: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018; He et al.,
    "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020.
    """
    name = "info_nce_loss"
    check_pair(name, "query", query, "positive_key", positive_key)
    check_floating(name, "queue", queue)
    width = query.shape[1]
    if queue.dim() != 2 or queue.shape[1] != width or len(queue) < 1:
        raise ValueError(f"{name}: queue must have shape (K, {width}) with K >= 1, got {tuple(queue.shape)}")
    if queue.device != query.device:
        raise ValueError(f"{name}: queue must be on {query.device}, like query, got {queue.device}")
    if queue.requires_grad:
        raise ValueError(f"{name}: queue must not require a gradient: detach it")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if gather_distributed and reduction != "mean":
        raise ValueError(f"{name}: gather_distributed goes with reduction='mean', got {reduction!r}")
    scale = 1.0 / temperature_of(name, temperature)
    losses: Tensor = _QueueInfoNCE.apply(query, positive_key, queue, scale)
    if gather_distributed:
        return mean_over_ranks(losses)
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


class _QueueInfoNCE(torch.autograd.Function):
    """loss_i = softplus(n_i - s_i) with n the log-sum-exp over the queue and s the positive's logit.

    With m_i the mean of the queue under the softmax of row i and a_i = sigmoid(n_i - s_i), d loss_i / d q_i is
    scale a_i (m_i - k_i), and d loss_i / d k_i is -scale a_i q_i.
    """

    @staticmethod
    def forward(ctx, query, positive_key, queue, scale):  # type: ignore[no-untyped-def]
        unit_query, query_factor = unit_rows(query)
        unit_key, key_factor = unit_rows(positive_key)
        # On a GPU the tensor cores multiply in the query's dtype; the CPU multiplies in the dtype of accumulation.
        dtype = query.dtype if query.is_cuda else unit_query.dtype
        lse, mean = ops.queue_softmax(
            unit_query.to(dtype), queue.detach().to(dtype).contiguous(), scale, ctx.needs_input_grad[0]
        )
        margin = lse - scale * (unit_query * unit_key).sum(dim=1)
        ctx.save_for_backward(query, positive_key, unit_query, query_factor, unit_key, key_factor, mean, margin)
        ctx.scale = scale
        return F.softplus(margin, threshold=50.0)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        query, positive_key, unit_query, query_factor, unit_key, key_factor, mean, margin = ctx.saved_tensors
        grads: list[Tensor | None] = [None, None]
        with torch.no_grad():
            share = (ctx.scale * torch.sigmoid(margin) * grad).unsqueeze(1)
            if ctx.needs_input_grad[0]:
                grads[0] = unit_rows_backward((mean - unit_key).mul_(share), unit_query, query_factor)
            if ctx.needs_input_grad[1]:
                grads[1] = unit_rows_backward(-share * unit_query, unit_key, key_factor)
        grad_query, grad_key = (
            None if g is None else first_order_only("info_nce_loss", g.to(z.dtype), query, positive_key, grad)
            for g, z in zip(grads, (query, positive_key), strict=True)
        )
        return grad_query, grad_key, None, None
