"""The softmaxes of similarities, gradients in registers or in strips of weights: where which, and that they agree.

What each gives is in test_similarity_softmax.py, test_cross_softmax.py and test_one_way_softmax.py.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

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


def test_where_registers_end_in_similarity_softmax(monkeypatch) -> None:
    pytest.importorskip("triton")
    from sslfast.kernels import _launch

    assert [_launch.similarity_in_registers(4096, dim, 2) for dim in (128, 192, 512, 513)] == [True] * 3 + [False]
    assert [_launch.similarity_in_registers(8192, dim, 2) for dim in (128, 192)] == [True, False]
    assert [_launch.similarity_in_registers(size, 512, 2, True) for size in (2896, 2897)] == [True, False]
    # float32: by the arithmetic above D = 128, on plain cores and on tensor cores; by rows up to there.
    for size, dim, precision in ((512, 512, "ieee"), (724, 256, "ieee"), (1448, 512, "tf32"), (2048, 128, "ieee")):
        for more in (0, 1):
            assert _launch.similarity_in_registers(size + more, dim, 4, False, precision) == (not more)
    assert not _launch.similarity_in_registers(64, 513, 4)
    for chosen in (True, False):
        monkeypatch.setattr(_launch, "REGISTERS", chosen)
        assert _launch.similarity_in_registers(2**20, 512, 2) == chosen
        assert not _launch.similarity_in_registers(64, 513, 2)


def test_runs_of_a_walk() -> None:
    pytest.importorskip("triton")
    from sslfast.kernels import _launch

    # So many that programs of 64 rows are up to 128, none shorter than 4 blocks; one where the programs are enough.
    for size, runs in ((100, 1), (512, 4), (2048, 4), (2176, 3), (8192, 1), (16384, 1)):
        run = _launch.similarity_run(-(-size // 64), size, 32)
        assert (run % 32, -(-size // run)) == (0, runs)
        assert runs == 1 or runs * -(-size // 64) <= 128  # the parts of a gradient that they leave


def labels_of(size: int, length: int, labelled: bool) -> tuple[Tensor, ...]:
    """Labels of rows and of columns, and weights as large as the softmax's; or none of them."""
    if not labelled:
        return ()
    row_labels, col_labels = (torch.arange(n, dtype=torch.int32, device="cuda") % 50 for n in (size, length))
    return row_labels, col_labels, torch.full((size,), 50 / (size * length), device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("dtype", [*HALF, torch.float32])
@pytest.mark.parametrize("dim", [64, 128, 256, 384, 512])
def test_ways_agree_in_cross_softmax(dim: int, dtype: torch.dtype, labelled: bool, monkeypatch) -> None:
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
        rest = (None, None, None, kept, True, True, None, None, *labels_of(3000, 4100, labelled))
        found.append(backward(*sides, positives, *vectors, *rest))
    assert all(torch.equal(first, again) for first, again in zip(found[0], found[1], strict=True))
    close = 2e-6 if dtype == torch.float32 else 1e-4 if labelled else 2.5e-3
    for f, g in zip(found[0], found[2], strict=True):
        assert (f - g).norm() <= close * g.norm()


def test_where_registers_end_in_cross_softmax(monkeypatch) -> None:
    pytest.importorskip("triton")
    from sslfast.kernels import _launch
    from sslfast.kernels._cross_launch import cross_in_registers as ends

    assert [ends(4096, 4096, dim, 2) for dim in (128, 512, 513)] == [True, True, False]
    assert [ends(8192, 8192, 128, 2), ends(2048, 8192, 128, 2), ends(8, 2**20, 128, 2)] == [False, True, True]
    # One side makes no more products than the strips, with labels or without.
    for labels in (False, True):
        assert [ends(65536, 65536, dim, 2, 1, labels) for dim in (128, 256, 257)] == [True, True, False]
        assert [ends(*sizes, 128, 2, 1, labels) for sizes in ((64, 2**20), (2**20, 64))] == [True, True]
        assert [ends(size, size, 512, 2, 2, labels) for size in (2896, 4096)] == [True, not labels]
    # float32: most rows of both sides, and of one.
    for precision, dim, both, one in (("ieee", 512, 362, 512), ("ieee", 64, 1024, 1448), ("tf32", 128, 2048, 2896)):
        for most, sides in ((both, 2), (one, 1)):
            for labels in (False, True):
                assert [ends(n, n, dim, 4, sides, labels, precision) for n in (most, most + 1)] == [True, False]
    for chosen in (True, False):
        monkeypatch.setattr(_launch, "REGISTERS", chosen)
        assert ends(2**20, 2**20, 512, 2) == ends(2**20, 2**20, 512, 4) == chosen
        assert not ends(64, 64, 513, 2)


def test_runs_of_a_side() -> None:
    pytest.importorskip("triton")
    from sslfast.kernels._cross_launch import walk

    # Few blocks: runs of 4 steps, up to 128 programs, and of 8, up to 512; none where programs are enough.
    for blocks, length, runs in ((16, 512, 2), (32, 2048, 4), (2, 65536, 128), (1, 2**20, 512), (130, 8192, 3)):
        assert walk(blocks, length, 64) == runs
    assert [walk(blocks, 65536, 64) for blocks in (70, 256, 257)] == [7, 2, 1]


def test_where_registers_end_in_sigmoid_pairs() -> None:
    pytest.importorskip("triton")
    from sslfast.kernels._sigmoid_launch import sigmoid_in_registers as ends

    both, rows, columns = (True, True), (True, False), (False, True)
    assert [ends(4096, 4096, dim, 2, *both) for dim in (128, 512, 513)] == [True, True, False]
    # The longer side may be four times as long.
    assert [ends(n, 8192, 128, 2, *both) for n in (8192, 2048, 2047)] == [False, True, False]
    for side in (rows, columns):
        assert [ends(65536, 65536, dim, 2, *side) for dim in (128, 256, 257)] == [True, True, False]
        assert [ends(*sizes, 128, 2, *side) for sizes in ((64, 65536), (65536, 64))] == [True, True]
    # Below D = 64 the exponentials take longer than the products.
    assert [ends(n, n, 16, 4, *both) for n in (1448, 1449)] == [True, False]


@pytest.mark.gpu
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("dtype", [*HALF, torch.float32])
@pytest.mark.parametrize("dim", [64, 128, 256, 384, 512])
def test_ways_agree_in_one_way_softmax(dim: int, dtype: torch.dtype, labelled: bool, monkeypatch) -> None:
    """At a size that fills a GPU, to the rounding of weights; and registers give the same bits in every run."""
    from sslfast.kernels import _launch
    from sslfast.kernels.one_way_softmax import one_way_softmax as launcher

    sides = [F.normalize(torch.randn(n, dim, device="cuda"), dim=1).to(dtype) for n in (3000, 4100)]
    rest = (torch.arange(3000, device="cuda"), torch.tensor([20.0], device="cuda"), *[None] * 6, True, True)
    rest = (*rest, None, None, *(t * 3000 if t.is_floating_point() else t for t in labels_of(3000, 4100, labelled)))
    found = []
    for in_registers in (True, True, False):
        monkeypatch.setattr(_launch, "REGISTERS", in_registers)
        found.append(launcher(*sides, *rest))
    assert all(torch.equal(first, again) for first, again in zip(found[0], found[1], strict=True))
    close = 4e-6 if dtype == torch.float32 else 1e-4 if labelled else 2.5e-3
    for f, g in zip(found[0], found[2], strict=True):
        assert (f - g).norm() <= (close if f.dim() == 2 else 4e-6) * g.norm()


def test_where_registers_end_in_one_way_softmax(monkeypatch) -> None:
    pytest.importorskip("triton")
    from sslfast.kernels import _launch
    from sslfast.kernels._cross_launch import one_way_in_registers as ends

    both, rows, columns = (True, True), (True, False), (False, True)
    for dim, small in ((128, True), (256, True), (512, False), (513, False)):
        assert ends(65536, 65536, dim, 2, *both) == small
        assert ends(65536, 65536, dim, 2, *rows) == (dim <= 512)  # as many products as the strips
    assert [ends(4096, 4096, 512, 2, *both), ends(65536, 64, 64, 2, *both)] == [True, True]
    # With labels, of one side and of both.
    assert [ends(65536, 65536, dim, 2, *rows, True) for dim in (256, 257)] == [True, False]
    assert [ends(65536, 65536, dim, 2, *both, True) for dim in (128, 129)] == [True, False]
    assert [ends(n, n, 512, 2, *rows, True) for n in (2896, 2897)] == [True, False]
    assert [ends(n, n, 512, 2, *both, True) for n in (2048, 2049)] == [True, False]
    # float32: most rows.
    for needs, labels, most in (
        *((rows, False, 512), (rows, True, 362), (columns, False, 362)),
        *((both, False, 362), (both, True, 256)),
    ):
        assert [ends(n, n, 512, 4, *needs, labels) for n in (most, most + 1)] == [True, False]
    assert [ends(n, n, 128, 4, *both, False, "tf32") for n in (2048, 2049)] == [True, False]
    for chosen in (True, False):
        monkeypatch.setattr(_launch, "REGISTERS", chosen)
        assert ends(65536, 64, 512, 2, *both) == ends(65536, 64, 512, 4, *both, True) == chosen
        assert not ends(64, 64, 513, 2, *rows)
