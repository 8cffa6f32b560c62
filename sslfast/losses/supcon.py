"""The supervised contrastive loss: NT-Xent with every row of the same label a positive."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslfast import ops
from sslfast._autograd import first_order_only, unit_of, unit_rows, unit_rows_backward, unit_side
from sslfast.distributed import gather_rows
from sslfast.losses._inputs import check_kernel_dtype, check_labels, check_rows, temperature_of
from sslfast.losses._kept import half_of_logits, kept_logits


class SupConLoss(nn.Module):
    """The supervised contrastive loss as a module; see :func:`supcon_loss`.

    Called as pytorch-metric-learning's ``SupConLoss`` is: ``criterion(embeddings, labels)``.

    Args:
        temperature: divides the cosine similarities. Default: 0.1.
        gather_distributed: contrast with the samples of all ranks. Default: False.

    Raises:
        TypeError: if ``temperature`` is not a number.
        ValueError: if ``abs(temperature)`` is below 1e-8.

    Example:
        >>> criterion = SupConLoss(temperature=0.1)
        >>> loss = criterion(torch.cat([model(view0), model(view1)]), labels.repeat(2))
    """

    def __init__(self, temperature: float = 0.1, gather_distributed: bool = False) -> None:
        super().__init__()
        self.temperature = temperature_of("SupConLoss", temperature)
        self.gather_distributed = gather_distributed

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return supcon_loss(embeddings, labels, self.temperature, gather_distributed=self.gather_distributed)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, gather_distributed={self.gather_distributed}"


def supcon_loss(
    embeddings: Tensor, labels: Tensor, temperature: float = 0.1, *, gather_distributed: bool = False
) -> Tensor:
    """Supervised contrastive loss: every row is to be near all rows of its label and far from all others.

    With ``z = F.normalize(embeddings, dim=1)``, S = z z^T / temperature and P(i) the other rows of label i, the mean
    over the rows with a non-empty P(i) of

    ``log sum_{j != i} exp S_ij - mean_{p in P(i)} S_ip``

    in O(N D) memory: the similarities are made in tiles, half of them, and the positives come from one sum of
    embeddings per label, so that there is no N x N mask either. Labels that pair the two views of a sample make it
    NT-Xent, labels of more views its form with many positives.

    Rows without another of their label have no positive: they are negatives of the others, and add no term of their
    own. Where no row has one, the loss is 0. (pytorch-metric-learning also leaves out terms that are exactly 0.)

    Args:
        embeddings: (N, D), floating point, any strides; need not be normalised.
        labels: (N,) integers, any values.
        temperature: divides the similarities. Default: 0.1.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Every rank computes all of it. Default: False.

    Returns:
        Scalar loss, float32, or float64 if ``embeddings`` is.

    Raises:
        TypeError: if ``embeddings`` is not a floating-point tensor, or is float64 on a GPU, ``labels`` is not an
            integer tensor, or ``temperature`` is not a number.
        ValueError: if ``embeddings`` is not (N, D) with N, D >= 1, ``labels`` is not (N,) on the same device, or
            ``abs(temperature)`` is below 1e-8.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2.
    """
    name = "supcon_loss"
    check_rows(name, "embeddings", embeddings)
    check_kernel_dtype(name, embeddings)
    check_labels(name, "labels", labels, "embeddings", embeddings)
    scale = 1.0 / temperature_of(name, temperature)
    if gather_distributed:
        embeddings, labels = gather_rows(embeddings), gather_rows(labels)
    loss: Tensor = _SupCon.apply(embeddings, labels, scale)
    return loss


class _LabelSums:
    """Sums of rows over their label, in a fixed order and without knowing how many labels there are."""

    def __init__(self, labels: Tensor) -> None:
        ordered, self.order = torch.sort(labels, stable=True)
        first = torch.ones_like(ordered, dtype=torch.int64)
        first[1:] = ordered[1:] != ordered[:-1]
        group = first.cumsum(0) - 1  # of each row in order
        self.group = torch.empty_like(group).scatter_(0, self.order, group)
        self.sizes = torch.zeros_like(group).scatter_add_(0, group, torch.ones_like(group))  # 0 after the last group

    def __call__(self, values: Tensor) -> Tensor:
        """For every row, the sum of (N, D) values over the rows of its label."""
        sums = torch.segment_reduce(values[self.order], "sum", lengths=self.sizes, axis=0, unsafe=True)
        return sums[self.group]


class _SupCon(torch.autograd.Function):
    """With C_i the sum over i's label and w_i = g / (anchors (n_i - 1)), where i has a positive and else 0,

    loss = sum_i w_i ((n_i - 1) lse_i - scale z_i (C_i - z_i)); the second term's derivative in z_k is
    -scale (w_k (C_k - z_k) + sum over k's label of w z, less w_k z_k), where w is the same within a label.
    """

    @staticmethod
    def forward(ctx, embeddings, labels, scale):  # type: ignore[no-untyped-def]
        side, norm, factors = unit_side(embeddings, embeddings.dtype)
        unit = side if side.dtype == norm.dtype else unit_rows(embeddings)[0]
        nobody = torch.full_like(labels, -1, dtype=torch.int64)
        keep = kept_logits(None, half_of_logits(len(side)), norm.element_size(), side) if ctx.needs_input_grad[0] else 0
        lse, _, kept = ops.similarity_softmax_forward(side, nobody, scale, 1.0, keep, factors)
        label_sums = _LabelSums(labels)
        positives = label_sums.sizes[label_sums.group] - 1
        has = positives > 0
        anchors = has.sum().clamp_min(1)
        others = label_sums(unit).sub_(unit)  # the sum of a row's positives
        mean = scale * (unit * others).sum(dim=1) / positives.clamp_min(1)
        ctx.save_for_backward(embeddings, side, norm, factors, nobody, lse, kept, others, positives, has, anchors)
        ctx.scale = scale
        return torch.where(has, lse - mean, 0.0).sum() / anchors

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        embeddings, side, norm, factors, nobody, lse, kept, others, positives, has, anchors = ctx.saved_tensors
        with torch.no_grad():
            share = torch.where(has, grad / anchors, 0.0).to(lse.dtype)
            grad_unit = ops.similarity_softmax_backward(
                side, nobody, lse, share, torch.zeros_like(share), kept, ctx.scale, 1.0, factors
            )
            # Both halves of the derivative are w (C - z): the weight is the same for all rows of a label.
            weight = (-2.0 * ctx.scale) * share / positives.clamp_min(1)
            grad_unit.addcmul_(others, weight.unsqueeze(1))
            grad_embeddings = unit_rows_backward(grad_unit, unit_of(side, factors), norm).to(embeddings.dtype)
        return first_order_only("supcon_loss", grad_embeddings, embeddings, grad), None, None
