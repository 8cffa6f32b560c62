"""info_nce_loss against the definition, and the ring of MemoryBank."""

from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as F
from oracle import assert_no_worse
from torch import Tensor

from sslfast.losses import MemoryBank, _few_pairs, info_nce_loss
from sslfast.reference.info_nce import info_nce_loss as reference


def with_grads(function, query: Tensor, key: Tensor, queue: Tensor, temperature: float, weights: Tensor):
    query, key = (z.detach().clone().requires_grad_() for z in (query, key))
    losses = function(query, key, queue=queue, temperature=temperature)
    return [losses.detach(), *torch.autograd.grad((losses * weights.to(losses)).sum(), (query, key))]


def ours(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    return info_nce_loss(query, key, queue=queue, temperature=temperature, reduction="none")


# N, K, D, temperature: one of everything; odd sizes; several tiles; low and negative temperature.
@pytest.mark.parametrize(
    ("n", "k", "d", "temperature"),
    [(1, 1, 1, 0.5), (5, 17, 7, 0.1), (600, 1100, 20, 0.07), (40, 90, 16, 0.01), (9, 30, 8, -0.5)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n: int, k: int, d: int, temperature: float, dtype: torch.dtype, device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")
    query, key = torch.randn(2, n, d, dtype=dtype)
    queue = F.normalize(torch.randn(k, d, dtype=dtype), dim=1)
    weights = torch.rand(n)  # a gradient of its own for every row
    found = with_grads(ours, *(t.to(device) for t in (query, key, queue)), temperature, weights.to(device))
    same = with_grads(reference, query, key, queue, temperature, weights)
    truth = with_grads(reference, query.double(), key.double(), queue.double(), temperature, weights)
    eps = torch.finfo(dtype).eps
    for f, r, g in zip(found, same, truth, strict=True):
        assert_no_worse(f, r, g, 16 * eps * max(1.0, g.abs().max().item()) / min(1.0, abs(temperature)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_no_worse_than_eager(dtype: torch.dtype, device) -> None:
    query, key = torch.randn(2, 50, 32).to(dtype)
    queue = F.normalize(torch.randn(200, 32), dim=1)
    weights = torch.ones(50)
    found = with_grads(ours, *(t.to(device) for t in (query, key, queue)), 0.1, weights.to(device))
    same = with_grads(reference, query, key, queue.to(dtype), 0.1, weights)
    truth = with_grads(reference, query.double(), key.double(), queue.double(), 0.1, weights)
    assert found[0].dtype == torch.float32
    assert_no_worse(found[0], same[0].float(), truth[0], 1e-5)
    for f, r, g in zip(found[1:], same[1:], truth[1:], strict=True):
        eps = torch.finfo(
            dtype
        ).eps  # the gradient itself is rounded to the dtype, and so are its weights and the queue
        assert_no_worse(f, r, g, eps * g.abs() + eps / 16 * g.abs().max())


def test_gradcheck_and_reductions() -> None:
    query, key = torch.randn(2, 6, 5, dtype=torch.float64, requires_grad=True)
    queue = torch.randn(9, 5, dtype=torch.float64)
    for reduction in ("none", "mean", "sum"):
        assert torch.autograd.gradcheck(
            lambda a, b, r=reduction: info_nce_loss(a, b, queue=queue, temperature=0.3, reduction=r), (query, key)
        )
    losses = ours(query, key, queue, 0.3)
    torch.testing.assert_close(info_nce_loss(query, key, queue=queue, temperature=0.3), losses.mean())
    torch.testing.assert_close(info_nce_loss(query, key, queue=queue, temperature=0.3, reduction="sum"), losses.sum())


def test_analytic_values() -> None:
    one = torch.ones(4, 3)
    torch.testing.assert_close(info_nce_loss(one, one, queue=F.normalize(torch.ones(6, 3))), torch.tensor(math.log(7)))
    eye = torch.eye(8)[:4]  # one logit of 10 against 3 of 0
    expected = math.log1p(3 * math.exp(-10))
    torch.testing.assert_close(info_nce_loss(eye, eye, queue=torch.eye(8)[5:]), torch.tensor(expected))
    far = info_nce_loss(eye, eye, queue=-eye, temperature=0.01)  # exp(-100): lost wherever 1 is added to it
    torch.testing.assert_close(far, torch.tensor(3 * math.exp(-100)))


def test_only_what_is_needed_is_computed() -> None:
    query, key, queue = torch.randn(4, 3), torch.randn(4, 3, requires_grad=True), torch.randn(5, 3)
    loss = info_nce_loss(query, key, queue=queue)
    (grad,) = torch.autograd.grad(loss, key)
    expected = torch.autograd.grad(reference(query, key, queue=queue).mean(), key)[0]
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("d", [4, 16])
def test_a_queue_that_is_the_query_itself_is_not_normalised(monkeypatch, d: int, device) -> None:
    query, keys, others = (torch.randn(n, d, device=device).bfloat16() for n in (20, 20, 40))
    query.requires_grad_()

    def made(queue: Tensor) -> list[Tensor]:
        loss = info_nce_loss(query, keys, others, 1.0, queue=queue)
        return [loss.detach(), *torch.autograd.grad(loss, query)]

    for most in (0, 512):  # tiles, and all at once
        monkeypatch.setattr(_few_pairs, "_MOST", most)
        for found, expected in zip(made(query.detach()), made(query.detach().clone()), strict=True):
            assert torch.equal(found, expected)


def test_another_default_device() -> None:
    query, keys, others = torch.randn(3, 4, 8)
    ids = {"query_ids": torch.arange(4), "key_ids": torch.arange(4)}
    for options in ({}, ids):
        expected = info_nce_loss(query, keys, others, in_batch=True, **options)
        with torch.device("meta"):
            assert torch.equal(info_nce_loss(query, keys, others, in_batch=True, **options), expected)


def test_the_queue_may_change_before_backward() -> None:
    bank = MemoryBank((6, 3))
    query, key = torch.randn(2, 4, 3, requires_grad=True)
    (expected,) = torch.autograd.grad(info_nce_loss(query, key, queue=bank.bank), query)
    loss = info_nce_loss(query, key, queue=bank.bank)
    bank.enqueue(key)
    assert torch.equal(torch.autograd.grad(loss, query)[0], expected)


def test_composes() -> None:
    query, key, queue = torch.randn(4, 8), torch.randn(4, 8), torch.randn(16, 8)
    weights = torch.ones(4)
    plain = with_grads(ours, query, key, queue, 0.1, weights)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = with_grads(ours, query, key, queue, 0.1, weights)
    for a, b, c in zip(plain, under, with_grads(compiled, query, key, queue, 0.1, weights), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c)
    query.requires_grad_()
    (grad,) = torch.autograd.grad(info_nce_loss(query, key, queue=queue), query, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^info_nce_loss: second derivatives are not supported$"):
        grad.sum().backward()


@pytest.mark.parametrize("batch", [1, 3, 4, 7, 10])
def test_the_bank_keeps_exactly_the_newest(batch: int, device) -> None:
    bank = MemoryBank((7, 2)).to(device)
    history = list(bank.bank.clone().cpu())
    for step in range(5):
        rows = torch.full((batch, 2), float(step)) + torch.arange(batch)[:, None] / 16
        bank.enqueue(rows.to(device))
        history += list(rows)
        newest = torch.stack(history[-7:])
        place = int(bank.bank_ptr)
        assert torch.equal(bank.bank.cpu().roll(-place, 0), newest)


def test_the_bank_is_saved_and_begins_with_unit_vectors() -> None:
    bank, other = MemoryBank((5, 3)), MemoryBank((5, 3))
    torch.testing.assert_close(bank.bank.norm(dim=1), torch.ones(5))
    bank.enqueue(torch.randn(2, 3, dtype=torch.bfloat16))
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.bank, bank.bank)
    assert int(other.bank_ptr) == 2
    assert "size=(5, 3)" in repr(bank)
    with pytest.raises(ValueError, match=re.escape("MemoryBank: embeddings must have shape (N, 3), got (2, 4)")):
        bank.enqueue(torch.randn(2, 4))
    with pytest.raises(ValueError, match=r"^MemoryBank: embeddings must be on cpu, like the bank, got meta$"):
        bank.enqueue(torch.empty(2, 3, device="meta"))
    with pytest.raises(TypeError, match=re.escape("MemoryBank: gather_distributed must be a bool, got 'x'")):
        MemoryBank((5, 3), "x")


GOOD, QUEUE = torch.ones(4, 3), torch.ones(5, 3)
BAD = [
    ([GOOD, GOOD[:2]], {}, ValueError, "positive_key must have shape (4, 3), like query, got (2, 3)"),
    ([GOOD.int(), GOOD], {}, TypeError, "query must be a floating-point tensor, got torch.int32"),
    ([GOOD, None], {}, TypeError, "positive_key must be a floating-point tensor, got NoneType"),
    ([GOOD[:0], GOOD[:0]], {}, ValueError, "query must have shape (N, D) with N, D >= 1, got (0, 3)"),
    ([GOOD, GOOD.to("meta")], {}, ValueError, "positive_key must be on cpu, like query, got meta"),
    ([GOOD, GOOD], {"queue": QUEUE.long()}, TypeError, "queue must be a floating-point tensor, got torch.int64"),
    ([GOOD, GOOD], {"queue": QUEUE[0]}, ValueError, "queue must have shape (K, 3) with K >= 1, got (3,)"),
    ([GOOD, GOOD], {"temperature": math.nan}, ValueError, "temperature must be finite, got nan"),
    ([GOOD, GOOD], {"temperature": math.inf}, ValueError, "temperature must be finite, got inf"),
    ([GOOD, GOOD], {"temperature": "1"}, TypeError, "temperature must be a number, got str"),
    ([GOOD[0], GOOD], {}, ValueError, "query must have shape (N, D) with N, D >= 1, got (3,)"),
    ([GOOD, GOOD], {"queue": [1.0]}, TypeError, "queue must be a floating-point tensor, got list"),
    ([GOOD, GOOD], {"queue": QUEUE[:, :2]}, ValueError, "queue must have shape (K, 3) with K >= 1, got (5, 2)"),
    ([GOOD, GOOD], {"queue": QUEUE[:0]}, ValueError, "queue must have shape (K, 3) with K >= 1, got (0, 3)"),
    ([GOOD, GOOD], {"queue": QUEUE.to("meta")}, ValueError, "queue must be on cpu, like query, got meta"),
    (
        [GOOD, GOOD],
        {"queue": QUEUE.clone().requires_grad_()},
        ValueError,
        "queue must not require a gradient: detach it",
    ),
    ([GOOD, GOOD], {"reduction": "max"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'max'"),
    ([GOOD, GOOD], {"temperature": 0}, ValueError, "temperature must be at least 1e-8 in absolute value, got 0"),
    (
        [GOOD, GOOD],
        {"temperature": torch.zeros(())},
        ValueError,
        "temperature must be at least 1e-8 in absolute value, got 0.0",
    ),
    ([GOOD, GOOD], {"temperature": None}, TypeError, "temperature must be a number, got NoneType"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args, kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"info_nce_loss: {text}") + "$"):
        info_nce_loss(*args, **{"queue": QUEUE} | kwargs)
