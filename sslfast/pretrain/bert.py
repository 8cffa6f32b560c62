"""The encoder of texts: a small BERT with the vocabulary of its run, texts in, features out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertModel

from sslfast.pretrain.config import PretrainConfig
from sslfast.pretrain.vocabulary import BEGIN, END, PAD, Vocabulary

_HEAD_DIM = 32


class TextEncoder(nn.Module):
    """transformers' BERT without its pooler: the features are the mean of the last hidden states of the text's tokens.

    Args:
        settings: ``dim``, ``depth``, ``max_length``, ``dropout`` and ``vocabulary``, the content of a tokenizer.json.
    """

    backbone: BertModel

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        self.vocabulary = Vocabulary(settings["vocabulary"])
        self.backbone = BertModel(self.bert_config(), add_pooling_layer=False)

    @property
    def dim(self) -> int:
        """Dimension of the features."""
        return self.settings["dim"]

    def bert_config(self) -> BertConfig:
        """What transformers builds the network from."""
        dim, dropout = self.dim, self.settings["dropout"]
        heads = max(1, dim // _HEAD_DIM)
        while dim % heads:
            heads -= 1
        return BertConfig(
            vocab_size=len(self.vocabulary),
            hidden_size=dim,
            num_hidden_layers=self.settings["depth"],
            num_attention_heads=heads,
            intermediate_size=4 * dim,
            max_position_embeddings=self.settings["max_length"],
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            pad_token_id=PAD,
        )

    def hidden_states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The last hidden states (N, L, dim) of padded ids (N, L)."""
        return self.backbone(input_ids, attention_mask=attention_mask).last_hidden_state

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Features (N, dim) of a list of texts.

        Raises:
            TypeError: if it is a single text, which would be taken for a list of letters, or holds no texts.
            ValueError: if it is empty.
        """
        _check_texts(texts)
        if not len(texts):
            raise ValueError("TextEncoder: texts must be at least 1, got 0")
        rows = self.vocabulary.encode(texts)
        width = int(rows.lengths.max(initial=1))
        input_ids = torch.full((len(rows), width), PAD)
        for place in range(len(rows)):
            ids = rows.example(place)["input_ids"]
            input_ids[place, : len(ids)] = torch.from_numpy(ids)
        input_ids = input_ids.to(self.backbone.device)
        attended = input_ids != PAD
        hidden = self.hidden_states(input_ids, attended.long())
        # An empty text has nothing but [CLS] and [SEP]: its features are 0.
        counted = (attended & (input_ids != BEGIN) & (input_ids != END)).unsqueeze(-1)
        return (hidden * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)

    @torch.no_grad()
    def embed(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Features (N, dim) of texts in evaluation mode, batch by batch in the order of their lengths, on the CPU."""
        _check_texts(texts)
        self.eval()
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        features = torch.empty(len(texts), self.dim)
        for start in range(0, len(texts), batch_size):
            places = order[start : start + batch_size]
            features[places] = self([texts[place] for place in places]).float().cpu()
        return features

    def saved(self) -> dict[str, Any]:
        """What ``encoder.pt`` holds beside the weights."""
        return {"settings": self.settings}

    def untrained(self) -> TextEncoder:
        """The same network with freshly drawn weights."""
        return TextEncoder(self.settings).eval()


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise TypeError("TextEncoder: texts must be a list of them, got one str")
    wrong = next((type(text).__name__ for text in texts if not isinstance(text, str)), None)
    if wrong is not None:
        raise TypeError(f"TextEncoder: texts must be str, all of them, got {wrong}")


def text_encoder(config: PretrainConfig, vocabulary: Vocabulary) -> TextEncoder:
    """The encoder of a run with freshly drawn weights."""
    return TextEncoder(
        {
            "kind": "bert",
            "dim": 2 * config.width,
            "depth": config.depth,
            "max_length": config.max_length,
            "dropout": config.dropout,
            "vocabulary": vocabulary.to_str(),
        }
    )


def masked_lm(encoder: TextEncoder) -> BertForMaskedLM:
    """BertForMaskedLM around the encoder's network, its decoder tied to the word embedding."""
    model = BertForMaskedLM(encoder.bert_config())
    model.bert = encoder.backbone
    model.tie_weights()
    return model
