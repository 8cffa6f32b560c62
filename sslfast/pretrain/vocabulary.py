"""The WordPiece vocabulary of a run: trained on its own texts, kept as tokenizer.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from sslfast.masking import MLMCollator
from sslfast.pretrain.config import UserError
from sslfast.pretrain.files import write_atomically

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, BEGIN, END, MASK = range(len(SPECIAL_TOKENS))
_TEXTS_AT_ONCE = 10_000


@dataclass(frozen=True)
class TokenRows:
    """Texts as token ids, end to end.

    Attributes:
        ids: int32 (T,).
        words: int32 (T,), the number of each token's word in its text, -1 for a special token.
        ends: int64 (N,), where each text ends.
    """

    ids: np.ndarray
    words: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> np.ndarray:
        """int64 (N,), tokens of each text."""
        return np.diff(self.ends, prepend=0)

    def counts(self, size: int) -> Tensor:
        """int64 (size,), how often each id occurs."""
        return torch.from_numpy(np.bincount(self.ids, minlength=size))

    def example(self, index: int) -> dict[str, Any]:
        """A text as a collator of ``sslfast.masking`` takes it; ``id`` is its number."""
        part = slice(self.ends[index - 1] if index else 0, self.ends[index])
        return {"input_ids": self.ids[part], "word_ids": self.words[part], "id": index}


class Vocabulary:
    """Turns texts into token ids: BERT's normalisation (lower case, no accents), WordPiece, [CLS] and [SEP] around.

    Args:
        text: The content of a tokenizer.json of the ``tokenizers`` package.
    """

    def __init__(self, text: str) -> None:
        self.tokenizer = Tokenizer.from_str(text)

    @classmethod
    def trained(cls, texts: Sequence[str], size: int, max_length: int) -> Vocabulary:
        """A vocabulary of at most ``size`` pieces that occur twice or more in the texts, but of all their letters."""
        tokenizer = _wordpiece(None)
        # The trainer numbers letters in the order of a hash table, which changes from run to run and decides between
        # pairs that are equally frequent: letters it already knows keep their numbers.
        first, within = _letters(tokenizer, texts)
        known = [*SPECIAL_TOKENS, *sorted(first | within), *(f"##{letter}" for letter in sorted(within))]
        tokenizer.train_from_iterator(
            texts,
            trainers.WordPieceTrainer(vocab_size=size, min_frequency=2, special_tokens=known, show_progress=False),
        )
        # A model of its own: to the trained one letters are special tokens, to be found within words.
        tokenizer = _wordpiece(tokenizer.get_vocab(with_added_tokens=False))
        tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
        tokenizer.post_processor = processors.BertProcessing((SPECIAL_TOKENS[END], END), (SPECIAL_TOKENS[BEGIN], BEGIN))
        tokenizer.enable_truncation(max_length)
        return cls(tokenizer.to_str())

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """The vocabulary of a run.

        Raises:
            UserError: There is none, or the file is damaged.
        """
        if not path.is_file():
            raise UserError(f"{path.parent} holds no vocabulary (no {path.name})")
        try:
            return cls(path.read_text(encoding="utf-8"))
        except Exception as error:  # the package raises plain Exceptions
            raise UserError(f"{path} is damaged ({error})") from error

    def write(self, path: Path) -> None:
        """Writes tokenizer.json, which transformers' PreTrainedTokenizerFast reads too."""
        write_atomically(path, lambda file: file.write(self.to_str().encode()))

    def to_str(self) -> str:
        """The content of tokenizer.json."""
        return self.tokenizer.to_str(pretty=False)

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> TokenRows:
        """The tokens of every text, [CLS] in front and [SEP] at the end, cut to the length of the run."""
        ids, words, lengths = [], [], []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            for encoding in self.tokenizer.encode_batch(list(texts[start : start + _TEXTS_AT_ONCE])):
                ids.append(np.array(encoding.ids, np.int32))
                words.append(np.array([-1 if word is None else word for word in encoding.word_ids], np.int32))
                lengths.append(len(encoding.ids))
        ends = np.cumsum(lengths, dtype=np.int64)
        none = [np.empty(0, np.int32)]
        return TokenRows(np.concatenate(ids or none), np.concatenate(words or none), ends)

    def words(self, ids: Iterable[int]) -> list[str]:
        """The pieces of ids, as they are in the vocabulary."""
        return [self.tokenizer.id_to_token(piece) or "" for piece in ids]

    def collator(self, mask_ratio: float, seed: int, *, whole_words: bool = False) -> MLMCollator:
        """Pads and masks examples of ``encode``; what is drawn depends on (seed, epoch, ``id`` of the example)."""
        return MLMCollator(
            mlm_probability=mask_ratio,
            whole_word_mask=whole_words,
            seed=seed,
            sample_id_key="id",
            return_masked_indices=True,
            mask_token_id=MASK,
            pad_token_id=PAD,
            vocab_size=len(self),
            special_ids=range(len(SPECIAL_TOKENS)),
        )


def _wordpiece(vocab: dict[str, int] | None) -> Tokenizer:
    """BERT's uncased tokenizer with a vocabulary, or before it has one."""
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=SPECIAL_TOKENS[UNKNOWN]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _letters(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[set[str], set[str]]:
    """The letters that words begin with, and those within words."""
    first, within = set(), set()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            first.add(word[0])
            within.update(word[1:])
    return first, within
