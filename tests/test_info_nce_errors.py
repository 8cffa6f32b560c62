"""What info_nce_loss and InfoNCELoss refuse, with negatives of every kind, and the text of each error."""

from __future__ import annotations

import math
import re

import pytest
import torch

from sslfast.losses import InfoNCELoss, info_nce_loss

MADE = [
    ({"temperature": "a"}, TypeError, "temperature must be a number, got str"),
    ({"temperature": -1.0, "margin": 0.1}, ValueError, "temperature must be positive with a margin, got -1.0"),
    ({"reduction": 7}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 7"),
    ({"margin": [0.1]}, TypeError, "margin must be a number, got list"),
    ({"tau_plus": 2}, ValueError, "tau_plus must be in [0, 1), got 2"),
    ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be a probability in [0, 1], got 1.5"),
    ({"hardness_strength": "a"}, TypeError, "hardness_strength must be a number, got str"),
    ({"hardness_strength": 1.0}, ValueError, "hardness_mode must be given with hardness_strength, got None"),
    (
        {"hardness_mode": "hard"},
        ValueError,
        "hardness_mode must be 'in_batch_negatives', 'hard_negatives' or 'all_negatives', got 'hard'",
    ),
    (
        {"hardness_mode": "all_negatives", "temperature": -1.0, "hardness_strength": 1.0},
        ValueError,
        "temperature must be positive with hardness_strength, got -1.0",
    ),
    (
        {"hardness_mode": "all_negatives", "tau_plus": 0.1, "hardness_strength": 1.0},
        ValueError,
        "tau_plus must be 0 with hardness_strength, got 0.1",
    ),
    ({"key_to_query_negatives": 1}, TypeError, "key_to_query_negatives must be a bool, got 1"),
    ({"memory_budget": -1}, ValueError, "memory_budget must be at least 0, got -1"),
    (
        {"gather_distributed": "x"},
        ValueError,
        "gather_distributed must be False, True, 'local', 'all_gather' or 'ring', got 'x'",
    ),
]


@pytest.mark.parametrize(("options", "error", "text"), MADE, ids=[m[2] for m in MADE])
def test_errors_of_the_module(options, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"InfoNCELoss: {text}") + "$"):
        InfoNCELoss(**options)


NO_NUMBERS = [None, "", [], False, torch.tensor(0.0), torch.ones(2)]


@pytest.mark.parametrize("strength", NO_NUMBERS, ids=repr)
def test_a_strength_is_a_number(strength) -> None:
    text = f"hardness_strength must be a number, got {type(strength).__name__}"
    with pytest.raises(TypeError, match=f"^info_nce_loss: {text}$"):
        info_nce_loss(GOOD, GOOD, hardness_strength=strength)
    with pytest.raises(TypeError, match=f"^InfoNCELoss: {text}$"):
        InfoNCELoss(hardness_strength=strength)


GOOD, MORE, IDS = torch.ones(4, 3), torch.ones(6, 3), torch.arange(4)
BAD = [
    ([GOOD, MORE], {}, ValueError, "positive_key must have shape (4, 3), like query, got (6, 3)"),
    ([GOOD, MORE[:, :2]], {"positives": IDS}, ValueError, "positive_key must have shape (M, 3), got (6, 2)"),
    ([GOOD, MORE], {"positives": IDS[:3]}, ValueError, "positives must have shape (4,), got (3,)"),
    ([GOOD, MORE], {"positives": IDS.float()}, TypeError, "positives must be an integer tensor, got torch.float32"),
    (
        [GOOD, MORE],
        {"positives": IDS.to_sparse()},
        TypeError,
        "positives must be a plain strided tensor, got one of torch.sparse_coo",
    ),
    ([GOOD, MORE], {"positives": IDS + 3}, ValueError, "positives must be in [0, 5], rows of positive_key, got 6"),
    ([GOOD, MORE], {"positives": IDS - 1}, ValueError, "positives must be in [0, 5], rows of positive_key, got -1"),
    (
        [GOOD, GOOD, GOOD[0]],
        {},
        ValueError,
        "negative_keys must have shape (K, 3) or (4, K, 3) with K >= 1, got (3,)",
    ),
    (
        [GOOD, GOOD, torch.ones(3, 2, 3)],
        {},
        ValueError,
        "negative_keys must have shape (K, 3) or (4, K, 3) with K >= 1, got (3, 2, 3)",
    ),
    ([GOOD, GOOD, IDS], {}, TypeError, "negative_keys must be a floating-point tensor, got torch.int64"),
    ([GOOD, GOOD, MORE.to("meta")], {}, ValueError, "negative_keys must be on cpu, like query, got meta"),
    ([GOOD, GOOD], {"weights": MORE[:, 0]}, ValueError, "weights must have shape (4,), got (6,)"),
    (
        [GOOD, GOOD],
        {"weights": GOOD[:, 0].clone().requires_grad_()},
        ValueError,
        "weights must not require a gradient: detach it",
    ),
    ([GOOD, GOOD], {"weights": IDS - 1.0}, ValueError, "weights must be at least 0, got -1"),
    (
        [GOOD, GOOD],
        {"temperature": torch.tensor(-0.5), "margin": 0.1},
        ValueError,
        "temperature must be positive with a margin, got -0.5",
    ),
    ([GOOD, GOOD], {"query_ids": IDS}, ValueError, "key_ids must be given with query_ids, got None"),
    ([GOOD, GOOD], {"key_ids": IDS}, ValueError, "query_ids must be given with key_ids, got None"),
    ([GOOD, GOOD], {"query_ids": IDS, "key_ids": IDS[:2]}, ValueError, "key_ids must have shape (4,), got (2,)"),
    ([GOOD, GOOD], {"margin": "0.1"}, TypeError, "margin must be a number, got str"),
    ([GOOD, GOOD], {"tau_plus": 1.0}, ValueError, "tau_plus must be in [0, 1), got 1.0"),
    ([GOOD, GOOD], {"label_smoothing": -0.1}, ValueError, "label_smoothing must be a probability in [0, 1], got -0.1"),
    ([GOOD, GOOD], {"label_smoothing": "a"}, TypeError, "label_smoothing must be a number, got str"),
    ([GOOD, GOOD], {"memory_budget": 1e6}, TypeError, "memory_budget must be an int, got float"),
    (
        [GOOD, GOOD],
        {"hardness_strength": 1.0},
        ValueError,
        "hardness_mode must be given with hardness_strength, got None",
    ),
    (
        [GOOD, GOOD],
        {"hardness_mode": "in_batch_negatives", "hardness_strength": -1.0},
        ValueError,
        "hardness_strength must be at least 0, got -1.0",
    ),
    (
        [GOOD, GOOD],
        {"hardness_mode": "in_batch_negatives", "hardness_strength": 1e39},
        ValueError,
        "hardness_strength must be finite in float32, got 1e+39",
    ),
    (
        [GOOD, GOOD],
        {"hardness_mode": 3},
        ValueError,
        "hardness_mode must be 'in_batch_negatives', 'hard_negatives' or 'all_negatives', got 3",
    ),
    (
        [GOOD, GOOD],
        {"hardness_mode": "hard_negatives"},
        ValueError,
        "hardness_mode 'hard_negatives' goes with negative_keys, got none",
    ),
    (
        [GOOD, GOOD, GOOD],
        {"hardness_mode": "in_batch_negatives"},
        ValueError,
        "hardness_mode 'in_batch_negatives' goes with in_batch, got none",
    ),
    (
        [GOOD, GOOD],
        {"hardness_mode": "all_negatives", "in_batch": False, "query_negatives": True},
        ValueError,
        "hardness_mode 'all_negatives' goes with in_batch or negative_keys or queue, got none",
    ),
    (
        [GOOD, GOOD],
        {"hardness_mode": "all_negatives", "tau_plus": 0.1, "hardness_strength": 1.0},
        ValueError,
        "tau_plus must be 0 with hardness_strength, got 0.1",
    ),
    (
        [GOOD, GOOD],
        {"temperature": torch.tensor(-0.5), "hardness_mode": "all_negatives", "hardness_strength": 1.0},
        ValueError,
        "temperature must be positive with hardness_strength, got -0.5",
    ),
    (
        [GOOD, GOOD],
        {"tau_plus": 0.1, "normalize": False},
        ValueError,
        "tau_plus must be 0 without normalize, got 0.1",
    ),
    (
        [GOOD, GOOD],
        {"in_batch": False},
        ValueError,
        "in_batch must be True where there are no other negatives, got False",
    ),
    (
        [GOOD, MORE],
        {"positives": IDS, "symmetric": True},
        ValueError,
        "symmetric goes with in_batch and as many keys as queries, got 6",
    ),
    (
        [GOOD, GOOD],
        {"positives": torch.tensor([0, 0, 1, 2]), "symmetric": True},
        ValueError,
        "positives must name no key twice with symmetric, got [0, 0, 1, 2]",
    ),
    (
        [GOOD, GOOD],
        {"margin": 0.1, "temperature": -1.0},
        ValueError,
        "temperature must be positive with a margin, got -1.0",
    ),
    ([GOOD, GOOD], {"temperature": torch.ones(2)}, ValueError, "temperature must have one element, got shape (2,)"),
    ([GOOD, GOOD], {"temperature": math.nan}, ValueError, "temperature must be finite, got nan"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args, kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"info_nce_loss: {text}") + "$"):
        info_nce_loss(*args, **kwargs)
