"""The supervised contrastive loss: NT-Xent with every row of the same label a positive."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import ops
from sslfast._autograd import first_order_only, unit_of, unit_rows, unit_rows_backward, unit_side
from sslfast.distributed import exchange_shards, strategy_of, sum_over_ranks
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._inputs import check_kernel_dtype, check_labels, check_rows, temperature_of
from sslfast.losses._kept import half_of_logits, kept_logits
from sslfast.losses._self_ranks import self_softmax_over_ranks


class SupConLoss(nn.Module):
    """The supervised contrastive loss as a module; see :func:`supcon_loss`.

    Called as pytorch-metric-learning's ``SupConLoss`` is: ``criterion(embeddings, labels)``.

    Args:
        temperature: divides the cosine similarities. Default: 0.1.
        gather_distributed: contrast with the samples of all ranks: False, True, ``"local"``, ``"all_gather"`` or
            ``"ring"``, see :func:`supcon_loss`. Default: False.

    Raises:
        TypeError: if ``temperature`` is not a number.
        ValueError: if ``abs(temperature)`` is below 1e-8, or ``gather_distributed`` is none of these.

    Example:
        >>> criterion = SupConLoss(temperature=0.1)
        >>> loss = criterion(torch.cat([model(view0), model(view1)]), labels.repeat(2))
    """

    def __init__(self, temperature: float = 0.1, gather_distributed: bool | str = False) -> None:
        super().__init__()
        self.temperature = temperature_of("SupConLoss", temperature)
        strategy_of("SupConLoss", gather_distributed)
        self.gather_distributed = gather_distributed

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return supcon_loss(embeddings, labels, self.temperature, gather_distributed=self.gather_distributed)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, gather_distributed={self.gather_distributed}"


def supcon_loss(
    embeddings: Tensor, labels: Tensor, temperature: float = 0.1, *, gather_distributed: bool | str = False
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
    Accumulates in float32 (float64 inputs in float64). Small losses, which take rows in pairs, keep their relative
    precision.

    Args:
        embeddings: (N, D), floating point, any strides; need not be normalised.
        labels: (N,) integers, any values.
        temperature: divides the similarities. Default: 0.1.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Every rank computes an equal share of half the similarities; the embeddings travel a second time, in the
            dtype of accumulation and with their labels, for the sums per label.
            True or ``"all_gather"`` gathers the embeddings of all ranks; ``"ring"`` passes them round while the ranks
            compute, so that none ever holds all of them at once. False or ``"local"``: this rank's samples
            alone. Forward and backward communicate: one that only some ranks call waits for ever. Without a process
            group, or with one rank, it changes nothing. Default: False.

    Returns:
        Scalar loss, float32, or float64 if ``embeddings`` is.

    Raises:
        TypeError: if ``embeddings`` is not a floating-point tensor, or is float64 on a GPU, ``labels`` is not an
            integer tensor, or ``temperature`` is not a number.
        ValueError: if ``embeddings`` is not (N, D) with N, D >= 1, ``labels`` is not (N,) on the same device,
            ``abs(temperature)`` is below 1e-8, ``gather_distributed`` is none of these, or D is not the same on every
            rank.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2.
    """
    name = "supcon_loss"
    check_rows(name, "embeddings", embeddings)
    check_kernel_dtype(name, embeddings)
    check_labels(name, "labels", labels, "embeddings", embeddings)
    scale = 1.0 / temperature_of(name, temperature)
    strategy = strategy_of(name, gather_distributed)
    if strategy != "local":
        nobody = torch.full_like(labels, -1, dtype=torch.int64)
        lse, _ = self_softmax_over_ranks(name, embeddings, scale, nobody, strategy)
        mean, has = _MeanPositives.apply(embeddings, labels, scale, strategy)
        terms = torch.where(has, lse - mean, 0.0)
        total, anchors = sum_over_ranks(torch.stack([terms.sum(), has.sum().to(terms.dtype)]))
        return total / anchors.clamp_min(1)
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
        self.others = self.sizes[self.group] - 1  # how many other rows have the label of a row

    def __call__(self, values: Tensor) -> Tensor:
        """For every row, the sum of (N, D) values over the rows of its label."""
        sums = torch.segment_reduce(values[self.order], "sum", lengths=self.sizes, axis=0, unsafe=True)
        return sums[self.group]

    def partners(self) -> Tensor:
        """For every row the only other row of its label, -1 if there is none or there are several."""
        index = torch.arange(len(self.group), device=self.group.device)
        both = torch.zeros_like(index).scatter_add_(0, self.group, index)[self.group]
        return torch.where(self.others == 1, both - index, -1)


class _SupCon(torch.autograd.Function):
    """With C_i the sum over i's label and w_i = g / (anchors (n_i - 1)), where i has a positive and else 0,

    loss = sum_i w_i ((n_i - 1) lse_i - scale z_i (C_i - z_i)); the second term's derivative in z_k is
    -scale (w_k (C_k - z_k) + sum over k's label of w z, less w_k z_k), where w is the same within a label.

    A row with a single positive is NT-Xent's: softplus(n_i - s_i), n the log-sum-exp over the negatives and s the
    positive's logit, so that a loss near 0 and its gradient keep their precision. With more positives the loss is
    their number's logarithm at least.
    """

    @staticmethod
    def forward(ctx, embeddings, labels, scale):  # type: ignore[no-untyped-def]
        side, norm, factors = unit_side(embeddings, embeddings.dtype)
        unit = side if side.dtype == norm.dtype else unit_rows(embeddings)[0]
        label_sums = _LabelSums(labels)
        partners = label_sums.partners()
        keep = kept_logits(None, half_of_logits(len(side)), norm.element_size(), side) if ctx.needs_input_grad[0] else 0
        lse, positive_logits, kept = ops.similarity_softmax_forward(side, partners, scale, 1.0, keep, factors)
        positives = label_sums.others
        has = positives > 0
        anchors = has.sum().clamp_min(1)
        others = label_sums(unit).sub_(unit)  # the sum of a row's positives
        mean = scale * (unit * others).sum(dim=1) / positives.clamp_min(1)
        margin = lse - positive_logits
        ctx.save_for_backward(
            embeddings, side, norm, factors, partners, lse, kept, margin, others, positives, has, anchors
        )
        ctx.scale = scale
        terms = torch.where(partners >= 0, F.softplus(margin, threshold=50.0), lse - mean)
        return torch.where(has, terms, 0.0).sum() / anchors

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        embeddings, side, norm, factors, partners, lse, kept, margin, others, *counts = ctx.saved_tensors
        positives, has, anchors = counts
        with torch.no_grad():
            # Rows that have not a single positive have a margin of inf: their share is the whole.
            share = torch.where(has, torch.sigmoid(margin) * (grad / anchors), 0.0)
            grad_unit = ops.similarity_softmax_backward(
                side, partners, lse, share, -share, kept, ctx.scale, 1.0, factors
            )
            # Both halves of the derivative are w (C - z): the weight is the same for all rows of a label.
            weight = torch.where(partners < 0, (-2.0 * ctx.scale) * share / positives.clamp_min(1), 0.0)
            grad_unit.addcmul_(others, weight.unsqueeze(1))
            grad_embeddings = unit_rows_backward(grad_unit, unit_of(side, factors), norm).to(embeddings.dtype)
        return first_order_only("supcon_loss", grad_embeddings, embeddings, grad), None, None


class _MeanPositives(torch.autograd.Function):
    """Over all ranks, the mean logit of every row's positives, and whether it has any.

    The gradient is taken to be the same for all rows of a label, as it is in the loss, so that the part that a row has
    in the means of others is as large as that in its own, and nothing travels back.
    """

    @staticmethod
    def forward(ctx, embeddings, labels, scale, strategy):  # type: ignore[no-untyped-def]
        unit, factor = unit_rows(embeddings)
        exchange = blocks_over_ranks(strategy, exchange_shards("supcon_loss", embeddings))
        exchange.post(unit, labels.to(torch.int64))
        own = _LabelSums(labels)
        own_sizes = own.sizes[own.group]
        others, positives = -unit, torch.full_like(own_sizes, -1)  # a row is not its own positive
        for _, _, (block, block_labels) in exchange.blocks():
            sums = _LabelSums(torch.cat([labels, block_labels]))
            others += sums(torch.cat([torch.zeros_like(unit), block]))[: len(unit)]
            positives += sums.sizes[sums.group[: len(unit)]] - own_sizes
        has = positives > 0
        share = scale / positives.clamp_min(1).to(unit.dtype)
        ctx.save_for_backward(embeddings, unit, factor, others, share)
        ctx.mark_non_differentiable(has)
        return share * (unit * others).sum(dim=1), has

    @staticmethod
    def backward(ctx, grad, _):  # type: ignore[no-untyped-def]
        embeddings, unit, factor, others, share = ctx.saved_tensors
        with torch.no_grad():
            grad_unit = others * (2.0 * share * grad).unsqueeze(1)
            grad_embeddings = unit_rows_backward(grad_unit, unit, factor).to(embeddings.dtype)
        return first_order_only("supcon_loss", grad_embeddings, embeddings, grad), None, None, None
