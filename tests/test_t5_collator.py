"""T5Collator and its drop-in: the rule behind a DataLoader's collate_fn, in workers, and what they refuse."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from oracle import all_equal
from torch.utils.data import DataLoader

from sslfast import host
from sslfast.masking import T5Collator, corrupt_spans
from sslfast.masking.drop_in.t5 import FlaxDataCollatorForT5MLM, compute_input_and_target_lengths


def _examples(number: int) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(2, 900, (50 - i % 7,), generator=generator).tolist() for i in range(number)]
    return [{"input_ids": row, "idx": i} for i, row in enumerate(rows)]


def test_collator_is_the_rule():
    examples = _examples(6)
    batch = T5Collator(sentinel_id=999, seed=3, sample_id_key="idx")(examples)
    lengths = torch.tensor([len(e["input_ids"]) for e in examples])
    ids = torch.zeros(6, 50, dtype=torch.int64)
    for row, example in zip(ids, examples, strict=True):
        row[: len(example["input_ids"])] = torch.tensor(example["input_ids"])
    seed = host.step_seed(3, 0)
    inputs, targets, ends = corrupt_spans(
        ids, lengths=lengths, sentinel_id=999, generator=seed, sample_ids=torch.arange(6)
    )
    shifted = torch.cat([torch.zeros(6, 1, dtype=torch.int64), targets[:, :-1].clamp(min=0)], 1)
    mask = (torch.arange(inputs.shape[1]) < ends[:, None]).long()
    assert list(batch) == ["input_ids", "attention_mask", "labels", "decoder_input_ids"]
    assert all_equal(batch.values(), [inputs, mask, targets, shifted])


def test_collator_takes_lists_arrays_and_tensors():
    rows = [[5, 6, 7, 8], [9, 10, 11]]
    collator = T5Collator(sentinel_id=999, seed=3)
    kinds = [rows, [np.array(r) for r in rows], [torch.tensor(r) for r in rows], [np.array(r, np.int32) for r in rows]]
    batches = []
    for kind in kinds:
        collator.set_epoch(0)
        batches.append(collator(kind))
    for other in batches[1:]:
        assert all_equal(other.values(), batches[0].values())
    assert rows == [[5, 6, 7, 8], [9, 10, 11]]
    short = T5Collator(sentinel_id=999, tokens_length=3)([[5, 6, 7, 8]])
    assert short["input_ids"].shape == (1, 4)  # two tokens, a sentinel, EOS


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_collator_in_workers(context):
    collator = T5Collator(sentinel_id=999, tokens_length=50, seed=3, sample_id_key="idx")
    examples = _examples(12)
    expected = collator(examples)
    loader = DataLoader(examples, batch_size=5, num_workers=2, collate_fn=collator, multiprocessing_context=context)
    batches = list(loader)
    for key, whole in expected.items():
        assert torch.equal(torch.cat([b[key] for b in batches]), whole)
    assert all_equal(pickle.loads(pickle.dumps(collator))(examples).values(), expected.values())
    collator.set_epoch(1)
    assert not torch.equal(collator(examples)["labels"], expected["labels"])


class Tokenizer:
    eos_token_id = 1

    def __len__(self) -> int:
        return 32100


def test_drop_in():
    tokens, targets = compute_input_and_target_lengths(64, 0.15, 3.0)
    collator = FlaxDataCollatorForT5MLM(Tokenizer(), 0.15, 3.0, 64, targets, 0, 0, seed=1)
    batch = collator([{"input_ids": np.arange(2, 2 + tokens)} for _ in range(5)])
    assert {k: (v.dtype, v.shape) for k, v in batch.items()} == {
        "input_ids": (np.dtype(np.int64), (5, 64)),
        "labels": (np.dtype(np.int64), (5, targets)),
        "decoder_input_ids": (np.dtype(np.int64), (5, targets)),
    }
    assert (batch["input_ids"][:, -2] > 32000).all()  # ends with noise
    assert (batch["labels"][:, 0] == 32099).all()
    with pytest.raises(ValueError, match="input_ids must have length 64, got"):
        collator([{"input_ids": np.arange(100)}])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T5Collator(sentinel_id=-1), ValueError, "sentinel_id must be at least 0, got -1"),
        (lambda: T5Collator(sentinel_id=9, tokens_length=0), ValueError, "tokens_length must be at least 1, got 0"),
        (lambda: T5Collator(sentinel_id=9, input_key=1), TypeError, "input_key must be a str, got int"),
        (lambda: T5Collator(sentinel_id=9)([]), ValueError, "examples must not be empty, got []"),
        (lambda: T5Collator(sentinel_id=9)([{"a": 1}]), KeyError, "an example has no 'input_ids'"),
        (lambda: T5Collator(sentinel_id=9)([[1.5]]), TypeError, "ids must be ints of 64 bits, got [1.5]"),
        (lambda: T5Collator(sentinel_id=9)([[7], [True, 5]]), TypeError, "ids must be ints of 64 bits, got [True, 5]"),
        (
            lambda: T5Collator(sentinel_id=9, tokens_length=1)([[7, 1.5]]),
            TypeError,
            "ids must be ints of 64 bits, got [7, 1.5]",
        ),
        (lambda: T5Collator(sentinel_id=9)(["ab"]), TypeError, "ids must be a list, an array or a tensor, got str"),
        (lambda: T5Collator(sentinel_id=9)([np.ones(3)]), TypeError, "ids must be integers, got torch.float64"),
        (
            lambda: T5Collator(sentinel_id=9)([np.ones((3, 1), int)]),
            ValueError,
            "ids of one sample must have shape (length,), got (3, 1)",
        ),
    ],
)
def test_bad_input_of_the_collator(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert raised.value.args == (f"T5Collator: {message}",)
