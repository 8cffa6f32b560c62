"""Collators of masked language modelling, from lists of Python ints to masked tensors, beside transformers' collator.

Floor: none of the machine's; what a list costs is Python's. The work is counted in tokens. All read ``input_ids``,
``attention_mask`` and ``token_type_ids`` of rows of unequal lengths, as a tokenizer gives them, and look for special
tokens by themselves. Whole words come with ``offset_mapping`` and ``special_tokens_mask`` in rows of one length,
because transformers fails on others.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.bench_token_mask import MASK_ID, VOCABULARY
from benchmarks.harness import Call, Case

PAD_ID, CLS_ID, SEP_ID = 0, 101, 102


class Inputs(NamedTuple):
    examples: list[dict[str, Any]]


def tokenizer() -> Any:
    """One of transformers with a word per id, so that no file is downloaded."""
    from benchmarks import peers

    transformers, tokenizers = peers.load("transformers"), peers.load("tokenizers")
    special = {"[PAD]": PAD_ID, "[UNK]": 100, "[CLS]": CLS_ID, "[SEP]": SEP_ID, "[MASK]": MASK_ID}
    names = {i: token for token, i in special.items()}
    words = {names.get(i, f"w{i}"): i for i in range(VOCABULARY)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    roles = {f"{token[1:-1].lower()}_token": token for token in special}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model, **roles)


def make_inputs(device: torch.device, *, rows: int, length: int, whole_words: bool) -> Inputs:
    examples = []
    for row in range(rows):
        count = length if whole_words or row == 0 else int(torch.randint(length * 3 // 4, length + 1, ()))
        ids = [CLS_ID, *torch.randint(1000, VOCABULARY, (count - 2,)).tolist(), SEP_ID]
        example: dict[str, Any] = {"input_ids": ids, "attention_mask": [1] * count, "token_type_ids": [0] * count}
        if whole_words:
            covered = torch.randint(1, 6, (count - 2,))
            ends = (covered + (torch.rand(count - 2) < 0.7)).cumsum(0)
            offsets = list(zip((ends - covered).tolist(), ends.tolist(), strict=True))
            example |= {"offset_mapping": [(0, 0), *offsets, (0, 0)], "special_tokens_mask": [1, *[0] * (count - 2), 1]}
        examples.append(example)
    return Inputs(examples)


def results(collator: Any, inputs: Inputs) -> Call:
    keys = ("input_ids", "labels", "attention_mask")

    def call() -> tuple[Tensor, ...]:
        batch = collator(inputs.examples)
        return tuple(batch[key] for key in keys)

    return call


def ours(inputs: Inputs, **options: Any) -> Call:
    from sslfast.masking import MLMCollator

    return results(MLMCollator(tokenizer(), **options), inputs)


def drop_in(inputs: Inputs, **options: Any) -> Call:
    from sslfast.masking.drop_in.transformers import DataCollatorForLanguageModeling

    return results(DataCollatorForLanguageModeling(tokenizer(), **options), inputs)


def hugging_face(inputs: Inputs, **options: Any) -> Call:
    from benchmarks import peers

    return results(peers.load("transformers").DataCollatorForLanguageModeling(tokenizer(), **options), inputs)


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same padding; only ordinary tokens are masked, each with its probability; labels are the original ids."""
    assert torch.equal(theirs[2], ours[2]), "attention_mask differs"
    original = torch.full(theirs[0].shape, PAD_ID)
    for row, example in zip(original, inputs.examples, strict=True):
        row[: len(example["input_ids"])] = torch.tensor(example["input_ids"])
    ordinary = original >= 1000
    for ids, labels, _ in (ours, theirs):
        masked = labels != -100
        assert not (masked & ~ordinary).any(), "a special token is masked"
        assert torch.equal(labels[masked], original[masked]), "a label is not the original id"
        assert torch.equal(ids[~masked], original[~masked]), "an unmasked id is changed"
        share, count = float(masked[ordinary].float().mean()), int(ordinary.sum())
        assert abs(share - 0.15) < 8 * (0.15 * 0.85 / count) ** 0.5 + 1e-3, f"masked tokens: {share:.3f}"


def case(op: str, rows: int, length: int, whole_words: bool = False, **options: Any) -> Case:
    words = {"whole_word_mask": True, "mask_replace_prob": 1.0, "random_replace_prob": 0.0} if whole_words else {}
    return Case(
        op=op,
        size=f"{rows}x{length}",
        dtype="int64",
        make_inputs=partial(make_inputs, rows=rows, length=length, whole_words=whole_words),
        check=check,
        work=24 * rows * length,
        unit="B",
        formula="(8 ids + 8 labels + 8 attention) B a token written",
        devices=("cpu",),
        providers={
            "sslfast": partial(ours, **words),
            "sslfast drop-in": partial(drop_in, **words),
            "transformers collator": partial(hugging_face, **words),
        },
        **options,
    )


def cases() -> list[Case]:
    return [
        case("mlm_collator", 256, 512),
        case("mlm_collator", 8, 128, quick=True, one_thread_only=True),
        case("mlm_collator whole words", 256, 512, whole_words=True, one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
