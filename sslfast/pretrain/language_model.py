"""Judging a masked language model on test texts: perplexity and accuracy beside the unigram distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from sslfast.pretrain.config import keyed_seed
from sslfast.pretrain.mlm import MLM
from sslfast.pretrain.verdict import NOTHING_MASKED

_BATCH_SIZE = 64
_LARGEST = 700.0  # exp of more is no float64


@torch.no_grad()
def judge_language_model(module: MLM, texts: Sequence[str]) -> dict[str, Any]:
    """Predicts masked tokens of texts, the same for every run with this data, share of masks and vocabulary.

    The baseline predicts every masked token by how often tokens occur in the training texts.

    Args:
        module: The method of a finished run.
        texts: Texts that it has not seen.

    Returns:
        ``masked_tokens``, ``perplexity`` and ``accuracy``, ``unigram_perplexity`` and ``unigram_accuracy``.
    """
    module.eval()
    vocabulary, config = module.encoder.vocabulary, module.config
    rows = vocabulary.encode(texts)
    collator = vocabulary.collator(config.mask_ratio, keyed_seed(0, "test mask"), whole_words=config.whole_words)
    order = rows.lengths.argsort(kind="stable")
    unigram, most_frequent = module.unigram.double(), int(module.unigram.argmax())
    tokens = 0
    loss = hits = unigram_loss = unigram_hits = 0.0
    for start in range(0, len(order), _BATCH_SIZE):
        batch = collator([rows.example(index) for index in order[start : start + _BATCH_SIZE].tolist()])
        count = len(batch["masked_indices"])
        if not count:  # texts without an ordinary token
            continue
        outcome = module.outcome(batch)
        labels = batch["labels"].flatten()[batch["masked_indices"]]
        tokens += count
        loss += float(outcome.loss) * count
        hits += float(outcome.accuracy) * count
        unigram_loss -= float(unigram[labels].sum())
        unigram_hits += float((labels == most_frequent).sum())
    share = 1 / max(1, tokens)
    return {
        "masked_tokens": tokens,
        "perplexity": math.exp(min(loss * share, _LARGEST)),
        "accuracy": hits * share,
        "unigram_perplexity": math.exp(unigram_loss * share),
        "unigram_accuracy": unigram_hits * share,
    }


def sentence(judged: Sequence[dict[str, Any]]) -> str:
    """What was found, of one run or of several, in words."""
    first = judged[0]
    if not first["masked_tokens"]:
        return NOTHING_MASKED
    mean = {key: sum(run[key] for run in judged) / len(judged) for key in ("perplexity", "accuracy")}
    several = f" (mean of {len(judged)} runs)" if len(judged) > 1 else ""
    return (
        f"Of {first['masked_tokens']:,} masked tokens of test texts {mean['accuracy']:.1%} are predicted, at a"
        f" perplexity of {mean['perplexity']:.1f}{several}; the unigram distribution of the training texts predicts"
        f" {first['unigram_accuracy']:.1%}, at {first['unigram_perplexity']:.1f}."
    )
