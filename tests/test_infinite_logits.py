"""Logits of -inf that nothing has left out: label smoothing counts them, so that the loss is infinite.

At 600 pairs the losses are made in tiles, at 9 of all logits at once.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from clip_option_cases import symmetric
from image_text_cases import features
from torch import Tensor

from sslfast import ops
from sslfast.losses import clip_loss, info_nce_loss
from sslfast.losses._few_pairs import ROWS, TWO_WAYS
from sslfast.reference.clip import clip_loss as clip_reference
from sslfast.reference.few_pairs import few_pairs as few_pairs_reference
from sslfast.reference.info_nce import info_nce_loss as info_nce_reference

SCALE = 4.0


def one_way(function, images: Tensor, texts: Tensor, scale: float, **options: Any) -> Tensor:
    """InfoNCE of the images, with the other images for negatives, too, as a function of what clip_loss takes."""
    ids = {name: options.pop(given) for name, given in (("query_ids", "image_ids"), ("key_ids", "text_ids"))}
    kinds = {"in_batch": True, "query_negatives": True, "normalize": False}
    return function(images, texts, options.pop("negative_keys"), 1 / scale, **ids, **kinds, **options).mean()


LOSSES = {
    "clip": (clip_loss, clip_reference),
    "both ways": tuple(functools.partial(symmetric, f, normalize=False) for f in (info_nce_loss, info_nce_reference)),
    "one way": tuple(functools.partial(one_way, f) for f in (info_nce_loss, info_nce_reference)),
}


@pytest.mark.parametrize("n", [9, 600])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("loss", LOSSES)
def test_of_a_hard_negative(loss: str, smoothing: float, n: int, device: torch.device) -> None:
    images, texts, hard = (z.to(device) for z in features(n, torch.float32))
    images[:, 1] = images[:, 1].abs() + 0.1
    hard[1, 1, 1] = -math.inf
    ids = torch.arange(n, device=device)
    function, definition = LOSSES[loss]
    for keys in (hard, hard[1]):
        for margin in (None, 0.1):
            options = {"image_ids": ids, "text_ids": ids, "margin": margin, "label_smoothing": smoothing}
            found, expected = (f(images, texts, SCALE, negative_keys=keys, **options) for f in (function, definition))
            assert (found == math.inf) == (expected == math.inf) == (smoothing > 0.0)
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("n", [9, 600])
@pytest.mark.parametrize("option", ["none", "ids", "margin"])
def test_of_a_product_that_overflows(option: str, n: int, device: torch.device) -> None:
    """Finite features, whose product is below what float32 holds, of an image and another text alone."""
    images, texts = (torch.eye(6, 8).repeat(n // 6 + 1, 1)[:n] for _ in range(2))
    images[0] = 1e25 * F.one_hot(torch.tensor(6), 8)
    texts[0] = F.one_hot(torch.tensor(7), 8).float()
    images[1] = F.one_hot(torch.tensor(7), 8).float()
    texts[1] = texts[1] - 1e25 * F.one_hot(torch.tensor(6), 8)
    images, texts, ids = images.to(device), texts.to(device), torch.arange(n, device=device)
    of_ids = {"image_ids": ids, "text_ids": ids}
    options: dict[str, Any] = {"none": {}, "ids": of_ids, "margin": {"margin": 0.5}}[option]
    assert clip_loss(images, texts, 1.0, **options).isfinite()
    assert clip_loss(images, texts, 1.0, label_smoothing=0.1, **options) == math.inf
    assert clip_reference(images, texts, 1.0, label_smoothing=0.1, **options) == math.inf
    assert F.cross_entropy(images @ texts.T, ids, label_smoothing=0.1) == math.inf


@pytest.mark.parametrize("kind", [ROWS, TWO_WAYS])
def test_one_that_is_left_out_does_not_count(kind: int) -> None:
    rows, columns, _ = features(9, torch.float32)
    rows[:, 1] = 0.0
    rows[2, 1], columns[5, 1] = 1e30, -1e30
    ids = torch.arange(9)
    for of_row in (2, 5):  # the pair of this row and column 5 is of one id, or not
        row_ids = ids.clone()
        row_ids[of_row] = 5
        options = (0.1, None, 0.0, None, None, row_ids, ids)
        found, *_ = ops.few_pairs(rows, columns, None, None, SCALE, 0.0, kind, 1.0, False, *[False] * 4, *options)
        expected = few_pairs_reference(rows, columns, SCALE, 0.0, kind, 1.0, False, *options)
        assert expected.isfinite() == (of_row == 2)
        torch.testing.assert_close(found, expected)
