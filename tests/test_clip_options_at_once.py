"""CLIP and InfoNCE both ways with a margin, of which all logits are made at once up to 1,536 pairs, on the CPU."""

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
OF_EACH, OF_ALL = torch.randn(12, 2, 3), torch.randn(97, 3)


@pytest.mark.parametrize("name", WITH_MARGIN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(name: str, dtype: torch.dtype) -> None:
    of_reference, ours = (functools.partial(with_grads, loss) for loss in (reference, clip_loss))
    with Operators() as ran:
        assert_no_worse_than(of_reference, ours, *chosen(name, 600, dtype), torch.device("cpu"), SCALE)
    at_once = "joint_softmax" if CHOICES[name][3] == "each" else "few_pairs"
    assert at_once in ran.names
    assert "cross_softmax_forward" not in ran.names


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_info_nce_against_the_reference(smoothing: float, reduction: str) -> None:
    n = 600
    query, keys = (normalize(torch.randn(n, 8, dtype=torch.float64), dim=1) for _ in range(2))
    options = {"symmetric": True, "label_smoothing": smoothing, "margin": clear_margin(query, keys, None)}
    factors = torch.rand(n, dtype=torch.float64) if reduction == "none" else torch.ones(())
    found = []
    with Operators() as ran:
        for loss in (functools.partial(info_nce_loss, reduction=reduction), info_nce_reference):
            leaves = [z.clone().requires_grad_() for z in (query, keys)]
            losses = loss(*leaves, temperature=0.1, **options)
            losses = losses.mean() if reduction == "mean" else losses
            found.append([losses, *torch.autograd.grad((losses * factors).sum(), leaves)])
    assert "cross_softmax_forward" not in ran.names
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", ["ids and margin", "everything, hard of all"])
def test_threads_change_nothing(name: str) -> None:
    inputs, options = chosen(name, 600, torch.float32)
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
    ("options", "pairs", "at_once"),
    [
        ({"margin": 0.1}, 12, True),
        ({"margin": 0.1}, 13, False),
        ({"margin": 0.1, "negative_keys": OF_EACH}, 12, True),
        ({"margin": 0.1, "negative_keys": OF_ALL[:12]}, 12, True),
        ({"margin": 0.1, "negative_keys": OF_ALL[:13]}, 12, False),
        ({"margin": 0.1, "negative_keys": OF_ALL[:96], "label_smoothing": 0.1}, 12, True),
        ({"margin": 0.1, "negative_keys": OF_ALL[:97], "label_smoothing": 0.1}, 12, False),
        ({"margin": 0.1, "memory_budget": 10**6}, 12, False),
        ({"margin": 0.1, "memory_budget": 10**6}, 4, True),
        ({"label_smoothing": 0.1, "image_ids": torch.arange(12), "text_ids": torch.arange(12)}, 12, False),
        ({"negative_keys": OF_EACH}, 12, False),
    ],
)
def test_what_is_made_at_once(monkeypatch, options: dict[str, Any], pairs: int, at_once: bool) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST", 4)
    monkeypatch.setattr(_few_joint, "_MOST", 0)
    monkeypatch.setattr(_few_joint, "_MOST_IN_PASSES", 0)
    images, texts = torch.randn(2, pairs, 3)
    with Operators() as ran:
        clip_loss(images, texts, SCALE, **options)
    assert {"cross_softmax_forward", "queue_softmax"}.isdisjoint(ran.names) is at_once


@pytest.mark.parametrize(("smoothing", "at_once"), [(0.0, False), (0.1, True)])
def test_bfloat16_is_widened_where_smoothing_reads_it(monkeypatch, smoothing: float, at_once: bool) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST", 4)
    images, texts = torch.randn(2, 12, 3, dtype=torch.bfloat16)
    with Operators() as ran:
        clip_loss(images, texts, SCALE, margin=0.1, label_smoothing=smoothing)
    assert ("few_pairs" in ran.names) is at_once


@pytest.mark.parametrize(("most", "at_once"), [(3 * 12**2, True), (3 * 12**2 - 1, False)])
def test_all_kinds_together_are_fewer(monkeypatch, most: int, at_once: bool) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST", 4)
    monkeypatch.setattr(_few_joint, "_MOST_IN_MANY_PASSES", most)
    query, keys = torch.randn(2, 12, 3)
    with Operators() as ran:
        info_nce_loss(query, keys, query_negatives=True, symmetric=True, margin=0.1)
    assert ("joint_softmax" in ran.names) is at_once


@pytest.mark.parametrize(("size", "at_once"), [(12, True), (13, False)])
def test_a_queue_is_longer_than_the_queries(monkeypatch, size: int, at_once: bool) -> None:
    """Tiles read it once; at once it would be copied, and all its weights kept."""
    monkeypatch.setattr(_few_pairs, "_MOST", 4)
    query, keys = torch.randn(2, 12, 3)
    with Operators() as ran:
        info_nce_loss(query, keys, queue=torch.randn(size, 3), in_batch=True, symmetric=True, margin=0.1)
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
