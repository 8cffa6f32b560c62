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
    (65, 4, 0.5),  # orders that are no shuffles
    (2500, 2, 0.5),  # and long ones
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
            if rows == 0 and (rows_to_draw is None or source == "permutation") and source in ("uniform", "permutation"):
                continue  # the reference has no range of nothing, and no order
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("source", ["marginals", "rows", "permutation"])
@pytest.mark.parametrize("has_bank", [False, True])
def test_gradients_are_those_of_a_gather(device, source, has_bank, dtype):
    if source == "permutation" and has_bank:
        return  # an error
    x = torch.randn(70, 5, device=device).to(dtype).requires_grad_()
    bank = torch.randn(3, 5, device=device).to(dtype).requires_grad_() if has_bank else None
    numbers = torch.arange(3 if has_bank else 70, device=device)[:, None].expand(-1, 5)  # of rows
    grad = torch.randn(70, 5, device=device).to(dtype)

    def call(x, bank):
        return corrupt_features(x, source=source, bank=bank, generator=3)

    out, mask = call(x, bank)
    sources = call(numbers, None)[0] if not has_bank else call(numbers.new_zeros(70, 5), numbers)[0]
    wide = grad.double()
    of_x = torch.where(mask, 0, wide)
    of_bank = torch.zeros(numbers.shape, device=device).double()
    of_bank.scatter_add_(0, sources, torch.where(mask, wide, 0))
    wanted, expected = ((x, bank), (of_x, of_bank)) if has_bank else ((x,), (of_x + of_bank,))
    grads = torch.autograd.grad(out, wanted, grad)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 1e-2)
    for ours, theirs in zip(grads, expected, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance)
    assert all_equal(torch.autograd.grad(call(x, bank)[0], wanted, grad), grads)


def test_nothing_depends_on_threads():
    x, bank = torch.randn(3000, 40, requires_grad=True), torch.randn(70, 40, requires_grad=True)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 4):
            torch.set_num_threads(number)
            out, _ = corrupt_features(x, bank=bank, generator=1)
            drawn = [corrupt_features(x.detach(), source=s, generator=1)[0] for s in ("uniform", "permutation")]
            found.append([*torch.autograd.grad(out.square().sum(), (x, bank)), *drawn])
    finally:
        torch.set_num_threads(threads)
    assert all_equal(*found)


def test_a_bank_that_is_x_is_no_bank(device):
    x = torch.randn(6, 4, device=device, requires_grad=True)
    pairs = [corrupt_features(x, bank=bank, generator=1)[0] for bank in (None, x, x.clone())]
    grads = [torch.autograd.grad(out.square().sum(), x)[0] for out in pairs]
    assert torch.equal(grads[0], grads[1])
    torch.testing.assert_close(grads[0], grads[2])


def test_changed_compares_as_torch_does(device):
    values = torch.tensor([0.0, -0.0, torch.nan, torch.inf, 1.0], device=device)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int32):
        x = values.nan_to_num(7, 7).to(dtype) if dtype == torch.int32 else values.to(dtype)
        x = x[torch.randint(5, (200, 6), device=device)]
        for source in ("marginals", "permutation"):
            whole, mask = corrupt_features(x, source=source, generator=1)
            _, changed = corrupt_features(x, source=source, changed=True, generator=1)
            assert torch.equal(changed, mask & (whole != x))
            if dtype != torch.bfloat16:
                on_arrays = host.corrupt_features(x.cpu().numpy(), source=source, changed=True, seed=1)[1]
                assert torch.equal(torch.from_numpy(on_arrays), changed.cpu())


def test_uniform_where_a_column_has_nan_or_one_value(device):
    x = torch.rand(200, 4, device=device)
    x[7, 1], x[:, 2], x[:, 3] = torch.nan, -3.0, torch.inf
    out, mask = corrupt_features(x, source="uniform", generator=1)
    assert out[:, 1][mask[:, 1]].isnan().all()
    assert (out[:, 2] == -3).all()
    assert out[:, 3][mask[:, 3]].isnan().all()  # inf - inf
    assert out[:, 0].isfinite().all()


def test_composes(device):
    x = torch.randn(5, 9, device=device)
    seed = torch.tensor(1)
    for source in range(4):
        for need_sources in (False, True):
            options = (True, 4, 0.5, source, True, 0x7F800000, need_sources, 0)
            torch.library.opcheck(ops.feature_corruption, (x, x, seed, None, *options))
    _, _, sources = ops.feature_corruption(x, x, seed, None, *options)
    for needs in ((False, True, False), (False, False, True), (True, False, True)):
        torch.library.opcheck(ops.feature_corruption_backward, (x, sources, 5, *needs))
    for source in SOURCES:
        torch.compiler.reset()
        for rows in (x, x.clone().requires_grad_()):
            call = lambda t, s=source: corrupt_features(t, source=s, generator=2)  # noqa: E731
            compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
            ours, expected = compiled(rows), call(rows)
            assert all_equal([t.detach() for t in ours], [t.detach() for t in expected])
            if rows.requires_grad:
                grads = [torch.autograd.grad(out.square().sum(), rows)[0] for out, _ in (ours, expected)]
                assert torch.equal(*grads)


def test_faces_take_the_same_arguments():
    def arguments(function):
        kept = inspect.signature(function).parameters.items()
        return [(n, p.kind, p.default) for n, p in kept if n not in ("seed", "generator", "threads")]

    assert arguments(host.corrupt_features) == arguments(corrupt_features)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, "x must be a tensor, got list"),
        ({"x": torch.ones(3)}, ValueError, "x must have shape (N, D) with N < 2^31 and D >= 1, got (3,)"),
        ({"x": torch.ones(3, 0)}, ValueError, "x must have shape (N, D) with N < 2^31 and D >= 1, got (3, 0)"),
        ({"corruption_rate": 1.5}, ValueError, "corruption_rate must be a probability in [0, 1], got 1.5"),
        ({"corruption_rate": None}, TypeError, "corruption_rate must be a number, got NoneType"),
        (
            {"source": "x"},
            ValueError,
            "source must be 'marginals', 'rows', 'uniform' or 'permutation', got 'x'",
        ),
        (
            {"source": "permutation", "bank": torch.ones(2, 4)},
            ValueError,
            'bank must be None with source "permutation", which permutes x',
        ),
        ({"bank": torch.ones(2, 5)}, ValueError, "bank must have shape (M, 4) with 1 <= M < 2^31, got (2, 5)"),
        ({"bank": torch.ones(0, 4)}, ValueError, "bank must have shape (M, 4) with 1 <= M < 2^31, got (0, 4)"),
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
    for dtype in (np.complex128, object):
        with pytest.raises(TypeError, match=r"corrupt_features: x must have elements of 1, 2, 4 or 8 bytes, got"):
            host.corrupt_features(np.zeros((2, 2), dtype), seed=1)


def test_arrays_of_any_strides():
    record = np.zeros((40, 6), np.dtype([("a", np.uint8), ("b", np.float32)]))
    record["b"] = np.random.default_rng(0).random((40, 6))
    x = record["b"]  # strides of no whole elements
    for array in (x, np.ascontiguousarray(x).T, np.ascontiguousarray(x)[::-2, ::3], np.asfortranarray(x)):
        bank = np.ascontiguousarray(array[::-1])[::2]
        ours = host.corrupt_features(array, bank=bank, seed=1)
        expected = reference.corrupt_features(torch.tensor(array.copy()), bank=torch.tensor(bank.copy()), seed=1)
        assert all_equal([torch.from_numpy(a) for a in ours], expected)
