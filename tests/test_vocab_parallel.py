"""vocab_parallel_cross_entropy over ranks (gloo, CPU) is linear_cross_entropy of all classes on one."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from ranks import found_by_ranks
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sslfast.losses import (
    VocabParallelCrossEntropyLoss,
    linear_cross_entropy,
    vocab_parallel_cross_entropy,
)
from sslfast.reference.linear_cross_entropy import linear_cross_entropy as by_definition

SHARDS = {2: [1, 10], 3: [4, 5, 2]}  # classes of every rank
EVEN = {2: [6, 5], 3: [4, 4, 3]}  # those of num_classes alone
CLASSES, DIM = 11, 9


def data(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x, weight, bias = (
        torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)
        for size in ((2, 7, DIM), (CLASSES, DIM), (CLASSES,))
    )
    target = torch.arange(14).view(2, 7) % CLASSES
    target[0, ::3] = -100
    return x, weight, bias, target


OPTIONS = {
    "mean": {},
    "sum": {"reduction": "sum", "z_loss": 0.1},
    "none": {"reduction": "none"},
    "items": {"num_items": 50.0, "z_loss": 0.1},
    "smooth": {"label_smoothing": 0.3, "z_loss": 0.1},
    "uniform": {"label_smoothing": 1.0, "reduction": "sum"},
    "capped": {"softcap": 2.0},
    "capped, all": {"softcap": 1.5, "label_smoothing": 0.2, "z_loss": 0.1, "reduction": "none"},
}


def run(function, dtype: torch.dtype, own: slice, options: dict, with_bias: bool) -> list[Tensor]:
    """The loss, and the gradients in rows, and in weight and bias of some classes."""
    x, weight, bias, target = data(dtype)
    leaves = [x, weight[own].clone(), *([bias[own].clone()] if with_bias else [])]
    leaves = [z.requires_grad_() for z in leaves]
    rest = {"linear_bias": leaves[2]} if with_bias else {}
    loss = function(leaves[0], leaves[1], target, **rest, **options)
    upstream = torch.arange(1.0, loss.numel() + 1).view(loss.shape)
    return [loss.detach(), *torch.autograd.grad((loss * upstream).sum(), leaves)]


def results(function, own: slice) -> dict[str, list[Tensor]]:
    found = {
        f"{name}, {dtype}, {with_bias}": run(function, dtype, own, options, with_bias)
        for name, options in OPTIONS.items()
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
        for with_bias in (False, True)
    }
    x, weight, bias, target = data(torch.float64)
    none = torch.full_like(target, -100)
    leaves = [z.requires_grad_() for z in (x, weight[own].clone(), bias[own].clone())]
    loss = function(leaves[0], leaves[1], none, linear_bias=leaves[2])
    found["nothing"] = [loss.detach(), *torch.autograd.grad(loss, leaves)]
    for dtype in (torch.float64, torch.float32):
        x, weight, bias, target = data(dtype)
        target[1] = (x @ weight.T + bias)[1].argmax(1)  # some are right
        metrics = {"label_smoothing": 0.1, "z_loss": 0.1, "softcap": 3.0, "return_metrics": True}
        found[f"metrics, {dtype}"] = list(function(x, weight[own], target, linear_bias=bias[own], **metrics))
    assert 0.4 < found["metrics, torch.float64"][1] < 1
    return found


# What ranks may not differ in; on the last rank the second.
DIFFERENT = (
    ("return_metrics", False, True),
    ("reduction", "none", "sum"),
    ("ignore_index", -100, 3),
    ("label_smoothing", 0.0, 0.1),
    ("softcap", None, 2.0),
    ("z_loss", 0.1, 0.2),
    ("num_items", None, 4.0),
)


def rank_main(rank: int, world: int) -> Any:
    own = share_of(SHARDS[world], rank)
    found: dict[str, object] = dict(results(vocab_parallel_cross_entropy, own))
    x, weight, _, target = data(torch.float32)
    even = share_of(EVEN[world], rank)
    plain = vocab_parallel_cross_entropy(x, weight[own], target)
    said = vocab_parallel_cross_entropy(x, weight[own], target, num_classes=CLASSES, first_class=own.start)
    criterion = VocabParallelCrossEntropyLoss(num_classes=CLASSES, group=dist.group.WORLD)
    assert torch.equal(plain, said)
    torch.testing.assert_close(criterion(weight[even], x, target), plain)
    if world == 2:
        compiled_is_eager(even)
        stray_targets_spoil(own)
    other = 0 if rank == world - 1 else own.start
    with pytest.raises(ValueError, match="must have first_class=") as caught:
        vocab_parallel_cross_entropy(x, weight[own], target, num_classes=CLASSES, first_class=other)
    found["said wrong"] = str(caught.value)
    try:
        vocab_parallel_cross_entropy(x, weight[own], target + CLASSES)
    except ValueError as error:
        found["error"] = str(error)
    # What is wrong on the last rank alone is known to all before one waits for another.
    last = rank == world - 1
    for name, shard in (("empty", weight[own][:0]), ("wrong", weight[own].long())):
        with pytest.raises((TypeError, ValueError)) as caught:
            vocab_parallel_cross_entropy(x, shard if last else weight[own], target)
        found[name] = f"{type(caught.value).__name__}: {caught.value}"
    for name, first, other in DIFFERENT:
        with pytest.raises(ValueError, match="must be alike") as caught:
            vocab_parallel_cross_entropy(x, weight[own], target, **{name: other if last else first})
        got = f"got {first!r} on rank 0 and {other!r} on rank {world - 1}"
        expected = f"{name} must be alike on every rank, {got}"
        assert str(caught.value) == f"vocab_parallel_cross_entropy: {expected}"
    items = torch.tensor(4.0)
    in_any_shape = vocab_parallel_cross_entropy(x, weight[own], target, num_items=items.reshape(1) if last else items)
    assert torch.equal(in_any_shape, vocab_parallel_cross_entropy(x, weight[own], target, num_items=4.0))
    with pytest.raises(ValueError, match="the shape of input must be alike on every rank, got "):
        vocab_parallel_cross_entropy(x[: 2 - last], weight[own], target[: 2 - last])
    return found


def share_of(sizes: list[int], rank: int) -> slice:
    return slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))


def compiled_is_eager(own: slice) -> None:
    """In one graph, forward and backward, with what travels in it; a target that is no class raises there, too."""
    x, weight, bias, target = data(torch.float32)
    leaves = [z.requires_grad_() for z in (x, weight[own].clone(), bias[own].clone())]
    criterion = VocabParallelCrossEntropyLoss(softcap=2.0, z_loss=0.1, label_smoothing=0.1, num_classes=CLASSES)
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    losses = [each(leaves[1], x, target, leaves[2]) for each in (criterion, compiled)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, leaves) for loss in losses))
    with pytest.raises(RuntimeError, match="linear_cross_entropy: a target or an index is out of range"):
        compiled(leaves[1], x, target + CLASSES, leaves[2])


def stray_targets_spoil(own: slice) -> None:
    """On a GPU, which nobody waits for: the loss, and the gradients of every rank's classes and of the rows."""
    from sslfast import ops
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy as launcher

    x, weight, _, target = data(torch.float32)
    leaves = [z.requires_grad_() for z in (x, weight[own].clone())]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of infinities in lanes that are masked afterwards
        patch.setattr(ops, "linear_cross_entropy", launcher)
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        for stray, spoiled in ((CLASSES, True), (-1, True), (10**12, True), (3, False)):
            target[1, 2] = stray
            loss = vocab_parallel_cross_entropy(*leaves, target, num_classes=CLASSES, first_class=own.start)
            found = [loss, *torch.autograd.grad(loss, leaves)]
            assert all(bool(z.isnan().any()) == spoiled for z in found)


@pytest.mark.parametrize("world", SHARDS)
def test_ranks_make_what_one_makes(world: int, tmp_path: Path) -> None:
    ranks = found_by_ranks(rank_main, world, tmp_path)
    expected = results(linear_cross_entropy, slice(0, CLASSES))
    for rank, found in enumerate(ranks):
        own = share_of(SHARDS[world], rank)
        assert found.pop("error").startswith("vocab_parallel_cross_entropy: target must be in [0, 10] or -100, got ")
        name, last = "vocab_parallel_cross_entropy", world - 1
        empty = f"ValueError: {name}: linear_weight must have a class on every rank, got none on rank {last}"
        elsewhere = f"ValueError: {name}: arguments must be right on every rank, got an error on rank {last}"
        here = f"TypeError: {name}: linear_weight must be a floating-point tensor, got torch.int64"
        assert found.pop("empty") == empty
        assert found.pop("wrong") == (here if rank == last else elsewhere)
        sizes, last_first = SHARDS[world], sum(SHARDS[world][:-1])
        assert found.pop("said wrong") == (
            f"{name}: rank {last} must have first_class={last_first}, num_classes=11, as the ranks hold {sizes}, "
            "got first_class=0, num_classes=11"
        )
        assert found.keys() == expected.keys()
        for name in [n for n in found if n.startswith("metrics")]:
            torch.testing.assert_close(found.pop(name), expected[name], rtol=1e-5, atol=1e-5)
        for name, (loss, d_x, *others) in found.items():
            tolerance = 1e-12 if "64" in name or name == "nothing" else 1e-5 if "float32" in name else 2e-2
            e_loss, e_x, *e_others = expected[name]
            close = {"rtol": tolerance, "atol": tolerance}
            torch.testing.assert_close(
                loss, e_loss, **(close if "bfloat" not in name else {"rtol": 1e-5, "atol": 1e-5})
            )
            torch.testing.assert_close(d_x, e_x, **close)
            for g, e in zip(others, e_others, strict=True):
                torch.testing.assert_close(g, e[own], **close)


def test_without_a_group() -> None:
    found, expected = (results(f, slice(0, CLASSES)) for f in (vocab_parallel_cross_entropy, linear_cross_entropy))
    for name, values in found.items():
        tolerance = 1e-12 if "64" in name or name == "nothing" else 1e-5 if "float32" in name else 2e-2
        for value, e in zip(values, expected[name], strict=True):
            torch.testing.assert_close(value, e, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_capped_against_the_definition(dtype: torch.dtype) -> None:
    options = OPTIONS["capped, all"]
    found = run(vocab_parallel_cross_entropy, dtype, slice(0, CLASSES), options, True)
    x, weight, bias, target = (z if z.dtype == torch.int64 else z.double().requires_grad_() for z in data(dtype))
    has = target.flatten() != -100
    rest = {name: value for name, value in options.items() if name != "reduction"}
    expected = by_definition(x.flatten(0, 1)[has], weight, target.flatten()[has], bias, **rest)
    upstream = torch.arange(1.0, 15.0)[has]
    losses = [expected.detach(), *torch.autograd.grad((expected * upstream).sum(), [x, weight, bias])]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4 if dtype == torch.float32 else 2e-2
    found[0] = found[0].flatten()[has]
    for value, e in zip(found, losses, strict=True):
        torch.testing.assert_close(value.double(), e, rtol=tolerance, atol=tolerance * e.abs().max().item())


@pytest.mark.parametrize("left_out", [-math.inf, torch.finfo(torch.float32).min])
def test_classes_left_out_by_the_bias(left_out: float) -> None:
    x, weight, bias, target = data(torch.bfloat16)
    bias = bias.float()
    bias[5] = left_out
    target[target == 5] = 6
    found = vocab_parallel_cross_entropy(x, weight, target, linear_bias=bias)
    torch.testing.assert_close(found, linear_cross_entropy(x, weight, target, linear_bias=bias))


def test_small_losses_and_one_class() -> None:
    x = torch.tensor([[20.0, 0.0]], requires_grad=True)
    loss = vocab_parallel_cross_entropy(x, torch.eye(2), torch.tensor([0]))
    torch.testing.assert_close(loss.item(), math.log1p(math.exp(-20.0)), rtol=1e-6, atol=0.0)
    loss = vocab_parallel_cross_entropy(x, torch.ones(1, 2), torch.tensor([0]))
    assert loss == 0
    assert not torch.autograd.grad(loss, x)[0].any()
    logits = 1e4 * torch.randn(5, 3)
    target = torch.tensor([0, 1, 2, 0, 1])
    torch.testing.assert_close(
        vocab_parallel_cross_entropy(logits, torch.eye(3), target), F.cross_entropy(logits, target)
    )


def test_module() -> None:
    x, weight, bias, target = data(torch.float32)
    held = {"softcap": 2.0, "reduction": "sum", "label_smoothing": 0.1, "return_metrics": True}
    found = VocabParallelCrossEntropyLoss(**held)(weight.requires_grad_(), x, target, bias)
    assert [z.requires_grad for z in found] == [True, False, False, False, False]
    expected = linear_cross_entropy(x, weight, target, linear_bias=bias, **held)
    torch.testing.assert_close(tuple(found), tuple(expected))
    for options, text in (
        ({"reduction": "max"}, "reduction must be 'mean', 'sum' or 'none', got 'max'"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"first_class": -1}, "first_class must be at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"VocabParallelCrossEntropyLoss: {text}")):
            VocabParallelCrossEntropyLoss(**options)


def test_nothing_waits_for_a_gpu() -> None:
    """Tensors without numbers raise where one would be read, or where a shape would depend on it."""
    with FakeTensorMode():
        x, weight = torch.empty(2, 7, 9, device="cuda"), torch.empty(11, 9, device="cuda")
        target = torch.empty(2, 7, dtype=torch.int64, device="cuda")
        for options in ({"reduction": "none"}, {"num_classes": 11, "return_metrics": True}):
            found = vocab_parallel_cross_entropy(x, weight, target, softcap=2.0, label_smoothing=0.1, **options)
            loss = found if isinstance(found, Tensor) else found.loss
            assert loss.is_cuda
            assert loss.shape == (target.shape if "reduction" in options else ())


def test_second_derivative_is_refused() -> None:
    x, weight, _, target = data(torch.float64)
    (grad,) = torch.autograd.grad(
        vocab_parallel_cross_entropy(x.requires_grad_(), weight, target), x, create_graph=True
    )
    with pytest.raises(RuntimeError, match="vocab_parallel_cross_entropy"):
        torch.autograd.grad(grad.sum(), x)
