"""Numbers that arguments take: Python's and NumPy's alike, and bools of no kind. What errors show of other things."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from sslfast import _check, host
from sslfast.masking import SpeechCollator, mask_tokens, mask_words, random_patch_mask, time_mask


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
        (10**400, "p must fit in a float, got a larger int"),
        (-(10**5000), "p must fit in a float, got a larger int"),  # more digits than Python prints
        (Fraction(10**400, 3), "p must fit in a float, got a larger Fraction"),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_numbers_out_of_range(value, message):
    with pytest.raises(ValueError, match=r"p must") as raised:
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


# ---- what errors show of what they got

TENSOR, ARRAY = torch.zeros(3, 4), np.ones((5, 2, 2))
SHOWN = [
    (TENSOR, "Tensor of shape (3, 4)"),
    (torch.nn.Parameter(torch.ones(())), "Parameter of shape ()"),
    (ARRAY, "ndarray of shape (5, 2, 2)"),
    (None, "None"),
    ("x", "'x'"),
    (2.5, "2.5"),
    ([1, 2], "[1, 2]"),
]
LONG = {"text": "a b\n" * 99, "tensors": [TENSOR, TENSOR], "mapping": {"k": ARRAY}, "numbers": list(range(1000))}


@pytest.mark.parametrize(("value", "text"), SHOWN, ids=[text for _, text in SHOWN])
def test_shown(value, text):
    assert _check.shown(value) == text


@pytest.mark.parametrize("value", LONG.values(), ids=LONG)
def test_what_is_shown_is_short_and_of_one_line(value):
    text = _check.shown(value)
    assert "\n" not in text
    assert len(text) < 100


@pytest.mark.parametrize(("value", "text"), SHOWN, ids=[text for _, text in SHOWN])
def test_no_word_and_no_bool(value, text):
    """Also where the value compares with the word element by element."""
    with pytest.raises(ValueError, match="must be") as raised:
        _check.one_of("f", "mode", value, ("a", "b", "c"))
    assert str(raised.value) == f"f: mode must be 'a', 'b' or 'c', got {text}"
    with pytest.raises(TypeError, match="must be") as raised:
        _check.boolean("f", "b", value)
    assert str(raised.value) == f"f: b must be a bool, got {text}"


IDS = torch.arange(6).view(2, 3)
PLACES = [
    (lambda v: time_mask(2, 9, mode=v), "time_mask: mode must be 'exact', 'compat', 'hf' or 'fairseq'"),
    (lambda v: time_mask(2, 9, no_overlap=v), 'time_mask: no_overlap must be left out except in mode "fairseq"'),
    (lambda v: time_mask(2, 9, mode="fairseq", add_masks=v), "time_mask: add_masks must be a bool"),
    (lambda v: host.time_mask(2, 9, mode=v, seed=1), "time_mask: mode must be 'exact', 'compat', 'hf' or 'fairseq'"),
    (lambda v: random_patch_mask(2, 9, order=v), "random_patch_mask: order must be 'random' or 'sorted'"),
    (lambda v: SpeechCollator(mode=v), "SpeechCollator: mode must be 'exact', 'compat' or 'hf'"),
    (
        lambda v: mask_words(IDS, word_ids=IDS, mask_token_id=1, vocab_size=9, replace=v),
        "mask_words: replace must be 'token' or 'word'",
    ),
]


@pytest.mark.parametrize(("call", "text"), PLACES, ids=[text for _, text in PLACES])
def test_tensors_where_words_and_bools_belong(call, text):
    for value, shown in SHOWN[:3]:
        with pytest.raises((TypeError, ValueError), match="must be") as raised:
            call(value)
        assert str(raised.value) == f"{text}, got {shown}"
