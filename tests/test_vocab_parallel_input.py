"""vocab_parallel_cross_entropy given what it does not take: type and text of each error."""

from __future__ import annotations

import pytest
import torch

from sslfast.losses import vocab_parallel_cross_entropy

X, W, TARGET = torch.randn(2, 3, 4), torch.randn(9, 4), torch.zeros(2, 3, dtype=torch.int64)
BAD = [
    ((X.int(), W, TARGET), {}, TypeError, "input must be a floating-point tensor, got torch.int32"),
    ((X, W[:, :2], TARGET), {}, ValueError, "linear_weight must have shape (V, 4), a row a class, got (9, 2)"),
    ((X, W, TARGET[0]), {}, ValueError, "target must have shape (2, 3), got (3,)"),
    ((X, W, TARGET + 9), {}, ValueError, "target must be in [0, 8] or -100, got 9"),
    ((X, W, TARGET), {"linear_bias": W}, ValueError, "linear_bias must have shape (9,), got (9, 4)"),
    ((X, W, TARGET), {"reduction": "max"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'max'"),
    ((X, W, TARGET), {"z_loss": -1}, ValueError, "z_loss must be at least 0, got -1"),
    ((X, W[:0], TARGET), {}, ValueError, "linear_weight must have shape (V, 4), a row a class, got (0, 4)"),
    ((X, W, TARGET), {"softcap": 0}, ValueError, "softcap must be positive, got 0"),
    ((X, W, TARGET), {"return_metrics": 1}, TypeError, "return_metrics must be a bool, got 1"),
    ((X, W, TARGET), {"first_class": 0}, ValueError, "first_class goes with num_classes, got first_class=0 alone"),
    ((X, W, TARGET), {"num_classes": 0}, ValueError, "num_classes must be at least 1, got 0"),
    (
        (X, W, TARGET),
        {"num_classes": 10},
        ValueError,
        "linear_weight must have 10 rows, rank 0's share of num_classes=10 without first_class, got 9",
    ),
    (
        (X, W, TARGET),
        {"num_classes": 10, "first_class": 2},
        ValueError,
        "first_class must be in [0, 1] with 9 classes, got 2",
    ),
    (
        (X, W, TARGET),
        {"num_classes": 10, "first_class": 1},
        ValueError,
        "num_classes must be 9 without a process group, got 10",
    ),
    ((X, W, TARGET), {"group": "abc"}, TypeError, "group must be a process group or None, got str"),
    ((X, W, TARGET), {"label_smoothing": 2}, ValueError, "label_smoothing must be a probability in [0, 1], got 2"),
    (
        (X, W, TARGET),
        {"num_items": 3, "reduction": "sum"},
        ValueError,
        "num_items goes with reduction='mean', got 'sum'",
    ),
]


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD)
def test_bad_input(args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        vocab_parallel_cross_entropy(*args, **options)
    assert str(caught.value) == f"vocab_parallel_cross_entropy: {text}"
