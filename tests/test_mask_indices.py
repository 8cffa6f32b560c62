"""mask_indices: the reference, every stride, every share of true elements."""

from __future__ import annotations

import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import MaskIndices, mask_indices
from sslfast.reference import mask_indices as reference

SIZES = [(1, 1), (3, 7), (4, 256), (5, 257), (2, 5000), (300, 3), (0, 4), (4, 0)]


@pytest.mark.parametrize(("rows", "length"), SIZES)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_equals_reference(device, rows, length, share):
    mask = torch.rand(rows, length) < share
    ours = mask_indices(mask.to(device))
    assert isinstance(ours, MaskIndices)
    assert all_equal(ours, reference.mask_indices(mask))
    for threads in (1, 3):
        arrays = host.mask_indices(mask.numpy(), threads=threads)
        assert isinstance(arrays, host.MaskIndices)
        assert all_equal(map(torch.from_numpy, arrays), reference.mask_indices(mask))


def test_the_short_form_is_nonzero():
    mask = torch.rand(6, 50) < 0.4
    indices, counts = mask_indices(mask)
    assert torch.equal(indices[: counts.sum()], mask.flatten().nonzero().flatten())


def test_shapes_and_strides(device):
    base = torch.rand(20, 30, 4) < 0.5
    for mask in (base, base[..., 0], base[::2, 1::3, 1].T, base[:, 0, 0], base[:1, :, 0].expand(5, 30)):
        expected = reference.mask_indices(mask.flatten(1) if mask.dim() > 1 else mask[:, None])
        assert all_equal(mask_indices(mask.to(device)), expected)
        assert all_equal(map(torch.from_numpy, host.mask_indices(mask.numpy())), expected)


def test_composes(device):
    mask = torch.rand(5, 33, device=device) < 0.5
    torch.library.opcheck(ops.mask_indices, (mask,))
    assert all_equal(torch.compile(mask_indices, fullgraph=True)(mask), mask_indices(mask))


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True], TypeError, "mask_indices: mask must be a bool tensor, got list"),
        (torch.ones(2, 2), TypeError, "mask_indices: mask must be a bool tensor, got torch.float32"),
        (torch.tensor(True), ValueError, "mask_indices: mask must have shape (N, ...), got ()"),
    ],
)
def test_bad_input(mask, error, message):
    with pytest.raises(error) as raised:
        mask_indices(mask)
    assert str(raised.value) == message
    with pytest.raises(error) as raised:
        host.mask_indices(mask.numpy() if isinstance(mask, torch.Tensor) else mask)
    assert str(raised.value) == message.replace("bool tensor", "bool array").replace("torch.", "")
