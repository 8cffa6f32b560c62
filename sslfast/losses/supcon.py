"""The supervised contrastive loss: NT-Xent with every row of the same label a positive."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import ops
from sslfast._autograd import (
    first_order_only,
    side_gradient,
    unit_and_side,
)
from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import exchange_shards, gather_rows, strategy_of, sum_over_ranks
from sslfast.losses._few_rows import are_few, softmax_of_few
from sslfast.losses._indices import given_rows
from sslfast.losses._inputs import (
    check_kernel_dtype,
    check_labels,
    check_rows,
    temperature_of,
)
from sslfast.losses._kept import check_memory_budget, half_of_logits, kept_logits
from sslfast.losses._label_means import label_means
from sslfast.losses._labels import LabelGroups
from sslfast.losses._listed import supcon_of_pairs
from sslfast.losses._margins import compared_rows
from sslfast.losses._self_ranks import labelled_softmax_over_ranks
from sslfast.losses._shown import shown_options
from sslfast.losses._supcon_references import supcon_against_references


class SupConLoss(nn.Module):
    """The supervised contrastive loss as a module; see :func:`supcon_loss`.

    Called as pytorch-metric-learning's ``SupConLoss`` is: ``criterion(embeddings, labels)``, with the pairs of a miner
    for ``indices_tuple``, or with ``ref_emb=`` and ``ref_labels=``, other rows to compare with.

    Args:
        temperature: divides the cosine similarities. Default: 0.1.
        gather_distributed: contrast with the samples of all ranks: False, True, ``"local"``, ``"all_gather"`` or
            ``"ring"``, see :func:`supcon_loss`. Default: False.
        memory_budget: bytes of similarities that may be kept for the gradient. Default: None, see :func:`supcon_loss`.

    Raises:
        TypeError: if ``temperature`` is not a number, or ``memory_budget`` is neither None nor an int.
        ValueError: if ``abs(temperature)`` is below 1e-8, ``gather_distributed`` is none of these, or ``memory_budget``
            is negative.

    Example:
        >>> criterion = SupConLoss(temperature=0.1)
        >>> loss = criterion(torch.cat([model(view0), model(view1)]), labels.repeat(2))
    """

    def __init__(
        self,
        temperature: float = 0.1,
        gather_distributed: bool | str = False,
        *,
        memory_budget: int | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature_of("SupConLoss", temperature)
        strategy_of("SupConLoss", gather_distributed)
        self.gather_distributed = gather_distributed
        self.memory_budget = check_memory_budget("SupConLoss", memory_budget)

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
        return supcon_loss(
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
        return shown_options(self, SupConLoss, "temperature", "gather_distributed")


def supcon_loss(
    embeddings: Tensor,
    labels: Tensor | None,
    temperature: float = 0.1,
    *,
    indices_tuple: Sequence[Tensor] | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    copies: Tensor | None = None,
    gather_distributed: bool | str = False,
    memory_budget: int | None = None,
) -> Tensor:
    """Supervised contrastive loss: every row is to be near all rows of its label and far from all others.

    With ``z = F.normalize(embeddings, dim=1)``, S = z z^T / temperature and P(i) the other rows of label i, the mean
    over the rows with a non-empty P(i) of

    ``log sum_{j != i} exp S_ij - mean_{p in P(i)} S_ip``

    in O(N D) memory: the similarities are made in tiles, half of them, and the positives come from one sum of
    embeddings per label, so that there is no N x N mask either. (Up to 256 rows on the CPU are one tile.) Labels that
    pair the two views of a sample make it NT-Xent, labels of more views its form with many positives.

    With ``ref_emb`` the rows are compared with its rows instead: S_ij is of row i and reference j, P(i) are the
    references of label i, and all references are in the sum, but for a copy of the row.

    With ``indices_tuple`` the pairs are those it lists, each once: P(i) are the positives listed with i, and the sum is
    over the positives and negatives listed with it. Only their similarities are made, in O(pairs) memory, 6 D FLOPs
    each; or, where they are more than one in eight, those of all, in strips of rows.

    Rows without another of their label have no positive: they are negatives of the others, and add no term of their
    own. Where no row has one, the loss is 0. (pytorch-metric-learning also leaves out terms that are exactly 0.)
    Accumulates in float32 (float64 inputs in float64). Small losses, which take rows in pairs, keep their relative
    precision; with ``copies`` they have the rounding of a similarity, 2^-23 / temperature.

    Args:
        embeddings: (N, D), floating point, any strides; need not be normalised.
        labels: (N,) integers, any values; None where ``indices_tuple`` is given.
        temperature: divides the similarities. Default: 0.1.
        indices_tuple: pairs in the place of all: four int64 vectors, rows of anchors and of their positives in
            ``ref_emb``, (P,) each, rows of anchors and of their negatives, (Q,) each; or the three of triplets, rows of
            anchors, positives and negatives; what a miner of pytorch-metric-learning returns. A GPU is waited for, but
            in a compiled graph. Default: None.
        ref_emb: (M, D), on the same device, need not be normalised. Gets a gradient if it requires one. Default: None,
            the other embeddings.
        ref_labels: (M,) integers, the labels of ``ref_emb``. Default: None, as ``ref_emb``.
        copies: (N,) int64, the row of ``ref_emb`` that is a copy of each embedding, with which it is not compared, or
            -1 where there is none; unused with ``indices_tuple``. Default: None, no copies.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Every rank computes a share of half the similarities, an equal one where shards are equal; the embeddings
            travel a second time, with their labels, for the sums per label. True or ``"all_gather"`` gathers the
            embeddings of all ranks; ``"ring"`` passes them round while the ranks compute, so that none ever holds all
            of them at once. False or ``"local"``: this rank's samples alone. Forward and backward communicate: one that
            only some ranks call waits for ever. Without a process group, or with one rank, it changes nothing. Default:
            False.
        memory_budget: how many bytes of similarities may be kept for the gradient, instead of being made again; 0 keeps
            none. All are kept, and a quarter of the FLOPs saved, from about 2 N^2 bytes (4 N^2 for float64). On a GPU,
            over several ranks, and with ``ref_emb``, whose similarities are made once, none are kept, whatever it says.
            Up to 256 rows on the CPU, whose gradient is made with the loss, need none.
            Default: None, 2 MiB or 8 bytes (16 for float64) for every number of ``embeddings``, which is O(N D).

    Returns:
        Scalar loss, float32, or float64 if ``embeddings`` or ``ref_emb`` is.

    Raises:
        TypeError: if ``embeddings`` or ``ref_emb`` is not a floating-point tensor, or is float64 on a GPU, ``labels``
            or ``ref_labels`` is not an integer tensor, ``copies`` not an int64 one, ``temperature`` is not a number,
            ``memory_budget`` is neither None nor an int, or ``indices_tuple`` not int64 vectors, four in pairs of one
            length or three of one length.
        ValueError: if ``embeddings`` is not (N, D) with N, D >= 1, ``labels`` is not (N,), ``ref_emb`` is not (M, D)
            with M >= 1, ``ref_labels`` is not (M,), ``copies`` is not (N,) or, on the CPU, names a row that ``ref_emb``
            does not have, devices differ, one of ``ref_emb`` and ``ref_labels`` is given without the other,
            ``abs(temperature)`` is below 1e-8, ``gather_distributed`` is none of these, or is more than ``"local"``
            with ``ref_emb`` or ``indices_tuple``, ``memory_budget`` is negative, ``indices_tuple`` lists a pair as a
            positive and as a negative one (looked at on the CPU only), or D, a dtype or an option is not the same on
            every rank. Where one of several ranks raises, all do: the others a ValueError that names it.
        IndexError: if a listed pair names a row that does not exist, on the CPU (a GPU and a compiled graph assert).
        RuntimeError: at a second derivative, which is not supported.

    Reference: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2.
    """
    name = "supcon_loss"
    with JointChecks(name, gather_distributed, embeddings):
        strategy = strategy_of(name, gather_distributed)
        check_rows(name, "embeddings", embeddings)
        check_kernel_dtype(name, embeddings)
        pairs = None if indices_tuple is None else given_rows(name, indices_tuple, embeddings, pairs=True)
        ref_emb, ref_labels = compared_rows(
            name, embeddings, labels, ref_emb, ref_labels, copies, pairs, gather_distributed
        )
        if pairs is None or labels is not None:
            labels = check_labels(name, "labels", labels, "embeddings", embeddings)
        temperature = temperature_of(name, temperature)
        scale = 1.0 / temperature
        budget = check_memory_budget(name, memory_budget)
    if pairs is not None:
        return supcon_of_pairs(name, embeddings, ref_emb, pairs, scale)
    assert labels is not None
    if ref_emb is not None and ref_labels is not None:
        return supcon_against_references(name, embeddings, ref_emb, labels, ref_labels, copies, scale)
    if strategy != "local":
        options = spelled(gather_distributed=strategy, temperature=temperature, embeddings=embeddings)
        groups = LabelGroups(gather_rows(labels.long(), name, options), None)
        first = exchange_shards(name, embeddings).start
        partners, has = (t[first : first + len(labels)] for t in (groups.partners(), groups.counts > 1))
        paired = partners >= 0
        lse, positive, mean = labelled_softmax_over_ranks(
            name, embeddings, scale, partners, strategy, groups.classes()[0]
        )
        margin = torch.where(paired, lse - positive, 0.0)
        taken = has | mean.isnan()  # a row that is NaN reaches the loss without a positive, too
        terms = torch.where(taken, torch.where(paired, F.softplus(margin, threshold=50.0), lse - mean), 0.0)
        total, anchors = sum_over_ranks(torch.stack([terms.sum(), has.sum().to(terms.dtype)]))
        return total / anchors.clamp_min(1)
    if are_few(embeddings, supcon=True):
        return softmax_of_few(name, embeddings, labels, scale, False)
    loss: Tensor = _SupCon.apply(embeddings, labels, scale, budget)
    return loss


class _SupCon(torch.autograd.Function):
    """With C_i the sum over i's label and w_i = g / (anchors (n_i - 1)), where i has a positive and else 0,

    loss = sum_i w_i ((n_i - 1) lse_i - scale z_i (C_i - z_i)); the weight of row j in the gradient of row i is
    that of the two softmaxes, less w_i + w_j where the labels are equal. Late in training little is left of it, so
    that is taken off entry by entry.

    A row with a single positive is NT-Xent's: softplus(n_i - s_i), n the log-sum-exp over the negatives and s the
    positive's logit, so that a loss near 0 and its gradient keep their precision. With more positives the loss is
    their number's logarithm at least.
    """

    @staticmethod
    def forward(ctx, embeddings, labels, scale, budget):  # type: ignore[no-untyped-def]
        unit, side, norm, factors = unit_and_side(embeddings, embeddings.dtype)
        needed, logits = ctx.needs_input_grad[0], half_of_logits(len(side))
        keep = kept_logits(budget if needed else 0, logits, side.dtype, side, packs=False).numbers
        mean, _, partners, classes, _, share, label_weights, poison = label_means(unit, unit, labels, None, None, scale)
        del unit
        lse, positive_logits, kept = ops.similarity_softmax_forward(side, partners, scale, 1.0, keep, factors)
        margin = lse - positive_logits
        ctx.save_for_backward(
            embeddings, side, norm, factors, partners, lse, kept, margin, classes, share, label_weights
        )
        ctx.scale = scale
        terms = torch.where(partners >= 0, F.softplus(margin, threshold=50.0), lse - mean)
        # A NaN reaches the loss from a row without a positive, too.
        return torch.where(share > 0, terms * share, 0.0).sum() + poison

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        embeddings, side, norm, factors, partners, lse, kept, margin, classes, share, label_weights = ctx.saved_tensors
        with torch.no_grad():
            # Rows that have not a single positive have a margin of inf: their share is the whole.
            weights = torch.where(share > 0, torch.sigmoid(margin) * (share * grad), 0.0)
            grad_unit = ops.similarity_softmax_backward(
                *(side, partners, lse, weights, -weights, kept, ctx.scale, 1.0, factors, classes),
                label_weights * grad,  # of a positive's logit
            )
            grad_embeddings = side_gradient(grad_unit, side, norm, factors, embeddings.dtype)
        return first_order_only("supcon_loss", grad_embeddings, embeddings, grad), None, None, None
