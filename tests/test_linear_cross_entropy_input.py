"""linear_cross_entropy: one line for every bad argument."""

from __future__ import annotations

import pytest
import torch

from sslfast.losses import LinearCrossEntropyLoss, linear_cross_entropy

X, W = torch.randn(2, 3, 4), torch.randn(9, 4)
TARGET = torch.zeros(2, 3, dtype=torch.int64)
BAD = [
    ((X.long(), W, TARGET), {}, TypeError, "input must be a floating-point tensor, got torch.int64"),
    ((X, None, TARGET), {}, TypeError, "linear_weight must be a floating-point tensor, got NoneType"),
    ((torch.randn(0), W, TARGET), {}, ValueError, r"input must have shape (..., D) with D >= 1, got (0,)"),
    ((torch.tensor(1.0), W, TARGET), {}, ValueError, r"input must have shape (..., D) with D >= 1, got ()"),
    ((torch.randn(4), W, TARGET), {}, ValueError, "target must have shape (), got (2, 3)"),
    (
        (torch.randn(4), W, torch.rand(9)),
        {},
        TypeError,
        "target must be class numbers, got probabilities of shape (9,)",
    ),
    (
        (X, W, torch.rand(2, 3, 9)),
        {},
        TypeError,
        "target must be class numbers, got probabilities of shape (2, 3, 9)",
    ),
    (
        (X[0], torch.randn(9, 2, 4), torch.zeros(3, 2, dtype=torch.int64)),
        {},
        ValueError,
        "linear_weight must have shape (V, 4), a row a class, got (9, 2, 4)",
    ),
    (
        (X, W, TARGET),
        {"options": {}},
        TypeError,
        "options must be None or torch.nn.LinearCrossEntropyOptions, got dict",
    ),
    ((X, W[:, :3], TARGET), {}, ValueError, "linear_weight must have shape (V, 4), a row a class, got (9, 3)"),
    ((X, W[:0], TARGET), {}, ValueError, "linear_weight must have shape (V, 4), a row a class, got (0, 4)"),
    ((X, W, TARGET.float()), {}, TypeError, "target must be an integer tensor, got torch.float32"),
    ((X, W, TARGET[0]), {}, ValueError, "target must have shape (2, 3), got (3,)"),
    ((X, W, TARGET + 9), {}, ValueError, "target must be in [0, 8] or -100, got 9"),
    ((X, W, TARGET - 1), {}, ValueError, "target must be in [0, 8] or -100, got -1"),
    ((X, W, TARGET), {"linear_bias": torch.zeros(8)}, ValueError, "linear_bias must have shape (9,), got (8,)"),
    ((X, W, TARGET), {"linear_bias": 1.0}, TypeError, "linear_bias must be a floating-point tensor, got float"),
    ((X, W, TARGET), {"weight": torch.zeros(8)}, ValueError, "weight must have shape (9,), got (8,)"),
    (
        (X, W, TARGET),
        {"weight": torch.zeros(9, requires_grad=True)},
        ValueError,
        "weight must not require a gradient: detach it",
    ),
    ((X, W, TARGET), {"reduction": "max"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'max'"),
    ((X, W, TARGET), {"ignore_index": 0.5}, TypeError, "ignore_index must be an int, got float"),
    ((X, W, TARGET), {"label_smoothing": 1.5}, ValueError, "label_smoothing must be a probability in [0, 1], got 1.5"),
    ((X, W, TARGET), {"softcap": 0.0}, ValueError, "softcap must be positive, got 0.0"),
    ((X, W, TARGET), {"z_loss": -1.0}, ValueError, "z_loss must be at least 0, got -1.0"),
    ((X, W, TARGET), {"num_items": 0}, ValueError, "num_items must be positive, got 0"),
    ((X, W, TARGET), {"num_items": X > 0}, TypeError, "num_items must be a number, got torch.bool"),
    ((X, W, TARGET), {"num_items": X}, ValueError, "num_items must have one element, got shape (2, 3, 4)"),
    ((X, W, TARGET), {"num_items": "5"}, TypeError, "num_items must be a number, got str"),
    ((X, W, TARGET), {"num_items": torch.tensor(-1)}, ValueError, "num_items must be positive, got -1"),
    ((X, W, TARGET), {"num_items": torch.zeros(1)}, ValueError, "num_items must be positive, got 0.0"),
    ((X, W, TARGET), {"num_items": torch.tensor(torch.inf)}, ValueError, "num_items must be finite, got inf"),
    (
        (X, W, TARGET),
        {"num_items": 5, "reduction": "sum"},
        ValueError,
        "num_items goes with reduction='mean', got 'sum'",
    ),
    ((X, W, TARGET), {"return_metrics": 1}, TypeError, "return_metrics must be a bool, got 1"),
]


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD)
def test_bad_input(args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        linear_cross_entropy(*args, **options)
    assert str(caught.value) == f"linear_cross_entropy: {text}"


def test_bad_options_of_the_module() -> None:
    for weight, got in ((torch.ones(9, dtype=torch.int64), "torch.int64"), ([1.0], "list")):
        with pytest.raises(
            TypeError, match=f"^LinearCrossEntropyLoss: weight must be a floating-point tensor, got {got}$"
        ):
            LinearCrossEntropyLoss(weight)
    with pytest.raises(ValueError, match=r"^LinearCrossEntropyLoss: softcap must be positive, got -1\.0$"):
        LinearCrossEntropyLoss(softcap=-1.0)
