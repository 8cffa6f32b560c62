"""The triplet loss: all triplets of a batch, the hardest of each anchor, or the semi-hard ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import Shards, exchange_shards, gathered_rows, strategy_of, those_of_first_rank
from sslfast.losses._few_rows import are_few, distances_of_few
from sslfast.losses._indices import given_rows
from sslfast.losses._inputs import check_choice, check_labels, check_rows, without_autocast
from sslfast.losses._margins import compared_rows, metric_options
from sslfast.losses._triplet_blocks import triplets_in_blocks
from sslfast.losses._triplet_inputs import MINING, check_margin, check_per_anchor
from sslfast.losses._triplet_rounds import triplets_in_ring
from sslfast.losses._triplets import drawn_triplets, given_triplets, hardest, triplets_in_strips
from sslfast.losses._triplets_ring import drawn_in_ring, hardest_in_ring
from sslfast.random import Generator, check_generator, seed_tensor


class TripletLoss(nn.Module):
    """The triplet loss as a module; see :func:`triplet_loss`.

    Called as pytorch-metric-learning's ``TripletMarginLoss`` is, and equal to it with these defaults. Its miners are
    ``mining=``: with the same margin, ``BatchHardMiner`` is ``"batch_hard"``, and
    ``TripletMarginMiner(type_of_triplets="semihard")`` is ``"semi_hard"``.

    Args:
        margin: what the negative has to be farther away by. Default: 0.05.
        swap: the negative's distance is the one to the positive where that is smaller. Default: False.
        smooth_loss: softplus in the place of max(0, .). Default: False.
        triplets_per_anchor: how many triplets to draw for each anchor, or ``"all"``. Default: ``"all"``.
        mining: ``"batch_all"``, ``"batch_hard"`` or ``"semi_hard"``. Default: ``"batch_all"``.
        distance: ``"euclidean"``, ``"squared_euclidean"`` or ``"cosine"``. Default: ``"euclidean"``.
        normalize: divide embeddings by their norms first. Default: True.
        reduction: ``"mean_nonzero"``, ``"mean"`` or ``"sum"``. Default: ``"mean_nonzero"``.
        gather_distributed: take the samples of all ranks: False, True, ``"local"``, ``"all_gather"`` or ``"ring"``, see
            :func:`triplet_loss`. Default: False.

    Raises:
        TypeError: if ``margin`` is not a number, ``triplets_per_anchor`` neither ``"all"`` nor an int, or ``swap``,
            ``smooth_loss`` or ``normalize`` not a bool.
        ValueError: if ``margin`` is not finite, or not positive with ``"semi_hard"``, ``triplets_per_anchor`` is below
            1 or goes with another mining than ``"batch_all"``, or an option is none of its values.

    Example:
        >>> criterion = TripletLoss(margin=0.2, mining="batch_hard")
        >>> loss = criterion(model(images), labels)
        >>> loss.backward()
    """

    def __init__(
        self,
        margin: float = 0.05,
        swap: bool = False,
        smooth_loss: bool = False,
        triplets_per_anchor: int | str = "all",
        *,
        mining: str = "batch_all",
        distance: str = "euclidean",
        normalize: bool = True,
        reduction: str = "mean_nonzero",
        gather_distributed: bool | str = False,
    ) -> None:
        super().__init__()
        name = "TripletLoss"
        self.mining = check_choice(name, "mining", mining, MINING)
        self.margin = check_margin(name, margin, self.mining)
        self.swap = _check.boolean(name, "swap", swap)
        self.smooth_loss = _check.boolean(name, "smooth_loss", smooth_loss)
        check_per_anchor(name, triplets_per_anchor, mining)
        self.triplets_per_anchor = triplets_per_anchor
        self.distance, self.normalize, self.reduction = metric_options(name, distance, normalize, reduction)
        strategy_of(name, gather_distributed)
        self.gather_distributed = gather_distributed

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Sequence[Tensor] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        copies: Tensor | None = None,
        generator: Generator = None,
    ) -> Tensor:
        return triplet_loss(
            embeddings,
            labels,
            self.margin,
            swap=self.swap,
            smooth_loss=self.smooth_loss,
            triplets_per_anchor=self.triplets_per_anchor,
            mining=self.mining,
            distance=self.distance,
            normalize=self.normalize,
            reduction=self.reduction,
            indices_tuple=indices_tuple,
            ref_emb=ref_emb,
            ref_labels=ref_labels,
            copies=copies,
            generator=generator,
            gather_distributed=self.gather_distributed,
        )

    def extra_repr(self) -> str:
        options = f"margin={self.margin}, swap={self.swap}, smooth_loss={self.smooth_loss}, mining={self.mining!r}"
        how = f"distance={self.distance!r}, normalize={self.normalize}, reduction={self.reduction!r}"
        how = f"triplets_per_anchor={self.triplets_per_anchor!r}, {how}"
        return f"{options}, {how}, gather_distributed={self.gather_distributed!r}"


def triplet_loss(
    embeddings: Tensor,
    labels: Tensor | None,
    margin: float = 0.05,
    *,
    swap: bool = False,
    smooth_loss: bool = False,
    triplets_per_anchor: int | str = "all",
    mining: str = "batch_all",
    distance: str = "euclidean",
    normalize: bool = True,
    reduction: str = "mean_nonzero",
    indices_tuple: Sequence[Tensor] | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    copies: Tensor | None = None,
    generator: Generator = None,
    gather_distributed: bool | str = False,
) -> Tensor:
    """Every anchor's negatives are to be farther away than its positives, by a margin.

    ``F.relu(d[a, p] - d[a, n] + margin)`` of the triplets (a, p, n) that ``mining`` takes, where p has the label of a
    and is not a itself, and n has another label:

    - ``"batch_all"``: all of them. pytorch-metric-learning's ``TripletMarginLoss`` without a miner.
    - ``"batch_hard"``: per anchor the farthest positive and the nearest negative, the first of equally far ones on the
      CPU, over several ranks as far as rounding goes. Its ``BatchHardMiner``. ``smooth_loss=True`` with ``margin=0`` is
      Hermans' soft margin.
    - ``"semi_hard"``: those with 0 < d[a, n] - d[a, p] < margin. Its
      ``TripletMarginMiner(margin, type_of_triplets="semihard")``, which also takes those at exactly the margin.
      FaceNet draws one of these for each pair. Where rounding makes a gap 0 or the margin, or neither, it decides,
      in a ring that of products of its blocks.

    Neither triplets nor distances are stored: distances are made in strips of rows, O(N) memory each, and once for loss
    and gradients (in a ring, those of positives are kept); up to 512 rows on the CPU are one strip, or as many pairs of
    a row and a reference. Over all triplets a strip takes the products and one search among the positives' distances,
    O(N^2 (D + log N)) work altogether where the triplets are O(N^3): a negative's weight is how many positives lie
    within its reach, and the other way round. With ``swap`` or ``smooth_loss`` every triplet is looked at, in blocks
    that take no more memory: O(1) work each, with a swap O(D). How many blocks there are depends on the size of the
    largest group of labels: a GPU is waited for once (a CUDA graph's capture takes all rows for a group), and
    torch.compile breaks its graph. Triplets of the hardest and given ones cost D each, from differences that keep the
    relative precision of small distances; otherwise distances have the rounding of a product with centred embeddings,
    and what is below it counts as 0. The gradient of a root at 0 is taken to be 0. Accumulates in float32 (float64
    inputs in float64).

    An anchor without a positive or without a negative adds no term. Where no term is left, the loss is 0.

    Args:
        embeddings: (N, D), floating point, any strides; the anchors.
        labels: (N,) integers, any values; None where ``indices_tuple`` is given.
        margin: what the negative has to be farther away by; of ``"cosine"`` in units of similarity. Default: 0.05.
        swap: the negative's distance is the one to the positive where that is smaller. Default: False.
        smooth_loss: softplus in the place of relu. Default: False.
        triplets_per_anchor: with ``"batch_all"``, how many triplets to draw for each anchor, in the place of all:
            positive and negative each uniformly, with replacement. pytorch-metric-learning's distribution; the draws
            are those of (seed, anchor, number of the triplet). Unused with ``indices_tuple``. Default: ``"all"``.
        mining: ``"batch_all"``, ``"batch_hard"`` or ``"semi_hard"``; unused with ``indices_tuple``. Default:
            ``"batch_all"``.
        distance: ``"euclidean"``; ``"squared_euclidean"``; or ``"cosine"``, minus the inner product. Default:
            ``"euclidean"``.
        normalize: divide embeddings by their norms first. Default: True.
        reduction: ``"mean_nonzero"``, over the terms above 0, ``"mean"``, over all triplets taken, or ``"sum"``.
            Default: ``"mean_nonzero"``.
        indices_tuple: triplets in the place of mining: three int64 vectors (T,), rows of the anchors, and of the
            positives and the negatives in ``ref_emb``; or four of pairs, anchors and positives (P,), anchors and
            negatives (Q,), of which all triplets are made that share an anchor (a GPU is waited for); what a miner of
            pytorch-metric-learning returns. Default: None.
        ref_emb: (M, D) positives and negatives of the anchors, on the same device. Gets a gradient if it requires one.
            Default: None, the other embeddings.
        ref_labels: (M,) integers, the labels of ``ref_emb``. Default: None, as ``ref_emb``.
        copies: (N,) int64, the row of ``ref_emb`` that is a copy of each embedding, with which it is not compared, or
            -1 where there is none. Default: None, no copies.
        generator: seed of the draws of ``triplets_per_anchor``, see :func:`~sslfast.random.seed_tensor`; over several
            ranks that of the first. Default: None, drawn from torch's global CPU generator.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size. A
            rank takes its own rows as anchors against those of all ranks, an equal share of the work where shards are
            equal. True or ``"all_gather"`` gathers the embeddings of all ranks; ``"ring"`` passes them round while the
            ranks compute, so that none ever holds all of them at once, but their labels: once for the hardest and for
            drawn ones, else three times, or more often for very many positives or draws (docs/losses.md), and keeps
            distances of positives meanwhile. A GPU is waited for there. False or ``"local"``: this rank's samples
            alone. Gradients are made and sent in forward, and backward sends nothing. The ranks have to agree on what
            requires a gradient, and to have one D and one dtype. Without a process group, or with one rank, it changes
            nothing. Default: False.

    Returns:
        Scalar loss, float32, or float64 if ``embeddings`` or ``ref_emb`` is.

    Raises:
        TypeError: if ``embeddings`` or ``ref_emb`` is not a floating-point tensor, or is float64 on a GPU, ``labels``
            or ``ref_labels`` not an integer tensor, ``copies`` not an int64 one, ``margin`` not a number, ``swap``,
            ``smooth_loss`` or ``normalize`` not a bool, ``triplets_per_anchor`` neither ``"all"`` nor an int,
            ``generator`` no generator, or ``indices_tuple`` not int64 vectors, four in pairs of one length or three of
            one length.
        ValueError: if ``embeddings`` is not (N, D) with N, D >= 1, ``labels`` is not (N,), ``ref_emb`` is not (M, D)
            with M >= 1, ``ref_labels`` is not (M,), ``copies`` is not (N,) or, on the CPU, names a row that ``ref_emb``
            does not have, devices differ, one of ``ref_emb`` and ``ref_labels`` is given without the other, ``margin``
            is not finite, or not positive with ``"semi_hard"``, an option is none of its values,
            ``triplets_per_anchor`` is below 1 or goes with another mining, ``gather_distributed`` is none of these, or
            is more than ``"local"`` with ``indices_tuple`` or ``ref_emb``, or D, the dtype or an option is not the same
            on every rank. Where one of several ranks raises, all do: the others a ValueError that names it.
        IndexError: if a given triplet names a row that does not exist, on the CPU (a GPU asserts).
        RuntimeError: at a second derivative, which is not supported.

    Reference: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017; Schroff et al.,
    "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015.
    """
    name = "triplet_loss"
    with JointChecks(name, gather_distributed, embeddings):
        strategy = strategy_of(name, gather_distributed)
        check_rows(name, "embeddings", embeddings)
        margin = check_margin(name, margin, check_choice(name, "mining", mining, MINING), embeddings)
        per_anchor = check_per_anchor(name, triplets_per_anchor, mining)
        terms = (margin, _check.boolean(name, "swap", swap), _check.boolean(name, "smooth_loss", smooth_loss))
        options = metric_options(name, distance, normalize, reduction)
        if indices_tuple is not None or not per_anchor:
            check_generator(generator, function=name, device=embeddings.device)
        seed = None
        triplets = None if indices_tuple is None else given_rows(name, indices_tuple, embeddings, pairs=False)
        ref_emb, ref_labels = compared_rows(
            name, embeddings, labels, ref_emb, ref_labels, copies, triplets, gather_distributed
        )
        if triplets is None or labels is not None:
            labels = check_labels(name, "labels", labels, "embeddings", embeddings)
        if triplets is None and per_anchor:
            seed = seed_tensor(generator, function=name, device=embeddings.device).reshape(1)
    if triplets is not None:
        anchors, positives, negatives = triplets
        return given_triplets(name, embeddings, ref_emb, (anchors, positives, negatives), None, terms, *options)
    assert labels is not None
    shards: Shards | None = None
    if strategy != "local":
        same = spelled(
            gather_distributed=strategy,
            margin=margin,
            swap=terms[1],
            smooth_loss=terms[2],
            triplets_per_anchor=per_anchor or "all",
            mining=mining,
            distance=distance,
            normalize=options[1],
            reduction=reduction,
            embeddings=embeddings,
        )
        shards = exchange_shards(name, embeddings, same)
        if not torch.is_grad_enabled():
            embeddings = embeddings.detach()  # else one that requires a gradient would have it made, and sent
        seed = None if seed is None else those_of_first_rank(seed.to(labels.device))
        if strategy == "ring":
            if seed is not None:
                return drawn_in_ring(name, embeddings, labels, per_anchor, seed, terms, *options, shards)
            if mining == "batch_hard":
                return hardest_in_ring(name, embeddings, labels, terms, *options, shards)
            return triplets_in_ring(name, embeddings, labels, terms, mining == "semi_hard", *options, shards)
        ref_emb, ref_labels = (gathered_rows(t, shards) for t in (embeddings.detach(), labels.long()))
        copies = torch.arange(shards.start, shards.start + len(labels), device=labels.device)
    with without_autocast(embeddings):
        rows = (name, embeddings, ref_emb, labels, ref_labels, copies)
        if seed is not None:
            first = 0 if shards is None else shards.start
            drawn, valid = drawn_triplets(labels, ref_labels, copies, per_anchor, seed, first)
            return given_triplets(name, embeddings, ref_emb, drawn, valid, terms, *options, shards)
        counted = not (swap or smooth_loss)
        hard = mining == "batch_hard"
        if (counted or hard) and shards is None and are_few(embeddings, ref_emb):
            return distances_of_few(*rows, mining, *options, margin=margin, swap=terms[1], smooth=terms[2])
        if not hard:
            if not counted:
                return triplets_in_blocks(*rows, terms, mining == "semi_hard", *options, shards)
            return triplets_in_strips(*rows, margin, mining == "semi_hard", *options, shards)
        positives, negatives, both = hardest(embeddings, ref_emb, labels, ref_labels, copies, distance, normalize)
        anchors = torch.arange(len(embeddings), device=embeddings.device)
        return given_triplets(name, embeddings, ref_emb, (anchors, positives, negatives), both, terms, *options, shards)
