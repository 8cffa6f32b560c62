"""The softmaxes of similarities, gradients in registers or in strips of weights: where which, and that they agree.

What each gives is in test_similarity_softmax.py, test_cross_softmax.py and test_one_way_softmax.py.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

HALF = [torch.bfloat16, torch.float16]


@pytest.mark.gpu
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("dtype", [*HALF, torch.float32])
@pytest.mark.parametrize("dim", [64, 128, 256, 384, 512])
def test_ways_agree_in_similarity_softmax(dim: int, dtype: torch.dtype, labelled: bool, monkeypatch) -> None:
    """Where the walk is one run and where it is several; and registers give the same bits in every run."""
    from sslfast.kernels import _launch
    from sslfast.kernels.similarity_softmax import forward
    from sslfast.kernels.similarity_softmax_backward import backward

    for size in (1000, 9000):
        rows = F.normalize(torch.randn(size, dim, device="cuda"), dim=1).to(dtype)
        positives = torch.arange(size, device="cuda").roll(size // 2)
        lse, _, kept = forward(rows, positives, 20.0, 1.0, 0)
        share = torch.full((size,), 1 / size, device="cuda")
        classes = (torch.arange(size, dtype=torch.int32, device="cuda") % 50, share / 20) if labelled else ()
        found = []
        for in_registers in (True, True, False):
            monkeypatch.setattr(_launch, "REGISTERS", in_registers)
            found.append(backward(rows, positives, lse, share, -share, kept, 20.0, 1.0, None, *classes))
        assert torch.equal(found[0], found[1])
        close = 2e-6 if dtype == torch.float32 else 1e-4 if labelled else 2.5e-3
        assert (found[0] - found[2]).norm() <= close * found[2].norm()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("dim", [64, 128, 256, 384, 512])
def test_ways_agree_in_cross_softmax(dim: int, dtype: torch.dtype, monkeypatch) -> None:
    """At a size that fills a GPU, to the rounding of weights; and registers give the same bits in every run."""
    from sslfast.kernels import _launch
    from sslfast.kernels.cross_softmax import forward
    from sslfast.kernels.cross_softmax_backward import backward

    sides = [F.normalize(torch.randn(n, dim, device="cuda"), dim=1).to(dtype) for n in (3000, 4100)]
    positives, number = torch.arange(3000, device="cuda"), torch.tensor([20.0], device="cuda")
    row_lse, col_lse, _, kept = forward(*sides, positives, number, None, None, None, 1.0, True, 0)
    grads = [torch.full((n,), 1 / n, device="cuda") for n in (3000, 4100, 3000)]
    vectors = (row_lse, col_lse, grads[0], grads[1], -grads[2], number)
    found = []
    for in_registers in (True, True, False):
        monkeypatch.setattr(_launch, "REGISTERS", in_registers)
        found.append(backward(*sides, positives, *vectors, None, None, None, kept, True, True))
    assert all(torch.equal(first, again) for first, again in zip(found[0], found[1], strict=True))
    for f, g in zip(found[0], found[2], strict=True):
        assert (f - g).norm() <= 2.5e-3 * g.norm()


def test_where_registers_end_in_cross_softmax(monkeypatch) -> None:
    pytest.importorskip("triton")
    from sslfast.kernels import _launch

    ends = _launch.sides_in_registers
    assert [ends(4096, 4096, dim, 2) for dim in (128, 512, 513)] == [True, True, False]
    assert [ends(8192, 8192, 128, 2), ends(2048, 8192, 128, 2), ends(8, 2**20, 128, 2)] == [False, True, False]
    # One side makes no more products than the strips, if its programs are many or their walk is short.
    assert [ends(65536, 65536, dim, 2, True, False) for dim in (128, 256, 257)] == [True, True, False]
    assert [ends(*sizes, 128, 2, True, False) for sizes in ((64, 65536), (65536, 64))] == [False, True]
    assert [ends(*sizes, 128, 2, False, True) for sizes in ((64, 65536), (65536, 64))] == [True, False]
    assert not ends(64, 64, 64, 4)
    for chosen in (True, False):
        monkeypatch.setattr(_launch, "REGISTERS", chosen)
        assert ends(2**20, 2**20, 512, 2) == chosen
        assert not ends(64, 64, 513, 2)
        assert not ends(64, 64, 64, 4)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("dim", [64, 128, 256, 384, 512])
def test_ways_agree_in_one_way_softmax(dim: int, dtype: torch.dtype, monkeypatch) -> None:
    """At a size that fills a GPU, to the rounding of weights; and registers give the same bits in every run."""
    from sslfast.kernels import _launch
    from sslfast.kernels.one_way_softmax import one_way_softmax as launcher

    sides = [F.normalize(torch.randn(n, dim, device="cuda"), dim=1).to(dtype) for n in (3000, 4100)]
    rest = (torch.arange(3000, device="cuda"), torch.tensor([20.0], device="cuda"), *[None] * 6, True, True)
    found = []
    for in_registers in (True, True, False):
        monkeypatch.setattr(_launch, "REGISTERS", in_registers)
        found.append(launcher(*sides, *rest))
    assert all(torch.equal(first, again) for first, again in zip(found[0], found[1], strict=True))
    for f, g in zip(found[0], found[2], strict=True):
        assert (f - g).norm() <= (2.5e-3 if f.dim() == 2 else 4e-6) * g.norm()


def test_where_registers_end_in_one_way_softmax(monkeypatch) -> None:
    pytest.importorskip("triton")
    from sslfast.kernels import _launch

    ends = _launch.one_way_in_registers
    for dim, both in ((128, True), (256, True), (512, False), (513, False)):
        assert ends(65536, 65536, dim, 2, True) == both
        assert ends(65536, 65536, dim, 2, False) == (dim <= 512)  # as many products as the strips
    assert [ends(4096, 4096, 512, 2, True), ends(65536, 64, 64, 2, True)] == [True, False]
    assert not ends(64, 64, 64, 4, False)
    for chosen in (True, False):
        monkeypatch.setattr(_launch, "REGISTERS", chosen)
        assert ends(65536, 64, 512, 2, True) == chosen
        assert not ends(64, 64, 513, 2, False)
