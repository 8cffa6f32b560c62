"""Whole-word masking beside transformers' collator and torch, over tensors and over NumPy arrays.

Floor: 41 bytes a token, the ids and the two offsets read once, ids and labels written once, int64; and 1 byte for the
special-tokens mask. sslfast also writes the positions of the masked tokens. All providers put [MASK] wherever a word is
masked, because transformers can do nothing else with whole words. It masks in place and gets no copy inside the call.

Within a budget the peer is the published algorithm of BERT, which transformers had before version 5: lists of words,
shuffled and gone through in Python.
"""

from __future__ import annotations

import itertools
import random
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.bench_token_mask import MASK_ID, VOCABULARY, collator
from benchmarks.harness import Call, Case, compiled


class Inputs(NamedTuple):
    ids: Tensor
    offsets: Tensor
    special: Tensor


def make_inputs(device: torch.device, *, rows: int, length: int) -> Inputs:
    """A text whose words have 1.4 tokens on average, as English has with BERT's vocabulary."""
    ids = torch.randint(1000, VOCABULARY, (rows, length))
    special = torch.zeros(rows, length, dtype=torch.bool)
    special[:, 0] = True
    special[:, -length // 16 :] = True
    covered = torch.where(special, 0, torch.randint(1, 6, (rows, length)))
    spaces = (torch.rand(rows, length) < 0.7) & ~special
    ends = (covered + spaces).cumsum(1)
    offsets = torch.stack([ends - covered, ends], 2).masked_fill(special[..., None], 0)
    return Inputs(ids.to(device), offsets.to(device), special.to(device))


OPTIONS = {"mask_token_id": MASK_ID, "vocab_size": VOCABULARY, "mask_replace_prob": 1.0, "random_replace_prob": 0.0}


def ours(inputs: Inputs) -> Call:
    from sslfast.masking import mask_words

    options = OPTIONS | {"offset_mapping": inputs.offsets, "special_tokens_mask": inputs.special}
    return lambda: mask_words(inputs.ids, **options)[:2]


def formulation(ids: Tensor, offsets: Tensor, special: Tensor) -> tuple[Tensor, Tensor]:
    """The rule in tensor operations: number the words, draw for each number, look the draws up."""
    apart = torch.ones_like(special)
    apart[:, 1:] = (offsets[:, 1:, 0] != offsets[:, :-1, 1]) | special[:, :-1]
    words = (apart & ~special).cumsum(1)
    drawn = torch.rand(ids.shape[0], ids.shape[1] + 1, device=ids.device) < 0.15
    masked = drawn.gather(1, words) & ~special
    return torch.where(masked, MASK_ID, ids), torch.where(masked, ids, -100)


def eager(inputs: Inputs) -> Call:
    return partial(formulation, *inputs)


def compile_of_eager(inputs: Inputs) -> Call:
    return partial(compiled(formulation), *inputs)


def peer(tensors: str) -> Any:
    theirs = collator(tensors)
    theirs.whole_word_mask, theirs.mask_replace_prob, theirs.random_replace_prob = True, 1.0, 0.0
    return theirs


def hugging_face(inputs: Inputs) -> Call:
    mask, ids = peer("pt").torch_mask_tokens, inputs.ids.clone()
    special = inputs.special.long()  # as the tokenizer gives it
    return lambda: mask(ids, special_tokens_mask=special, offset_mapping=inputs.offsets)


def ours_on_arrays(inputs: Inputs) -> Call:
    from sslfast.host import mask_words

    ids, seeds = inputs.ids.numpy(), itertools.count()
    options = OPTIONS | {"offset_mapping": inputs.offsets.numpy(), "special_tokens_mask": inputs.special.numpy()}
    threads = torch.get_num_threads()
    return lambda: mask_words(ids, seed=next(seeds), threads=threads, **options)[:2]


def hugging_face_on_arrays(inputs: Inputs) -> Call:
    mask, ids, offsets = peer("np").numpy_mask_tokens, inputs.ids.numpy().copy(), inputs.offsets.numpy()
    special = inputs.special.long().numpy()
    return lambda: mask(ids, special_tokens_mask=special, offset_mapping=offsets)


def ours_within_budget(inputs: Inputs) -> Call:
    from sslfast.masking import mask_words

    options = OPTIONS | {"offset_mapping": inputs.offsets, "special_tokens_mask": inputs.special, "mode": "compat"}
    return lambda: mask_words(inputs.ids, **options)[:2]


def published_budget(inputs: Inputs) -> Call:
    """From Python lists, what a tokenizer gives: no tensor is read in the call but the ids."""
    rows = [*zip(inputs.special.tolist(), inputs.offsets.tolist(), strict=True)]

    def masked_places(special: list[bool], offsets: list[list[int]]) -> list[int]:
        words: list[list[int]] = []
        for place, (out, (start, _)) in enumerate(zip(special, offsets, strict=True)):
            if out:
                continue
            if words and not special[place - 1] and start == offsets[place - 1][1]:
                words[-1].append(place)
            else:
                words.append([place])
        random.shuffle(words)
        budget, taken = min(512, max(1, round(len(special) * 0.15))), []
        for word in words:
            if len(taken) >= budget:
                break
            if len(taken) + len(word) <= budget:
                taken += word
        return taken

    def call() -> tuple[Tensor, Tensor]:
        mask = torch.zeros(inputs.ids.shape, dtype=torch.bool)
        for row, (special, offsets) in zip(mask, rows, strict=True):
            row[masked_places(special, offsets)] = True
        return torch.where(mask, MASK_ID, inputs.ids), torch.where(mask, inputs.ids, -100)

    return call


def check_budget(inputs: Inputs, theirs: tuple[Any, Any], ours: tuple[Any, Any]) -> None:
    """Nearly all of each row's budget is masked, by both alike; ids and labels are right."""
    original, special = inputs.ids.cpu(), inputs.special.cpu()
    budget, means = round(original.shape[1] * 0.15), []
    for ids, labels in (ours, theirs):
        ids, labels = ids.cpu(), labels.cpu()
        masked = labels != -100
        assert not (masked & special).any(), "a special token is masked"
        assert torch.equal(labels[masked], original[masked]), "a label is not the original id"
        assert torch.equal(ids, original.masked_fill(masked, MASK_ID)), "a masked id is not [MASK], or another is"
        assert int(masked.sum(1).max()) <= budget, "a row has more than its budget"
        means.append(float(masked.sum(1).float().mean()))
    assert min(means) > 0.95 * budget, f"budget {budget}, masked {means}"


def check(inputs: Inputs, theirs: tuple[Any, Any], ours: tuple[Any, Any]) -> None:
    """Words are masked whole, with their probability; special tokens never; labels and ids are right."""
    special, original, offsets = inputs.special.cpu(), inputs.ids.cpu(), inputs.offsets.cpu()
    inside = torch.zeros_like(special)  # goes on with the word of the token before it
    inside[:, 1:] = (offsets[:, 1:, 0] == offsets[:, :-1, 1]) & ~special[:, :-1] & ~special[:, 1:]
    starts = ~inside & ~special
    for ids, labels in (ours, theirs):
        ids, labels = torch.as_tensor(ids).cpu(), torch.as_tensor(labels).cpu()
        masked = labels != -100
        assert not (masked & special).any(), "a special token is masked"
        assert torch.equal(masked[:, 1:][inside[:, 1:]], masked[:, :-1][inside[:, 1:]]), "a word is masked in part"
        assert torch.equal(labels[masked], original[masked]), "a label is not the original id"
        assert torch.equal(ids[~masked], original[~masked]), "an unmasked id is changed"
        assert (ids[masked] == MASK_ID).all(), "a masked id is not [MASK]"
        count, observed = int(starts.sum()), float(masked[starts].float().mean())
        assert abs(observed - 0.15) < 5 * (0.15 * 0.85 / count) ** 0.5 + 1e-3, f"masked words: {observed:.3f}"


def case(op: str, rows: int, length: int, check: Any = check, **options: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows}x{length}",
        dtype="int64",
        make_inputs=partial(make_inputs, rows=rows, length=length),
        check=check,
        work=41 * rows * length,
        unit="B",
        formula="(24 read + 16 written + 1 special) B a token",
        **options,
    )


def cases() -> list[Case]:
    providers = {
        "sslfast": ours,
        "eager torch": eager,
        "torch.compile": compile_of_eager,
        "transformers collator": hugging_face,
    }
    arrays = {"sslfast": ours_on_arrays, "transformers collator": hugging_face_on_arrays}
    return [
        case("whole_word_mask", 256, 512, providers=providers, memory=True),
        case("whole_word_mask", 8, 128, providers=providers, quick=True, one_thread_only=True),
        case(
            "whole_word_mask compat",
            256,
            512,
            check=check_budget,
            providers={"sslfast": ours_within_budget, "published algorithm": published_budget},
            devices=("cpu",),
            one_thread_only=True,
        ),
        case("whole_word_mask NumPy", 256, 512, providers=arrays, devices=("cpu",), quick=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
