"""Several rules of text and sequence augmentation: their check, and their numbers as the kernels take them."""

from __future__ import annotations

from collections.abc import Sequence

from sslfast.host.token_rules import (
    RULES,
    CropTokens,
    DropTokens,
    InsertTokens,
    ReorderTokens,
    RepeatTokens,
    ReplaceTokens,
    ShuffleSpans,
    ShuffleTokens,
    SwapTokens,
    TokenRule,
)

MOST_RULES = 8


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
