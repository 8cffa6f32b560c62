"""mask_words: what it refuses, in one line, over tensors and over arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslfast import host
from sslfast.masking import mask_words

IDS = torch.zeros(2, 3, dtype=torch.int64)
GOOD = {"ids": IDS, "word_ids": IDS, "mask_token_id": 1, "vocab_size": 10}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"ids": torch.zeros(2, 3)},
            TypeError,
            "ids must be int64, int32 or int16, whose labels hold -100, got torch.f",
        ),
        ({"word_ids": None}, ValueError, "exactly one of word_ids and offset_mapping must be given, got neither"),
        (
            {"offset_mapping": torch.zeros(2, 3, 2).long()},
            ValueError,
            "exactly one of word_ids and offset_mapping must be given, got both",
        ),
        ({"word_ids": torch.zeros(3, 2).long()}, ValueError, "word_ids must have shape (2, 3), like ids, got (3, 2)"),
        (
            {"word_ids": None, "offset_mapping": IDS},
            ValueError,
            "offset_mapping must have shape (2, 3, 2), ids' and the two ends, got (2, 3)",
        ),
        (
            {"word_ids": None, "offset_mapping": torch.tensor([[[0, 0], [0, 3], [3, 5]], [[0, 4], [9, 7], [5, 2]]])},
            ValueError,
            "offset_mapping must have ends that are at least starts, got (9, 7)",
        ),
        (
            {
                "word_ids": None,
                "offset_mapping": torch.tensor([[[4, 0], [4, 5], [5, 9]]] * 2),
                "special_tokens_mask": torch.tensor([[1, 0, 0]] * 2),
                "mode": "compat",
            },
            ValueError,
            "offset_mapping must have ends that are at least starts, got (4, 0)",
        ),
        ({"replace": "all"}, ValueError, "replace must be 'token' or 'word', got 'all'"),
        ({"min_masked": -1}, ValueError, "min_masked must be in [0, 1], got -1"),
        ({"mlm_probability": 1.5}, ValueError, "mlm_probability must be a probability in [0, 1], got 1.5"),
        ({"mask_token_id": 10}, ValueError, "mask_token_id must be in [0, 9], got 10"),
        (
            {"random_replace_prob": 0.3},
            ValueError,
            "mask_replace_prob + random_replace_prob must be at most 1, got 0.8 + 0.3",
        ),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
        (
            {"special_tokens_mask": torch.zeros(2).bool()},
            ValueError,
            "special_tokens_mask must have shape (2, 3), like ids, got (2,)",
        ),
        ({"random_token_ids": torch.tensor([3, 10])}, ValueError, "random_token_ids must be in [0, 9], got 10"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        mask_words(**(GOOD | arguments))
    assert str(raised.value).startswith(f"mask_words: {message}")
    assert "\n" not in str(raised.value)
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in (GOOD | arguments).items()}
    with pytest.raises(error) as raised:
        host.mask_words(**arrays, seed=1)
    assert str(raised.value).startswith(f"mask_words: {message.replace('torch.f', 'f')}")


def test_bad_input_of_one_face():
    for arguments, message in (
        ({"word_ids": IDS.bool()}, "word_ids must be an integer tensor, got torch.bool"),
        ({"word_ids": [1, 2]}, "word_ids must be an integer tensor, got list"),
        (
            {"special_tokens_mask": IDS.float()},
            "special_tokens_mask must be a bool or integer tensor, got torch.float32",
        ),
    ):
        with pytest.raises(TypeError) as raised:
            mask_words(**(GOOD | arguments))
        assert str(raised.value) == f"mask_words: {message}"
    with pytest.raises(ValueError, match=r"^mask_words: word_ids must be on cpu, like ids, got meta$"):
        mask_words(**(GOOD | {"word_ids": IDS.to("meta")}))
    with pytest.raises(TypeError, match=r"^mask_words: word_ids must be an integer array, got float64$"):
        host.mask_words(IDS.numpy(), word_ids=np.zeros((2, 3)), mask_token_id=1, vocab_size=10, seed=1)
