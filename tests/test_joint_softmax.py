"""The operator joint_softmax: what it takes, in any number of threads; test_info_nce_few.py has what is made of it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from test_few_pairs import close_pairs

from sslfast import ops


def arguments(n: int = 6, width: int = 4, **changed: Any) -> tuple[Any, ...]:
    """Of joint_softmax, with queries, keys and three further columns."""
    query, keys = close_pairs(n, width, torch.float32)
    given = {
        "similar": torch.randn(n, 2 * n + 3),
        "query": query,
        "keys": keys,
        "scale": None,
        "known_scale": 3.0,
        "share": 0.2,
        "key_to_query": False,
        "symmetric": False,
        "key_negatives": False,
        "query_negatives": True,
        "in_batch": True,
        "hard_begin": n,
        "hard_end": 2 * n + 1,
        "strength": 2.0,
        "normalized": True,
        "each": False,
        "weigh": True,
    }
    options = {"smoothing": 0.1, "margin": 0.2, "tau_plus": 0.1, "factors": torch.rand(n), "positives": None}
    return tuple(changed.get(name, value) for name, value in (given | options).items())


def test_opcheck() -> None:
    for each_loss, weigh in itertools.product((True, False), repeat=2):
        torch.library.opcheck(ops.joint_softmax, arguments(each=each_loss, weigh=weigh))


def test_wrong_arguments_are_refused() -> None:
    for changed in (
        {"similar": torch.randn(6, 11)},
        {"similar": torch.randn(5, 15)},
        {"similar": torch.randn(6, 15).double()},
        {"similar": torch.randn(15, 6).T},
        {"similar": torch.randn(6, 15).half()},
        {"keys": torch.randn(6, 5)},
        {"hard_end": 16},
        {"hard_begin": -1},
        {"share": -1.0},
        {"factors": torch.rand(5)},
        {"positives": torch.arange(6) + 1},
        {"smoothing": 1.1},
        {"tau_plus": 1.0},
        {"scale": torch.ones(2)},
    ):
        with pytest.raises(RuntimeError, match=r"joint_softmax|few_pairs|sslfast"):
            ops.joint_softmax(*arguments(**changed))


def test_threads_change_nothing() -> None:
    threads, given = torch.get_num_threads(), arguments(200, 8)
    found = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(ops.joint_softmax(*given))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
