"""InfoNCE: queries that have to pick their positive key among negatives of any kind."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sslfast import _check
from sslfast._verdict import JointChecks
from sslfast.distributed import strategy_of
from sslfast.losses._few_pairs import options_of
from sslfast.losses._ids import ids_of
from sslfast.losses._info_nce_few import info_nce_of_few
from sslfast.losses._info_nce_inputs import (
    check_options,
    check_others,
    check_pairs,
    check_symmetric,
    hardness_of,
    kinds_of,
    scale_of,
)
from sslfast.losses._info_nce_plain import quick_info_nce
from sslfast.losses._info_nce_tiles import alike_on_ranks, tiled_info_nce
from sslfast.losses._inputs import kernel_integers
from sslfast.losses._kept import check_memory_budget
from sslfast.losses._shown import shown_options

_NAMES = ("query", "positive_key", "query_ids", "key_ids")


class InfoNCELoss(nn.Module):
    """InfoNCE as a module; see :func:`info_nce_loss`, which has the same arguments.

    Args:
        temperature: divides the similarities; a tensor or parameter of one number gets its gradient. Default: 0.1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        symmetric: average with the loss of the keys. Default: False.
        query_negatives: whether the other queries are negatives. Default: False.
        key_negatives: whether the other keys are negatives of the positive key, too. Default: False.
        key_to_query_negatives: whether the other queries are negatives of the positive key, too. Default: False.
        margin: leave out negatives more similar than the positive by this much. Default: None, none.
        tau_plus: share of positives among the negatives. Default: 0.
        label_smoothing: share of the target that is spread over the candidates. Default: 0.
        hardness_mode: which negatives' similarities are added to their logits, as constants. Default: None.
        hardness_strength: times this. Default: 0.
        normalize: divide all but the queue by their norms. Default: True.
        gather_distributed: the loss over all ranks. Default: False.
        memory_budget: bytes of similarities that may be kept for the gradient. Default: None, see
            :func:`info_nce_loss`.

    Raises:
        TypeError, ValueError: if an argument is none that :func:`info_nce_loss` takes.

    Example:
        >>> criterion = InfoNCELoss(temperature=0.05)
        >>> loss = criterion(query_embeddings, document_embeddings)  # the other documents are the negatives
        >>> loss = criterion(query_embeddings, document_embeddings, hard_negatives, in_batch=True)
    """

    def __init__(
        self,
        temperature: float | Tensor = 0.1,
        reduction: str = "mean",
        *,
        symmetric: bool = False,
        query_negatives: bool = False,
        key_negatives: bool = False,
        key_to_query_negatives: bool = False,
        margin: float | None = None,
        tau_plus: float = 0.0,
        label_smoothing: float = 0.0,
        hardness_mode: str | None = None,
        hardness_strength: float = 0.0,
        normalize: bool = True,
        gather_distributed: bool | str = False,
        memory_budget: int | None = None,
    ) -> None:
        super().__init__()
        name = "InfoNCELoss"
        self.margin, self.tau_plus, self.hardness_strength = check_options(
            name, temperature, margin, tau_plus, hardness_mode, hardness_strength, normalize, reduction
        )
        self.hardness_mode = hardness_mode
        strategy_of(name, gather_distributed)
        if isinstance(temperature, Tensor) and not isinstance(temperature, nn.Parameter):
            self.register_buffer("temperature", temperature)
        else:
            self.temperature = temperature
        self.reduction = reduction
        self.symmetric = _check.boolean(name, "symmetric", symmetric)
        self.query_negatives = _check.boolean(name, "query_negatives", query_negatives)
        self.key_negatives = _check.boolean(name, "key_negatives", key_negatives)
        self.key_to_query_negatives = _check.boolean(name, "key_to_query_negatives", key_to_query_negatives)
        self.label_smoothing = _check.probability(name, "label_smoothing", label_smoothing)
        self.normalize = _check.boolean(name, "normalize", normalize)
        self.gather_distributed = gather_distributed
        self.memory_budget = check_memory_budget(name, memory_budget)

    def forward(
        self,
        query: Tensor,
        positive_key: Tensor,
        negative_keys: Tensor | None = None,
        *,
        queue: Tensor | None = None,
        positives: Tensor | None = None,
        in_batch: bool | None = None,
        query_ids: Tensor | None = None,
        key_ids: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        return info_nce_loss(
            query,
            positive_key,
            negative_keys,
            self.temperature,
            self.reduction,
            queue=queue,
            positives=positives,
            in_batch=in_batch,
            query_negatives=self.query_negatives,
            key_negatives=self.key_negatives,
            key_to_query_negatives=self.key_to_query_negatives,
            query_ids=query_ids,
            key_ids=key_ids,
            margin=self.margin,
            tau_plus=self.tau_plus,
            label_smoothing=self.label_smoothing,
            hardness_mode=self.hardness_mode,
            hardness_strength=self.hardness_strength,
            symmetric=self.symmetric,
            weights=weights,
            normalize=self.normalize,
            gather_distributed=self.gather_distributed,
            memory_budget=self.memory_budget,
        )

    def extra_repr(self) -> str:
        return shown_options(self, InfoNCELoss, "temperature", "reduction", "symmetric")


def info_nce_loss(
    query: Tensor,
    positive_key: Tensor,
    negative_keys: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    reduction: str = "mean",
    *,
    queue: Tensor | None = None,
    positives: Tensor | None = None,
    in_batch: bool | None = None,
    query_negatives: bool = False,
    key_negatives: bool = False,
    key_to_query_negatives: bool = False,
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    margin: float | None = None,
    tau_plus: float = 0.0,
    label_smoothing: float = 0.0,
    hardness_mode: str | None = None,
    hardness_strength: float = 0.0,
    symmetric: bool = False,
    weights: Tensor | None = None,
    normalize: bool = True,
    gather_distributed: bool | str = False,
    memory_budget: int | None = None,
) -> Tensor:
    """InfoNCE of queries that have to pick their positive key among it and negatives of any kind.

    With ``q, k = F.normalize(query, dim=1), F.normalize(positive_key, dim=1)`` and the keys of the others as negatives

    ``loss = F.cross_entropy(q @ k.T / temperature, torch.arange(N), reduction=reduction)``

    and with a queue, MoCo's,

    ``logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / temperature``;
    ``loss = F.cross_entropy(logits, torch.zeros(N, dtype=torch.long), reduction=reduction)``

    Further kinds of negatives join the same sum. N x M logits are never stored where that would be large. Keys that
    take no gradient (a queue, a locked tower) are read once, in forward, which makes what backward needs: 4 N M D FLOPs
    altogether; they may be changed before ``backward()``. (With ``margin`` and ``label_smoothing`` together the CPU
    reads them again, a copy: 6 N M D.) One way, the mean or the sum of the losses makes the gradients of queries and
    keys in forward, too: 6 N M D FLOPs. Accumulates in float32 (float64 inputs in float64). Up to 512 queries on the
    CPU (256 of bfloat16 with most options), and 65,536 logits, or 524,288 among the other keys with most options or
    both ways (docs/losses.md says when), make all of them at once, half types widened. A queue alone is one call there,
    with the gradients.

    Args:
        query: (N, D), floating point, any strides; need not be normalised.
        positive_key: (N, D), on the same device, or (M, D) with ``positives``; gets a gradient if it requires one.
        negative_keys: (K, D), negatives of every query, or (N, K, D), hard negatives of one query each; they get a
            gradient if they require one. Default: None.
        temperature: divides the similarities; a negative one turns them round. A tensor of one number gets its
            gradient, is not waited for on a GPU, and makes the loss NaN where it is not finite. Default: 0.1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        queue: (K, D) with K >= 1, negatives of every query, taken as they are (MoCo's are unit vectors); no gradient. A
            float32 one is multiplied in float32 by queries of half types too; one of their own type is faster.
            Default: None.
        positives: (N,) int64, the row of ``positive_key`` that is the query's; the other rows are negatives. Default:
            None, the row with the query's own number.
        in_batch: whether the other rows of ``positive_key`` are negatives. Default: None, if there is neither
            ``negative_keys`` nor ``queue``.
        query_negatives: whether the other queries are negatives. Default: False.
        key_negatives: whether the other keys, by their similarity with the positive key, are negatives. Default: False.
        key_to_query_negatives: whether the other queries, by their similarity with the positive key, are negatives:
            without ``positives`` (and ``margin``, but on the CPU), and none of ``in_batch`` hard, from the same
            products. Default: False.
        query_ids: (N,) integers, with ``key_ids``: rows of the batch with the same id (the same document twice, say)
            are no negatives of each other. Default: None.
        key_ids: (M,) integers. Default: None.
        margin: a negative whose similarity is above that of the positive by more than this is taken for a false one and
            left out; with a positive temperature, which a tensor on a GPU or in a compiled graph is not asked for: the
            loss is NaN then. Default: None, none is.
        tau_plus: debiased InfoNCE: the probability that a negative is of the query's own class, whose part is taken out
            of the sum over the negatives; it counts them before ids and margin. Default: 0.
        label_smoothing: share e of the target that is spread over the query's candidates, its positive and the
            negatives that ids and margin leave: adds e times the positive's logit less the candidates' mean logit,
            which with no id, margin or tau_plus is ``F.cross_entropy(..., label_smoothing=e)``. With ``symmetric`` a
            key's candidates are queries. From sums, in O(N D) work; with a margin from the similarities, on the CPU in
            the same pass, and on a GPU or over several ranks made again: 8 N M D FLOPs more for each kind of negatives;
            ``symmetric`` adds none, but as many over several ranks, where one vector travels, and with ids or margin
            the rows once more. Default: 0.
        hardness_mode: which negatives count by how hard they are: ``"in_batch_negatives"``, those of ``in_batch``;
            ``"hard_negatives"``, ``negative_keys``; ``"all_negatives"``, both and the queue. To their logits
            ``hardness_strength`` times the similarity is added, which is a constant for the gradient; label smoothing
            counts it. Margin and the sums of ``symmetric``'s keys are without it. Default: None, none.
        hardness_strength: 0 or more, finite in the dtype of the loss; above 0 not with ``tau_plus``, nor a negative
            temperature, as with ``margin``. Default: 0.
        symmetric: average with the loss of every key picking its query among all queries; ``positive_key`` has to be
            (N, D) and ``positives`` a permutation. Default: False.
        weights: (N,), weights of the queries, 0 or more; a mean is divided by their sum, and NaN where that is 0.
            Default: None, 1.
        normalize: divide query and keys by their norms. Default: True.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Of ``reduction="none"`` a rank has its own queries' losses. A rank takes its queries against the keys (and
            queries) of all ranks; ``negative_keys`` and ``queue`` are its own. True or ``"all_gather"`` gathers them,
            ``"ring"`` passes them round while the ranks compute. False or ``"local"``: this rank's samples alone.
            Forward and backward communicate: all ranks have to call both. Without a process group, or with one rank, it
            changes nothing. Default: False.
        memory_budget: how many bytes of similarities may be kept for the gradient, instead of being made again, by
            kinds of negatives in the order of the arguments ``in_batch``, ``query_negatives``, ``key_negatives``,
            ``key_to_query_negatives``, ``negative_keys``; 0 keeps none. A kind with M negatives takes 4 N M at most (8
            N M in float64), in bfloat16 about 2 N M where more are not left, but with a margin or much smoothing. None
            are kept of what takes no gradient, nor of the first kind of a mean or a sum one way, but with ``margin``
            and ``label_smoothing`` together, nor on a GPU or over several ranks, and what the CPU makes at once does
            not ask for it. Default: None, for each kind 2 MiB or 8 bytes (16 in float64) for every number of both
            sides, which is O(N D).

    Returns:
        Scalar loss, or (N,) for ``reduction="none"``; float32, or float64 if ``query`` or ``positive_key`` is. The loss
        of a query that has no negative, as one alone in its batch, is 0.

    Raises:
        TypeError: if a tensor is not floating point (integer, for ``positives`` and ids), or float64 on a GPU, or a
            number or a bool is none.
        ValueError: if a shape, a device or a number is out of what is said above, ``queue`` or ``weights`` requires a
            gradient, one of ``query_ids`` and ``key_ids`` is given alone, no kind of negatives is asked for, none that
            ``hardness_mode`` is about, or ``hardness_strength`` without a mode, ``weights`` are negative (looked at on
            the CPU only, as a tensor's temperature is), ``positives`` index no key (on the CPU; a GPU is not waited
            for: there the loss of such a row is infinite, or, where its key is looked up, CUDA's own assertion fails),
            or ``symmetric`` is asked for where it does not go or ``gather_distributed`` is none of these. Where one of
            several ranks raises, all do: the others a ValueError that names it; so do all whose options differ.
        RuntimeError: at a second derivative, which is not supported.

    Reference: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018; He et al.,
    "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020; Chuang et al., "Debiased Contrastive
    Learning", NeurIPS 2020; Zhang et al., "Qwen3 Embedding", 2025 (margin, hard negatives, query and key negatives); Li
    et al., "Towards General Text Embeddings with Multi-stage Contrastive Learning", 2023 (key-to-query negatives); Lan
    et al., "LLaVE: Large Language and Vision Embedding Models with Hardness-Weighted Contrastive Learning", 2025,
    equation 5, and Schechter Vera et al., "EmbeddingGemma", 2025 (hardness of in-batch and of hard negatives).
    """
    name = "info_nce_loss"
    absent = (
        negative_keys is positives is in_batch is query_ids is key_ids is margin is weights is memory_budget is None
    )
    absent = absent and hardness_mode is None and type(hardness_strength) is float and hardness_strength == 0.0
    if absent and query_negatives is key_negatives is key_to_query_negatives is gather_distributed is False:
        numbers = temperature, tau_plus, label_smoothing
        loss = quick_info_nce(name, query, positive_key, queue, *numbers, reduction, symmetric, normalize)
        if loss is not None:
            return loss
    with JointChecks(name, gather_distributed, query):
        strategy = strategy_of(name, gather_distributed)
        kinds = kinds_of(name, in_batch, query_negatives, key_negatives, key_to_query_negatives, negative_keys, queue)
        symmetric = _check.boolean(name, "symmetric", symmetric)
        normalize = _check.boolean(name, "normalize", normalize)
        check_pairs(name, query, positive_key, positives, symmetric)
        check_others(name, query, negative_keys, queue, weights)
        ids = ids_of(name, query, positive_key, query_ids, key_ids, _NAMES)
        margin, tau_plus, strength = check_options(
            name, temperature, margin, tau_plus, hardness_mode, hardness_strength, normalize, reduction
        )
        hardness = hardness_of(name, hardness_mode, strength, kinds, query, positive_key)
        check_symmetric(name, symmetric, kinds, query, positive_key)
        smoothing = _check.probability(name, "label_smoothing", label_smoothing)
        budget = check_memory_budget(name, memory_budget)
        at = None if positives is None else kernel_integers(positives)
        scale = scale_of(name, query, temperature, ordered=margin is not None or strength > 0.0)
        if strategy == "local":
            chosen = options_of(smoothing, margin, tau_plus, weights, at, ids)
            given = scale, reduction, symmetric, normalize, chosen
            loss = info_nce_of_few(name, query, positive_key, kinds, hardness, *given)
            if loss is not None:
                return loss
    asked: dict[str, Any] = {"positives": at, "ids": ids, "margin": margin, "tau_plus": tau_plus}
    asked |= {"smoothing": smoothing, "hardness": hardness, "symmetric": symmetric, "normalize": normalize}
    asked |= {"reduction": reduction, "strategy": strategy}
    options = None if strategy == "local" else alike_on_ranks(query, positive_key, kinds, temperature, **asked)
    sides = name, query, positive_key, kinds
    return tiled_info_nce(*sides, scale, **asked, weights=weights, budget=budget, options=options)
