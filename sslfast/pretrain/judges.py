"""Predictions of test labels from a few labelled examples: by features of images or texts, or by a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from sslfast.pretrain.comparison import FINETUNE, LINEAR, PRETRAINED, RANDOM, RAW, TFIDF
from sslfast.pretrain.config import PretrainConfig
from sslfast.pretrain.encoders import ImageEncoder
from sslfast.pretrain.finetune import finetune
from sslfast.pretrain.image_data import ImageData
from sslfast.pretrain.probe import linear_probe, nearest_neighbours
from sslfast.pretrain.text_data import TextData

if TYPE_CHECKING:
    from sslfast.pretrain.bert import TextEncoder


class ImageJudge:
    """Every row of the comparison on images.

    Args:
        networks: The encoder with random weights and the pretrained one, by name.
        config: The settings of the run, for the augmentation of fine-tuning.
        data: The images, with labels.
        pool: int64 (N,), the training images that may be picked.
        seed: Key of all draws of fine-tuning.
    """

    def __init__(
        self, networks: Mapping[str, ImageEncoder], config: PretrainConfig, data: ImageData, pool: Tensor, seed: int
    ) -> None:
        self.networks, self.config, self.data, self.seed = networks, config, data, seed
        names = (RAW, RANDOM, PRETRAINED)
        self._train = {name: _at(pool, self._features(name, data.train[pool]), len(data.train)) for name in names}
        self._test = {name: self._features(name, data.test) for name in names}

    def _features(self, name: str, images: Tensor) -> Tensor:
        return images.flatten(1).float() / 255 if name == RAW else self.networks[name].embed(images)

    def predict(self, protocol: str, name: str, picked: Tensor, targets: Tensor) -> Tensor:
        """Predicted classes (M,) of the test images, learnt from the picked training images."""
        if protocol == FINETUNE:
            return finetune(
                self.networks[name], self.config, self.data.train[picked], targets, self.data.test,
                classes=len(self.data.classes), seed=self.seed,
            )  # fmt: skip
        classify = linear_probe if protocol == LINEAR else nearest_neighbours
        return classify(self._train[name][picked], targets, self._test[name])


class TextJudge:
    """Every row of the comparison on texts.

    TF-IDF counts words (sublinear) and weighs them by all training texts, as pretraining has seen all of them.

    Args:
        networks: The encoder with random weights and the pretrained one, by name.
        data: The texts, with labels.
        pool: int64 (N,), the training texts that may be picked.
    """

    def __init__(self, networks: Mapping[str, TextEncoder], data: TextData, pool: Tensor) -> None:
        texts = [data.train[place] for place in pool.tolist()]
        self._train: dict[str, Any] = {
            name: _at(pool, network.embed(texts), len(data.train)) for name, network in networks.items()
        }
        self._test: dict[str, Any] = {name: network.embed(data.test) for name, network in networks.items()}
        # Single letters and signs are words too: a text of nothing else shall not be an error.
        words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]")
        self._train[TFIDF], self._test[TFIDF] = words.fit_transform(data.train), words.transform(data.test)

    def predict(self, protocol: str, name: str, picked: Tensor, targets: Tensor) -> Tensor:
        """Predicted classes (M,) of the test texts, learnt from the picked training texts."""
        if name == TFIDF:
            train, test = self._train[TFIDF][picked.numpy()], self._test[TFIDF]
            if protocol == LINEAR:  # not standardised: that would fill in all the zeros
                model = LogisticRegression(max_iter=1000).fit(train, targets.numpy())
                return torch.from_numpy(model.predict(test))
            return nearest_neighbours(train, targets, test)
        classify = linear_probe if protocol == LINEAR else nearest_neighbours
        return classify(self._train[name][picked], targets, self._test[name])


def _at(pool: Tensor, features: Tensor, count: int) -> Tensor:
    """Features of the pool as rows of all (count, D); those of others are never read."""
    rows = features.new_zeros(count, features.shape[1])
    rows[pool] = features
    return rows
