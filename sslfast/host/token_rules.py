"""The rules of text and sequence augmentation: what each does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias, get_args

from sslfast import _check

MOST_TOKENS = 2**26 - 1  # of a row


@dataclass(frozen=True)
class DropTokens:
    """Drops tokens: each with probability ``rate`` (EDA's random deletion), or exactly ``int(rate * n)`` of n.

    At least one stays. ``in_place`` leaves a hole, ``pad_id`` outside of the attention mask, so that the others keep
    their positions: ConSERT's token cutoff.

    Args:
        rate: share of the tokens, in [0, 1]. Default: 0.1.
        selection: ``"bernoulli"`` or ``"exact"``. Default: ``"bernoulli"``.
        in_place: dropped tokens leave holes. Default: False, the rest closes up.

    Raises:
        TypeError: ``rate`` is no number, or ``in_place`` no bool.
        ValueError: ``rate`` is outside [0, 1], or there is no such ``selection``.

    Reference: Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification
    Tasks", EMNLP 2019; Yan et al., "ConSERT: A Contrastive Framework for Self-Supervised Sentence Representation
    Transfer", ACL 2021.
    """

    rate: float = 0.1
    selection: str = "bernoulli"
    in_place: bool = False
    kind: ClassVar[int] = 0

    def __post_init__(self) -> None:
        _check.probability("DropTokens", "rate", self.rate)
        _check.selection_is_exact("DropTokens", self.selection)
        _check.boolean("DropTokens", "in_place", self.in_place)


@dataclass(frozen=True)
class SwapTokens:
    """Swaps the tokens at two random places, ``count`` times or ``max(1, int(rate * n))`` times: EDA's random swap.

    Args:
        rate: swaps per token, in [0, 1]. Default: 0.1.
        count: swaps of a row. Default: None, by ``rate``.

    Raises:
        TypeError: ``rate`` is no number, or ``count`` neither None nor an int.
        ValueError: ``rate`` is outside [0, 1], or ``count`` outside [0, 2^26 - 1].

    Reference: Wei and Zou, "EDA", EMNLP 2019.
    """

    rate: float = 0.1
    count: int | None = None
    kind: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _check.probability("SwapTokens", "rate", self.rate)
        _check_count("SwapTokens", self.count)


@dataclass(frozen=True)
class RepeatTokens:
    """Puts a copy behind each of k random tokens, k uniform in [0, max(2, int(rate * n))]: ESimCSE's word repetition.

    No more than fit into the output, and no token twice.

    Args:
        rate: bounds the share that is repeated, in [0, 1]. Default: 0.32.
        count: exactly so many. Default: None, by ``rate``.

    Raises:
        TypeError: ``rate`` is no number, or ``count`` neither None nor an int.
        ValueError: ``rate`` is outside [0, 1], or ``count`` outside [0, 2^26 - 1].

    Reference: Wu et al., "ESimCSE: Enhanced Sample Building Method for Contrastive Learning of Unsupervised Sentence
    Embedding", COLING 2022, section 3.2.
    """

    rate: float = 0.32
    count: int | None = None
    kind: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check.probability("RepeatTokens", "rate", self.rate)
        _check_count("RepeatTokens", self.count)


@dataclass(frozen=True)
class ReplaceTokens:
    """Replaces tokens that the table knows by one of their entries, uniformly: EDA's synonym replacement.

    ``"exact"`` replaces ``count`` or ``max(1, int(rate * n))`` of the tokens of a row, as far as so many have entries;
    ``"bernoulli"`` each that has, with probability ``rate``.

    Args:
        rate: share of all tokens of a row, in [0, 1]. Default: 0.1.
        count: exactly so many. Default: None, by ``rate``.
        selection: ``"exact"`` or ``"bernoulli"``. Default: ``"exact"``.

    Raises:
        TypeError: ``rate`` is no number, or ``count`` neither None nor an int.
        ValueError: ``rate`` is outside [0, 1], ``count`` outside [0, 2^26 - 1] or given with ``"bernoulli"``, or there
            is no such ``selection``.

    Reference: Wei and Zou, "EDA", EMNLP 2019.
    """

    rate: float = 0.1
    count: int | None = None
    selection: str = "exact"
    kind: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _check.probability("ReplaceTokens", "rate", self.rate)
        _check_count("ReplaceTokens", self.count)
        if not _check.selection_is_exact("ReplaceTokens", self.selection) and self.count is not None:
            raise ValueError(f"ReplaceTokens: count must be None with selection 'bernoulli', got {self.count}")


@dataclass(frozen=True)
class InsertTokens:
    """Inserts ``count`` or ``max(1, int(rate * n))`` entries of the table: EDA's random insertion.

    Each is an entry of a random token that has some, and stands before a token of the row; these are distinct, every
    set equally likely. No more than fit into the output; none where no token has an entry.

    Args:
        rate: insertions per token, in [0, 1]. Default: 0.1.
        count: exactly so many. Default: None, by ``rate``.

    Raises:
        TypeError: ``rate`` is no number, or ``count`` neither None nor an int.
        ValueError: ``rate`` is outside [0, 1], or ``count`` outside [0, 2^26 - 1].

    Reference: Wei and Zou, "EDA", EMNLP 2019.
    """

    rate: float = 0.1
    count: int | None = None
    kind: ClassVar[int] = 4

    def __post_init__(self) -> None:
        _check.probability("InsertTokens", "rate", self.rate)
        _check_count("InsertTokens", self.count)


@dataclass(frozen=True)
class ShuffleSpans:
    """Cuts a row into spans of ``min_span`` to ``max_span`` tokens, uniformly, and puts them in a random order.

    The last span is as long as the row allows. Every order of the spans is equally likely.

    Args:
        min_span: tokens in the shortest span, at least 1. Default: 1.
        max_span: tokens in the longest, at most 64. Default: 5.

    Raises:
        TypeError: a number of tokens is no int.
        ValueError: ``min_span`` is outside [1, 64], or ``max_span`` outside [``min_span``, 64].
    """

    min_span: int = 1
    max_span: int = 5
    kind: ClassVar[int] = 5

    def __post_init__(self) -> None:
        _check.integer("ShuffleSpans", "min_span", self.min_span, 1, 64)
        _check.integer("ShuffleSpans", "max_span", self.max_span, self.min_span, 64)


@dataclass(frozen=True)
class ShuffleTokens:
    """Shuffles tokens, none further than ``window`` places: they are sorted by ``place + U[0, window + 1)``.

    Args:
        window: at least 1, or None for a uniform shuffle of the whole row (ConSERT's shuffling). Default: 3.

    Raises:
        TypeError: ``window`` is neither None nor an int.
        ValueError: it is outside [1, 2^26 - 1].

    Reference: Lample et al., "Unsupervised Machine Translation Using Monolingual Corpora Only", ICLR 2018, section 2.3;
    Yan et al., "ConSERT", ACL 2021.
    """

    window: int | None = 3
    kind: ClassVar[int] = 6

    def __post_init__(self) -> None:
        if self.window is not None:
            _check.integer("ShuffleTokens", "window", self.window, 1, MOST_TOKENS)


@dataclass(frozen=True)
class CropTokens:
    """Keeps ``max(1, int(ratio * n))`` neighbours, every place equally likely: CL4SRec's item crop.

    Args:
        ratio: share of the row that stays, in (0, 1]. Default: 0.6.

    Raises:
        TypeError: ``ratio`` is no number.
        ValueError: it is outside (0, 1].

    Reference: Xie et al., "Contrastive Learning for Sequential Recommendation", ICDE 2022, section III-C.
    """

    ratio: float = 0.6
    kind: ClassVar[int] = 7

    def __post_init__(self) -> None:
        check_ratio("CropTokens", self.ratio)


@dataclass(frozen=True)
class ReorderTokens:
    """Shuffles ``int(ratio * n)`` neighbours, every place and order equally likely: CL4SRec's item reorder.

    Args:
        ratio: share of the row that is shuffled, in (0, 1]. Default: 0.6.

    Raises:
        TypeError: ``ratio`` is no number.
        ValueError: it is outside (0, 1].

    Reference: Xie et al., "Contrastive Learning for Sequential Recommendation", ICDE 2022, section III-C.
    """

    ratio: float = 0.6
    kind: ClassVar[int] = 8

    def __post_init__(self) -> None:
        check_ratio("ReorderTokens", self.ratio)


@dataclass(frozen=True)
class MaskTokens:
    """Replaces ``int(ratio * n)`` tokens, every set equally likely, by ``mask_id``: CL4SRec's item mask.

    For masks with labels, which a model is to predict, there is ``sslfast.masking``.

    Args:
        ratio: share of the tokens, in (0, 1]. Default: 0.3.
        selection: ``"exact"``, or ``"bernoulli"``, each with probability ``ratio``. Default: ``"exact"``.

    Raises:
        TypeError: ``ratio`` is no number.
        ValueError: it is outside (0, 1], or there is no such ``selection``.

    Reference: Xie et al., "Contrastive Learning for Sequential Recommendation", ICDE 2022, section III-C.
    """

    ratio: float = 0.3
    selection: str = "exact"
    kind: ClassVar[int] = 9

    def __post_init__(self) -> None:
        check_ratio("MaskTokens", self.ratio)
        _check.selection_is_exact("MaskTokens", self.selection)


TokenRule: TypeAlias = (
    DropTokens
    | SwapTokens
    | RepeatTokens
    | ReplaceTokens
    | InsertTokens
    | ShuffleSpans
    | ShuffleTokens
    | CropTokens
    | ReorderTokens
    | MaskTokens
)
RULES = get_args(TokenRule)


def _check_count(function: str, count: int | None) -> None:
    if count is not None:
        _check.integer(function, "count", count, 0, MOST_TOKENS)


def check_ratio(function: str, ratio: float, name: str = "ratio") -> None:
    """Raises TypeError or ValueError unless ``ratio`` is a number in (0, 1]."""
    if not 0.0 < _check.real(function, name, ratio) <= 1.0:
        raise ValueError(f"{function}: {name} must be in (0, 1], got {ratio}")
