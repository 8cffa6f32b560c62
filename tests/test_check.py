"""Numbers that arguments take: Python's and NumPy's alike, and bools of no kind."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from sslfast import _check, host
from sslfast.masking import mask_tokens, time_mask


@pytest.mark.parametrize(
    "value",
    [0.5, Fraction(1, 2), np.float16(0.5), np.float32(0.5), np.float64(0.5), np.longdouble(0.5)],
    ids=lambda v: type(v).__name__,
)
def test_fractions(value):
    for check in (_check.real, _check.probability):
        number = check("f", "p", value)
        assert (type(number), number) == (float, 0.5)


@pytest.mark.parametrize("kind", [int, np.int8, np.int32, np.int64, np.uint8, np.uint64, np.array, torch.tensor])
def test_integers(kind):
    number = _check.integer("f", "n", kind(1), 0)
    assert (type(number), number) == (int, 1)
    if kind not in (np.array, torch.tensor):  # arrays are no numbers, though of one element they are indices
        number = _check.probability("f", "p", kind(1))
        assert (type(number), number) == (float, 1.0)


@pytest.mark.parametrize("value", [True, np.True_, np.array(True), torch.tensor(True)], ids=lambda v: type(v).__name__)
def test_bools_are_no_numbers(value):
    kind = type(value).__name__
    for check, expected in ((_check.real, "a number"), (_check.probability, "a number")):
        with pytest.raises(TypeError) as raised:
            check("f", "x", value)
        assert str(raised.value) == f"f: x must be {expected}, got {kind}"
    with pytest.raises(TypeError) as raised:
        _check.integer("f", "x", value, 0)
    assert str(raised.value) == f"f: x must be an int, got {kind}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float32(1.5), "p must be a probability in [0, 1], got 1.5"),
        (np.int64(-1), "p must be a probability in [0, 1], got -1"),
        (np.float64("nan"), "p must be finite, got nan"),
        (np.float16("inf"), "p must be finite, got inf"),
    ],
)
def test_numbers_out_of_range(value, message):
    with pytest.raises(ValueError, match=r"p must be") as raised:
        _check.probability("f", "p", value)
    assert str(raised.value) == f"f: {message}"


@pytest.mark.parametrize("value", [1.0, np.float32(1), np.array([1, 2]), "1", None, 1j], ids=str)
def test_what_is_no_integer(value):
    with pytest.raises(TypeError, match=rf"^f: n must be an int, got {type(value).__name__}$"):
        _check.integer("f", "n", value, 0)


def test_public_functions_take_numpys_numbers():
    expected = time_mask(2, 50, mask_prob=0.5, mask_length=4, generator=3)
    numbers = {"mask_prob": np.float32(0.5), "mask_length": np.int16(4)}
    assert torch.equal(time_mask(np.int64(2), np.uint8(50), **numbers, generator=np.int64(3)), expected)
    assert np.array_equal(host.time_mask(np.int32(2), np.int64(50), **numbers, seed=np.int8(3)), expected.numpy())
    ids = torch.arange(40).view(2, 20)
    rule = {"mask_token_id": np.int64(4), "vocab_size": np.int32(100), "mlm_probability": np.float32(0.25)}
    plain = {"mask_token_id": 4, "vocab_size": 100, "mlm_probability": 0.25}
    assert torch.equal(mask_tokens(ids, **rule, generator=1)[0], mask_tokens(ids, **plain, generator=1)[0])
