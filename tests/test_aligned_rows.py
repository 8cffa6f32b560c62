"""Rows of any length, strides and address: launchers pad them to what kernels of products are compiled for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from test_factors_on_gpu import cross, cross_two_way, one_way, pairs, queue, similarity

from sslfast.kernels import _launch, linear_cross_entropy, nt_xent, nt_xent_backward, sigmoid_pairs
from sslfast.kernels.aligned_rows import aligned, first_columns, padded

N, M, D = 19, 37, 20


def classes(rows: Tensor, columns: Tensor) -> list[Tensor]:
    targets = torch.arange(len(rows)) * 3 % len(columns)
    terms = (None, None, None, None, 0.1, 0.0, 0.0)
    return list(linear_cross_entropy.linear_cross_entropy(rows, columns, targets, None, *terms, True, True, True))


def views(rows: Tensor, columns: Tensor) -> list[Tensor]:
    """NT-Xent of two views: the loss, what it keeps and both gradients."""
    columns = columns[: len(rows)]
    loss, *kept = nt_xent.forward(rows, columns, 5.0)
    return [loss, *kept, *nt_xent_backward.backward(rows, columns, *kept, torch.tensor(1.5), 5.0, True, True)]


OPERATORS = [cross, cross_two_way, one_way, pairs, queue, similarity, classes, views]


def contiguous(rows: Tensor) -> Tensor:
    return rows.clone()


def turned(rows: Tensor) -> Tensor:
    return rows.t().contiguous().t()


def within(rows: Tensor) -> Tensor:
    """Columns of a wider matrix, from the second on."""
    wide = rows.new_full((len(rows), rows.shape[1] + 5), float("nan"))
    wide[:, 1 : 1 + rows.shape[1]] = rows
    return wide[:, 1 : 1 + rows.shape[1]]


def shifted(rows: Tensor) -> Tensor:
    """Contiguous, at an address that is no multiple of 16 bytes."""
    flat = rows.new_full((rows.numel() + 1,), float("nan"))
    flat[1:] = rows.flatten()
    return flat[1:].view(rows.shape)


LAYOUTS = [contiguous, turned, within, shifted]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dim", [1, 15, 16, 20, 32])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_aligned(layout: Callable[[Tensor], Tensor], dim: int, dtype: torch.dtype) -> None:
    rows = torch.randn(7, dim).to(dtype)
    given = layout(rows)
    found = aligned(given)
    assert found.shape == (7, (dim + 15) // 16 * 16)
    assert found.is_contiguous()
    assert found.data_ptr() % 16 == 0
    assert torch.equal(found[:, :dim], rows)
    assert not found[:, dim:].any()
    assert (found is given) == (layout is contiguous and dim % 16 == 0)  # no copy where none is needed
    assert (padded(given) is given) == (dim % 16 == 0)  # any strides are left
    assert torch.equal(padded(given), found)


def test_aligned_rows_that_are_one() -> None:
    found = aligned(torch.arange(20.0).expand(5, 20))
    assert torch.equal(found, torch.arange(32.0).mul(torch.arange(32) < 20).expand(5, 32))
    assert aligned(torch.ones(0, 20)).shape == (0, 32)


def test_first_columns() -> None:
    grad = torch.randn(5, 32)
    assert first_columns(grad, 32) is grad
    assert first_columns(grad, 20).stride() == (20, 1)
    assert torch.equal(first_columns(grad, 20), grad[:, :20])


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The arguments of every kernel that is launched, by name."""
    kind, seen = type(sigmoid_pairs.sigmoid_positives_kernel), []
    run = kind.run

    def recorded(kernel, *args, **options):  # type: ignore[no-untyped-def]
        named = dict(zip(kernel.arg_names, args, strict=False)) | options
        seen.append({name: value for name, value in named.items() if name in kernel.arg_names})
        return run(kernel, *args, **options)

    monkeypatch.setattr(kind, "run", recorded)
    return seen


@pytest.fixture
def on_triton_device(triton_device: torch.device) -> Iterator[None]:
    """Tensors that name no device are made where the kernels run."""
    with triton_device, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
        yield


def of_zeros(rows: Tensor) -> Tensor:
    return torch.cat([rows, torch.zeros(len(rows), -D % 16).to(rows)], dim=1)


@pytest.mark.parametrize("in_registers", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.usefixtures("on_triton_device")
def test_operators_pad_rows(operator, dtype, in_registers, launches, monkeypatch) -> None:
    """Bit for bit what they make of rows that have their zeros already; no kernel sees other rows."""
    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    sides = [torch.nn.functional.normalize(torch.randn(n, D), dim=1).to(dtype) for n in (N, M)]
    expected = operator(*(of_zeros(z) for z in sides))
    for layout in LAYOUTS:
        launches.clear()
        found = operator(*(layout(z) for z in sides))
        of_rows = [launch for launch in launches if launch.get("D", 1) != 1]  # 1: the gradient of a bias
        assert of_rows
        for launch in of_rows:
            assert launch["D"] == D + -D % 16
            pointers = (launch.get(name) for name in ("x_ptr", "q_ptr", "k_ptr", "queue_ptr", "from_ptr"))
            assert not any(pointer.data_ptr() % 16 for pointer in pointers if pointer is not None)
        for f, g in zip(found, expected, strict=True):
            if f.shape != g.shape:
                assert f.shape == (len(g), D)
                assert f.is_contiguous()
                g = g[:, :D]
            assert torch.equal(f, g)
