"""sample_negatives: the reference bit for bit, strides, both widths of index, rows with few masked frames."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import sample_negatives
from sslfast.reference import negative_indices as reference

# (rows, length, negatives) and why it is there
SIZES = [
    (1, 1, 1),  # one frame
    (3, 40, 7),  # not whole counters
    (2, 300, 100),  # wav2vec 2.0's number; more than a block of frames on a GPU
    (5, 33, 4),  # one counter a frame
    (0, 5, 3),  # no rows
]


@pytest.mark.parametrize(("rows", "length", "negatives"), SIZES)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_equals_reference(device, rows, length, negatives, share, dtype):
    mask = torch.rand(rows, length) < share
    for seed, row_offset in ((7, 0), (-1, 2**40)):
        expected = reference.sample_negatives(mask, negatives, dtype=dtype, seed=seed, row_offset=row_offset)
        draws = {"row_offset": row_offset, "dtype": dtype}
        assert all_equal([sample_negatives(mask.to(device), negatives, generator=seed, **draws)], [expected])
        draws["dtype"] = np.int32 if dtype == torch.int32 else np.int64
        arrays = host.sample_negatives(mask.numpy(), negatives, seed=seed, threads=2, **draws)
        assert all_equal([torch.from_numpy(arrays)], [expected])


def test_negatives_are_other_masked_frames_of_the_row(device):
    mask = torch.rand(6, 50) < 0.4
    mask[:, :2] = True
    out = sample_negatives(mask.to(device), 11, generator=1).cpu().long()
    rows, frames = out // 50, out % 50
    assert (rows == torch.arange(6)[:, None, None]).all()
    assert mask.gather(1, frames.flatten(1))[mask[:, :, None].expand_as(out).flatten(1)].all()
    assert (frames != torch.arange(50)[:, None])[mask].all()
    assert (frames[~mask] == 0).all()


def test_few_masked_frames(device):
    mask = torch.zeros(3, 9, dtype=torch.bool, device=device)
    mask[1, 4] = True
    mask[2, [2, 7]] = True
    out = sample_negatives(mask, 5, generator=1).cpu()
    assert (out[0] == 0).all()
    assert (out[1, 4] == 9 + 4).all()  # its own: there is no other
    assert (out[2, 2] == 18 + 7).all()
    assert (out[2, 7] == 18 + 2).all()


def test_strides(device):
    base = (torch.rand(30, 40) < 0.5).to(device)
    for mask in (base.T, base[::2, 1::3], base[:1].expand(4, 40)):
        expected = sample_negatives(mask.contiguous(), 6, generator=2)
        assert torch.equal(sample_negatives(mask, 6, generator=2), expected)
        arrays = host.sample_negatives(mask.cpu().numpy(), 6, seed=2)
        assert all_equal([torch.from_numpy(arrays)], [expected])


def test_faces_take_the_same_arguments():
    def arguments(function):
        kept = inspect.signature(function).parameters.items()
        return [(n, p.kind) for n, p in kept if n not in ("seed", "generator", "threads")]

    assert arguments(host.sample_negatives) == arguments(sample_negatives)


def test_composes(device):
    mask = torch.rand(3, 17, device=device) < 0.5
    torch.library.opcheck(ops.negative_indices, (mask, torch.tensor(1), None, 6, torch.int32, 0))
    compiled = torch.compile(sample_negatives, fullgraph=True)
    assert torch.equal(compiled(mask, 6, generator=1), sample_negatives(mask, 6, generator=1))


MASK = torch.ones(2, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mask_time_indices": [1]}, TypeError, "mask_time_indices must be a bool tensor, got list"),
        (
            {"mask_time_indices": torch.ones(2, 2)},
            TypeError,
            "mask_time_indices must be a bool tensor, got torch.float32",
        ),
        (
            {"mask_time_indices": MASK[0]},
            ValueError,
            "mask_time_indices must have shape (N, T) with T >= 1, got (4,)",
        ),
        ({"num_negatives": 0}, ValueError, "num_negatives must be in [1, 2147483647], got 0"),
        ({"num_negatives": 1.0}, TypeError, "num_negatives must be an int, got float"),
        (
            {"mask_time_indices": MASK[:1].expand(1, 4)[:, :1].expand(1, 9), "num_negatives": 2**31 - 1},
            ValueError,
            "frames of a row times num_negatives must be at most 2^34, got 9 and 2147483647",
        ),
        ({"row_offset": 1.0}, TypeError, "row_offset must be an int, got float"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        sample_negatives(**{"mask_time_indices": MASK, "num_negatives": 3, **arguments})
    assert str(raised.value) == f"sample_negatives: {message}"
    on_arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.sample_negatives(**{"mask_time_indices": MASK.numpy(), "num_negatives": 3, "seed": 1, **on_arrays})
    expected = message.replace("tensor", "array").replace("torch.", "")
    assert str(raised.value) == f"sample_negatives: {expected}"


def test_bad_dtype():
    with pytest.raises(ValueError, match=r"sample_negatives: dtype must be torch.int32 or torch.int64, got torch.int8"):
        sample_negatives(MASK, 3, dtype=torch.int8)
    with pytest.raises(ValueError, match=r"sample_negatives: dtype must be int32 or int64, got .*int8"):
        host.sample_negatives(MASK.numpy(), 3, dtype=np.int8, seed=1)
    wide = torch.ones(1, 1, dtype=torch.bool).expand(2**16, 2**15 + 1)
    with pytest.raises(ValueError, match=r"sample_negatives: dtype must be int64 for 2147549184 frames, got int32"):
        sample_negatives(wide, 3)
