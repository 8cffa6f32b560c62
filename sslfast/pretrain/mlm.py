"""Masked language model (Devlin et al. 2019): a transformer reads texts with tokens hidden and predicts those."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from sslfast.losses import ClassificationOutput, masked_lm_loss
from sslfast.pretrain.bert import TextEncoder, masked_lm
from sslfast.pretrain.config import PretrainConfig
from sslfast.pretrain.pretraining import Pretraining
from sslfast.pretrain.vocabulary import SPECIAL_TOKENS

Batch = dict[str, Tensor]


class MLM(Pretraining):
    """Cross-entropy of the masked tokens, through ``sslfast.losses``: the head and its logits are of these alone."""

    encoder: TextEncoder
    unigram: Tensor

    def __init__(self, config: PretrainConfig, encoder: TextEncoder, steps_per_epoch: int) -> None:
        super().__init__(config, encoder, steps_per_epoch)
        self.head = masked_lm(encoder).cls.predictions
        size = len(encoder.vocabulary)
        self.register_buffer("unigram", torch.full((size,), -math.log(size)))

    def count_tokens(self, counts: Tensor) -> None:
        """Learns the unigram distribution, the baseline: how often each token (V,) occurs in the training texts.

        The decoder's bias starts there, so that no epoch is spent on learning how frequent the words are.
        """
        counts = counts.double() + 1  # a token that occurs in the held-out texts alone is not impossible
        counts[: len(SPECIAL_TOKENS)] = 1e-9  # never masked
        self.unigram.copy_((counts / counts.sum()).log())
        with torch.no_grad():
            self.head.bias.copy_(self.unigram.clamp(min=float(self.unigram[len(SPECIAL_TOKENS) :].min())))

    def count(self, batch: Batch) -> int:
        """Texts in a batch."""
        return len(batch["input_ids"])

    def hidden_states(self, batch: Batch) -> Tensor:
        """The encoder's last layer, (N, L, dim)."""
        return self.encoder.hidden_states(batch["input_ids"], batch["attention_mask"])

    def logits(self, batch: Batch) -> Tensor:
        """The scores of the whole vocabulary for every token, (N, L, V): to be looked at, not for training."""
        return self.head.decoder(self.head.transform(self.hidden_states(batch)))

    def outcome(self, batch: Batch) -> ClassificationOutput:
        """Loss, accuracy and perplexity over the masked tokens of a batch of the collator: the head sees no other."""
        at = batch["masked_indices"]
        found = masked_lm_loss(
            self.head.transform(self.hidden_states(batch).flatten(0, 1)[at]),
            self.head.decoder.weight,
            batch["labels"].flatten()[at],
            self.head.bias,
            return_metrics=True,
        )
        return cast(ClassificationOutput, found)

    def loss(self, batch: Batch, seed: int) -> Tensor:
        """Cross-entropy over the masked tokens; the collator has drawn them already."""
        return self.outcome(batch).loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs loss and accuracy over the masked tokens of held-out texts: exp(val_loss) is the perplexity."""
        outcome = self.outcome(batch)
        weight = len(batch["masked_indices"])  # every token counts the same, whatever batch it is in
        for name, value in (("val_loss", outcome.loss), ("val_accuracy", outcome.accuracy)):
            self.log(name, value, batch_size=weight, on_epoch=True, logger=False)
