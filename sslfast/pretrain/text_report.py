"""What a report shows of a masked language model: test texts with tokens hidden and what is predicted there."""

from __future__ import annotations

from html import escape
from typing import Any

import torch
from torch import Tensor

from sslfast.pretrain.config import keyed_seed
from sslfast.pretrain.mlm import MLM
from sslfast.pretrain.text_data import TextData
from sslfast.pretrain.verdict import NOTHING_MASKED
from sslfast.pretrain.vocabulary import BEGIN, END, PAD

_TEXTS = 8
_GUESSES = 3


@torch.no_grad()
def masked_predictions(module: MLM, data: TextData) -> str:
    """A table of test texts: hidden tokens in brackets, the most likely ones beside them with their probabilities."""
    vocabulary, config = module.encoder.vocabulary, module.config
    rows = vocabulary.encode(data.test[:: max(1, len(data.test) // _TEXTS)][:_TEXTS])
    collator = vocabulary.collator(config.mask_ratio, keyed_seed(config.seed, "report"), whole_words=config.whole_words)
    batch = collator([rows.example(index) for index in range(len(rows))])
    chances = module.logits(batch).softmax(dim=-1)
    lines = [
        _line(vocabulary.words, batch["labels"][row], batch["input_ids"][row], chances[row]) for row in range(len(rows))
    ]
    caption = (
        f"Test texts with {config.mask_ratio:.0%} of their tokens hidden (in brackets; of ten, one is left as it is and"
        " one exchanged), and the network's likeliest tokens in their places."
    )
    head = "<tr><th>text</th><th>predicted</th></tr>"
    return f"<table>{head}{''.join(lines)}</table><p class=note>{escape(caption)}</p>"


def _line(words: Any, labels: Tensor, ids: Tensor, chances: Tensor) -> str:
    text, guesses = [], []
    for place, label in enumerate(labels.tolist()):
        if int(ids[place]) in (PAD, BEGIN, END):
            continue
        if label < 0:
            text.append(words([int(ids[place])])[0])
            continue
        text.append(f"[{words([label])[0]}]")
        top = chances[place].topk(_GUESSES)
        likeliest = ", ".join(
            f"{word} {chance:.0%}"
            for word, chance in zip(words(top.indices.tolist()), top.values.tolist(), strict=True)
        )
        guesses.append(f"[{words([label])[0]}]: {likeliest}")
    # A piece that goes on with a word is joined to it where neither is hidden.
    joined = " ".join(text).replace(" ##", "")
    return f"<tr><td>{escape(joined)}</td><td>{'<br>'.join(map(escape, guesses))}</td></tr>"


def language_model_table(judged: list[dict[str, Any]]) -> str:
    """Perplexity and accuracy on the masked tokens of test texts, beside the unigram distribution."""
    if not judged[0]["masked_tokens"]:
        return f"<h3>Predicting masked tokens</h3><p>{NOTHING_MASKED}</p>"
    mean = {key: sum(run[key] for run in judged) / len(judged) for key in judged[0]}
    runs = f" (mean of {len(judged)} runs)" if len(judged) > 1 else ""
    rows = (
        ("unigram distribution of the training texts", "", mean["unigram_perplexity"], mean["unigram_accuracy"]),
        (f"pretrained network{runs}", "ours", mean["perplexity"], mean["accuracy"]),
    )
    head = "<tr><th></th><th class=number>perplexity</th><th class=number>accuracy</th></tr>"
    lines = "".join(
        f'<tr class="{kind}"><td>{name}</td><td class=number>{perplexity:,.1f}</td>'
        f"<td class=number>{100 * accuracy:.1f} %</td></tr>"
        for name, kind, perplexity, accuracy in rows
    )
    return (
        "<h3>Predicting masked tokens</h3>"
        f"<p>{judged[0]['masked_tokens']:,} masked tokens of texts the network never saw, masked once for all.</p>"
        f"<table>{head}{lines}</table>"
    )
