"""NT-Xent with many positives: every pair of one label, against the other labels only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslfast._autograd import exact_side, normalized
from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import strategy_of
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
from sslfast.losses._listed import nt_xent_of_pairs
from sslfast.losses._margins import compared_rows
from sslfast.losses._positive_pairs import positive_pairs_mean
from sslfast.losses._positive_pairs_ranks import nt_xent_over_ranks
from sslfast.losses._references import reference_lse
from sslfast.losses._shown import shown_options


class MultiPositiveNTXentLoss(nn.Module):
    """NT-Xent with many positives as a module; see :func:`multi_positive_nt_xent_loss`.

    Called as pytorch-metric-learning's ``NTXentLoss`` is, with its defaults and its numbers: ``criterion(embeddings,
    labels)``, with the pairs of a miner for ``indices_tuple``, or with ``ref_emb=`` and ``ref_labels=``, other rows to
    compare with.

    Args:
        temperature: divides the cosine similarities. Default: 0.07.
        gather_distributed: contrast with the samples of all ranks: False, True, ``"local"``, ``"all_gather"`` or
            ``"ring"``, see :func:`multi_positive_nt_xent_loss`. Default: False.
        memory_budget: bytes of similarities that may be kept for the gradient. Default: None, see
            :func:`multi_positive_nt_xent_loss`.

    Raises:
        TypeError: if ``temperature`` is not a number, or ``memory_budget`` is neither None nor an int.
        ValueError: if ``abs(temperature)`` is below 1e-8, ``gather_distributed`` is none of these, or ``memory_budget``
            is negative.

    Example:
        >>> criterion = MultiPositiveNTXentLoss(temperature=0.1)
        >>> loss = criterion(torch.cat([model(view) for view in views]), labels.repeat(len(views)))
        >>> loss.backward()
    """

    def __init__(
        self, temperature: float = 0.07, gather_distributed: bool | str = False, *, memory_budget: int | None = None
    ) -> None:
        super().__init__()
        self.temperature = temperature_of("MultiPositiveNTXentLoss", temperature)
        strategy_of("MultiPositiveNTXentLoss", gather_distributed)
        self.gather_distributed = gather_distributed
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
        return shown_options(self, MultiPositiveNTXentLoss, "temperature", "gather_distributed")


def multi_positive_nt_xent_loss(
    embeddings: Tensor,
    labels: Tensor | None,
    temperature: float = 0.07,
    *,
    indices_tuple: Sequence[Tensor] | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    copies: Tensor | None = None,
    gather_distributed: bool | str = False,
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
            Every rank computes a share of half the similarities, an equal one where shards are equal, and those of its
            own rows with their positives. True or ``"all_gather"`` gathers the embeddings of all ranks; ``"ring"``
            passes them round while the ranks compute, three times, so that none ever holds all of them at once. False
            or ``"local"``: this rank's samples alone. Gradients are made and sent in forward, and backward sends
            nothing. The ranks have to agree on what requires a gradient. Without a process group, or with one rank, it
            changes nothing. Default: False.
        memory_budget: how many bytes of similarities may be kept for the gradient, instead of being made again; 0 keeps
            none, 4 N^2 (8 N^2 for float64, about 2 N^2 for bfloat16) keep all, or N M in place of N^2 where ``ref_emb``
            takes a gradient. On a GPU and over several ranks none are kept, and none are needed of a ``ref_emb`` that
            takes none, or of the few rows on the CPU whose gradient is made with the loss. Default: None, 2 MiB or 8
            bytes (16 for float64) for every number of the embeddings, which is O(N D).

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
            with ``ref_emb`` or ``indices_tuple``, ``memory_budget`` is negative, or D, a dtype or an option is not the
            same on every rank. Where one of several ranks raises, all do: the others a ValueError that names it.
        IndexError: if a listed pair names a row that does not exist, on the CPU (a GPU and a compiled graph assert).
        RuntimeError: at a second derivative, which is not supported.

    Reference: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020;
    Musgrave et al., "PyTorch Metric Learning", 2020.
    """
    name = "multi_positive_nt_xent_loss"
    with JointChecks(name, gather_distributed, embeddings):
        strategy = strategy_of(name, gather_distributed)
        check_rows(name, "embeddings", embeddings)
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
        return nt_xent_of_pairs(name, embeddings, ref_emb, pairs, scale)
    assert labels is not None
    if strategy != "local":
        options = spelled(gather_distributed=strategy, temperature=temperature, embeddings=embeddings)
        with without_autocast(embeddings):
            return nt_xent_over_ranks(name, embeddings, labels, scale, strategy, options)
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
        ref_ids = None if ref_labels is None else col_ids.view_as(col_ids)
        return positive_pairs_mean(name, units, negatives, row_ids, ref_ids, copies, scale)
