"""The rules of text and sequence augmentation: what each does, and its numbers as the kernels take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from sslfast import _check

MOST_RULES = 8
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
RULES = (
    DropTokens,
    SwapTokens,
    RepeatTokens,
    ReplaceTokens,
    InsertTokens,
    ShuffleSpans,
    ShuffleTokens,
    CropTokens,
    ReorderTokens,
    MaskTokens,
)


def _check_count(function: str, count: int | None) -> None:
    if count is not None:
        _check.integer(function, "count", count, 0, MOST_TOKENS)


def check_ratio(function: str, ratio: float, name: str = "ratio") -> None:
    """Raises TypeError or ValueError unless ``ratio`` is a number in (0, 1]."""
    if not 0.0 < _check.real(function, name, ratio) <= 1.0:
        raise ValueError(f"{function}: {name} must be in (0, 1], got {ratio}")


def check_rules(function: str, rules: TokenRule | Sequence[TokenRule]) -> tuple[TokenRule, ...]:
    """Returns the rules as a tuple.

    Raises:
        TypeError: if they are no rules.
        ValueError: if there are none, or more than 8.
    """
    found = (rules,) if isinstance(rules, RULES) else rules
    if not isinstance(found, (tuple, list)):
        raise TypeError(f"{function}: rules must be a rule such as DropTokens(0.1) or several, got {rules!r:.60}")
    for rule in found:
        if not isinstance(rule, RULES):
            raise TypeError(f"{function}: rules must hold rules such as DropTokens(0.1), got {rule!r:.60}")
    if not 1 <= len(found) <= MOST_RULES:
        raise ValueError(f"{function}: rules must be from 1 to {MOST_RULES}, got {len(found)}")
    return tuple(found)


def numbers_of(rule: TokenRule) -> tuple[list[int], float]:
    """(kind, exact, count, least, low, high) and the rate, as the kernels take a rule."""
    if isinstance(rule, DropTokens):
        return [rule.kind, int(rule.selection == "exact"), -1, 0, 0, int(rule.in_place)], float(rule.rate)
    if isinstance(rule, (SwapTokens, InsertTokens)):
        return [rule.kind, 1, _count(rule.count), 1, 0, 0], float(rule.rate)
    if isinstance(rule, RepeatTokens):
        return [rule.kind, 1, _count(rule.count), 2, 0, 0], float(rule.rate)
    if isinstance(rule, ReplaceTokens):
        return [rule.kind, int(rule.selection == "exact"), _count(rule.count), 1, 0, 0], float(rule.rate)
    if isinstance(rule, ShuffleSpans):
        return [rule.kind, 1, -1, 0, rule.min_span, rule.max_span], 0.0
    if isinstance(rule, ShuffleTokens):
        if rule.window is None:  # spans of one token
            return [ShuffleSpans.kind, 1, -1, 0, 1, 1], 0.0
        return [rule.kind, 1, -1, 0, 0, rule.window], 0.0
    if isinstance(rule, (CropTokens, ReorderTokens)):
        return [rule.kind, 1, -1, int(isinstance(rule, CropTokens)), 0, 0], float(rule.ratio)
    return [rule.kind, int(rule.selection == "exact"), -1, 0, 0, 0], float(rule.ratio)


def _count(count: int | None) -> int:
    return -1 if count is None else count


def grown_length(rules: Sequence[TokenRule], length: int, one: bool) -> int:
    """The most tokens that a row of ``length`` can have after the rules, or after any one of them."""
    grown = [length]
    for rule in rules:
        before = length if one else grown[-1]
        if isinstance(rule, (RepeatTokens, InsertTokens)):
            least = 2 if isinstance(rule, RepeatTokens) else 1
            more = rule.count if rule.count is not None else max(least, int(rule.rate * before + 1e-12 * before))
            before += min(more, before)
        grown.append(before)
    return max(grown)
