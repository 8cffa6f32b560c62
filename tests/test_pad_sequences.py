"""host.pad_sequences: rows of every kind, padded on either side, and the text of every error."""

from __future__ import annotations

import array
import re
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from sslfast.host import pad_sequences

ROWS = [[1, 2, 3], [], [4], [5, 6, -7, 8, 9]]


def by_definition(rows, padding_value, length, side="right", dtype=np.int64):
    out = np.full((len(rows), length), padding_value, dtype=dtype)
    for r, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(length - len(row), length)
        out[r, place] = row
    return out


def equal(ours, expected):
    return ours.dtype == expected.dtype and np.array_equal(ours, expected) and ours.flags.c_contiguous


KINDS = {
    "lists": list,
    "tuples": tuple,
    "int64 arrays": np.array,
    "int16 arrays": lambda row: np.array(row, dtype=np.int16),
    "big-endian arrays": lambda row: np.array(row, dtype=">i4"),
    "reversed views": lambda row: np.array(row[::-1], dtype=np.int32)[::-1],
    "int64 tensors": lambda row: torch.tensor(row, dtype=torch.int64),
    "int32 tensors": lambda row: torch.tensor(row, dtype=torch.int32),
    "strided tensors": lambda row: torch.tensor(row, dtype=torch.int64).repeat_interleave(3)[::3],
    "buffers": lambda row: array.array("q", row),
    "lists of NumPy ints": lambda row: [np.int32(i) for i in row],
}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("dtype", ["int64", "int32", "int16"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_definition(kind, dtype, side):
    rows = [KINDS[kind](row) for row in ROWS]
    arguments = {"padding_value": -9, "side": side, "dtype": dtype}
    for options, length in (({}, 5), ({"length": 5}, 5), ({"length": 12}, 12), ({"multiple_of": 4}, 8)):
        ours = pad_sequences(rows, **arguments, **options)
        assert equal(ours, by_definition(ROWS, -9, length, side, dtype))


def test_kinds_may_be_mixed_and_the_batch_be_anything_with_rows():
    rows = [KINDS[kind](ROWS[i % 4]) for i, kind in enumerate(KINDS)]
    expected = by_definition([ROWS[i % 4] for i in range(len(rows))], 0, 5)
    assert equal(pad_sequences(rows, padding_value=0), expected)
    assert equal(pad_sequences(tuple(rows), padding_value=0), expected)
    whole = np.arange(12).reshape(3, 4)
    assert equal(pad_sequences(whole, padding_value=0), whole)
    assert equal(pad_sequences(torch.from_numpy(whole), padding_value=0), whole)
    assert equal(pad_sequences([range(3), [7]], padding_value=1), np.array([[0, 1, 2], [7, 1, 1]]))


def test_nothing_to_pad():
    assert pad_sequences([], padding_value=0).shape == (0, 0)
    assert pad_sequences([], padding_value=0, length=3).shape == (0, 3)
    assert pad_sequences([[], []], padding_value=0).shape == (2, 0)
    assert equal(pad_sequences([[]], padding_value=4, length=2), np.array([[4, 4]]))
    assert pad_sequences([[]], padding_value=0, multiple_of=8).shape == (1, 0)
    assert equal(pad_sequences([torch.zeros(0), [3]], padding_value=4), np.array([[4], [3]]))


def test_bools_and_small_numbers():
    flags = [[True, False], [1], np.array([True]), torch.tensor([False, True])]
    ours = pad_sequences(flags, padding_value=1, dtype=np.uint8)
    assert equal(ours, np.array([[1, 0], [1, 1], [1, 1], [0, 1]], dtype=np.uint8))


@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize("kind", KINDS)
def test_longer_rows_are_cut(kind, keep):
    cut = [row[:3] if keep == "first" else row[-3:] for row in ROWS]
    for side in ("right", "left"):
        ours = pad_sequences([KINDS[kind](row) for row in ROWS], padding_value=-9, length=3, keep=keep, side=side)
        assert equal(ours, by_definition(cut, -9, 3, side))
    pairs = [[(i, -i) for i in row] for row in ROWS]
    expected = np.stack([by_definition(cut, 0, 3), -by_definition(cut, 0, 3)], axis=2)
    assert equal(pad_sequences(pairs, padding_value=0, length=3, keep=keep), expected)
    arrays = [np.array(row) for row in pairs if row]
    assert equal(pad_sequences(arrays, padding_value=0, length=3, keep=keep), expected[[0, 2, 3]])
    assert pad_sequences([[1, 2]], padding_value=0, length=0, keep=keep).shape == (1, 0)


@pytest.mark.parametrize(
    ("keep", "row", "place"),
    [("last", [1.5, 2, 3], "[0]"), ("first", [1, 2, 1.5], "[2]"), ("last", [(3, 1.5), (1, 2)], "[0][1]")],
)
def test_what_is_cut_is_checked_too(keep, row, place):
    message = f"pad_sequences: sequences[0]{place} must be an int, got float"
    with pytest.raises(TypeError, match="^" + re.escape(message) + "$"):
        pad_sequences([row], padding_value=0, length=1, keep=keep)


@pytest.mark.parametrize("row", [[1, True], [torch.tensor(False)], np.array([True]), torch.tensor([True])])
def test_bools_may_be_refused(row):
    pad_sequences([row], padding_value=0)
    with pytest.raises(TypeError, match=r"^pad_sequences: sequences\[0\](\[\d\])? must be .* got (bool|Tensor)"):
        pad_sequences([row], padding_value=0, bools=False)


def test_none():
    rows = [[None, 0, 0, 1, None], [None, 2]]
    ours = pad_sequences(rows, padding_value=-1, none_value=-5)
    assert equal(ours, np.array([[-5, 0, 0, 1, -5], [-5, 2, -1, -1, -1]]))


@pytest.mark.parametrize("side", ["right", "left"])
def test_pairs(side):
    rows = [[(0, 0), (0, 3)], [[1, 2]], [], np.array([[4, 5], [6, 7], [8, 9]]), torch.tensor([[3, 4]])]
    ours = pad_sequences(rows, padding_value=0, side=side)
    expected = np.stack([by_definition([[e[k] for e in row] for row in rows], 0, 3, side) for k in (0, 1)], axis=2)
    assert equal(ours, expected)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "uint8"])
def test_limits_of_the_dtype(dtype):
    limits = np.iinfo(dtype)
    ends = [int(limits.min), int(limits.max)]
    assert pad_sequences([ends], padding_value=0, dtype=dtype).tolist() == [ends]
    for bad in (ends[0] - 1, ends[1] + 1):
        with pytest.raises(ValueError, match=r"^pad_sequences: sequences\[1\]\[2\] must fit in ") as raised:
            pad_sequences([[], [0, 1, bad]], padding_value=0, dtype=dtype)
        assert str(raised.value).endswith(f" {dtype}, got {bad}")
        if dtype != "int64":
            with pytest.raises(
                ValueError, match=rf"^pad_sequences: sequences\[0\]\[1\] must fit in {dtype}, got {bad}$"
            ):
                pad_sequences([np.array([0, bad])], padding_value=0, dtype=dtype)


class Half:
    """Not an int, though it has what one needs."""

    def __index__(self):
        raise RuntimeError("no")


class Shrinks:
    def __init__(self, row):
        self.row = row

    def __index__(self):
        self.row.clear()
        return 1


@pytest.mark.parametrize(
    ("sequences", "options", "error", "message"),
    [
        (3, {}, TypeError, "sequences must be a sequence of rows, got int"),
        ("abc", {}, TypeError, "sequences must be a sequence of rows, got str"),
        ({"a": [1]}, {}, TypeError, "sequences must be a sequence of rows, got dict"),
        ([[1], 2], {}, TypeError, "sequences[1] must be a list, tuple or array of ints, got int"),
        (["abc"], {}, TypeError, "sequences[0] must be a list, tuple or array of ints, got str"),
        ([None], {}, TypeError, "sequences[0] must be a list, tuple or array of ints, got NoneType"),
        ([{"a": 1}], {}, TypeError, "sequences[0] must be a list, tuple or array of ints, got dict"),
        (
            [np.zeros(2)],
            {},
            TypeError,
            "sequences[0] must be a list, tuple or array of ints, got float64 of shape (2,)",
        ),
        (
            [np.zeros((2, 2, 2), dtype=int)],
            {},
            TypeError,
            "sequences[0] must be a list, tuple or array of ints, got int64 of shape (2, 2, 2)",
        ),
        ([[1], [2, 3.0]], {}, TypeError, "sequences[1][1] must be an int, got float"),
        ([[1, None]], {}, TypeError, "sequences[0][1] must be an int, got NoneType"),
        ([["a"]], {}, TypeError, "sequences[0][0] must be an int, got str"),
        ([[Half()]], {}, TypeError, "sequences[0][0] must be an int, got Half"),
        ([[torch.tensor(1.5)]], {}, TypeError, "sequences[0][0] must be an int, got Tensor"),
        ([[1, 2, 3]], {"length": 2}, ValueError, "sequences[0] must have at most 2 elements, the length, got 3"),
        ([[2**64]], {}, ValueError, "sequences[0][0] must fit in int64, got 18446744073709551616"),
        (
            [np.array([2**63], dtype=np.uint64)],
            {},
            ValueError,
            "sequences[0][0] must fit in int64, got 9223372036854775808",
        ),
        ([[(1, 2)], [3]], {}, TypeError, "sequences[1][0] must be 2 ints, got 3"),
        ([[(1, 2), (1, 2, 3)]], {}, TypeError, "sequences[0][1] must be 2 ints, got (1, 2, 3)"),
        ([[(1, 2)], np.array([1])], {}, ValueError, "sequences[1] must have shape (L, 2), got (1,)"),
        ([[1], [(1, 2)]], {}, TypeError, "sequences[1][0] must be an int, got tuple"),
        ([[1]], {"dtype": np.float32}, TypeError, "dtype must be int64, int32, int16 or uint8, got float32"),
        ([[1]], {"dtype": "text"}, TypeError, "dtype must be int64, int32, int16 or uint8, got 'text'"),
        ([[1]], {"padding_value": 1.0}, TypeError, "padding_value must be an int, got float"),
        ([[1]], {"padding_value": -1, "dtype": np.uint8}, ValueError, "padding_value must be in [0, 255], got -1"),
        ([[1]], {"none_value": 2**70}, ValueError, "none_value must be in "),
        ([[1]], {"length": -1}, ValueError, "length must be in [0, 4294967295], got -1"),
        ([[1]], {"multiple_of": 0}, ValueError, "multiple_of must be in [1, 4294967295], got 0"),
        ([[1]], {"length": 8, "multiple_of": 8}, ValueError, "length must be None beside multiple_of, got 8"),
        ([[1]], {"keep": "last"}, ValueError, "length must be given beside keep, got None"),
        ([[1]], {"keep": "both", "length": 2}, ValueError, "keep must be 'first' or 'last', got 'both'"),
        ([[1]], {"bools": 1}, TypeError, "bools must be a bool, got 1"),
        ([[1], np.zeros((3, 0), dtype=int)], {}, ValueError, "sequences[1] must have shape (L,), got (3, 0)"),
        ([[1]], {"side": "both"}, ValueError, "side must be 'right' or 'left', got 'both'"),
    ],
)
def test_bad_input(sequences, options, error, message):
    with pytest.raises(error) as raised:
        pad_sequences(sequences, **({"padding_value": 0} | options))
    assert str(raised.value).startswith(f"pad_sequences: {message}")
    assert "\n" not in str(raised.value)


def test_a_row_that_changes_while_it_is_read():
    row = [1, None, 3, 4]
    row[1] = Shrinks(row)
    with pytest.raises(ValueError, match=r"^pad_sequences: sequences\[0\] changed while it was read$"):
        pad_sequences([row], padding_value=0)


def test_another_row_that_changes_while_one_is_read():
    for kind in (list(range(1000)), [(1, 2)] * 1000):
        later = list(kind)
        first = [Shrinks(later)] if isinstance(kind[0], int) else [(1, Shrinks(later))]
        with pytest.raises(ValueError, match=r"^pad_sequences: sequences\[1\] changed while it was read$"):
            pad_sequences([first, later], padding_value=0)


def test_nothing_is_lost_or_kept():
    item, rows = 10**9, [[10**9] * 50 for _ in range(50)]
    counts = [sys.getrefcount(item), sys.getrefcount(rows[0])]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(50):
        pad_sequences(rows, padding_value=0)
        with pytest.raises(TypeError):
            pad_sequences([*rows, ["x"]], padding_value=0)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000
    # the last error's traceback may hold its arguments; a leak would be one for each of the 50 calls
    assert abs(sys.getrefcount(item) - counts[0]) < 10
    assert abs(sys.getrefcount(rows[0]) - counts[1]) < 10
