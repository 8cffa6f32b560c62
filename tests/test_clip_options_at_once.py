"""CLIP and InfoNCE both ways with a margin: small batches, of which all logits are made at once on the CPU."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from clip_option_cases import CHOICES, SCALE, chosen, with_grads
from image_text_cases import assert_no_worse_than, clear_margin
from test_few_pairs import Operators
from torch.nn.functional import normalize

from sslfast.losses import _few_joint, _few_pairs, clip_loss, info_nce_loss
from sslfast.reference.clip import clip_loss as reference
from sslfast.reference.info_nce import info_nce_loss as info_nce_reference

WITH_MARGIN = [name for name, (_, margin, *_) in CHOICES.items() if margin]
OF_EACH, OF_ALL = torch.randn(4, 2, 3), torch.randn(15, 3)


@pytest.mark.parametrize("name", WITH_MARGIN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(name: str, dtype: torch.dtype) -> None:
    of_reference, ours = (functools.partial(with_grads, loss) for loss in (reference, clip_loss))
    with Operators() as ran:
        assert_no_worse_than(of_reference, ours, *chosen(name, 400, dtype), torch.device("cpu"), SCALE)
    at_once = "joint_softmax" if CHOICES[name][3] == "each" else "few_pairs"
    assert at_once in ran.names
    assert "limited_softmax_forward" not in ran.names


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_info_nce_against_the_reference(smoothing: float, reduction: str) -> None:
    n = 400
    both = torch.randn(n, 8, dtype=torch.float64)
    query, keys = (normalize(both + torch.randn_like(both), dim=1) for _ in range(2))
    options = {"symmetric": True, "label_smoothing": smoothing, "margin": clear_margin(query, keys, None)}
    factors = torch.rand(n, dtype=torch.float64) if reduction == "none" else torch.ones(())
    found = []
    with Operators() as ran:
        for loss in (functools.partial(info_nce_loss, reduction=reduction), info_nce_reference):
            leaves = [z.clone().requires_grad_() for z in (query, keys)]
            losses = loss(*leaves, temperature=0.1, **options)
            losses = losses.mean() if reduction == "mean" else losses
            found.append([losses, *torch.autograd.grad((losses * factors).sum(), leaves)])
    assert "limited_softmax_forward" not in ran.names
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", ["ids and margin", "everything, hard of all"])
def test_threads_change_nothing(name: str) -> None:
    inputs, options = chosen(name, 400, torch.float32)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(with_grads(clip_loss, *inputs, **options))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("options", "pairs", "most", "at_once"),
    [
        ({"margin": 0.1}, 4, 0, True),
        ({"margin": 0.1}, 5, 0, False),
        ({"margin": 0.1, "negative_keys": OF_ALL[:4]}, 4, 0, True),
        ({"margin": 0.1, "negative_keys": OF_ALL[:5]}, 4, 0, False),
        ({"margin": 0.1, "negative_keys": OF_EACH}, 4, 40, True),
        ({"margin": 0.1, "negative_keys": OF_EACH}, 4, 39, False),
        ({"label_smoothing": 0.1, "negative_keys": OF_EACH}, 4, 40, True),
        ({"label_smoothing": 0.1, "negative_keys": OF_EACH}, 4, 39, False),
        ({"negative_keys": OF_EACH}, 4, 40, False),
    ],
)
def test_what_is_made_at_once(monkeypatch, options: dict[str, Any], pairs: int, most: int, at_once: bool) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST", 4)
    monkeypatch.setattr(_few_joint, "_MOST", 0)
    monkeypatch.setattr(_few_joint, "_MOST_BOTH_WAYS", most)
    images, texts = torch.randn(2, pairs, 3)
    with Operators() as ran:
        clip_loss(images, texts, SCALE, **options)
    assert {"cross_softmax_forward", "limited_softmax_forward"}.isdisjoint(ran.names) is at_once


@pytest.mark.parametrize(
    ("options", "at_once"),
    [
        ({"label_smoothing": 0.1, "image_ids": torch.arange(8), "text_ids": torch.arange(8)}, True),
        ({"label_smoothing": 0.1, "margin": 0.1}, False),
    ],
)
def test_bfloat16_is_widened_where_smoothing_takes_passes(monkeypatch, options: dict[str, Any], at_once: bool) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST_WIDENED", 4)
    images, texts = torch.randn(2, 8, 3, dtype=torch.bfloat16)
    with Operators() as ran:
        clip_loss(images, texts, SCALE, **options)
    assert ("few_pairs" in ran.names) is at_once


@pytest.mark.parametrize(("most", "at_once"), [(3 * 12**2, True), (3 * 12**2 - 1, False)])
def test_all_kinds_together_are_fewer(monkeypatch, most: int, at_once: bool) -> None:
    monkeypatch.setattr(_few_joint, "_MOST_BOTH_WAYS", most)
    query, keys = torch.randn(2, 12, 3)
    with Operators() as ran:
        info_nce_loss(query, keys, query_negatives=True, symmetric=True, margin=0.1)
    assert ("joint_softmax" in ran.names) is at_once


@pytest.mark.parametrize(("most", "at_once"), [(12 * 15, True), (12 * 15 - 1, False)])
def test_what_tiles_read_once_is_little(monkeypatch, most: int, at_once: bool) -> None:
    for module in (_few_pairs, _few_joint):
        monkeypatch.setattr(module, "MOST_READ_ONCE", most)
    monkeypatch.setattr(_few_joint, "_MOST", 0)
    images, texts = torch.randn(2, 12, 3)
    with Operators() as ran:
        clip_loss(images, texts, SCALE, negative_keys=OF_ALL[:15])
        info_nce_loss(images, texts, queue=OF_ALL[:15], in_batch=True, symmetric=True, label_smoothing=0.1)
    one_operator = {"few_pairs", "joint_softmax"}
    assert one_operator.intersection(ran.names) == (one_operator if at_once else set())
