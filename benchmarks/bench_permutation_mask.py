"""Permutation masks beside transformers' collator, on tensors, so that padding lists is not measured.

Floor: 4 bytes for each of length^2 elements of the permutation mask. transformers also writes an identity for every
row, where ours is one matrix.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

VOCABULARY = 1000


def make_inputs(device: torch.device, *, rows: int, length: int) -> Tensor:
    ids = torch.randint(5, VOCABULARY, (rows, length))
    ids[:, 0], ids[:, -1] = 1, 2
    return ids.to(device)


def tokenizer() -> Any:
    """A tokenizer of one word per id, so that no file is downloaded."""
    transformers, tokenizers = peers.load("transformers"), peers.load("tokenizers")
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    words = {word: i for i, word in enumerate((*special.values(), "[MASK]"))}
    words |= {f"w{i}": i for i in range(5, VOCABULARY)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model, mask_token="[MASK]", **special)


def ours(ids: Tensor) -> Call:
    from sslfast.masking.drop_in.transformers import DataCollatorForPermutationLanguageModeling

    mask = DataCollatorForPermutationLanguageModeling(tokenizer()).torch_mask_tokens
    return lambda: mask(ids)


def rule(ids: Tensor) -> Call:
    from sslfast.masking import permutation_mask

    special = (ids == 1) | (ids == 2)
    return lambda: permutation_mask(ids, mask_token_id=4, special_tokens_mask=special)


def hugging_face(ids: Tensor) -> Call:
    mask = peers.load("transformers").DataCollatorForPermutationLanguageModeling(tokenizer()).torch_mask_tokens
    return lambda: mask(ids.clone())  # it masks in place


def check(ids: Tensor, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """Shapes, and shares of masked tokens and of hidden pairs."""
    shares = []
    for inputs, perm_mask, target_mapping, labels in (theirs, ours):
        assert torch.equal(torch.where(labels == -100, inputs, labels), ids), "labels are not the original ids"
        assert perm_mask.shape == target_mapping.shape == (*ids.shape, ids.shape[1]), "another shape"
        shares.append((float((labels != -100).float().mean()), float(perm_mask.mean())))
    for a, b in zip(*shares, strict=True):
        assert abs(a - b) < 0.02, f"shares of {a:.3f} and {b:.3f}"


def case(op: str, rows: int, length: int, providers: dict[str, Any], **options: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows}x{length}",
        dtype="fp32",
        make_inputs=partial(make_inputs, rows=rows, length=length),
        providers=providers,
        check=check,
        work=4 * rows * length**2,
        unit="B",
        formula="4 B a pair of tokens written",
        **options,
    )


def cases() -> list[Case]:
    return [
        case("permutation_mask", 64, 512, {"sslfast": ours, "transformers collator": hugging_face}, devices=("cpu",)),
        case("permutation_mask rule", 64, 512, {"sslfast": rule}, quick=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
