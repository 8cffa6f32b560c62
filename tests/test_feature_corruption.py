"""corrupt_features: the reference bit for bit from every source, gradients, NaN, both faces."""

from __future__ import annotations

import inspect
from fractions import Fraction

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import corrupt_features
from sslfast.reference import feature_corruption as reference

SOURCES = ["marginals", "rows", "uniform", "permutation"]

# (rows, features, rate) and why it is there
SIZES = [
    (1, 1, 1.0),  # one cell
    (5, 7, 0.6),  # not whole counters
    (4, 512, 0.3),  # a tile of the CUDA kernel, filled to the last place
    (3, 1027, 0.9),  # three tiles
    (6, 10, 0.0),  # nothing
    (6, 10, 1.0),  # everything
    (300, 3, 0.5),  # many rows
    (2500, 2, 0.5),  # several blocks of a shuffle's draws
    (0, 4, 0.5),  # no rows
]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("selection", ["exact", "bernoulli"])
@pytest.mark.parametrize(("rows", "features", "rate"), SIZES)
def test_equals_reference(device, rows, features, rate, source, selection):
    x = torch.randn(rows, features)
    bank = torch.randn(9, features) if source != "permutation" else None
    for draws in ({"seed": 7}, {"seed": -1, "row_offset": 2**40}, {"seed": 3, "sample_ids": torch.arange(rows) * 5}):
        for rows_to_draw in (None, bank):
            if rows == 0 and rows_to_draw is None and source == "uniform":
                continue  # the reference has no range of nothing
            for changed in (False, True):
                options = {"source": source, "selection": selection, "bank": rows_to_draw, "changed": changed}
                expected = reference.corrupt_features(x, rate, **options, **draws)
                there = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in (options | draws).items()}
                there["generator"] = there.pop("seed")
                assert all_equal(corrupt_features(x.to(device), rate, **there), expected)
                with_grad = corrupt_features(x.to(device, copy=True).requires_grad_(), rate, **there)
                assert all_equal([t.detach() for t in with_grad], expected)
                arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in (options | draws).items()}
                ours = host.corrupt_features(x.numpy(), rate, threads=2, **arrays)
                assert all_equal([torch.from_numpy(a) for a in ours], expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int64, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("source", ["marginals", "rows", "permutation"])
def test_types_and_strides(device, dtype, source):
    base = (torch.randn(12, 20, 2, device=device) * 3).to(dtype)
    for x in (base[..., 0], base[::2, 1::3, 1], base[..., 1].T, base[:1, :, 0].expand(5, 20)):
        ours = corrupt_features(x, source=source, generator=1)
        assert ours[0].dtype == dtype
        assert ours[0].is_contiguous()
        assert all_equal(ours, reference.corrupt_features(x.cpu(), source=source, seed=1))


def test_permutations_longer_than_shared_memory(device):
    x = torch.arange(9000.0)[:, None]
    ours = corrupt_features(x.to(device), 1.0, source="permutation", generator=1)
    assert all_equal(ours, reference.corrupt_features(x, 1.0, source="permutation", seed=1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_uniform_in_every_type(device, dtype):
    x = torch.randn(8, 30, device=device).to(dtype)
    out, mask = corrupt_features(x, source="uniform", generator=1)
    assert all_equal((out, mask), reference.corrupt_features(x.cpu(), source="uniform", seed=1))
    assert (out <= x.amax(0)).all()
    assert (out >= x.amin(0)).all()


def test_exact_counts_are_those_of_exact_arithmetic():
    for features in (1, 3, 10, 100):
        for percent in range(0, 101, 5):
            _, mask = corrupt_features(torch.zeros(3, features), percent / 100, generator=1)
            assert mask.sum(1).tolist() == [int(features * Fraction(percent, 100))] * 3, (features, percent)


def test_replacements_come_from_their_column(device):
    x = torch.arange(60.0, device=device).view(6, 10)
    for source in ("marginals", "rows", "permutation"):
        out, mask = corrupt_features(x, 0.5, source=source, generator=1)
        assert torch.equal(out % 10, x % 10)
        assert torch.equal(out[~mask], x[~mask])
        if source == "rows":
            for row, masked in zip(out // 10, mask, strict=True):
                assert len(row[masked].unique()) == 1
        if source == "permutation":
            whole, _ = corrupt_features(x, 1.0, source=source, generator=1)
            assert torch.equal(whole.sort(0).values, x)


def test_nan_in_replaced_cells_is_gone(device):
    x, bank = torch.zeros(20, 10, device=device), torch.ones(4, 10, device=device)
    _, mask = corrupt_features(x, bank=bank, generator=1)
    poisoned = x.masked_fill(mask, torch.nan)
    for requires_grad in (False, True):
        rows = poisoned.clone().requires_grad_(requires_grad)
        out, _ = corrupt_features(rows, bank=bank, generator=1)
        assert torch.equal(out, mask.float())
    (grad,) = torch.autograd.grad(out.sum(), rows)
    assert torch.equal(grad, (~mask).float())


@pytest.mark.parametrize("source", SOURCES)
def test_gradients(device, source):
    x = torch.randn(5, 6, device=device, dtype=torch.float64, requires_grad=True)
    bank = torch.randn(4, 6, device=device, dtype=torch.float64, requires_grad=source in ("marginals", "rows"))
    given = bank if bank.requires_grad else None
    if source == "uniform":  # the range takes no gradient
        (grad,) = torch.autograd.grad(corrupt_features(x, source=source, generator=1)[0].sum(), x)
        assert torch.equal(grad == 0, corrupt_features(x, source=source, generator=1)[1])
        return
    assert torch.autograd.gradcheck(lambda a: corrupt_features(a, source=source, generator=1)[0], x)
    if given is not None:
        call = lambda a, b: corrupt_features(a, source=source, bank=b, generator=1)[0]  # noqa: E731
        assert torch.autograd.gradcheck(call, (x, given))
        assert torch.autograd.gradgradcheck(call, (x, given))


def test_composes(device):
    x = torch.randn(5, 9, device=device)
    seed = torch.tensor(1)
    torch.library.opcheck(ops.feature_corruption, (x, x, seed, None, None, True, 4, 0.5, 0, 0))
    order = ops.column_permutations(x, seed, 79, 9, 5)
    torch.library.opcheck(ops.feature_corruption, (x, x, seed, None, order, True, 4, 0.5, 0, 0))
    torch.library.opcheck(ops.column_permutations, (x, seed, 79, 9, 5))
    torch.library.opcheck(ops.feature_draws, (x, seed, None, 5, 9, False, 4, 0.5, 1, 7, 0))
    for source in SOURCES:
        for rows in (x, x.clone().requires_grad_()):
            compiled = torch.compile(lambda t, s=source: corrupt_features(t, source=s, generator=2), fullgraph=True)
            ours, expected = compiled(rows), corrupt_features(rows, source=source, generator=2)
            assert torch.equal(ours[1], expected[1])
            assert torch.allclose(ours[0], expected[0])


def test_faces_take_the_same_arguments():
    def arguments(function):
        kept = inspect.signature(function).parameters.items()
        return [(n, p.kind, p.default) for n, p in kept if n not in ("seed", "generator", "threads")]

    assert arguments(host.corrupt_features) == arguments(corrupt_features)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, "x must be a tensor, got list"),
        ({"x": torch.ones(3)}, ValueError, "x must have shape (N, D) with D >= 1, got (3,)"),
        ({"x": torch.ones(3, 0)}, ValueError, "x must have shape (N, D) with D >= 1, got (3, 0)"),
        ({"corruption_rate": 1.5}, ValueError, "corruption_rate must be a probability in [0, 1], got 1.5"),
        ({"corruption_rate": None}, TypeError, "corruption_rate must be a number, got NoneType"),
        (
            {"source": "x"},
            ValueError,
            'source must be one of "marginals", "rows", "uniform", "permutation", got \'x\'',
        ),
        (
            {"source": "permutation", "bank": torch.ones(2, 4)},
            ValueError,
            'bank must be None with source "permutation", which permutes x',
        ),
        ({"bank": torch.ones(2, 5)}, ValueError, "bank must have shape (M, 4) with M >= 1, got (2, 5)"),
        ({"bank": torch.ones(0, 4)}, ValueError, "bank must have shape (M, 4) with M >= 1, got (0, 4)"),
        (
            {"bank": torch.ones(2, 4).long()},
            TypeError,
            "bank must be a tensor of torch.float32, like x, got torch.int64",
        ),
        (
            {"x": torch.ones(3, 4).long(), "source": "uniform"},
            TypeError,
            'x must be floating point with source "uniform", got torch.int64',
        ),
        ({"selection": True}, ValueError, "selection must be 'bernoulli' or 'exact', got True"),
        ({"changed": "no"}, TypeError, "changed must be a bool, got 'no'"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        corrupt_features(**{"x": torch.zeros(3, 4), **arguments})
    assert str(raised.value) == f"corrupt_features: {message}"
    on_arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.corrupt_features(**{"x": np.zeros((3, 4), np.float32), "seed": 1, **on_arrays})
    expected = message.replace("a tensor", "an array").replace("torch.", "")
    assert str(raised.value) == f"corrupt_features: {expected}"


def test_wide_elements_are_an_error():
    with pytest.raises(
        TypeError, match=r"corrupt_features: x must have elements of at most 8 bytes, got torch.complex"
    ):
        corrupt_features(torch.zeros(2, 2, dtype=torch.complex128))
