"""NegativeCosineSimilarity against the definition, lightly and analytic values."""

from __future__ import annotations

import math
import re

import loss_oracle
import pytest
import torch
import torch.nn.functional as F
from peer_oracle import peer
from torch import Tensor

from sslfast import ops
from sslfast.losses.negative_cosine_similarity import NegativeCosineSimilarity, _in_torch, negative_cosine_similarity
from sslfast.reference.negative_cosine_similarity import negative_cosine_similarity as reference


@pytest.mark.parametrize(
    ("shape", "dim"),
    [((1, 2), 1), ((5, 7), 1), ((64, 33), 1), ((6, 5), 0), ((3, 4, 6), 1), ((3, 4, 6), -1), ((8,), 0), ((300, 500), 1)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(shape: tuple[int, ...], dim: int, dtype: torch.dtype, device: torch.device) -> None:
    inputs = torch.randn(2, *shape, dtype=dtype).unbind()
    loss_oracle.assert_like_reference(
        lambda a, b: negative_cosine_similarity(a, b, dim), lambda a, b: reference(a, b, dim), inputs, device
    )


@pytest.mark.parametrize(
    ("shape0", "shape1", "dim"),
    [((6, 5), (6, 5), 1), ((3, 4, 6), (3, 1, 6), 2), ((6, 5), (5,), 1), ((6, 1), (6, 5), 1)],
)
def test_has_lightlys_value_and_gradients(shape0: tuple[int, ...], shape1: tuple[int, ...], dim: int) -> None:
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in (shape0, shape1)]
    theirs = peer("lightly.loss").NegativeCosineSimilarity(dim)
    loss_oracle.assert_has_values_of(theirs, NegativeCosineSimilarity(dim), inputs)


def test_has_lightlys_signature() -> None:
    loss_oracle.assert_has_signature_of(peer("lightly.loss").NegativeCosineSimilarity, NegativeCosineSimilarity)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(dtype: torch.dtype, device: torch.device) -> None:
    inputs = torch.randn(2, 50, 32).to(dtype).unbind()
    loss_oracle.assert_half_is_like_reference(negative_cosine_similarity, reference, inputs, device)


@pytest.mark.parametrize("dim", [0, 1])
def test_gradients_of_both_orders(dim: int) -> None:
    inputs = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True).unbind()
    assert torch.autograd.gradcheck(lambda a, b: negative_cosine_similarity(a, b, dim), inputs)
    assert torch.autograd.gradgradcheck(lambda a, b: negative_cosine_similarity(a, b, dim), inputs)


def test_a_detached_target_gets_no_gradient() -> None:
    x0, x1 = torch.randn(2, 4, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(negative_cosine_similarity(x0, x1.detach()), x0)
    (of_second,) = torch.autograd.grad(negative_cosine_similarity(x0.detach(), x1), x1)
    both = torch.autograd.grad(negative_cosine_similarity(x0, x1), (x0, x1))
    assert torch.equal(grad, both[0])
    assert torch.equal(of_second, both[1])


@pytest.mark.parametrize("needs", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_operator_is_what_a_gpu_runs(needs: tuple[bool, bool], dtype: torch.dtype) -> None:
    x0, x1 = torch.randn(2, 70, 133, dtype=dtype).unbind()
    x0[3] = 0
    x1 = x1[:, :130]
    x0 = torch.stack([x0, x0], 1)[:, 0, :130]  # rows apart
    rounding = 16 * torch.finfo(dtype).eps
    for ours, torchs in zip(
        ops.negative_cosine_similarity(x0, x1, 1e-8, *needs), _in_torch(x0, x1, 1e-8, *needs), strict=True
    ):
        assert ours.shape == torchs.shape
        torch.testing.assert_close(ours, torchs, rtol=rounding, atol=rounding * 1e-2)


def test_autocast_changes_nothing_on_a_gpu() -> None:
    x0, x1 = torch.randn(2, 70, 33).unbind()
    expected = _in_torch(x0, x1, 1e-8, True, True)
    with torch.autocast("cpu", torch.bfloat16):
        found = _in_torch(x0, x1, 1e-8, True, True)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_batch_with_itself_compiles() -> None:
    x = torch.randn(6, 4, requires_grad=True)
    compiled = torch.compile(negative_cosine_similarity, fullgraph=True, backend="aot_eager")
    loss = compiled(x, x)
    torch.testing.assert_close(loss, torch.tensor(-1.0))
    assert torch.autograd.grad(loss, x)[0].abs().max() < 1e-6


def test_opcheck() -> None:
    x0, x1 = torch.randn(2, 5, 3).unbind()
    torch.library.opcheck(ops.negative_cosine_similarity, (x0, x1, 1e-8, True, False))
    torch.library.opcheck(ops.negative_cosine_similarity, (x0.double(), x1.double(), 1e-8, False, True))


def test_the_result_does_not_depend_on_the_threads() -> None:
    inputs = torch.randn(2, 300, 500).unbind()
    threads = torch.get_num_threads()
    one, two = [], []
    try:
        for number, found in ((1, one), (2, two)):
            torch.set_num_threads(number)
            found += loss_oracle.with_grads(negative_cosine_similarity, *inputs)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_analytic_values() -> None:
    x = torch.randn(5, 8)
    torch.testing.assert_close(negative_cosine_similarity(x, 3 * x), torch.tensor(-1.0))
    torch.testing.assert_close(negative_cosine_similarity(x, -x), torch.tensor(1.0))
    eye = torch.eye(4)
    assert negative_cosine_similarity(eye, eye.roll(1, 0)) == 0
    assert negative_cosine_similarity(x, x, 1, 1e9).abs() < 1e-15  # divided by eps twice


def test_rows_of_norm_zero_and_below_eps() -> None:
    x0, x1 = torch.randn(2, 3, 4, dtype=torch.float64)
    x0[0] = 0
    x0[1] *= 1e-10
    loss, grad, _ = loss_oracle.with_grads(negative_cosine_similarity, x0, x1)
    torch.testing.assert_close(loss, -F.cosine_similarity(x0, x1).mean())
    constant = -x1 / x1.norm(dim=1, keepdim=True) / 1e-8 / 3  # of dividing by eps
    torch.testing.assert_close(grad[:2], constant[:2])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_reach_the_loss(bad: float) -> None:
    x0, x1 = torch.randn(2, 6, 4)
    x1[3, 2] = bad
    loss, *grads = loss_oracle.with_grads(negative_cosine_similarity, x0, x1)
    assert loss.isnan()
    assert grads[1].isnan().any()


def test_strides_dtypes_autocast_checkpointing_and_compilation() -> None:
    inputs = torch.randn(2, 10, 8).unbind()
    loss_oracle.assert_takes_strides_and_mixed_dtypes(negative_cosine_similarity, *inputs)
    loss_oracle.assert_steady(negative_cosine_similarity, *inputs)
    loss_oracle.assert_compiles(negative_cosine_similarity, *inputs)


def test_module() -> None:
    x0, x1 = torch.randn(2, 10, 8)
    assert torch.equal(NegativeCosineSimilarity()(x0, x1), negative_cosine_similarity(x0, x1))
    assert torch.equal(NegativeCosineSimilarity(0, 0.1)(x0, x1), negative_cosine_similarity(x0, x1, 0, 0.1))
    assert repr(NegativeCosineSimilarity(0)) == "NegativeCosineSimilarity(dim=0, eps=1e-08)"


GOOD = torch.ones(4, 3)
BAD = [
    ([GOOD.long(), GOOD], {}, TypeError, "x0 must be a floating-point tensor, got torch.int64"),
    ([GOOD, [1.0]], {}, TypeError, "x1 must be a floating-point tensor, got list"),
    ([GOOD, GOOD[:2]], {}, ValueError, "x1 must broadcast with x0 of shape (4, 3), got (2, 3)"),
    ([GOOD[:0], GOOD[:0]], {}, ValueError, "x0 and x1 must have at least one element, got shape (0, 3)"),
    ([GOOD, GOOD.to("meta")], {}, ValueError, "x1 must be on cpu, like x0, got meta"),
    ([GOOD, GOOD], {"dim": 2}, ValueError, "dim must be a dimension of shape (4, 3), got 2"),
    ([GOOD, GOOD], {"dim": -3}, ValueError, "dim must be a dimension of shape (4, 3), got -3"),
    ([GOOD, GOOD], {"dim": 1.0}, TypeError, "dim must be an int, got float"),
    ([GOOD, GOOD], {"eps": -1e-8}, ValueError, "eps must be at least 0, got -1e-08"),
    ([GOOD, GOOD], {"eps": math.nan}, ValueError, "eps must be finite, got nan"),
    ([GOOD, GOOD], {"eps": "small"}, TypeError, "eps must be a number, got str"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args: list[Tensor], kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"negative_cosine_similarity: {text}") + "$"):
        negative_cosine_similarity(*args, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"dim": None}, TypeError, "dim must be an int, got NoneType"),
        ({"eps": -1}, ValueError, "eps must be at least 0, got -1"),
    ],
)
def test_module_errors_name_the_module(kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"NegativeCosineSimilarity: {text}") + "$"):
        NegativeCosineSimilarity(**kwargs)
