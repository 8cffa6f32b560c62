"""replaced_token_loss given what it does not take: type and text of each error."""

from __future__ import annotations

import pytest
import torch

from sslfast.losses import ReplacedTokenLoss, replaced_token_loss

Z, Y = torch.randn(2, 3), torch.zeros(2, 3)
BAD = [
    ((Z.long(), Y), TypeError, "logits must be a floating-point tensor, got torch.int64"),
    ((Z[0], Y), ValueError, "logits must have shape (N, L) or (N, L, 1), got (3,)"),
    ((Z, None), TypeError, "replaced must be a tensor, got NoneType"),
    ((Z, Y[:1]), ValueError, "replaced must have shape (2, 3), like logits, got (1, 3)"),
    ((Z, Y, Y[:, :2]), ValueError, "attention_mask must have shape (2, 3), like logits, got (2, 2)"),
    ((Z, Y, Y), TypeError, "attention_mask must be bool or integers, got torch.float32"),
    ((Z, Y, Y.cfloat()), TypeError, "attention_mask must be bool or integers, got torch.complex64"),
    ((Z, Y.long() - 100), ValueError, "replaced must be 0 or 1 for every token, got -100"),
    ((Z, Y + 0.5, Y.long() + 1), ValueError, "replaced must be 0 or 1 for every token, got 0.5"),
    ((Z, Y, None, "max"), ValueError, "reduction must be 'mean', 'sum' or 'none', got 'max'"),
]


@pytest.mark.parametrize(("args", "error", "text"), BAD)
def test_bad_input(args, error, text) -> None:
    with pytest.raises(error) as caught:
        replaced_token_loss(*args)
    assert str(caught.value) == f"replaced_token_loss: {text}"


def test_forward_mode_is_refused() -> None:
    with pytest.raises(RuntimeError):
        torch.func.jvp(lambda z: replaced_token_loss(z, Y), (Z,), (Z,))


def test_bad_reduction_of_the_module() -> None:
    with pytest.raises(ValueError, match=r"^ReplacedTokenLoss: reduction must be 'mean', 'sum' or 'none', got 'max'$"):
        ReplacedTokenLoss("max")
