"""Augmentation of token ids by definition, a list of (id, column it comes from) a row.

A rule is (name, its arguments), the names and arguments of ``sslfast.augment``'s rules.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast.reference.philox import philox

AUGMENT_TOKEN, AUGMENT_PLACE, AUGMENT_ROW = 110, 111, 112
STEP = 2**26

Entry = tuple[int, int, bool]  # id, column or -1, whether rules may touch it


class Draws:
    """The words of one row, view and rule."""

    def __init__(self, seed: int, row: int, view: int, step: int) -> None:
        self._seed, self._row, self._first = seed, row, (view * 8 + step) * STEP

    def _words(self, stream: int, counters: int) -> Tensor:
        return philox(self._seed, stream, torch.tensor(self._row), self._first + torch.arange(counters))

    def tokens(self, n: int) -> list[int]:
        return self._words(AUGMENT_TOKEN, -(-n // 4)).flatten().tolist()

    def places(self, n: int) -> list[list[int]]:
        return self._words(AUGMENT_PLACE, n).tolist()

    def row(self) -> list[int]:
        return self._words(AUGMENT_ROW, 1)[0].tolist()


def below(word: int, n: int) -> int:
    return word * n >> 32


def share(n: int, rate: float) -> int:
    return int(n * rate + 1e-12 * n)


def chosen(draws: Draws, candidates: list[bool], wanted: int | None, rate: float) -> list[int]:
    """Numbers of the tokens that are chosen: so many of the candidates, or each with the rate."""
    words = draws.tokens(len(candidates))
    if wanted is None:
        return [k for k, c in enumerate(candidates) if c and words[k] < int(rate * 2**32 + 0.5)]
    left, found = sum(candidates), list[int]()
    for k, candidate in enumerate(candidates):
        if candidate:
            if below(words[k], left) < wanted - len(found):
                found.append(k)
            left -= 1
    return found


def augment_row(
    row: list[Entry], name: str, a: dict[str, Any], draws: Draws, room: int, table: dict[int, list[int]], ids: Any
) -> list[Entry]:
    pad_id, mask_id = ids
    places = [i for i, entry in enumerate(row) if entry[2]]
    n = len(places)
    everything = [True] * n

    def wanted(least: int, rate: float, count: int | None = None) -> int:
        return max(least, share(n, rate)) if count is None else count

    def moved(order: list[int]) -> list[Entry]:
        out = list(row)
        for q, k in enumerate(order):
            out[places[q]] = row[places[k]]
        return out

    if n == 0:
        return row
    if name == "DropTokens":
        exact = a["selection"] == "exact"
        found = chosen(draws, everything, min(share(n, a["rate"]), n - 1) if exact else None, a["rate"])
        if len(found) == n:
            found.remove(below(draws.row()[0], n))
        gone = {places[k] for k in found}
        if a["in_place"]:
            return [(pad_id, -2, False) if i in gone else entry for i, entry in enumerate(row)]
        return [entry for i, entry in enumerate(row) if i not in gone]
    if name == "SwapTokens":
        order = list(range(n))
        swaps = wanted(1, a["rate"], a["count"]) if n > 1 else 0
        for w in draws.places(swaps):
            first, other = below(w[0], n), below(w[1], n - 1)
            other += other >= first
            order[first], order[other] = order[other], order[first]
        return moved(order)
    if name == "RepeatTokens":
        most = min(wanted(2, a["rate"], a["count"]), room - len(row), n)
        many = most if a["count"] is not None else below(draws.row()[0], most + 1)
        twice = {places[k] for k in chosen(draws, everything, many, 0.0)}
        return [entry for i, entry in enumerate(row) for _ in range(1 + (i in twice))]
    if name == "ReplaceTokens":
        known = [bool(table.get(row[i][0])) for i in places]
        some = min(wanted(1, a["rate"], a["count"]), sum(known)) if a["selection"] == "exact" else None
        out, words = list(row), draws.places(n)
        for k in chosen(draws, known, some, a["rate"]):
            entries = table[row[places[k]][0]]
            out[places[k]] = (entries[below(words[k][0], len(entries))], row[places[k]][1], True)
        return out
    if name == "InsertTokens":
        known_ids = [row[i][0] for i in places if table.get(row[i][0])]
        many = min(wanted(1, a["rate"], a["count"]), room - len(row), n) if known_ids else 0
        words, new = draws.places(n), {}
        for k in chosen(draws, everything, many, 0.0):
            entries = table[known_ids[below(words[k][0], len(known_ids))]]
            new[places[k]] = (entries[below(words[k][1], len(entries))], -1, True)
        return [e for i, entry in enumerate(row) for e in ([new[i], entry] if i in new else [entry])]
    if name == "ShuffleSpans" or (name == "ShuffleTokens" and a["window"] is None):
        low, high = (a["min_span"], a["max_span"]) if name == "ShuffleSpans" else (1, 1)
        spans: list[list[int]] = []
        begin = 0
        for w in draws.places(n):
            if begin == n:
                break
            end = min(begin + low + below(w[0], high - low + 1), n)
            other = below(w[1], len(spans) + 1)
            spans.append(list(range(begin, end)))
            spans[other], spans[-1] = spans[-1], spans[other]
            begin = end
        return moved([k for span in spans for k in span])
    if name == "ShuffleTokens":
        keys = [(k << 32) + word * (a["window"] + 1) for k, word in enumerate(draws.tokens(n)[:n])]
        return moved(sorted(range(n), key=lambda k: (keys[k], k)))
    if name == "CropTokens":
        stay = min(wanted(1, a["ratio"]), n)
        start = below(draws.row()[0], n - stay + 1)
        kept = set(places[start : start + stay])
        return [entry for i, entry in enumerate(row) if not entry[2] or i in kept]
    if name == "ReorderTokens":
        many = min(share(n, a["ratio"]), n)
        order = list(range(n))
        if many > 1:
            start = below(draws.row()[0], n - many + 1)
            flat = [word for four in draws.places(-(-many // 4)) for word in four]
            for k in range(1, many):
                i, j = start + k, start + below(flat[k], k + 1)
                order[i], order[j] = order[j], order[i]
        return moved(order)
    some = min(share(n, a["ratio"]), n) if a["selection"] == "exact" else None
    out = list(row)
    for k in chosen(draws, everything, some, a["ratio"]):
        out[places[k]] = (mask_id, row[places[k]][1], True)
    return out


def only_rule(seed: int, row: int, view: int, rules: int, choose: str) -> int | None:
    """The one rule that a row goes through, or None for all."""
    if choose == "all":
        return None
    word = Draws(seed, row, view, 0).row()[3]
    if choose == "one" or view == 0:
        return below(word, rules)
    first = below(Draws(seed, row, 0, 0).row()[3], rules)
    return (first + 1 + below(word, rules - 1)) % rules


def augment_tokens(
    ids: Tensor,
    rules: list[tuple[str, dict[str, Any]]],
    *,
    present: Tensor,
    special: Tensor,
    width: int,
    pad_id: int = 0,
    table: dict[int, list[int]] | None = None,
    mask_id: int = 0,
    choose: str = "all",
    views: int = 1,
    left: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.augment.augment_tokens`` with an int seed, rules by name and masks of tokens and special tokens."""
    rows = ids.shape[0]
    out = torch.full((views, rows, width), pad_id, dtype=ids.dtype)
    mask = torch.zeros(views, rows, width, dtype=torch.bool)
    positions = torch.full((views, rows, width), -1)
    for view in range(views):
        for r in range(rows):
            number = row_offset + r if sample_ids is None else int(sample_ids[r])
            row = [(int(ids[r, t]), t, not bool(special[r, t])) for t in present[r].nonzero().flatten().tolist()]
            only = only_rule(seed, number, view, len(rules), choose)
            for step, (name, arguments) in enumerate(rules):
                if only is None or step == only:
                    draws = Draws(seed, number, view, step)
                    row = augment_row(row, name, arguments, draws, width, table or {}, (pad_id, mask_id))
            first = width - len(row) if left else 0
            for t, (token, column, _) in enumerate(row, first):
                out[view, r, t], mask[view, r, t], positions[view, r, t] = token, column != -2, max(column, -1)
    return out, mask, positions
