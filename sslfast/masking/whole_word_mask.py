"""Whole-word masking for masked language modelling."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.host.whole_word_mask import word_budget
from sslfast.masking._arguments import numbered_rows, row_lengths
from sslfast.masking._tokens import like_ids, replacement, token_ids
from sslfast.random import Generator, seed_tensor


def mask_words(
    ids: Tensor,
    *,
    word_ids: Tensor | None = None,
    offset_mapping: Tensor | None = None,
    mask_token_id: int,
    vocab_size: int,
    special_tokens_mask: Tensor | None = None,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    random_token_ids: Tensor | None = None,
    replace: str = "token",
    min_masked: int = 0,
    mode: str = "exact",
    return_counts: bool = False,
    lengths: Tensor | None = None,
    max_predictions: int = 512,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Masks whole words of token ids: all tokens of a word or none, each word with ``mlm_probability``.

    Words come from one of two sources:

    - ``word_ids``, as a fast tokenizer's ``word_ids()`` gives them: consecutive tokens with the same number are one
      word, tokens with a negative number (None there) are in no word. This is exact for every tokenizer and language.
    - ``offset_mapping``, the ends of each token in the text: a token begins a word unless it begins where the one
      before it ends. This is the rule of ``transformers.DataCollatorForLanguageModeling(whole_word_mask=True)``, and
      its words are not always words: "word." is one, and so is a whole sentence in a script without spaces.

    A special token is in no word, and ends the one before it. The draws depend on (seed, number of the row, place of
    the word's first token) alone. ``ids`` is not changed. No host synchronisation on a GPU.

    ``mode="exact"`` masks every word independently, so that a token is masked with ``mlm_probability`` whatever the
    length of its word, in one pass over each row. With ``offset_mapping``, ``mask_replace_prob=1`` and
    ``random_replace_prob=0`` this is, in distribution, what transformers has since version 5.

    ``mode="compat"`` is the rule of BERT's own code and of transformers before version 5, with its defects: a row has a
    budget of ``round(lengths * mlm_probability)`` tokens, at least 1 and at most ``max_predictions``, and in a random
    order every word is masked that fits into what is left of it. **Long words are masked more rarely than short ones**
    and one that is longer than the budget never; the budget counts special tokens, which cannot be masked, so that
    short rows lose more than ``mlm_probability`` of their words; and words that do not fit leave part of it unspent.

    Args:
        ids: token ids, shape (N, L) or (L,), int64, int32 or int16, any strides, in [0, ``vocab_size``), padding and
            special tokens too; on a GPU and in compat mode, where they are not looked at, others are copied as they
            are.
        word_ids: the number of each token's word, shape of ``ids``, integer, negative outside of words. Default: None.
        offset_mapping: start and end of each token in the text, shape (N, L, 2) or (L, 2), integer, no end below its
            start; on a GPU, where it is not looked at, such a token covers text. Default: None. Exactly one of the two
            is given; another dtype than int64 is converted.
        mask_token_id: the id of ``[MASK]``, in [0, ``vocab_size``).
        vocab_size: random ids are uniform in [0, ``vocab_size``).
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked (special tokens
            and padding). Default: None: with ``offset_mapping``, tokens that cover no text (start = end, as tokenizers
            give special tokens and padding) are special; with ``word_ids``, the negative numbers say it.
        mlm_probability: probability that a word is masked. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``mask_token_id``. Default: 0.8. transformers has 1.0.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1. transformers has 0.0.
        random_token_ids: int64 (R,), the ids that random words are drawn from, in [0, ``vocab_size``), checked on the
            CPU alone and not under torch.compile. Default: None, every id below ``vocab_size``, special ones too.
        replace: "token", each masked token draws by itself whether it becomes ``mask_token_id``, a random id or stays,
            as in BERT's whole-word code; "word", the tokens of a word share that draw. Random ids are drawn for each
            token in either case. Default: "token".
        min_masked: 0, or 1 for at least one masked word in every row that has a word: a row without any gets one of its
            words, each with equal probability; 0 in compat mode. Default: 0.
        mode: "exact", every word by itself; or "compat", the distribution of BERT's ``create_masked_lm_predictions``
            and of the ``DataCollatorForWholeWordMask`` that transformers had before version 5, see above. Default:
            "exact".
        return_counts: whether the result has how many tokens of each row are masked. Default: False.
        lengths: integer (N,), in compat mode alone: the tokens of each row before its padding, special ones included,
            of which the budget is a share, in [0, L]; on a GPU and under torch.compile, where they are not looked at,
            numbers outside count as the nearest of the two. Default: None, all L.
        max_predictions: in compat mode, the largest budget, in [1, 32767]. Default: 512, as in transformers; BERT's
            own scripts have 20.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.

    Returns:
        ``(ids, labels, masked)``, as of :func:`mask_tokens`: ``labels`` holds the original id where masked and -100
        elsewhere, ``masked`` is int64 of shape (N * L,), the flat positions of the masked tokens in ascending order,
        then -1. With ``return_counts``, ``(ids, labels, masked, counts)``: ``counts`` is int64 (N,).

    Raises:
        TypeError: a tensor is not of a dtype above, or a number or ``return_counts`` has the wrong type.
        ValueError: a shape, device, probability or, on the CPU, id or offset is out of range, the two replacement
            shares exceed 1, not exactly one of ``word_ids`` and ``offset_mapping`` is given, there is no such mode,
            ``lengths`` or ``min_masked`` does not go with it, or the generator is on another GPU.

    Reference: the whole-word models of Devlin et al., https://github.com/google-research/bert,
    ``create_pretraining_data.py``; Cui et al., "Pre-Training with Whole Word Masking for Chinese BERT", 2019.
    """
    name = "mask_words"
    rows = token_ids(name, ids)
    if (word_ids is None) == (offset_mapping is None):
        got = "neither" if word_ids is None else "both"
        raise ValueError(f"{name}: exactly one of word_ids and offset_mapping must be given, got {got}")
    if word_ids is not None:
        words = like_ids(name, "word_ids", word_ids, ids)
    else:
        assert offset_mapping is not None
        words = like_ids(name, "offset_mapping", offset_mapping, ids, last=2)
    special = special_tokens_mask
    if special is not None:
        special = like_ids(name, "special_tokens_mask", special, ids, kind="bool or integer").bool()
    rule = replacement(name, ids, mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_token_ids)
    mlm_probability = _check.probability(name, "mlm_probability", mlm_probability)
    _check.one_of(name, "replace", replace, ("token", "word"))
    min_masked = _check.integer(name, "min_masked", min_masked, 0, 1)
    lengths = row_lengths(name, lengths, rows.shape[0], ids.device, rows.shape[1])
    most = word_budget(name, mode, lengths is not None, max_predictions, min_masked)
    budgets = None if most is None else _budgets(rows, lengths, mlm_probability, most)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, rows.shape[0], ids.device)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    masked_ids, labels, masked, counts = ops.whole_word_mask(
        rows,
        words.to(torch.int64),
        special,
        seed_tensor(generator, function=name, device=ids.device),
        sample_ids,
        rule.mask_token_id,
        rule.vocab_size,
        mlm_probability,
        rule.mask_replace_prob,
        rule.random_replace_prob,
        replace == "word",
        row_offset,
        rule.random_token_ids,
        min_masked,
        budgets,
        budgets is None,
    )
    result = (masked_ids.view(ids.shape), labels.view(ids.shape), masked)
    return (*result, counts) if return_counts else result


def _budgets(ids: Tensor, lengths: Tensor | None, mlm_probability: float, most: int) -> Tensor:
    """int64 (N,): the tokens of a row that may be masked; in float64, and rounded half to even, as Python does."""
    rows, length = ids.shape
    if lengths is None:
        lengths = torch.full((rows,), length, dtype=torch.int64, device=ids.device)
    tokens = (lengths.clamp(0, length).double() * mlm_probability).round().long()
    return tokens.clamp(1, most)
