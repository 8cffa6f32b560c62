"""What every test shares: devices, seeds, and Triton's interpreter where there is no GPU.

``from oracle import assert_no_worse`` is the comparison with the reference.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: a thread each, read when torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

CUDA = torch.cuda.is_available()
TRITON = importlib.util.find_spec("triton") is not None

if not CUDA:
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is decorated: before anything imports sslfast.kernels


def exact_bf16_dot(create_dot: Callable[..., Any]) -> Callable[..., Any]:
    """The interpreter's ``tl.dot`` with bfloat16 operands widened to float32.

    It keeps bfloat16 as uint16 bits, and Triton 3.9 multiplies those bits as integers. A bfloat16 is the upper half of
    the float32 of equal value, and the products are exact in float32, as they are on a tensor core.
    """
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    def widened(handle: Any) -> Any:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    @wraps(create_dot)
    def create(self: Any, a: Any, b: Any, *args: Any) -> Any:
        return create_dot(self, widened(a), widened(b), *args)

    return create


def nearest_bf16_cast(cast_impl: Callable[..., Any]) -> Callable[..., Any]:
    """The interpreter's cast of float32 to bfloat16, rounded to the nearest as on a GPU; Triton 3.9 cuts bits off."""
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    @wraps(cast_impl)
    def cast(self: Any, src: Any, dst_type: Any) -> Any:
        if src.dtype.scalar != tl.float32 or dst_type.scalar != tl.bfloat16:
            return cast_impl(self, src, dst_type)
        numbers = torch.from_numpy(np.ascontiguousarray(src.data)).to(torch.bfloat16)
        return TensorHandle(numbers.view(torch.int16).numpy().view(np.uint16), tl.bfloat16)

    return cast


if TRITON and not CUDA:
    from triton.runtime.interpreter import InterpreterBuilder

    InterpreterBuilder.create_dot = exact_bf16_dot(InterpreterBuilder.create_dot)
    InterpreterBuilder.cast_impl = nearest_bf16_cast(InterpreterBuilder.cast_impl)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes come first: begun last, they would keep one process busy while the others wait."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not CUDA:
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(20260101)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where the compiled operators run."""
    return torch.device(request.param)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def triton_device(request: pytest.FixtureRequest) -> torch.device:
    """Where the Triton launchers run: interpreted on CPU tensors, or natively where there is a GPU."""
    pytest.importorskip("triton")
    if request.param == "cpu" and CUDA:
        pytest.skip("Triton runs natively here: select the tests marked gpu")
    return torch.device(request.param)


@pytest.fixture
def rounded_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launchers take half types as they are, however few the rows: small problems show how weights are rounded."""
    pytest.importorskip("triton")
    monkeypatch.setattr("sslfast.kernels.few_rows._FEW", 0)
