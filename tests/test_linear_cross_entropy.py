"""linear_cross_entropy: C++ on the CPU and Triton (interpreted, or native with -m gpu) against the definition."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.losses import LinearCrossEntropyLoss, linear_cross_entropy
from sslfast.reference.linear_cross_entropy import linear_cross_entropy as by_definition

# N, D, V
CASES = [
    pytest.param((1, 1, 1), id="one class"),
    pytest.param((2, 3, 2), id="two classes"),
    pytest.param((70, 24, 150), id="tiles of both sides"),
]
CPU_CASES = [
    pytest.param((600, 20, 1100), id="three strips of several tiles"),
    pytest.param((40, 33, 20000), id="strips of few rows"),
]
# label_smoothing, softcap, z_loss, bias, class weights
TERMS = [
    pytest.param((0.0, None, 0.0, False, False), id="plain"),
    pytest.param((0.0, None, 0.0, True, True), id="bias, class weights"),
    pytest.param((0.1, None, 1e-2, True, False), id="smoothing, z-loss"),
    pytest.param((0.2, 2.0, 1e-2, True, True), id="all"),
]


def problem(case: tuple[int, int, int], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Hidden rows, weight, bias, class weights and targets."""
    size, dim, classes = case
    hidden = torch.randn(size, dim, dtype=torch.float64).to(dtype)
    weight = torch.randn(classes, dim, dtype=torch.float64).to(dtype)
    bias, class_weights = torch.randn(classes, dtype=torch.float64), torch.rand(classes, dtype=torch.float64)
    if dtype != torch.float64:
        bias, class_weights = bias.float(), class_weights.float()
    return hidden, weight, bias, class_weights, torch.randint(0, classes, (size,))


def expected(x: tuple[Tensor, ...], terms, upstream: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Losses of the rows and the gradients of their sum, times ``upstream``, by definition in a dtype."""
    smoothing, softcap, z_loss, has_bias, has_weights = terms
    hidden, weight, bias = (z.to(dtype).requires_grad_() for z in x[:3])
    losses = by_definition(
        hidden,
        weight,
        x[4],
        bias if has_bias else None,
        x[3].to(dtype) if has_weights else None,
        label_smoothing=smoothing,
        softcap=softcap,
        z_loss=z_loss,
    )
    leaves = [hidden, weight, *([bias] if has_bias else [])]
    return [losses.detach(), *torch.autograd.grad((losses * upstream.to(dtype)).sum(), leaves)]


def check(operator, case, terms, dtype: torch.dtype, device: torch.device) -> None:
    smoothing, softcap, z_loss, has_bias, has_weights = terms
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    x = problem(case, dtype)
    size, classes = case[0], case[2]
    upstream = torch.rand(size, dtype=wide)
    truth, same = (expected(x, terms, upstream, each) for each in (torch.float64, wide))
    hidden, weight, bias, class_weights, targets = x
    # Every row twice as far apart, the rows between ignored, and an index that leaves them out.
    spread = torch.full((2 * size, hidden.shape[1]), math.nan, dtype=dtype)
    spread[::2] = hidden
    all_targets = torch.full((2 * size,), -1)
    all_targets[::2] = targets
    index = torch.cat([2 * torch.arange(size), torch.tensor([-1])])
    own = class_weights[targets] if has_weights else torch.ones(size, dtype=wide)
    rest = [bias.to(wide) if has_bias else None]
    numbers = (smoothing, softcap or 0.0, z_loss)

    def run(rows: Tensor, goals: Tensor, at: Tensor | None, spacing: Tensor, needs=(True, True, has_bias)):
        weights = [z.new_zeros(len(goals)).index_copy(0, spacing, z).to(wide) for z in (own * upstream, upstream)]
        args = [rows, weight, goals, at, *rest, *weights, class_weights.to(wide) if has_weights else None]
        moved = [z.to(device) if isinstance(z, Tensor) else z for z in args]
        return [z.cpu() for z in operator(*moved, *numbers, *needs)]

    eps = torch.finfo(wide).eps
    places = torch.arange(size)
    for rows, goals, at, spacing in (
        (hidden, targets, None, places),
        (spread, all_targets, None, 2 * places),
        (spread, torch.cat([targets, targets[:1]]), index, places),
    ):
        nll, lse, sums, correct, *grads = run(rows, goals, at, spacing)
        nll, lse, sums, correct = (z[spacing] for z in (nll, lse, sums, correct))
        losses = nll * own * (1 - smoothing) + z_loss * lse.square()
        if smoothing:
            total = class_weights.sum() if has_weights else classes
            losses = losses + smoothing / classes * (total * lse - sums)
        scale = max(1.0, truth[0].abs().amax().item())
        assert_no_worse(losses, same[0], truth[0], 64 * eps * scale)
        logits = by_logits(x, terms)
        if classes > 1:
            assert torch.equal(correct, logits.argmax(1) == targets)
        picked = grads[0][::2] if len(rows) > size else grads[0]
        # A logit of 30 is rounded by 30 eps, which its exponential multiplies; half types round gradients of logits.
        rounding = max(64 * eps * max(1.0, logits.abs().amax().item()), torch.finfo(dtype).eps)
        for found, s, t in zip([picked, *grads[1 : len(truth) - 1]], same[1:], truth[1:], strict=True):
            assert_no_worse(found, s, t, rounding * max(1e-2, t.abs().amax().item()))
        if len(rows) > size:
            assert not grads[0][1::2].any()
        for needs in ((True, False, False), (False, True, False), (False, False, has_bias), (False, False, False)):
            again, *_, d_hidden, d_weight, d_bias = run(rows, goals, at, spacing, needs)
            assert torch.equal(again[spacing], nll)
            assert [len(z) for z in (d_hidden, d_weight, d_bias)] == [
                len(rows) * needs[0],
                classes * needs[1],
                classes * needs[2],
            ]


def by_logits(x: tuple[Tensor, ...], terms) -> Tensor:
    logits = x[0].double() @ x[1].double().T
    return logits + x[2].double() if terms[3] else logits


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("case", CASES + CPU_CASES)
def test_cpu_against_the_definition(case, terms, dtype: torch.dtype) -> None:
    check(ops.linear_cross_entropy, case, terms, dtype, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_against_the_definition(case, terms, dtype: torch.dtype, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy as launcher

    # More than one strip is otherwise taken from 1,025 rows on.
    blocks = _launch.weights
    monkeypatch.setattr(_launch, "one_way_rows", lambda *_: 64)
    monkeypatch.setattr(_launch, "weights", lambda *shape, **_: blocks(*shape) | {"BLOCK_M": 32, "BLOCK_N": 64})
    check(launcher, case, terms, dtype, triton_device)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of infinities in lanes that are masked afterwards
def test_triton_reads_no_row_in_the_place_of_none(triton_device) -> None:
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy as launcher

    hidden, weight = torch.randn(4, 8, device=triton_device), torch.randn(20, 8, device=triton_device)
    hidden[0] = math.nan
    index = torch.tensor([1, 3, -1], device=triton_device)
    targets = torch.tensor([5, 6, 7], device=triton_device)
    rest = (*[None] * 4, 0.0, 0.0, 0.0, True, True, False)
    nll, *_, d_hidden, d_weight, _ = launcher(hidden, weight, targets, index, *rest)
    assert nll[2] == 0
    assert d_weight.isfinite().all()
    assert d_hidden.isfinite().all()
    nothing = launcher(hidden[:0], weight, targets, torch.full_like(index, -1), *rest)
    assert not any(z.any() for z in nothing)
    assert nothing[4].shape == (0, 8)


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


def test_every_target_counts_without_an_ignore_index() -> None:
    x, w, target = torch.randn(3, 4), torch.randn(9, 4), torch.tensor([0, -1, 2])
    with pytest.raises(ValueError, match=r"^linear_cross_entropy: target must be in \[0, 8\], got -1$"):
        linear_cross_entropy(x, w, target, ignore_index=None)
    with pytest.raises(ValueError, match=r"^linear_cross_entropy: target must be in \[0, 8\], got -1$"):
        LinearCrossEntropyLoss(ignore_index=None)(w, x, target)
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


def test_opcheck() -> None:
    x, w, b, target = torch.randn(6, 4), torch.randn(9, 4), torch.randn(9), torch.tensor([0, 8, -1, 3, 3, 1])
    row, index = torch.rand(6), torch.tensor([5, 4, 3, 2, -1, 0])
    for rest in (
        (None, None, None, None, None, 0.0, 0.0, 0.0, True, False, False),
        (index, b, row, row, torch.rand(9), 0.1, 2.0, 0.1, False, True, True),
    ):
        torch.library.opcheck(ops.linear_cross_entropy, (x, w, target, *rest))
    for goals in (torch.full((6,), 9), torch.full((5,), 0)):
        with pytest.raises(RuntimeError, match="linear_cross_entropy: "):
            ops.linear_cross_entropy(x, w, goals, *[None] * 5, 0.0, 0.0, 0.0, True, True, True)
