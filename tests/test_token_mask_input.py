"""mask_tokens: what it refuses, in one line, over tensors and over arrays."""

from __future__ import annotations

import pytest
import torch

from sslfast import host
from sslfast.masking import mask_tokens

_GOOD = {"ids": torch.zeros(2, 3, dtype=torch.int64), "mask_token_id": 1, "vocab_size": 10}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"ids": torch.zeros(2, 3)},
            TypeError,
            "ids must be int64, int32 or int16, whose labels hold -100, got torch.float32",
        ),
        ({"ids": torch.zeros(2, 3, 4).long()}, ValueError, "ids must have shape (N, L) or (L,), got (2, 3, 4)"),
        ({"ids": torch.tensor(3)}, ValueError, "ids must have shape (N, L) or (L,), got ()"),
        (
            {"ids": torch.zeros(2, 3, dtype=torch.uint8)},
            TypeError,
            "ids must be int64, int32 or int16, whose labels hold -100, got torch.uint8",
        ),
        ({"ids": _GOOD["ids"].short(), "vocab_size": 2**15 + 1}, ValueError, "vocab_size must be in [1, 32768], got"),
        ({"min_masked": 2}, ValueError, "min_masked must be in [0, 1], got 2"),
        ({"min_masked": True}, TypeError, "min_masked must be an int, got bool"),
        ({"mode": "hf"}, ValueError, "mode must be 'exact' or 'compat', got 'hf'"),
        ({"return_counts": 1}, TypeError, "return_counts must be a bool, got 1"),
        ({"random_token_ids": [1, 2]}, TypeError, "random_token_ids must be an int64"),
        (
            {"random_token_ids": torch.zeros(0).long()},
            ValueError,
            "random_token_ids must have shape (R,), at least one id, got (0,)",
        ),
        (
            {"random_token_ids": torch.zeros(2, 2).long()},
            ValueError,
            "random_token_ids must have shape (R,), at least one id, got (2, 2)",
        ),
        ({"random_token_ids": torch.tensor([3, 10])}, ValueError, "random_token_ids must be in [0, 9], got 10"),
        ({"random_token_ids": torch.tensor([3, -1, 10])}, ValueError, "random_token_ids must be in [0, 9], got -1"),
        ({"vocab_size": 0}, ValueError, "vocab_size must be in [1, 4294967296], got 0"),
        ({"vocab_size": 1.5}, TypeError, "vocab_size must be an int, got float"),
        (
            {"ids": _GOOD["ids"].int(), "vocab_size": 2**31 + 1},
            ValueError,
            "vocab_size must be in [1, 2147483648], got",
        ),
        ({"mask_token_id": 10}, ValueError, "mask_token_id must be in [0, 9], got 10"),
        ({"mask_token_id": True}, TypeError, "mask_token_id must be an int, got bool"),
        ({"mlm_probability": 1.5}, ValueError, "mlm_probability must be a probability in [0, 1], got 1.5"),
        ({"mlm_probability": float("nan")}, ValueError, "mlm_probability must be finite, got nan"),
        ({"mlm_probability": "x"}, TypeError, "mlm_probability must be a number, got str"),
        ({"mask_replace_prob": -0.1}, ValueError, "mask_replace_prob must be a probability in [0, 1], got -0.1"),
        (
            {"mask_replace_prob": 0.8, "random_replace_prob": 0.3},
            ValueError,
            "mask_replace_prob + random_replace_prob must be at most 1, got 0.8 + 0.3",
        ),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
        (
            {"special_tokens_mask": torch.zeros(3, 2, dtype=torch.bool)},
            ValueError,
            "special_tokens_mask must have shape (2, 3), like ids, got (3, 2)",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        mask_tokens(**(_GOOD | arguments))
    assert str(raised.value).startswith(f"mask_tokens: {message}")
    assert "\n" not in str(raised.value)
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in (_GOOD | arguments).items()}
    with pytest.raises(error) as raised:
        host.mask_tokens(**arrays, seed=1)
    assert str(raised.value).startswith(f"mask_tokens: {message.replace('torch.', '')}")


def test_bad_input_of_one_face():
    special = torch.zeros(2, 3)
    for arguments, error, message in (
        (
            {"special_tokens_mask": special},
            TypeError,
            "special_tokens_mask must be a bool or integer tensor, got torch.f",
        ),
        ({"ids": [1, 2]}, TypeError, "ids must be a tensor, got list"),
        (
            {"special_tokens_mask": special.bool().to("meta")},
            ValueError,
            "special_tokens_mask must be on cpu, like ids, got meta",
        ),
        (
            {"random_token_ids": torch.zeros(2).long().to("meta")},
            ValueError,
            "random_token_ids must be on cpu, like ids, got meta",
        ),
        (
            {"random_token_ids": torch.zeros(2)},
            TypeError,
            "random_token_ids must be an int64 tensor, got torch.float32",
        ),
        (
            {"generator": "7"},
            TypeError,
            "generator must be None, an int, a torch.Generator or an int64 tensor, got str",
        ),
    ):
        with pytest.raises(error) as raised:
            mask_tokens(**(_GOOD | arguments))
        assert str(raised.value).startswith(f"mask_tokens: {message}")
