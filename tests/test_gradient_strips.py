"""Gradients in strips of weights, which rows take that are wider than registers hold: Triton (interpreted, or native
with -m gpu) against the definition.

Strips of narrower rows are in the tests of each operator; what half types make of a gradient is in test_half_on_gpu.py.
"""

from __future__ import annotations

import pytest
import test_cross_softmax
import test_one_way_softmax
import test_sigmoid_pairs
import test_similarity_softmax
import torch
from gpu_operators import use_several_strips

pytest.importorskip("triton")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards

WIDE = 520  # registers hold 512 numbers of a row
DTYPES = [torch.float32, torch.bfloat16]
N, M = 40, 70  # two strips


@pytest.fixture(autouse=True)
def several_strips(rounded_weights, monkeypatch: pytest.MonkeyPatch) -> None:
    use_several_strips(monkeypatch)


@pytest.mark.parametrize("dtype", DTYPES)
def test_similarity_softmax_of_wide_rows(dtype: torch.dtype, triton_device) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.similarity_softmax import forward
    from sslfast.kernels.similarity_softmax_backward import backward

    assert not any(_launch.similarity_in_registers(N, WIDE, dtype.itemsize, labels) for labels in (False, True))
    test_similarity_softmax.check(forward, backward, (N, WIDE, 10.0, 1.0, 1.0), dtype, triton_device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_softmax_of_wide_rows(dtype: torch.dtype, triton_device) -> None:
    from sslfast.kernels import _cross_launch
    from sslfast.kernels.cross_softmax import forward
    from sslfast.kernels.cross_softmax_backward import backward

    assert not any(_cross_launch.cross_in_registers(N, M, WIDE, dtype.itemsize, sides) for sides in (1, 2))
    test_cross_softmax.check(forward, backward, (N, M, WIDE, 14.0, 1.0), dtype, triton_device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_way_softmax_of_wide_rows(dtype: torch.dtype, triton_device) -> None:
    from sslfast.kernels import _cross_launch
    from sslfast.kernels.one_way_softmax import one_way_softmax

    for needs in ((True, True), (True, False), (False, True)):
        assert not _cross_launch.one_way_in_registers(N, M, WIDE, dtype.itemsize, *needs)
    test_one_way_softmax.check(one_way_softmax, (N, M, WIDE, 14.0), dtype, triton_device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_pairs_of_wide_rows(dtype: torch.dtype, triton_device) -> None:
    from sslfast.kernels import _sigmoid_launch
    from sslfast.kernels.sigmoid_pairs import sigmoid_pairs

    for needs in ((True, True), (True, False), (False, True)):
        assert not _sigmoid_launch.sigmoid_in_registers(N, M, WIDE, dtype.itemsize, *needs)
    test_sigmoid_pairs.check(sigmoid_pairs, (N, M, WIDE, 10.0, -10.0), dtype, triton_device)
