"""drop_in.torchaudio beside torchaudio's published algorithm: distributions of whole masks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from sslfast.masking.drop_in.torchaudio import SpecAugment, mask_along_axis, mask_along_axis_iid

ALPHA = 1e-4


def published(spec, mask_param, mask_value, axis, p=1.0, iid=True):
    """A real width below ``mask_param`` and a real start, both cut to integers; positions in float32."""
    size = spec.shape[axis]
    mask_param = mask_param if p == 1 else min(mask_param, int(size * p))
    if mask_param < 1:
        return spec
    width = torch.rand(spec.shape[:-2] if iid else (1,) * (spec.dim() - 2)) * mask_param
    start = torch.rand(width.shape) * (size - width)
    first = start.long()[..., None, None]
    at = torch.arange(size)
    masked = (at >= first) & (at < first + width.long()[..., None, None])
    return spec.masked_fill(masked if axis == spec.dim() - 1 else masked.mT, mask_value)


def alike(ours: list, theirs: list) -> bool:
    """Whether two samples of the same things are of one distribution: rare things count as one."""
    counters = Counter(ours), Counter(theirs)
    keys = sorted(counters[0] | counters[1], key=str)
    table = np.array([[c[k] for k in keys] for c in counters])
    common = table.sum(0) >= 20
    table = np.column_stack([table[:, common], table[:, ~common].sum(1)])
    table = table[:, table.sum(0) > 0]
    return table.shape[1] == 1 or stats.chi2_contingency(table).pvalue > ALPHA


def rows(masked):
    return [row.numpy().tobytes() for row in masked.flatten(0, 1)]


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize(("mask_param", "p"), [(1, 1.0), (4, 1.0), (5, 0.4), (9, 1.0), (30, 1.0)])
def test_iid_masks_are_distributed_as_torchaudios(axis, mask_param, p):
    torch.manual_seed(3)
    spec = torch.zeros(6000, 2, 5, 8)
    ours, theirs = (f(spec, mask_param, 1.0, axis, p) for f in (mask_along_axis_iid, published))
    assert alike(rows(ours), rows(theirs))
    pairs = [[row.numpy().tobytes() for row in out] for out in (ours, theirs)]  # channels draw by themselves
    assert alike(*pairs)


@pytest.mark.parametrize("axis", [1, 2])
def test_one_mask_for_all_is_distributed_as_torchaudios(axis):
    torch.manual_seed(4)
    spec = torch.zeros(2, 5, 8)
    samples = [
        [f(spec, 4, 1.0, axis).numpy().tobytes() for _ in range(4000)]
        for f in (mask_along_axis, lambda *a: published(*a, iid=False))
    ]
    assert alike(*samples)
    assert torch.equal(*mask_along_axis(spec, 4, 1.0, axis))


@pytest.mark.parametrize("iid_masks", [True, False])
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_module_is_distributed_as_torchaudios(iid_masks, p):
    torch.manual_seed(5)
    spec, module = torch.zeros(2, 4, 6), SpecAugment(2, 3, 1, 3, iid_masks, p, zero_masking=True)
    theirs = []
    for _ in range(5000):
        out = spec + 1
        for axis, number in ((2, 2), (1, 1)):
            for _ in range(number):
                out = published(out, 3, 0.0, axis, p, iid_masks)
        theirs.append(out.numpy().tobytes())
    assert alike([module(spec + 1).numpy().tobytes() for _ in range(5000)], theirs)


def test_module_fills_with_the_mean_of_the_input():
    spec = torch.randn(3, 20, 50)
    out = SpecAugment(2, 20, 2, 8)(spec)
    changed = out != spec
    assert changed.any()
    assert torch.allclose(out[changed], spec.mean())
    assert SpecAugment(1, 4, 1, 4).state_dict() == {}


def test_what_comes_back():
    spec = torch.randn(2, 5, 8)
    assert mask_along_axis_iid(spec, 0, 0.0, 1) is spec
    assert mask_along_axis(spec, 5, 0.0, 2, p=0.1) is spec
    value = torch.tensor(3.0, requires_grad=True)
    out = mask_along_axis(spec, 8, value, 2)
    assert ((out == 3) | (out == spec)).all()
    (grad,) = torch.autograd.grad(out.sum(), value)
    assert grad == (out == 3).sum()


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (
            mask_along_axis_iid,
            (torch.ones(3, 4), 2, 0.0, 1),
            ValueError,
            "specgrams must have at least 3 dimensions, got 2",
        ),
        (mask_along_axis, (torch.ones(3), 2, 0.0, 0), ValueError, "specgram must have at least 2 dimensions, got 1"),
        (mask_along_axis, (torch.ones(2, 3, 4), 2, 0.0, 0), ValueError, "axis must be 1 or 2, got 0"),
        (mask_along_axis, ([1.0], 2, 0.0, 0), TypeError, "specgram must be a tensor, got list"),
        (
            mask_along_axis,
            (torch.ones(2, 3, 4), 2, 0.0, 1, 2.0),
            ValueError,
            "p must be a probability in [0, 1], got 2.0",
        ),
    ],
)
def test_errors(function, arguments, error, message):
    with pytest.raises(error) as raised:
        function(*arguments)
    assert str(raised.value) == f"{function.__name__}: {message}"
