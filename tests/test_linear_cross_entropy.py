"""linear_cross_entropy and LinearCrossEntropyLoss: arguments of torch, gradients, precision, limits, compilation."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast.losses import LinearCrossEntropyLoss, linear_cross_entropy


def test_arguments_of_torch() -> None:
    x, w, b = (torch.randn(*size, dtype=torch.float64) for size in ((3, 5, 7), (11, 7), (11,)))
    target = torch.randint(0, 11, (3, 5))
    target[0] = -100
    weights = torch.rand(11, dtype=torch.float64)
    logits = F.linear(x, w, b).flatten(0, 1)
    for reduction in ("mean", "sum", "none"):
        for smoothing in (0.0, 0.3):
            found = linear_cross_entropy(
                x, w, target, linear_bias=b, weight=weights, reduction=reduction, label_smoothing=smoothing
            )
            plain = F.cross_entropy(logits, target.flatten(), weights, reduction=reduction, label_smoothing=smoothing)
            torch.testing.assert_close(found, plain.view(found.shape))
            criterion = LinearCrossEntropyLoss(weights, reduction=reduction, label_smoothing=smoothing)
            assert torch.equal(criterion(w, x, target, b), found)
    assert "reduction='none'" in repr(criterion)
    every = target.clamp_min(0)
    found = linear_cross_entropy(x, w, every, linear_bias=b, ignore_index=None)
    torch.testing.assert_close(found, F.cross_entropy(logits, every.flatten()))
    found = linear_cross_entropy(x, w, target, num_items=20)
    torch.testing.assert_close(found, linear_cross_entropy(x, w, target, reduction="sum") / 20)
    for items in (torch.tensor([20.0]), torch.tensor(20)):
        assert torch.equal(linear_cross_entropy(x, w, target, num_items=items), found)


def test_metrics() -> None:
    x, w = torch.randn(40, 7, dtype=torch.float64), torch.randn(11, 7, dtype=torch.float64)
    target = torch.where(torch.rand(40) < 0.5, (x @ w.T).argmax(1), torch.randint(0, 11, (40,)))
    target[:8] = -100
    logits, kept = (x @ w.T)[8:], target[8:]
    options = {"label_smoothing": 0.1, "z_loss": 0.01, "return_metrics": True}
    loss, accuracy, perplexity, z_loss, num_targets = linear_cross_entropy(x, w, target, **options)
    assert num_targets == 32
    torch.testing.assert_close(accuracy, (logits.argmax(1) == kept).float().mean())
    torch.testing.assert_close(perplexity, F.cross_entropy(logits, kept).exp())
    torch.testing.assert_close(z_loss, 0.01 * logits.logsumexp(1).square().mean())
    torch.testing.assert_close(loss, F.cross_entropy(logits, kept, label_smoothing=0.1) + z_loss)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_a_retained_graph_keeps_its_gradients(factor: float) -> None:
    x, w, b = (torch.randn(*size, requires_grad=True) for size in ((12, 7), (11, 7), (11,)))
    target, weights = torch.randint(0, 11, (12,)), torch.rand(11)
    target[:3] = -100
    leaves, options = (x, w, b), {"weight": weights, "label_smoothing": 0.2}
    loss = factor * linear_cross_entropy(x, w, target, linear_bias=b, num_items=5, **options)
    for _ in range(2):
        loss.backward(retain_graph=True)
    last = torch.autograd.grad(loss, leaves)
    expected = F.cross_entropy(F.linear(x, w, b), target, weights, reduction="sum", label_smoothing=0.2) / 5 * factor
    for leaf, found, grad in zip(leaves, last, torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(leaf.grad, 2 * grad)
        torch.testing.assert_close(found, grad)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradcheck(reduction: str) -> None:
    x, w, b = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((6, 4), (9, 4), (9,)))
    target = torch.tensor([0, 8, -100, 3, 3, 1])
    call = functools.partial(
        linear_cross_entropy, target=target, reduction=reduction, label_smoothing=0.1, softcap=3.0, z_loss=0.02
    )
    assert torch.autograd.gradcheck(lambda x, w, b: call(x, w, linear_bias=b), (x, w, b))
    (grad,) = torch.autograd.grad(call(x, w, linear_bias=b).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="linear_cross_entropy: second derivatives are not supported"):
        torch.autograd.grad(grad.sum(), w)


def test_one_weight_for_both_ends() -> None:
    table = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    ids = torch.randint(0, 9, (6,))
    losses = [linear_cross_entropy(table[ids], table, ids), F.cross_entropy(table[ids] @ table.T, ids)]
    torch.testing.assert_close(*(torch.autograd.grad(loss, table)[0] for loss in losses))


def test_backward_twice_and_factors() -> None:
    x, w = (torch.randn(*s, requires_grad=True) for s in ((6, 4), (9, 4)))
    target = torch.randint(0, 9, (6,))
    loss = linear_cross_entropy(x, w, target)
    first = torch.autograd.grad(loss, (x, w), retain_graph=True)
    again = torch.autograd.grad(-2.0 * loss, (x, w))
    for a, b in zip(first, again, strict=True):
        torch.testing.assert_close(-2.0 * a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("margin", [5.0, 14.0, 60.0, 1e4])
def test_small_losses_keep_their_precision(margin: float, dtype: torch.dtype) -> None:
    # One class of two is ahead by the margin: the loss is log1p(exp(-margin)), its gradient the other's share.
    x = torch.tensor([[margin, 0.0]], dtype=dtype, requires_grad=True)
    loss = linear_cross_entropy(x, torch.eye(2, dtype=dtype), torch.tensor([0]))
    (grad,) = torch.autograd.grad(loss, x)
    true = torch.tensor(-margin, dtype=torch.float64)
    tiny = torch.finfo(dtype).tiny
    torch.testing.assert_close(loss.double(), true.exp().log1p(), rtol=1e-6, atol=tiny)
    share = true.sigmoid().item()
    torch.testing.assert_close(grad[0].double().tolist(), [-share, share], rtol=1e-6, atol=tiny)


def test_logits_out_of_a_softmax_range() -> None:
    x = 1e4 * torch.randn(20, 8)
    w, target = torch.randn(30, 8), torch.randint(0, 30, (20,))
    torch.testing.assert_close(linear_cross_entropy(x, w, target), F.cross_entropy(x @ w.T, target))
    bias = torch.zeros(30)
    bias[target[0]] = -math.inf  # a class that cannot be
    assert linear_cross_entropy(x, w, target, linear_bias=bias) == math.inf


def test_no_gradient_is_made_where_none_is_wanted(monkeypatch) -> None:
    x, w = torch.randn(6, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    operator, needs = ops.linear_cross_entropy, []

    def noted(*args: object) -> tuple[Tensor, ...]:
        needs.append(args[-3:])
        return operator(*args)

    monkeypatch.setattr(ops, "linear_cross_entropy", noted)
    target = torch.zeros(6, dtype=torch.int64)
    linear_cross_entropy(x, w.detach(), target)
    with torch.no_grad():
        linear_cross_entropy(x, w, target)
    assert needs == [(True, False, False), (False, False, False)]


def test_a_class_alone_among_those_left_out() -> None:
    x, w, bias = torch.randn(4, 3, requires_grad=True), torch.randn(3, 3), torch.tensor([0.0, -math.inf, -math.inf])
    for reduction in ("mean", "none"):
        loss = linear_cross_entropy(x, w, torch.zeros(4, dtype=torch.int64), linear_bias=bias, reduction=reduction)
        assert not loss.any()
        assert not torch.autograd.grad(loss.sum(), x)[0].any()


def test_no_ignore_index_is_that_of_torch() -> None:
    x, w, target = torch.randn(3, 4), torch.randn(9, 4), torch.tensor([0, -100, 2])
    expected = F.cross_entropy(x @ w.T, target)
    if hasattr(F, "linear_cross_entropy"):  # torch 2.13
        torch.testing.assert_close(F.linear_cross_entropy(x, w, target, ignore_index=None), expected)
    torch.testing.assert_close(linear_cross_entropy(x, w, target, ignore_index=None), expected)
    torch.testing.assert_close(LinearCrossEntropyLoss(ignore_index=None)(w, x, target), expected)


@pytest.mark.skipif(not hasattr(torch.nn, "LinearCrossEntropyOptions"), reason="torch before 2.13 has no such options")
def test_options_of_torch_change_nothing() -> None:
    x, w, target = torch.randn(3, 4), torch.randn(9, 4), torch.tensor([0, -100, 2])
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=2, chunking_method=None)
    found = linear_cross_entropy(x, w, target, options=options)
    assert torch.equal(found, linear_cross_entropy(x, w, target))
    torch.testing.assert_close(found, F.linear_cross_entropy(x, w, target, options=options))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_single_row(reduction: str) -> None:
    leaves = [torch.randn(4, requires_grad=True), torch.randn(9, 4, requires_grad=True)]
    x, w = leaves
    for target in (torch.tensor(5), torch.tensor(-100)):
        found = linear_cross_entropy(x, w, target, reduction=reduction)
        assert found.shape == ()
        expected = F.cross_entropy(w @ x, target, reduction="sum")
        torch.testing.assert_close(found, expected)
        for ours, theirs in zip(*(torch.autograd.grad(y, leaves) for y in (found, expected)), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_weights_of_zero() -> None:
    x, w, target = torch.randn(3, 4, requires_grad=True), torch.randn(9, 4), torch.tensor([0, 1, 2])
    loss = linear_cross_entropy(x, w, target, weight=torch.zeros(9))
    assert not loss
    assert not torch.autograd.grad(loss, x)[0].any()
    assert F.cross_entropy(x @ w.T, target, weight=torch.zeros(9)).isnan()


def test_targets_out_of_range() -> None:
    x, w, target = torch.randn(3, 4), torch.randn(9, 4), torch.tensor([0, -1, 2])
    with pytest.raises(ValueError, match=r"^linear_cross_entropy: target must be in \[0, 8\] or -100, got -1$"):
        linear_cross_entropy(x, w, target, ignore_index=None)
    # Where nobody looks, the operator does.
    compiled = torch.compile(lambda t: linear_cross_entropy(x, w, t), fullgraph=True, backend="aot_eager")
    with pytest.raises(RuntimeError, match="out of range"):
        compiled(target)


def test_nothing_to_predict() -> None:
    x, w, b = (torch.randn(*s, requires_grad=True) for s in ((6, 4), (9, 4), (9,)))
    for rows, target in ((x, torch.full((6,), -100)), (x[:0], torch.zeros(0, dtype=torch.int64))):
        out = linear_cross_entropy(rows, w, target, linear_bias=b, return_metrics=True, z_loss=0.1)
        assert [z.item() for z in out] == [0, 0, 1, 0, 0]
        assert all(not g.any() for g in torch.autograd.grad(out.loss, (x, w, b)))
        assert linear_cross_entropy(rows, w, target, reduction="none").shape == target.shape


def test_nan_reaches_its_own_row_and_ignored_rows_nothing() -> None:
    x, w = torch.randn(6, 4), torch.randn(9, 4)
    target = torch.tensor([0, 8, -100, 3, 3, 1])
    x[2] = math.nan
    assert linear_cross_entropy(x, w, target).isfinite()
    x[3] = math.nan
    losses = linear_cross_entropy(x, w, target, reduction="none")
    assert losses.isnan().tolist() == [False, False, False, True, False, False]
    w[5] = math.nan
    assert linear_cross_entropy(x, w, target, reduction="none").isnan().tolist() == [True] * 2 + [False] + [True] * 3


def test_threads_do_not_change_a_bit() -> None:
    x, w, target = torch.randn(300, 1), torch.randn(1500, 1), torch.randint(0, 1500, (300,))
    rest = (None, torch.randn(1500), None, None, None, 0.1, 3.0, 0.1, False, False, True)
    threads, results = torch.get_num_threads(), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(ops.linear_cross_entropy(x, w, target, *rest))
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_half_parameters(dtype: torch.dtype) -> None:
    x, w, b = (torch.randn(*s, requires_grad=True) for s in ((30, 16), (50, 16), (50,)))
    target = torch.randint(0, 50, (30,))
    with torch.autocast("cpu", dtype):
        loss = linear_cross_entropy(x, w, target, linear_bias=b)
    grads = torch.autograd.grad(loss, (x, w, b))
    assert [g.dtype for g in grads] == [torch.float32] * 3
    product = dtype if dtype == torch.bfloat16 else torch.float32  # the CPU multiplies no float16
    rounded = [z.detach().to(product).double().requires_grad_() for z in (x, w)]
    true = F.cross_entropy(rounded[0] @ rounded[1].T + b.double(), target)
    torch.testing.assert_close(loss.double(), true, rtol=1e-5, atol=1e-6)
    for found, t in zip(grads, torch.autograd.grad(true, rounded), strict=False):
        assert torch.linalg.vector_norm(found - t) <= 3e-3 * torch.linalg.vector_norm(t)


def test_compiles_whole() -> None:
    x, w, b = (torch.randn(*s, requires_grad=True) for s in ((30, 16), (50, 16), (50,)))
    target = torch.randint(0, 50, (30,)).masked_fill(torch.rand(30) < 0.3, -100)

    def loss(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return linear_cross_entropy(x, w, target, linear_bias=b, label_smoothing=0.1)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    pairs = zip(*(torch.autograd.grad(f(x, w, b), (x, w, b)) for f in (loss, compiled)), strict=True)
    assert all(torch.equal(a, c) for a, c in pairs)


def with_repeated_rows(device: torch.device) -> list[Tensor]:
    """Arguments of the operator: rows that have many indices, some or none, and indices without a target."""
    index = torch.randint(0, 20, (300,)).masked_fill_(torch.rand(300) < 0.3, -1)
    targets = torch.randint(0, 30, (300,)).masked_fill_(torch.rand(300) < 0.1, -1)
    return [z.to(device) for z in (torch.randn(24, 6), torch.randn(30, 6), targets, index)]


OPTIONS = (*[None] * 4, 0.0, 0.0, 0.0, True, True, False)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of infinities in lanes that are masked afterwards
def test_triton_adds_up_what_a_row_has_of_several_indices(triton_device: torch.device) -> None:
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy as launcher

    inputs = with_repeated_rows(triton_device)
    hidden, weight, targets, index = (z.cpu() for z in inputs)
    hidden.requires_grad_()
    named = (index >= 0) & (targets >= 0)
    F.cross_entropy((hidden @ weight.T)[index[named]], targets[named], reduction="sum").backward()
    found = launcher(*inputs, *OPTIONS)[5].cpu()
    torch.testing.assert_close(found, hidden.grad, rtol=1e-5, atol=1e-5)
    assert not found[20:].any()


@pytest.mark.gpu
def test_rows_of_several_indices_have_the_same_bits_in_every_run() -> None:
    inputs = with_repeated_rows(torch.device("cuda"))
    first, *others = (ops.linear_cross_entropy(*inputs, *OPTIONS)[5] for _ in range(20))
    assert all(torch.equal(first, other) for other in others)
