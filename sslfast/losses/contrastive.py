"""The contrastive loss with margins: pairs of one label are to be near, pairs of two labels far."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sslfast import _check
from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import strategy_of
from sslfast.losses._few_rows import are_few, distances_of_few
from sslfast.losses._indices import given_rows
from sslfast.losses._inputs import check_labels, check_rows, finite, without_autocast
from sslfast.losses._margins import compared_rows, metric_options
from sslfast.losses._pairs import given_pairs, pairs_in_strips
from sslfast.losses._pairs_ranks import pairs_over_ranks


class ContrastiveLoss(nn.Module):
    """The contrastive loss with margins as a module; see :func:`contrastive_loss`.

    Called as pytorch-metric-learning's ``ContrastiveLoss`` is, and equal to it with these defaults.

    Args:
        pos_margin: how far apart a pair of one label may be. Default: 0.
        neg_margin: how far apart a pair of two labels has to be. Default: 1.
        squared: square the terms. Default: False.
        distance, normalize, reduction: as of :class:`TripletLoss`.
        gather_distributed: take the samples of all ranks: False, True, ``"local"``, ``"all_gather"`` or ``"ring"``, see
            :func:`contrastive_loss`. Default: False.

    Raises:
        TypeError: if a margin is not a number, or ``squared`` or ``normalize`` not a bool.
        ValueError: if a margin is not finite, or an option is none of its values.

    Example:
        >>> criterion = ContrastiveLoss(neg_margin=0.5)
        >>> loss = criterion(model(images), labels)
        >>> loss.backward()
    """

    def __init__(
        self,
        pos_margin: float = 0.0,
        neg_margin: float = 1.0,
        *,
        squared: bool = False,
        distance: str = "euclidean",
        normalize: bool = True,
        reduction: str = "mean_nonzero",
        gather_distributed: bool | str = False,
    ) -> None:
        super().__init__()
        name = "ContrastiveLoss"
        self.pos_margin = _check.real(name, "pos_margin", pos_margin)
        self.neg_margin = _check.real(name, "neg_margin", neg_margin)
        self.squared = _check.boolean(name, "squared", squared)
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
    ) -> Tensor:
        return contrastive_loss(
            embeddings,
            labels,
            pos_margin=self.pos_margin,
            neg_margin=self.neg_margin,
            squared=self.squared,
            distance=self.distance,
            normalize=self.normalize,
            reduction=self.reduction,
            indices_tuple=indices_tuple,
            ref_emb=ref_emb,
            ref_labels=ref_labels,
            copies=copies,
            gather_distributed=self.gather_distributed,
        )

    def extra_repr(self) -> str:
        margins = f"pos_margin={self.pos_margin}, neg_margin={self.neg_margin}, squared={self.squared}"
        how = f"distance={self.distance!r}, normalize={self.normalize}, reduction={self.reduction!r}"
        return f"{margins}, {how}, gather_distributed={self.gather_distributed!r}"


def contrastive_loss(
    embeddings: Tensor,
    labels: Tensor | None,
    *,
    pos_margin: float = 0.0,
    neg_margin: float = 1.0,
    squared: bool = False,
    distance: str = "euclidean",
    normalize: bool = True,
    reduction: str = "mean_nonzero",
    indices_tuple: Sequence[Tensor] | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    copies: Tensor | None = None,
    gather_distributed: bool | str = False,
) -> Tensor:
    """Pairs of one label are to be no farther apart than a margin, pairs of two labels no nearer than another.

    ``mean(F.relu(d[i, p] - pos_margin)) + mean(F.relu(neg_margin - d[i, n]))``, each mean over its terms above 0, where
    p has the label of i and is not i itself, and n has another label. pytorch-metric-learning's ``ContrastiveLoss``,
    but that a single pair of a kind counts too. With ``squared=True`` and ``reduction="mean"`` the terms are those of
    the paper, whose positives and negatives share one mean, halved. With ``distance="cosine"`` margins are
    similarities, as they are there: ``F.relu(pos_margin - s)`` and ``F.relu(s - neg_margin)``, so that ``pos_margin=1``
    and ``neg_margin=0`` are where to begin.

    No matrix of distances is stored: they are made in strips of rows, half of them where there are no references, once
    for loss and gradients, O(N^2 D) work altogether; by one process up to 512 rows on the CPU are one strip, or as many
    pairs of a row and a reference.
    Where one pair in 64 or fewer is positive (one in 8 of up to 512 rows; on the CPU, outside of a compiled graph)
    positives are computed from differences of embeddings, which keep the relative precision of small distances, as
    given pairs are; all other distances have the rounding of a product with centred embeddings, and what is below it
    counts as 0. Over several ranks the share is that among the rows of all of them; where it is larger, two blocks of
    rows of which one pair in 64 or fewer is positive do so, too. The gradient of a root at 0 is taken to be 0.
    Accumulates in float32 (float64 inputs in float64).

    Where no positive term is left, their mean is 0, and so for the negatives.

    Args:
        embeddings, labels, normalize, ref_emb, ref_labels, copies: as of :func:`triplet_loss`.
        pos_margin: how far apart a pair of one label may be. Default: 0.
        neg_margin: how far apart a pair of two labels has to be. Default: 1.
        squared: square the terms. Default: False.
        distance: ``"euclidean"``; ``"squared_euclidean"``; or ``"cosine"``, the inner product. Default:
            ``"euclidean"``.
        reduction: of positives and of negatives, which are added: ``"mean_nonzero"``, over the terms above 0,
            ``"mean"``, over all pairs, or ``"sum"``, where every pair counts in both directions. Default:
            ``"mean_nonzero"``.
        indices_tuple: pairs in the place of all: four int64 vectors, rows of anchors and of their positives in
            ``ref_emb``, (P,) each, rows of anchors and of their negatives, (Q,) each; or the three of triplets, rows of
            anchors, positives and negatives; what a miner of pytorch-metric-learning returns. Default: None.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Every rank takes a share of the pairs, an equal one where shards are equal. True or ``"all_gather"`` gathers
            the embeddings of all ranks; ``"ring"`` passes them round while the ranks compute, so that none ever holds
            all of them at once; on the CPU each holds the labels of all. False or ``"local"``: this rank's samples
            alone. Gradients are made and sent in forward, and backward sends nothing. The ranks have to agree on what
            requires a gradient, and to have one D and one dtype. Without a process group, or with one rank, it changes
            nothing. Default: False.

    Returns:
        Scalar loss, float32, or float64 if ``embeddings`` or ``ref_emb`` is.

    Raises:
        TypeError, ValueError: where :func:`triplet_loss` does for the arguments that both have; also TypeError if a
            margin is not a number, ``squared`` not a bool, or ``indices_tuple`` not int64 vectors, four in pairs of one
            length or three of one length; ValueError if a margin is not finite.
        IndexError: if a given pair names a row that does not exist, on the CPU (a GPU asserts).
        RuntimeError: at a second derivative, which is not supported.

    Reference: Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.
    """
    name = "contrastive_loss"
    with JointChecks(name, gather_distributed, embeddings):
        strategy = strategy_of(name, gather_distributed)
        check_rows(name, "embeddings", embeddings)
        pos_margin = finite(name, "pos_margin", pos_margin, embeddings)
        neg_margin = finite(name, "neg_margin", neg_margin, embeddings)
        terms = (pos_margin, neg_margin, _check.boolean(name, "squared", squared))
        options = metric_options(name, distance, normalize, reduction)
        pairs = None if indices_tuple is None else given_rows(name, indices_tuple, embeddings, pairs=True)
        ref_emb, ref_labels = compared_rows(
            name, embeddings, labels, ref_emb, ref_labels, copies, pairs, gather_distributed
        )
        if pairs is None or labels is not None:
            labels = check_labels(name, "labels", labels, "embeddings", embeddings)
    with without_autocast(embeddings):
        if pairs is not None:
            return given_pairs(name, embeddings, ref_emb, pairs, terms, *options)
        assert labels is not None
        if strategy != "local":
            same = spelled(
                gather_distributed=strategy,
                pos_margin=pos_margin,
                neg_margin=neg_margin,
                squared=terms[2],
                distance=distance,
                normalize=options[1],
                reduction=reduction,
                embeddings=embeddings,
            )
            return pairs_over_ranks(name, embeddings, labels, terms, *options, strategy, same)
        rows = (name, embeddings, ref_emb, labels, ref_labels, copies)
        if are_few(embeddings, ref_emb):
            near, far, squares = terms
            return distances_of_few(*rows, "pairs", *options, margin=near, neg_margin=far, squared=squares)
        return pairs_in_strips(*rows, terms, *options)
