"""Tokenizers and tokenised examples for the tests of collators."""

from __future__ import annotations

from typing import Any

import torch
from peer_oracle import peer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [f"w{i}" for i in range(60)] + [f"##p{i}" for i in range(30)]
PAD, UNK, CLS, SEP, MASK = range(5)
VOCAB = len(SPECIAL) + len(PIECES)


class Tokenizer:
    """The attributes that a collator needs, and no more."""

    mask_token_id, pad_token_id, all_special_ids = MASK, PAD, [PAD, UNK, CLS, SEP, MASK]

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return VOCAB


def real_tokenizer(**options: Any) -> Any:
    """A WordPiece tokenizer of transformers over SPECIAL and PIECES; no file is downloaded."""
    tokenizers, transformers = peer("tokenizers"), peer("transformers")
    words = {token: i for i, token in enumerate(SPECIAL + PIECES)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    special = dict(zip(names, SPECIAL, strict=True))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special | options)


def examples(count: int, seed: int = 0, longest: int = 30, **columns: bool) -> list[dict[str, Any]]:
    """Ragged examples [CLS] ... [SEP] with ids, attention mask, and the columns asked for."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, size: int) -> list[int]:
        return torch.randint(low, high, (size,), generator=generator).tolist()

    found = []
    for i in range(count):
        length = draw(1, longest - 1, 1)[0] if columns.get("ragged", True) else longest - 2
        ids = [CLS, *draw(5, VOCAB, length), SEP]
        inside = [False] + [t >= 5 + 60 for t in ids[1:]]
        starts = [not flag for flag in inside]
        example: dict[str, Any] = {"input_ids": ids, "attention_mask": [1] * len(ids)}
        if columns.get("special", False):
            example["special_tokens_mask"] = [1, *[0] * length, 1]
        if columns.get("types", False):
            example["token_type_ids"] = [t * 2 // len(ids) for t in range(len(ids))]
        if columns.get("words", False):
            numbers = torch.tensor(starts).cumsum(0).tolist()
            example["word_ids"] = [None, *numbers[1:-1], None]
        if columns.get("offsets", False):
            ends = torch.tensor([3 if flag else 4 for flag in inside]).cumsum(0).tolist()
            example["offset_mapping"] = [(0, 0), *((e - 3, e) for e in ends[1:-1]), (0, 0)]
        if columns.get("index", False):
            example["index"] = 100 + i
        found.append(example)
    return found
