"""The compact form of mask_tokens and mask_words: positions and how many of each row, as of their own mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle import all_equal

from sslfast import host
from sslfast.masking import mask_indices, mask_tokens, mask_words

OPTIONS: dict[str, Any] = {"mask_token_id": 4, "vocab_size": 1000}


@pytest.mark.parametrize(("rows", "length"), [(5, 30), (300, 7), (1, 5000), (3, 0), (0, 9)])
@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (mask_tokens, {}),
        (mask_tokens, {"min_masked": 1, "mlm_probability": 0.02}),
        (mask_tokens, {"mlm_probability": 1.0}),
        (mask_words, {}),
        (mask_words, {"min_masked": 1, "mlm_probability": 0.02}),
        (mask_words, {"mode": "compat"}),
    ],
)
def test_counts(device, rule, options, rows, length):
    ids = torch.randint(5, 1000, (rows, length))
    words = {"word_ids": (torch.rand(rows, length) < 0.5).cumsum(1)} if rule is mask_words else {}
    given = {name: t.to(device) for name, t in words.items()}
    out, labels, masked, counts = rule(ids.to(device), **given, **OPTIONS, **options, generator=3, return_counts=True)
    assert all_equal((masked, counts), mask_indices(labels != -100))
    assert all_equal((out, labels, masked), rule(ids.to(device), **given, **OPTIONS, **options, generator=3))
    arrays = getattr(host, rule.__name__)(
        ids.numpy(), **{n: t.numpy() for n, t in words.items()}, **OPTIONS, **options, seed=3, return_counts=True
    )
    assert all_equal(map(torch.from_numpy, arrays), (out, labels, masked, counts))


def test_one_row_has_one_count():
    out = mask_tokens(torch.arange(20), **OPTIONS, generator=1, return_counts=True)
    assert out[0].shape == (20,)
    assert out[3].shape == (1,)


def test_counts_compile():
    compiled = torch.compile(mask_tokens, fullgraph=True)
    ids = torch.randint(5, 1000, (6, 40))
    options = OPTIONS | {"generator": 5, "return_counts": True}
    assert all_equal(compiled(ids, **options), mask_tokens(ids, **options))
