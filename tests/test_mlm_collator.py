"""MLMCollator and WholeWordCollator: padding, masking, words, workers, and the text of every error."""

from __future__ import annotations

import copy
import pickle
from collections import UserDict

import numpy as np
import pytest
import torch
from oracle import all_equal
from token_examples import CLS, MASK, PAD, SEP, VOCAB, Tokenizer, examples, real_tokenizer
from torch.utils.data import DataLoader

from sslfast.masking import MLMCollator, WholeWordCollator, mask_tokens, mask_words
from sslfast.random import step_seed


def padded(rows: list[list[int]], value: int, side: str = "right", multiple: int = 1) -> torch.Tensor:
    length = -(-max(map(len, rows)) // multiple) * multiple
    filled = [[value] * (length - len(row)) for row in rows]
    return torch.tensor([(f + r if side == "left" else r + f) for r, f in zip(rows, filled, strict=True)])


def column(batch: list[dict], key: str) -> list[list[int]]:
    return [example[key] for example in batch]


# ---- padding


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("multiple", [None, 8])
def test_pads_and_masks(side, multiple):
    batch = examples(9, special=True, types=True)
    before = copy.deepcopy(batch)
    tokenizer = Tokenizer(padding_side=side, pad_token_type_id=1)
    collator = MLMCollator(
        tokenizer, pad_to_multiple_of=multiple, mlm_probability=0.4, seed=3, return_masked_indices=True
    )
    ours = collator(batch)
    assert batch == before
    assert list(ours) == ["input_ids", "attention_mask", "token_type_ids", "labels", "masked_indices", "masked_counts"]
    options = {"side": side, "multiple": multiple or 1}
    ids = padded(column(batch, "input_ids"), PAD, **options)
    assert torch.equal(ours["attention_mask"], padded(column(batch, "attention_mask"), 0, **options))
    assert torch.equal(ours["token_type_ids"], padded(column(batch, "token_type_ids"), 1, **options))
    special = padded(column(batch, "special_tokens_mask"), 1, **options)
    expected = mask_tokens(
        ids,
        mask_token_id=MASK,
        vocab_size=VOCAB,
        special_tokens_mask=special,
        mlm_probability=0.4,
        random_token_ids=torch.arange(5, VOCAB),
        min_masked=1,
        generator=step_seed(int(step_seed(3, 0)), 0),
    )
    assert all_equal([ours["input_ids"], ours["labels"]], expected[:2])
    assert torch.equal(ours["masked_indices"], (ours["labels"].flatten() != -100).nonzero().flatten())
    assert all(value.dtype == torch.int64 for value in ours.values())


def test_special_tokens_are_found_by_their_ids():
    with_mask, without = examples(20, special=True), examples(20)
    for options in ({"mlm_probability": 0.3}, {"mlm_probability": 1.0, "mode": "compat"}):
        first, second = (MLMCollator(Tokenizer(), seed=1, **options)(batch) for batch in (with_mask, without))
        assert all_equal(first.values(), second.values())
        special = first["labels"][(padded(column(without, "input_ids"), PAD) < 5)]
        assert (special == -100).all()


def test_lists_arrays_tensors_and_mappings_are_alike():
    batch = examples(6)
    rows = column(batch, "input_ids")
    expected = MLMCollator(Tokenizer(), seed=1)(batch)
    for kind in (list, tuple, np.array, torch.tensor, lambda row: torch.tensor(row, dtype=torch.int32)):
        for wrap in (lambda row: row, lambda row: {"input_ids": row}, lambda row: UserDict(input_ids=row)):
            ours = MLMCollator(Tokenizer(), seed=1)([wrap(kind(row)) for row in rows])
            assert ours.keys() == expected.keys()
            assert all(torch.equal(ours[key], expected[key]) for key in expected)
    whole = torch.randint(5, VOCAB, (4, 12))
    assert MLMCollator(Tokenizer())(whole)["input_ids"].shape == (4, 12)


def test_other_columns():
    batch = examples(3)
    lengths = [len(example["input_ids"]) for example in batch]
    for i, example in enumerate(batch):
        example |= {"position_ids": list(range(lengths[i])), "id": i, "weight": 0.5, "pair": torch.tensor([i, 2.0])}
        example["labels"] = "not for us"
    ours = MLMCollator(Tokenizer())(batch)
    assert torch.equal(ours["position_ids"], padded([list(range(n)) for n in lengths], 0))
    assert ours["id"].tolist() == [0, 1, 2]
    assert ours["weight"].dtype == torch.float32
    assert ours["pair"].tolist() == [[0, 2], [1, 2], [2, 2]]
    weights = MLMCollator(Tokenizer())([{"input_ids": [7, 8], "weights": [0.5, 2.0]}] * 3)["weights"]
    assert weights.tolist() == [[0.5, 2.0]] * 3


def test_by_ids_without_a_tokenizer():
    arguments = {"mask_token_id": MASK, "pad_token_id": PAD, "vocab_size": VOCAB, "special_ids": [0, 1, 2, 3, 4]}
    batch = examples(5)
    ours, expected = MLMCollator(**arguments, seed=4)(batch), MLMCollator(Tokenizer(), seed=4)(batch)
    assert all_equal(ours.values(), expected.values())
    equal = [[CLS, 9, 8, SEP]] * 3
    no_padding = MLMCollator(mask_token_id=MASK, vocab_size=VOCAB, special_ids=[CLS, SEP], seed=1)(equal)
    assert (no_padding["labels"] != -100).any(1).all()


def test_arrays():
    batch = examples(7, types=True)
    tensors = MLMCollator(Tokenizer(), seed=2)(batch)
    for arrays in (
        MLMCollator(Tokenizer(), seed=2, return_tensors="np")(batch),
        MLMCollator(Tokenizer(), seed=2)(batch, return_tensors="np"),
    ):
        assert all(isinstance(value, np.ndarray) and value.dtype == np.int64 for value in arrays.values())
        assert all(np.array_equal(arrays[key], tensors[key].numpy()) for key in tensors)


# ---- what is masked


def test_every_row_has_a_masked_token_and_no_random_word_is_special():
    batch = examples(400, longest=6)
    ours = MLMCollator(Tokenizer(), mask_replace_prob=0.0, random_replace_prob=1.0, mlm_probability=0.05)(batch)
    masked = ours["labels"] != -100
    assert masked.any(1).all()
    assert (ours["input_ids"][masked] >= 5).all()
    compat = MLMCollator(Tokenizer(), mlm_probability=0.05, mode="compat", seed=1)(batch)
    assert not (compat["labels"] != -100).any(1).all()


def test_what_attention_hides_is_not_masked():
    batch = [{"input_ids": [7, 8, 9], "attention_mask": [0, 1, 0]}] * 4
    labels = MLMCollator(Tokenizer(), mlm_probability=1.0)(batch)["labels"]
    assert labels.tolist() == [[-100, 8, -100]] * 4


def test_only_padding():
    batch = MLMCollator(Tokenizer())([[PAD, PAD], [CLS]])
    assert (batch["labels"] == -100).all()
    assert batch["input_ids"].tolist() == [[PAD, PAD], [CLS, PAD]]
    empty = MLMCollator(Tokenizer(), return_masked_indices=True)([[], []])
    assert [tuple(empty[key].shape) for key in ("input_ids", "labels", "masked_indices")] == [(2, 0), (2, 0), (0,)]


def test_causal_labels():
    """A text ends with the padding id: in exact mode the end keeps its label."""
    rows = [[7, 8, PAD], [9]]
    exact = MLMCollator(Tokenizer(), mlm=False)(rows)
    assert exact["labels"].tolist() == [[7, 8, PAD], [9, -100, -100]]
    compat = MLMCollator(Tokenizer(), mlm=False, mode="compat")(rows)
    assert compat["labels"].tolist() == [[7, 8, -100], [9, -100, -100]]
    assert "attention_mask" not in compat
    assert exact["input_ids"].tolist() == [[7, 8, PAD], [9, PAD, PAD]]
    assert MLMCollator(vocab_size=10, mlm=False, mlm_probability=None)([[1, 2]])["labels"].tolist() == [[1, 2]]


def test_attributes_may_change_between_calls():
    collator, batch = MLMCollator(Tokenizer(), seed=1), examples(30)
    collator.mlm_probability = 1.0
    ids = padded(column(batch, "input_ids"), PAD)
    assert torch.equal(collator(batch)["labels"] != -100, ids >= 5)


# ---- whole words


@pytest.mark.parametrize("replace", ["token", "word"])
@pytest.mark.parametrize("source", ["words", "offsets", "tokenizer"])
def test_whole_words(source, replace):
    batch = examples(12, seed=5, words=True)
    words = padded([[-1 if w is None else w for w in row] for row in column(batch, "word_ids")], -1)
    given = examples(12, seed=5, **({source: True} if source != "tokenizer" else {}))
    tokenizer = real_tokenizer() if source == "tokenizer" else Tokenizer()
    collator = WholeWordCollator(tokenizer, replace=replace, mlm_probability=0.3, seed=3, return_masked_indices=True)
    ours = collator(given)
    assert list(ours) == ["input_ids", "attention_mask", "labels", "masked_indices", "masked_counts"]
    expected = mask_words(
        padded(column(batch, "input_ids"), PAD),
        word_ids=words,
        mask_token_id=MASK,
        vocab_size=VOCAB,
        mlm_probability=0.3,
        random_token_ids=torch.arange(5, VOCAB),
        replace=replace,
        min_masked=1,
        generator=step_seed(int(step_seed(3, 0)), 0),
    )
    assert all_equal([ours["input_ids"], ours["labels"]], expected[:2])
    both = MLMCollator(tokenizer, whole_word_mask=True, mlm_probability=0.3, seed=3)(given)
    assert replace == "word" or all_equal([both["input_ids"], both["labels"]], expected[:2])


def test_numbers_go_before_offsets():
    batch = examples(8, words=True, offsets=True)
    for example in batch:
        example["offset_mapping"] = [(0, 1)] * len(example["input_ids"])
    only = examples(8, words=True)
    both, numbers = (WholeWordCollator(Tokenizer(), seed=1)(b) for b in (batch, only))
    assert all_equal(both.values(), numbers.values())


def test_offsets_go_before_numbers_where_transformers_knows_them_alone():
    batch = examples(8, words=True, offsets=True)
    for example in batch:
        example["word_ids"] = [0] * len(example["input_ids"])
    options = {"whole_word_mask": True, "mode": "compat", "mask_replace_prob": 1.0, "random_replace_prob": 0.0}
    both, offsets = (MLMCollator(Tokenizer(), seed=1, **options)(b) for b in (batch, examples(8, offsets=True)))
    assert all_equal(both.values(), offsets.values())


def test_compat_whole_words_are_masks_alone():
    with pytest.warns(UserWarning, match="MLMCollator: mask_replace_prob is 1 for whole words in compat mode"):
        collator = MLMCollator(Tokenizer(), whole_word_mask=True, mode="compat", mlm_probability=0.5)
    ours = collator(examples(50, offsets=True))
    masked = ours["labels"] != -100
    assert (ours["input_ids"][masked] == MASK).all()


# ---- draws


def test_a_sample_is_masked_alike_wherever_it_lies():
    batch = examples(8, index=True)
    collator = MLMCollator(Tokenizer(), seed=5, sample_id_key="index", pad_to_multiple_of=32, mlm_probability=0.3)
    whole = collator(batch)
    assert "index" not in whole
    order = [3, 0, 7, 1, 6, 2, 5, 4]
    shuffled = collator([batch[i] for i in order])
    assert torch.equal(shuffled["labels"], whole["labels"][order])
    collator.set_epoch(1)
    assert not torch.equal(collator(batch)["labels"], whole["labels"])
    collator.set_epoch(0)
    assert torch.equal(collator(batch)["labels"], whole["labels"])


def test_seeds():
    batch = examples(20)
    first, second = MLMCollator(Tokenizer(), seed=1), MLMCollator(Tokenizer(), seed=1)
    calls = [first(batch)["labels"] for _ in range(2)]
    assert not torch.equal(*calls)
    assert all_equal(calls, [second(batch)["labels"] for _ in range(2)])
    torch.manual_seed(3)
    free = MLMCollator(Tokenizer())(batch)["labels"]
    torch.manual_seed(3)
    assert torch.equal(free, MLMCollator(Tokenizer())(batch)["labels"])


@pytest.mark.parametrize("collator", [MLMCollator, WholeWordCollator])
def test_pickles(collator):
    batch = examples(20, words=True)
    ours = collator(Tokenizer(), seed=1)
    again = pickle.loads(pickle.dumps(ours))
    assert all_equal(ours(batch).values(), again(batch).values())


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers(context):
    data = examples(16, index=True)
    collator = MLMCollator(Tokenizer(), seed=5, sample_id_key="index", pad_to_multiple_of=32)
    expected = [batch["labels"] for batch in DataLoader(data, 4, collate_fn=collator)]
    loader = DataLoader(data, 4, collate_fn=collator, num_workers=2, multiprocessing_context=context)
    assert all_equal([batch["labels"] for batch in loader], expected)
