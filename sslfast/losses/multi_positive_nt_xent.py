"""NT-Xent with many positives: every pair of one label, against the other labels only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check
from sslfast._autograd import exact_side, first_order_only, normalized
from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import gather_rows
from sslfast.losses._few_rows import are_few, softmax_of_few
from sslfast.losses._indices import given_rows
from sslfast.losses._inputs import (
    check_labels,
    check_rows,
    kernel_integers,
    temperature_of,
    widened,
    without_autocast,
)
from sslfast.losses._kept import check_memory_budget
from sslfast.losses._labels import LabelGroups
from sslfast.losses._listed import nt_xent_of_pairs
from sslfast.losses._margins import compared_rows
from sslfast.losses._references import reference_lse
from sslfast.losses._strips import in_strips, parts_of_pairs, rows_at_once


class MultiPositiveNTXentLoss(nn.Module):
    """NT-Xent with many positives as a module; see :func:`multi_positive_nt_xent_loss`.

    Called as pytorch-metric-learning's ``NTXentLoss`` is, with its defaults and its numbers: ``criterion(embeddings,
    labels)``, with the pairs of a miner for ``indices_tuple``, or with ``ref_emb=`` and ``ref_labels=``, other rows to
    compare with.

    Args:
        temperature: divides the cosine similarities. Default: 0.07.
        gather_distributed: contrast with the samples of all ranks. Default: False.
        memory_budget: bytes of similarities that may be kept for the gradient. Default: None, see
            :func:`multi_positive_nt_xent_loss`.

    Raises:
        TypeError: if ``temperature`` is not a number, ``gather_distributed`` not a bool, or ``memory_budget`` neither
            None nor an int.
        ValueError: if ``abs(temperature)`` is below 1e-8, or ``memory_budget`` is negative.

    Example:
        >>> criterion = MultiPositiveNTXentLoss(temperature=0.1)
        >>> loss = criterion(torch.cat([model(view) for view in views]), labels.repeat(len(views)))
        >>> loss.backward()
    """

    def __init__(
        self, temperature: float = 0.07, gather_distributed: bool = False, *, memory_budget: int | None = None
    ) -> None:
        super().__init__()
        self.temperature = temperature_of("MultiPositiveNTXentLoss", temperature)
        self.gather_distributed = _check.boolean("MultiPositiveNTXentLoss", "gather_distributed", gather_distributed)
        self.memory_budget = check_memory_budget("MultiPositiveNTXentLoss", memory_budget)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Sequence[Tensor] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        copies: Tensor | None = None,
    ) -> Tensor:
        return multi_positive_nt_xent_loss(
            embeddings,
            labels,
            self.temperature,
            indices_tuple=indices_tuple,
            ref_emb=ref_emb,
            ref_labels=ref_labels,
            copies=copies,
            gather_distributed=self.gather_distributed,
            memory_budget=self.memory_budget,
        )

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, gather_distributed={self.gather_distributed}"


def multi_positive_nt_xent_loss(
    embeddings: Tensor,
    labels: Tensor | None,
    temperature: float = 0.07,
    *,
    indices_tuple: Sequence[Tensor] | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    copies: Tensor | None = None,
    gather_distributed: bool = False,
    memory_budget: int | None = None,
) -> Tensor:
    """Every row has to pick each of its positives, one at a time, among it and all rows of other labels.

    With ``z = F.normalize(embeddings, dim=1)`` and S = z z^T / temperature, the mean over the pairs (i, p), p another
    row of label i, of

    ``-S_ip + log(exp S_ip + sum over the rows n of another label of exp S_in)``

    where :class:`~sslfast.losses.SupConLoss` has the other positives in the sum too, and means over each anchor first.
    Labels that pair the two views of a sample make it NT-Xent. The value and the gradients are those of
    pytorch-metric-learning's ``NTXentLoss``, which compares all positive pairs with all negative ones: O(N^3) memory
    there, O(N D) here. The log-sum-exps over other labels come from one pass over tiles of S; positive pairs are made
    from sorted labels some thousands at once, or, where they are many and on a GPU, in strips of rows. Up to 512 rows
    on the CPU, or as many pairs of a row and one of ``ref_emb``, are one tile. Accumulates in float32 (float64 inputs
    in float64). Small terms keep their relative precision, large ones grow on (there they end at 87, without a
    gradient).

    With ``indices_tuple`` the pairs are those it lists, as often as it lists them: the mean is over its positive pairs,
    and n runs over the negatives it lists with i. Only their similarities are made, in O(pairs) memory, 6 D FLOPs each;
    or, where they are more than one in eight, those of all, in strips of rows.

    A row without a positive is a negative of the others and adds no term. Where there is no pair, or no negative, the
    loss is 0.

    Args:
        embeddings: (N, D), floating point, any strides; need not be normalised.
        labels: (N,) integers, any values; None where ``indices_tuple`` is given.
        temperature: divides the similarities; a negative one turns them round. Default: 0.07.
        indices_tuple: pairs in the place of all, as of :func:`supcon_loss`. Default: None.
        ref_emb: (M, D), on the same device, need not be normalised: positives and negatives are taken from them. Gets a
            gradient if it requires one. Default: None, the other embeddings.
        ref_labels: (M,) integers, the labels of ``ref_emb``. Default: None, as ``ref_emb``.
        copies: (N,) int64, the row of ``ref_emb`` that is a copy of each embedding, with which it is not compared, or
            -1 where there is none; unused with ``indices_tuple``. Default: None, no copies.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Every rank gathers all rows and computes the whole loss: the ranks share no work. Rows of all ranks have
            to have one D and one dtype. Default: False.
        memory_budget: how many bytes of similarities may be kept for the gradient, instead of being made again; 0 keeps
            none, 4 N^2 (8 N^2 for float64, about 2 N^2 for bfloat16) keep all, with N the rows of all ranks where these
            are gathered, or N M in place of N^2 where ``ref_emb`` takes a gradient. On a GPU none are kept, and none
            are needed of a ``ref_emb`` that takes none, or of the few rows on the CPU whose gradient is made with the
            loss. Default: None, 2 MiB or 8 bytes (16 for float64) for every number of the embeddings, which is O(N D).

    Returns:
        Scalar loss, float32, or float64 if ``embeddings`` or ``ref_emb`` is.

    Raises:
        TypeError: if ``embeddings`` or ``ref_emb`` is not a floating-point tensor, or is float64 on a GPU, ``labels``
            or ``ref_labels`` is not an integer tensor, ``copies`` not an int64 one, ``temperature`` is not a number,
            ``gather_distributed`` is not a bool, ``memory_budget`` neither None nor an int, or ``indices_tuple`` not
            int64 vectors, four in pairs of one length or three of one length.
        ValueError: if ``embeddings`` is not (N, D) with N, D >= 1, ``labels`` is not (N,), ``ref_emb`` is not (M, D)
            with M >= 1, ``ref_labels`` is not (M,), ``copies`` is not (N,) or, on the CPU, names a row that ``ref_emb``
            does not have, devices differ, one of ``ref_emb`` and ``ref_labels`` is given without the other,
            ``gather_distributed`` is with ``ref_emb`` or ``indices_tuple``, ``abs(temperature)`` is below 1e-8, or
            ``memory_budget`` is negative. Where one of several ranks raises, all do: the others a ValueError that names
            it; so do all whose options differ.
        IndexError: if a listed pair names a row that does not exist, on the CPU (a GPU and a compiled graph assert).
        RuntimeError: at a second derivative, which is not supported.

    Reference: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020;
    Musgrave et al., "PyTorch Metric Learning", 2020.
    """
    name = "multi_positive_nt_xent_loss"
    with JointChecks(name, gather_distributed, embeddings):
        gather_distributed = _check.boolean(name, "gather_distributed", gather_distributed)
        check_rows(name, "embeddings", embeddings)
        pairs = None if indices_tuple is None else given_rows(name, indices_tuple, embeddings, pairs=True)
        ref_emb, ref_labels = compared_rows(
            name, embeddings, labels, ref_emb, ref_labels, copies, given=pairs, gather_distributed=gather_distributed
        )
        if pairs is None:
            labels = check_labels(name, "labels", labels, "embeddings", embeddings)
        temperature = temperature_of(name, temperature)
        scale = 1.0 / temperature
        budget = check_memory_budget(name, memory_budget)
    if pairs is not None:
        return nt_xent_of_pairs(name, embeddings, ref_emb, pairs, scale)
    assert labels is not None
    if gather_distributed:
        same = spelled(temperature=temperature)
        embeddings, labels = gather_rows(embeddings, name, same), gather_rows(labels.long(), name)
    if are_few(embeddings, ref_emb):
        references = {"ref_emb": ref_emb, "ref_labels": ref_labels, "copies": copies}
        return softmax_of_few(name, embeddings, labels, scale, True, **references)
    inputs = [embeddings] if ref_emb is None else [embeddings, ref_emb]
    dtype = torch.promote_types(inputs[0].dtype, inputs[-1].dtype)
    with without_autocast(embeddings):
        # Both terms' gradients add up before they are rounded.
        units = [normalized(name, z) for z in widened(*inputs)]
        sides = (*exact_side(inputs[0], dtype), *exact_side(inputs[-1], dtype))
        row_ids = kernel_integers(labels)
        col_ids = row_ids if ref_labels is None else kernel_integers(ref_labels)
        # A copy of another label is left out, too.
        left_out = torch.full_like(row_ids, -1) if copies is None else kernel_integers(copies)
        # A graph takes no tensor twice into one function: the same embeddings and labels go in as a view.
        others = units[-1].view_as(units[-1])
        negatives = reference_lse(
            name, units[0], others, scale, left_out, row_ids, col_ids.view_as(col_ids), dtype, sides, budget
        )
        columns = (None, None) if ref_emb is None else (units[1], col_ids.view_as(col_ids))
        loss: Tensor = _PositivePairs.apply(name, units[0], columns[0], negatives, row_ids, columns[1], copies, scale)
        return loss


class _PositivePairs(torch.autograd.Function):
    """The mean of softplus(n_i - S_ip) over the positive pairs, n the log-sum-exp over the negatives.

    Its derivatives are a = sigmoid(n_i - S_ip) in n_i and -a in S_ip, exact however small the loss is; made together
    with the loss.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ref_emb, negatives, row_ids, col_ids, copies, scale
    ):
        units = [embeddings] if ref_emb is None else [embeddings, ref_emb]
        needed = any(ctx.needs_input_grad[1:4])
        grads = [torch.zeros_like(unit) for unit in units] if needed else []
        grad_negatives = torch.zeros_like(negatives)
        total, count = _pairs(units, negatives, row_ids, col_ids, copies, scale, grads, grad_negatives)
        share = count.clamp_min(1).to(total.dtype).reciprocal()
        # A NaN reaches the loss from rows without a pair, too.
        loss = (total * share).to(negatives.dtype) + 0.0 * sum(unit.sum() for unit in units)
        grads = [grad.mul_(share) for grad in grads]
        ctx.save_for_backward(embeddings, ref_emb, negatives, grad_negatives.mul_(share), *grads)
        ctx.function = function
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        embeddings, ref_emb, negatives, grad_negatives, *grads = ctx.saved_tensors
        inputs = [z for z in (embeddings, ref_emb, negatives) if z is not None]
        products = (grads[0], None if ref_emb is None else grads[1], grad_negatives)
        found: list[Tensor | None] = []
        for product, needed in zip(products, ctx.needs_input_grad[1:4], strict=True):
            if not needed:
                found.append(None)
                continue
            with torch.no_grad():
                scaled = product * grad
            found.append(first_order_only(ctx.function, scaled, *inputs, grad))
        return None, *found, *[None] * 4


def _pairs(
    units: list[Tensor],
    negatives: Tensor,
    row_ids: Tensor,
    col_ids: Tensor | None,
    copies: Tensor | None,
    scale: float,
    grads: list[Tensor],
    grad_negatives: Tensor,
) -> tuple[Tensor, Tensor]:
    """The sum of the terms and their number; adds the gradients to those given, if there are any."""
    rows, columns = units[0], units[-1]
    total = torch.zeros((), dtype=torch.float64, device=rows.device)
    count = torch.zeros((), dtype=torch.int64, device=rows.device)
    groups = LabelGroups(row_ids, col_ids, copies)
    size = groups.number()
    if size is None or in_strips(size, len(rows), len(columns)):
        step = rows_at_once(rows, len(columns))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            positive = row_ids[part, None] == (row_ids if col_ids is None else col_ids)
            positive = groups.without_own(positive, start)
            margin = negatives[part, None].addmm(rows[part], columns.T, alpha=-scale)
            total += torch.where(positive, F.softplus(margin, threshold=50.0), 0.0).sum()
            count += positive.sum()
            if grads:
                slope = torch.where(positive, margin.sigmoid_(), 0.0)
                grad_negatives[part] += slope.sum(dim=1)
                grads[0][part].addmm_(slope, columns, alpha=-scale)
                grads[-1].addmm_(slope.T, rows[part], alpha=-scale)
        return total, count
    for some in parts_of_pairs(size):
        anchors, others = groups.pairs(some.start, some.stop)
        a, p = rows.index_select(0, anchors), columns.index_select(0, others)
        margin = negatives.index_select(0, anchors) - scale * (a * p).sum(dim=1)
        total += F.softplus(margin, threshold=50.0).sum()
        count += len(anchors)
        if grads:
            slope = margin.sigmoid_()
            grad_negatives.index_add_(0, anchors, slope)
            slope = (-scale * slope).unsqueeze(1)
            grads[0].index_add_(0, anchors, p.mul_(slope))
            grads[-1].index_add_(0, others, a.mul_(slope))
    return total, count
