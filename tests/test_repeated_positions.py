"""A position that is named twice: refused by every loss in which one row would stand for both."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from sslfast.losses import (
    hubert_loss,
    masked_code_loss,
    masked_feature_loss,
    masked_item_loss,
    masked_lm_loss,
    masked_patch_loss,
    wav2vec2_contrastive_loss,
)

X, W, LABELS = torch.randn(2, 4, 5), torch.randn(6, 5), torch.zeros(2, 4, dtype=torch.int64)
IMAGES, PIXELS = torch.randn(2, 1, 4, 4), torch.randn(2, 4, 4)
FLAT = {
    "masked_lm_loss": (partial(masked_lm_loss, X, W, LABELS), "indices"),
    "masked_item_loss": (partial(masked_item_loss, X, W, LABELS, num_negatives=3), "indices"),
    "masked_code_loss": (partial(masked_code_loss, X, W, LABELS), "indices"),
    "wav2vec2_contrastive_loss": (partial(wav2vec2_contrastive_loss, X, X, num_negatives=1), "indices"),
    "hubert_loss": (partial(hubert_loss, X, W, LABELS), "indices"),
    "masked_patch_loss": (partial(masked_patch_loss, PIXELS, IMAGES, patch_size=2), "ids"),
    "masked_feature_loss": (partial(masked_feature_loss, X, X), "ids"),
}


@pytest.mark.parametrize("name", FLAT)
def test_a_repeated_position(name: str) -> None:
    loss, argument = FLAT[name]
    with pytest.raises(ValueError, match=f"^{name}: {argument} must have every position once, got 1 twice or more$"):
        loss(**{argument: torch.tensor([1, 3, -1, 1, -1])})
    assert loss(**{argument: torch.tensor([3, 1, -1, 2, -1])}).isfinite()
    assert loss(**{argument: torch.tensor([-1, -1])}) == 0


def test_places_of_different_rows_are_different() -> None:
    ids = torch.tensor([[1, 2], [2, 1]])
    mask = torch.tensor([[False, True, True, False]] * 2)
    torch.testing.assert_close(masked_feature_loss(X, X + 1, ids=ids), masked_feature_loss(X, X + 1, mask))
    with pytest.raises(ValueError, match="masked_feature_loss: ids must have every position once, got 5 twice"):
        masked_feature_loss(X, X, ids=torch.tensor([[1, 2], [1, 1]]))


def test_a_prediction_for_each_id_may_be_of_one_place() -> None:
    """Two predictions of one place are two rows: each counts, in the loss and in its gradient."""
    ids, pred = torch.tensor([1, 1, 2]), torch.randn(3, 5, requires_grad=True)
    loss = masked_feature_loss(pred, X, ids=ids, kind="mse")
    expected = (pred - X.flatten(0, 1)[ids]).square().mean()
    torch.testing.assert_close(loss, expected)
    (grad,), (right,) = (torch.autograd.grad(each, pred) for each in (loss, expected))
    torch.testing.assert_close(grad, right)
