"""masked_item_loss given what it does not take: type and text of each error."""

from __future__ import annotations

import pytest
import torch

from sslfast.losses import MaskedItemLoss, item_sampling, masked_item_loss

H, W = torch.randn(2, 3, 4), torch.randn(9, 4)
LABELS = torch.full((2, 3), -100)
BAD = [
    ((H[None], W, LABELS[None]), {}, ValueError, "hidden must have shape (N, L, D) or (T, D), got (1, 2, 3, 4)"),
    ((H, W.T, LABELS), {}, ValueError, "weight must have shape (V, 4), a row a class, got (4, 9)"),
    ((H, W, LABELS.T), {}, ValueError, "labels must have shape (2, 3), like hidden, got (3, 2)"),
    ((H, W, LABELS + 109), {}, ValueError, "labels must be in [0, 8] or -100, got 9"),
    ((H, W, LABELS), {"num_negatives": 0}, ValueError, "num_negatives must be in [1, 2147483646], got 0"),
    (
        (H, W, LABELS),
        {"num_negatives": 2, "sampling": "zipf"},
        ValueError,
        "sampling must be 'uniform' or an ItemSampling, got 'zipf'",
    ),
    (
        (H, W, LABELS),
        {"num_negatives": 2, "sampling": torch.ones(9)},
        ValueError,
        "sampling must be 'uniform' or an ItemSampling, got Tensor of shape (9,)",
    ),
    (
        (H, W, LABELS),
        {"num_negatives": 2, "sampling": item_sampling("log_uniform", 8)},
        ValueError,
        "sampling must be of 9 items, rows of weight, got 8",
    ),
    (
        (H, W, LABELS),
        {"sampling": item_sampling("log_uniform", 9)},
        ValueError,
        "sampling goes with num_negatives, got an ItemSampling without",
    ),
    ((H, W, LABELS), {"reduction": "batch"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'batch'"),
    ((H, W, LABELS), {"indices": torch.tensor([6])}, ValueError, "indices must be in [-1, 5], tokens of hidden, got 6"),
    ((H, W, LABELS), {"return_metrics": 1}, TypeError, "return_metrics must be a bool, got 1"),
    (
        (H, W, LABELS),
        {"num_negatives": 2, "return_metrics": True},
        ValueError,
        "return_metrics must be False with num_negatives=2, got True",
    ),
    (
        (H, W, LABELS),
        {"num_negatives": 2, "sample_ids": torch.arange(3)},
        ValueError,
        "sample_ids must have shape (2,), one a row, got (3,)",
    ),
]


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD)
def test_bad_input(args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        masked_item_loss(*args, **options)
    assert str(caught.value) == f"masked_item_loss: {text}"


def test_the_module_wants_negatives_for_its_sampling() -> None:
    with pytest.raises(ValueError, match=r"^MaskedItemLoss: sampling goes with num_negatives, got an ItemSampling wit"):
        MaskedItemLoss(sampling=item_sampling("log_uniform", 9))
    for distribution in ("log_uniform", torch.ones(9)):
        with pytest.raises(TypeError, match=r"^item_sampling: device must be a torch.device, a str or None, got list$"):
            item_sampling(distribution, device=[])
