"""square_mask: the reference bit for bit, exact counts, bad input."""

from __future__ import annotations

import pytest
import torch
from oracle import all_equal

from sslfast import _block_ranges, host, ops
from sslfast.masking import square_mask
from sslfast.reference import square_mask as reference

# (rows, grid, ratio, options) and why it is there
SIZES = [
    (6, (14, 14), 0.8, {"adjust": 0.07}),  # data2vec 2.0: thinned or completed
    (6, (14, 14), 0.8, {"adjust": 0.6}),  # thinned
    (6, (14, 14), 0.4, {"inverse": False}),  # squares are masked
    (3, (5, 9), 0.5, {"side": 4}),  # an even side
    (3, (5, 9), 0.5, {"side": 100, "adjust": 1.0}),  # no square is drawn
    (3, (4, 4), 0.5, {"side": 1, "adjust": 1.0}),  # patches
    (3, (1, 1), 0.0, {}),
    (2, (5, 130), 0.7, {}),  # words of bits
    (2, (70, 70), 0.6, {"side": 5}),  # more patches than a GPU block keeps keys of
    (60, (6, 6), 0.75, {}),  # many rows
    (0, (8, 8), 0.5, {}),
]


@pytest.mark.parametrize(("rows", "grid", "ratio", "options"), SIZES)
def test_equals_reference(device, rows, grid, ratio, options):
    side, adjust, inverse = options.get("side", 3), options.get("adjust", 0.0), options.get("inverse", True)
    squares, marked = _block_ranges.squares("square_mask", grid[0] * grid[1], ratio, side, adjust, inverse)
    draws = {"row_offset": 2**33}
    expected = reference.square_mask(rows, grid, squares, side, marked, inverse=inverse, seed=7, **draws)
    ours = square_mask(rows, grid, ratio, generator=7, device=device, **options, **draws)
    assert all_equal([ours], [expected])
    array = host.square_mask(rows, grid, ratio, seed=7, threads=2, **options, **draws)
    assert all_equal([torch.from_numpy(array)], [expected])
    counts = (~ours if inverse else ours).sum((1, 2))
    assert (counts == marked).all()


def test_counts():
    assert (square_mask(3, (14, 14)).sum((1, 2)) == 196 - 39).all()  # 39.2 stay
    assert (square_mask(3, (10, 10), 0.8).sum((1, 2)) == 80).all()  # 1 - 0.8 is less than 0.2
    assert (square_mask(3, (10, 10), 0.3, inverse=False).sum((1, 2)) == 30).all()


def test_opcheck(device):
    like = torch.empty((), device=device)
    torch.library.opcheck(ops.square_mask, (like, torch.tensor(1), None, 2, 4, 6, 2, 3, 8, True, 0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": "2"}, TypeError, "batch_size must be an int, got str"),
        ({"grid": (8,)}, ValueError, "grid must be (H, W), got (8,)"),
        ({"mask_ratio": 1.0}, ValueError, "mask_ratio must be in [0, 1), got 1.0"),
        ({"mask_ratio": 0.999}, ValueError, "mask_ratio must keep at least 1 of 64 patches, got 0.999"),
        ({"side": 0}, ValueError, "side must be in [1, 2147483648], got 0"),
        ({"adjust": 2.0}, ValueError, "adjust must be a probability in [0, 1], got 2.0"),
        ({"inverse": 1}, TypeError, "inverse must be a bool, got 1"),
    ],
)
def test_bad_input(arguments, error, message):
    for function, seed in ((square_mask, {}), (host.square_mask, {"seed": 1})):
        with pytest.raises(error) as raised:
            function(**{"batch_size": 2, "grid": (8, 8), **arguments, **seed})
        assert str(raised.value) == f"square_mask: {message}"
