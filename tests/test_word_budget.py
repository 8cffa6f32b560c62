"""mask_words in compat mode: bit for bit the reference, and the distribution of BERT's and transformers 4's rule."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from oracle import all_equal
from scipy import stats
from test_whole_word_mask import SIZES, text
from token_examples import CLS, MASK, SEP, VOCAB, Tokenizer, examples, real_tokenizer

from sslfast import host, ops
from sslfast.masking import WholeWordCollator, mask_words
from sslfast.masking.drop_in.transformers import DataCollatorForWholeWordMask
from sslfast.reference import whole_word_mask as reference

ALPHA = 1e-4  # of each test
TOKENS = {"mask_token_id": 4, "vocab_size": 1000, "mlm_probability": 0.3, "mode": "compat"}


def check(device: torch.device, ids: torch.Tensor, **arguments: Any) -> None:
    """The operator and the NumPy face against the reference."""
    arguments = TOKENS | arguments
    seed = arguments.pop("seed", 7)
    expected = reference.mask_words(ids, seed=seed, **arguments)
    there = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    ours = mask_words(ids.to(device), generator=seed, **there)
    here = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    arrays = host.mask_words(ids.numpy(), seed=seed, threads=2, **here)
    for k, a, g in zip(ours, arrays, expected, strict=True):
        assert torch.equal(k.cpu(), g)
        assert np.array_equal(a, g.numpy())


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_equals_reference(device, rows, length, dtype):
    given = text(rows, length, dtype)
    lengths = torch.randint(length + 1, (rows,))
    for words in ("word_ids", "offset_mapping"):
        for replace in ("token", "word"):
            check(device, given["ids"], replace=replace, **{words: given[words]})
            options = {"lengths": lengths, "max_predictions": 9, "special_tokens_mask": given["special"]}
            check(device, given["ids"], replace=replace, **{words: given[words]}, **options)


@pytest.mark.parametrize("probability", [0.0, 0.02, 0.125, 1.0])
def test_probabilities(device, probability):
    """Also halves of a token, which go to the even number: 0.125 of 4 and 12."""
    given = text(20, 40)
    lengths = torch.arange(20) * 2
    check(device, given["ids"], word_ids=given["word_ids"], mlm_probability=probability, lengths=lengths)
    samples = torch.randint(2**62, (20,))
    check(device, given["ids"], word_ids=given["word_ids"], mlm_probability=probability, sample_ids=samples)
    check(device, given["ids"], word_ids=given["word_ids"], mlm_probability=probability, seed=-1, row_offset=2**40)


# ---- the peer's rule, in words of its own


def take_words(words: list[list[int]], budget: int) -> list[int]:
    """What BERT's ``create_masked_lm_predictions`` makes of shuffled words."""
    taken: list[int] = []
    for word in words:
        if len(taken) >= budget:
            break
        if len(taken) + len(word) <= budget:
            taken += word
    return sorted(taken)


def test_the_next_word_is_the_first_that_fits():
    """What the GPU does without storing an order: it takes the first of the words that fit until none does."""
    rng = random.Random(3)
    for _ in range(300):
        words = [[i] * rng.randint(1, 6) for i in range(rng.randint(0, 12))]
        budget = rng.randint(0, 20)
        taken, left = [], list(words)
        while fitting := [word for word in left if len(word) <= budget - len(taken)]:
            taken += fitting[0]
            left.remove(fitting[0])
        assert sorted(taken) == take_words(words, budget)


def masked_sets(rows: int, row: list[int], budget: int) -> Counter[tuple[int, ...]]:
    """Which tokens of a row are masked, counted over many rows."""
    words = torch.tensor(row).expand(rows, -1)
    arguments = TOKENS | {"mlm_probability": 1.0, "max_predictions": budget, "generator": 5}
    masked = mask_words(torch.full_like(words, 7), word_ids=words, **arguments)[1] != -100
    patterns, counts = masked.unique(dim=0, return_counts=True)
    sets = [tuple(p.nonzero().flatten().tolist()) for p in patterns]
    return Counter(dict(zip(sets, counts.tolist(), strict=True)))


@pytest.mark.parametrize("budget", [1, 3, 5, 8])
def test_every_set_has_its_probability(budget):
    """All 720 orders of words of 1, 2, 3, 1, 4 and 2 tokens say how likely each set of masked tokens is."""
    row = [-1, 0, 1, 1, 2, 2, 2, -1, 3, 4, 4, 4, 4, 5, 5]
    words = [[t for t, number in enumerate(row) if number == word] for word in range(6)]
    expected = Counter(tuple(take_words(list(order), budget)) for order in itertools.permutations(words))
    rows = 30_000
    found = masked_sets(rows, row, budget)
    assert set(found) <= set(expected)
    sets = [s for s in expected if expected[s] * rows / 720 >= 5]
    table = np.array([[found[s], expected[s] * rows / 720] for s in sets])
    rest = rows - table.sum(0)
    table = np.vstack([table, rest]) if rest[1] > 1 else table
    assert stats.chisquare(*table.T).pvalue > ALPHA


def test_long_words_are_masked_more_rarely():
    lengths = torch.tensor([1, 1, 2, 2, 3, 3, 4, 4, 6])  # the last has more tokens than the budget
    starts = (lengths.cumsum(0) - lengths).tolist()
    found = masked_sets(20_000, torch.arange(9).repeat_interleave(lengths).tolist(), 5)
    masked = [sum(count for taken, count in found.items() if start in taken) / 20_000 for start in starts]
    shares = [(masked[i] + masked[i + 1]) / 2 for i in (0, 2, 4, 6)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 2 * shares[3] > 0
    assert masked[8] == 0


def test_the_budget_counts_special_tokens():
    """Of 18 words between two special tokens 3 are masked, not 18 * 0.15 = 2.7 on average."""
    words = torch.tensor([-1, *range(18), -1]).expand(50, -1)
    arguments = TOKENS | {"mlm_probability": 0.15}
    masked = mask_words(torch.full_like(words, 7), word_ids=words, **arguments)[1] != -100
    assert (masked.sum(1) == 3).all()
    short = mask_words(torch.full_like(words, 7), word_ids=words, lengths=torch.full((50,), 10), **arguments)[1]
    assert ((short != -100).sum(1) == 2).all()  # 1.5


# ---- collators


def test_the_collator_counts_what_is_no_padding():
    batch = examples(40, words=True)
    collator = WholeWordCollator(Tokenizer(), mode="compat", mlm_probability=0.4, max_predictions=7, seed=1)
    assert (collator.mask_replace_prob, collator.random_replace_prob) == (0.8, 0.1)
    masked = (collator(batch)["labels"] != -100).sum(1)
    budgets = torch.tensor([min(7, max(1, round(len(e["input_ids"]) * 0.4))) for e in batch])
    assert (masked <= budgets).all()
    assert (masked == budgets).float().mean() > 0.5


def restated(example: dict[str, Any], probability: float, rng: random.Random) -> int:
    """How many tokens of an example transformers 4 masks."""
    words: list[list[int]] = []
    for place, token in enumerate(example["input_ids"]):
        if token in (CLS, SEP):
            continue
        goes_on = token >= 65 or place in example.get("chinese_ref", ())
        if words and goes_on:
            words[-1].append(place)
        else:
            words.append([place])
    rng.shuffle(words)
    return len(take_words(words, min(512, max(1, round(len(example["input_ids"]) * probability)))))


@pytest.mark.parametrize("chinese", [False, True])
def test_drop_in(chinese):
    """How many tokens of a row are masked: ours and the peer's rule, two samples of one distribution."""
    batch = examples(3000, longest=16)
    if chinese:
        batch = [e | {"chinese_ref": list(range(2, len(e["input_ids"]) - 1, 3))} for e in batch]
    collator = DataCollatorForWholeWordMask(real_tokenizer(), mlm_probability=0.3, seed=3)
    ours = collator(batch)
    assert list(ours) == ["input_ids", "labels"]
    rng = random.Random(1)
    counts = [(ours["labels"] != -100).sum(1).numpy(), np.array([restated(e, 0.3, rng) for e in batch])]
    table = np.array([np.bincount(c, minlength=8) for c in counts])
    assert stats.chi2_contingency(table[:, table.sum(0) > 10]).pvalue > ALPHA
    masked = ours["labels"] != -100
    kinds = ours["input_ids"][masked]
    shares = [(kinds == MASK).float().mean(), (kinds == ours["labels"][masked]).float().mean()]
    assert np.allclose(shares, [0.8 + 0.1 / VOCAB, 0.1 + 0.1 / VOCAB], atol=0.02)
    arrays = DataCollatorForWholeWordMask(real_tokenizer(), mlm_probability=0.3, seed=3, return_tensors="np")(batch)
    assert all(np.array_equal(arrays[key], ours[key]) for key in ours)
    rows = DataCollatorForWholeWordMask(real_tokenizer(), seed=3)([e["input_ids"] for e in batch])
    assert rows["labels"].shape == ours["labels"].shape


# ---- torch's machinery


def test_opcheck(device):
    given = {name: t.to(device) for name, t in text(3, 10).items()}
    budgets = torch.tensor([3, 0, 2**40], device=device)
    arguments = (given["ids"], given["word_ids"], None, torch.tensor(3), None, 4, 1000, 0.15, 0.8, 0.1, False, 0)
    torch.library.opcheck(ops.whole_word_mask, (*arguments, None, 0, budgets))
    with pytest.raises(RuntimeError, match="budgets must be contiguous int64, one a row, without min_masked"):
        ops.whole_word_mask(*arguments, None, 1, budgets)


def test_compiles_to_one_graph(device):
    compiled = torch.compile(mask_words, fullgraph=True)
    for rows, length in ((4, 16), (9, 30), (7, 31)):  # from the second on with symbols
        given = {name: t.to(device) for name, t in text(rows, length).items()}
        arguments = TOKENS | {"generator": 8, "word_ids": given["word_ids"]}
        assert all_equal(compiled(given["ids"], **arguments), mask_words(given["ids"], **arguments))


# ---- bad input

_IDS = torch.zeros(2, 3, dtype=torch.int64)
_GOOD = {"ids": _IDS, "word_ids": _IDS, "mask_token_id": 1, "vocab_size": 10, "mode": "compat"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mode": "bert"}, ValueError, "mode must be 'exact' or 'compat', got 'bert'"),
        (
            {"mode": "exact", "lengths": torch.ones(2).long()},
            ValueError,
            'lengths must be left out except in mode "compat", got mode "exact"',
        ),
        ({"lengths": torch.ones(3).long()}, ValueError, "lengths must have shape (2,), one a row, got (3,)"),
        ({"lengths": torch.tensor([1, 4])}, ValueError, "lengths must be in [0, 3], got 4"),
        ({"lengths": torch.tensor([-1, 3])}, ValueError, "lengths must be in [0, 3], got -1"),
        ({"min_masked": 1}, ValueError, 'min_masked must be 0 in mode "compat", got 1'),
        ({"max_predictions": 0}, ValueError, "max_predictions must be in [1, 32767], got 0"),
        ({"max_predictions": 2**15}, ValueError, "max_predictions must be in [1, 32767], got 32768"),
        ({"max_predictions": 2.5}, TypeError, "max_predictions must be an int, got float"),
    ],
)
def test_bad_input(arguments, error, message):
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in (_GOOD | arguments).items()}
    for call in (lambda: mask_words(**(_GOOD | arguments)), lambda: host.mask_words(**arrays, seed=1)):
        with pytest.raises(error) as raised:
            call()
        assert str(raised.value) == f"mask_words: {message}"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DataCollatorForWholeWordMask(None), TypeError, "tokenizer must be a tokenizer, got None"),
        (lambda: DataCollatorForWholeWordMask(Tokenizer(), mlm=False), ValueError, "mlm must be True, got False"),
        (lambda: DataCollatorForWholeWordMask(Tokenizer())([]), ValueError, "examples must not be empty, got []"),
        (
            lambda: DataCollatorForWholeWordMask(Tokenizer())([[1, 2]]),
            ValueError,
            "for whole words the examples must have 'word_ids' or 'offset_mapping', or the tokenizer tokens that begin "
            "with '##', got neither",
        ),
        (
            lambda: DataCollatorForWholeWordMask(Tokenizer())([{"input_ids": [2, 9, 3], "chinese_ref": [3]}]),
            ValueError,
            "chinese_ref must have places in [0, 2], got [3]",
        ),
        (
            lambda: DataCollatorForWholeWordMask(Tokenizer())([{"input_ids": [2, True]}]),
            TypeError,
            "input_ids of examples[0][1] must be an int, got bool",
        ),
        (
            lambda: DataCollatorForWholeWordMask(Tokenizer())([{"input_ids": 3, "chinese_ref": [0]}]),
            TypeError,
            "ids must be a list, an array or a tensor, got int",
        ),
        (lambda: DataCollatorForWholeWordMask(Tokenizer())([{"ids": [1]}]), KeyError, "an example has no 'input_ids'"),
    ],
)
def test_drop_in_bad_input(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert raised.value.args[0] == f"DataCollatorForWholeWordMask: {message}"
