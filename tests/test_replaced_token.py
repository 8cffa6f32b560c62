"""replaced_token_loss: the reference, transformers' number, any types and strides, padding, small losses."""

from __future__ import annotations

import math

import pytest
import torch
from cuda_graph import captured
from loss_oracle import (
    assert_compiles,
    assert_half_is_like_reference,
    assert_like_reference,
    assert_steady,
    with_grads,
)
from torch import Tensor

from benchmarks import gpu_calls
from sslfast import ops
from sslfast.losses import ReplacedTokenLoss, replaced_token_loss
from sslfast.masking import electra_inputs
from sslfast.reference.replaced_token import replaced_token_loss as by_definition

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
# rows, length, and why.
SIZES = [
    pytest.param(1, 1, id="one token"),
    pytest.param(5, 33, id="odd"),
    pytest.param(3, 700, id="a block ends within a row"),
    pytest.param(1, 2 * 2048 + 5, id="two blocks and a few"),
]
LABELS = [torch.bool, *INTEGERS, torch.float32, torch.float64, torch.bfloat16, torch.float16]
HALF = (torch.bfloat16, torch.float16)


def problem(rows: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits in float64, where tokens were replaced, and a mask that leaves each row one token at least."""
    tokens = torch.arange(length) < torch.randint(1, length + 1, (rows, 1))
    return 4 * torch.randn(rows, length, dtype=torch.float64), torch.rand(rows, length) < 0.15, tokens


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_like_reference(rows, length, masked, reduction, device) -> None:
    logits, replaced, tokens = problem(rows, length)
    mask = tokens.to(device) if masked else None
    tokens = tokens if masked else torch.ones_like(tokens)
    weights = torch.rand(rows, length) if reduction == "none" else torch.ones(())

    def ours(z: Tensor) -> Tensor:
        found = replaced_token_loss(z, replaced.to(device), mask, reduction)
        return (found * weights.to(device)).sum()

    def theirs(z: Tensor) -> Tensor:
        return (by_definition(z, replaced, tokens, reduction) * weights).sum()

    assert_like_reference(ours, theirs, [logits], device)
    assert_like_reference(ours, theirs, [logits.float()], device)
    for dtype in HALF:
        assert_half_is_like_reference(ours, theirs, [logits.to(dtype)], device)
    if reduction == "none":
        found = replaced_token_loss(logits.to(device), replaced.to(device), mask, "none")
        torch.testing.assert_close(found.cpu(), by_definition(logits, replaced, tokens, "none"))


@pytest.mark.parametrize("mask_dtype", [torch.bool, *INTEGERS], ids=str)
def test_any_type_of_labels_and_mask(mask_dtype, device) -> None:
    logits, replaced, tokens = problem(3, 50)
    logits, mask = logits.float().to(device), (tokens * 3).to(mask_dtype).to(device)
    for reduction in ("mean", "none"):
        expected = replaced_token_loss(logits, replaced.to(device), tokens.to(device), reduction)
        for dtype in LABELS:
            found = replaced_token_loss(logits, replaced.to(dtype).to(device), mask, reduction)
            assert torch.equal(found, expected), dtype
    with pytest.raises(TypeError, match=r"replaced must be bool or numbers of 0 and 1, got torch.complex64$"):
        replaced_token_loss(logits, replaced.to(torch.complex64).to(device))


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_strides(dtype, reduction, device) -> None:
    logits, replaced, tokens = (t.to(device) for t in problem(4, 3000))
    given = [logits.to(dtype), replaced, tokens]
    expected = with_grads(lambda z: replaced_token_loss(z, *given[1:], reduction).sum(), given[0])
    turned = [t.T.contiguous().T for t in given]
    apart = [torch.stack([t, t], 2)[:, :, 1] for t in given]
    padded = [torch.cat([t, t[:, :9]], 1)[:, :3000] for t in given]
    mixed = [apart[0], turned[1], padded[2]]
    for z, labels, mask in (turned, apart, padded, mixed):
        for f, e in zip(
            with_grads(lambda z, y=labels, m=mask: replaced_token_loss(z, y, m, reduction).sum(), z),
            expected,
            strict=True,
        ):
            assert torch.equal(f, e)
    one_row = tokens[:1].expand(4, -1)
    found = replaced_token_loss(given[0], replaced, one_row, reduction)
    assert torch.equal(found, replaced_token_loss(given[0], replaced, one_row.contiguous(), reduction))


def test_threads_change_nothing() -> None:
    logits, replaced, tokens = problem(40, 2000)
    logits, threads = logits.float(), torch.get_num_threads()
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(with_grads(lambda z: replaced_token_loss(z, replaced, tokens), logits))
    torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(f, e) for f, e in zip(other, found[0], strict=True))


def test_the_number_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.ElectraForPreTraining(transformers.ElectraConfig(vocab_size=50, **sizes)).eval()
    ids, mask = torch.randint(0, 50, (3, 9)), torch.arange(9) < torch.tensor([[9], [4], [1]])
    positions, sampled = torch.tensor([1, 5, 11, -1]), torch.tensor([7, 8, 9, 10])
    read, replaced = electra_inputs(ids, positions, sampled)
    theirs = model(read, attention_mask=mask.long(), labels=replaced.long())
    torch.testing.assert_close(ReplacedTokenLoss()(theirs.logits, replaced, mask), theirs.loss)


def test_padding_may_hold_anything_and_no_token_is_0(device) -> None:
    logits = torch.randn(2, 4, dtype=torch.float64, device=device, requires_grad=True)
    replaced = torch.zeros(2, 4, dtype=torch.bool, device=device)
    mask = torch.tensor([[1, 1, 0, 0]] * 2, device=device)
    spoiled = torch.where(mask == 0, math.nan, logits.detach()).requires_grad_()
    loss = replaced_token_loss(spoiled, replaced, mask)
    torch.testing.assert_close(loss, replaced_token_loss(logits[:, :2], replaced[:, :2]))
    assert torch.autograd.grad(loss, spoiled)[0].isfinite().all()
    assert replaced_token_loss(spoiled, replaced).isnan()
    for none in (replaced_token_loss(logits, replaced, 0 * mask), replaced_token_loss(logits[:0], replaced[:0])):
        assert none == 0
        assert not torch.autograd.grad(none, logits)[0].any()


def test_labels_of_padding_may_be_anything() -> None:
    logits, labels = torch.randn(2, 3), torch.tensor([[0, 1, -100], [1, -100, -100]])
    mask = labels >= 0
    expected = replaced_token_loss(logits, labels == 1, mask)
    for given in (labels, torch.where(mask, labels, math.nan)):
        assert torch.equal(replaced_token_loss(logits, given, mask), expected)
    # Where nobody waits for the labels the loss says it.
    compiled = torch.compile(replaced_token_loss, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(logits, labels, mask), expected)
    assert compiled(logits, labels).isnan()


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_late_in_training(dtype, replaced, device) -> None:
    """Losses of 1e-17 to 1 keep their relative precision, and so do derivatives."""
    right = torch.linspace(-40.0, 0.0, 500, dtype=dtype, device=device)[None]
    logits, labels = (-right if replaced else right), torch.full((1, 500), replaced, device=device)
    losses, slopes = torch.log1p(right.double().exp()), torch.sigmoid(right.double())
    slopes = -slopes if replaced else slopes
    rtol = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        replaced_token_loss(logits, labels, reduction="none").double(), losses, rtol=rtol, atol=0.0
    )
    loss, grad = with_grads(lambda z: replaced_token_loss(z, labels), logits)
    torch.testing.assert_close(loss.double(), losses.mean(), rtol=8 * rtol, atol=0.0)
    torch.testing.assert_close(grad.double(), slopes / 500, rtol=rtol, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_large_logits(dtype, device) -> None:
    logits = torch.tensor([[1e4, -1e4, math.inf, -math.inf, math.nan, math.inf]], dtype=dtype, device=device)
    replaced = torch.tensor([[0, 0, 0, 0, 0, 1]], device=device)
    losses = replaced_token_loss(logits.requires_grad_(), replaced, reduction="none")
    (grad,) = torch.autograd.grad(losses.sum(), logits)
    for found, expected in (
        (losses, [[logits[0, 0].item(), 0.0, math.inf, 0.0, math.nan, 0.0]]),
        (grad, [[1.0, 0.0, 1.0, 0.0, math.nan, 0.0]]),
    ):
        torch.testing.assert_close(found, torch.tensor(expected).to(found), rtol=0.0, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("masked", [True, False])
def test_derivatives(reduction, masked, device) -> None:
    logits, replaced, tokens = (t.to(device) for t in problem(3, 4))
    given = (replaced, tokens if masked else None, reduction)
    z = logits.requires_grad_()
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda z: replaced_token_loss(z, *given), z)
        if reduction == "mean":
            assert check(lambda z: replaced_token_loss(z, *given, num_items=7) ** 2, z)
            assert check(lambda z: replaced_token_loss(z, *given, num_items=torch.tensor(7, device=device)), z)


def test_a_retained_graph_gives_the_same_gradient_again(device) -> None:
    logits, replaced, tokens = (t.to(device) for t in problem(3, 50))
    for dtype in (torch.float32, torch.bfloat16):
        z = logits.to(dtype).requires_grad_()
        loss = replaced_token_loss(z, replaced, tokens)
        first = torch.autograd.grad(loss, z, torch.tensor(2.0, device=device), retain_graph=True)[0].clone()
        (plain,) = torch.autograd.grad(loss, z, retain_graph=True)
        plain.mul_(3)
        (again,) = torch.autograd.grad(loss, z, torch.tensor(2.0, device=device))
        assert torch.equal(first, again)
        (made,) = torch.autograd.grad(replaced_token_loss(z, replaced, tokens), z, create_graph=True)
        torch.testing.assert_close(made, first / 2)


def test_gradients_of_several_directions_at_once() -> None:
    logits, replaced = torch.randn(3, 4, requires_grad=True), torch.rand(3, 4) < 0.5
    directions = torch.tensor([1.0, -2.0])
    (found,) = torch.autograd.grad(replaced_token_loss(logits, replaced), logits, directions, is_grads_batched=True)
    (one,) = torch.autograd.grad(replaced_token_loss(logits, replaced), logits)
    torch.testing.assert_close(found, directions[:, None, None] * one)


def test_loss_scaling_of_float16(device) -> None:
    """The gradient of a half type is rounded once, after the scale: none of it is lost below float16's least number."""
    logits, replaced, _ = (t.to(device) for t in problem(64, 512))
    z = logits.half().requires_grad_()
    (grad,) = torch.autograd.grad(65536.0 * replaced_token_loss(z, replaced), z)
    (exact,) = torch.autograd.grad(65536.0 * replaced_token_loss(z.double(), replaced), z)
    torch.testing.assert_close(grad, exact, rtol=1e-3, atol=1e-7)


def test_opcheck(device) -> None:
    logits, replaced, tokens = (t.to(device) for t in problem(3, 5))
    for dtype, each_token, need_grad in (
        (torch.float32, False, True),
        (torch.float64, False, False),
        (torch.bfloat16, True, False),
    ):
        z = logits.to(dtype)
        torch.library.opcheck(ops.replaced_token, (z, replaced, tokens, None, 0.0, each_token, need_grad))
        weights = torch.rand(3, 5, dtype=torch.promote_types(dtype, torch.float32), device=device)
        torch.library.opcheck(ops.replaced_token_backward, (weights, z, replaced.long(), None))


def test_compiles(device) -> None:
    logits, replaced, tokens = (t.to(device) for t in problem(3, 5))
    assert_compiles(lambda z: replaced_token_loss(z, replaced, tokens), logits.float())
    assert_compiles(lambda z: replaced_token_loss(z, replaced.long(), tokens, "none").sum(), logits.float())
    assert_compiles(lambda z: replaced_token_loss(z, replaced, tokens, num_items=9), logits.bfloat16())


def test_autocast_and_checkpointing() -> None:
    logits, replaced, tokens = problem(3, 5)
    assert_steady(lambda z: replaced_token_loss(z, replaced, tokens), logits.float())
    assert_steady(lambda z: replaced_token_loss(z, replaced, tokens), logits.bfloat16())


@pytest.mark.gpu
def test_bad_labels_on_a_gpu() -> None:
    """Nobody waits for them: the loss is NaN, of each token its own."""
    logits = torch.randn(2, 3, device="cuda", requires_grad=True)
    labels = torch.tensor([[0, 1, -100], [1, -100, -100]], device="cuda")
    losses = replaced_token_loss(logits, labels, reduction="none")
    assert torch.equal(losses.isnan(), labels < 0)
    assert replaced_token_loss(logits, labels).isnan()
    (grad,) = torch.autograd.grad(replaced_token_loss(logits, labels, labels >= 0), logits)
    assert grad.isfinite().all()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_graph_replays_on_new_labels_and_nobody_waits(dtype) -> None:
    logits = torch.randn(8, 700, dtype=dtype, device="cuda", requires_grad=True)
    replaced, tokens = torch.rand(8, 700, device="cuda") < 0.15, torch.rand(8, 700, device="cuda") < 0.8

    def call() -> tuple[Tensor, Tensor]:
        loss = replaced_token_loss(logits, replaced, tokens)
        return loss, *torch.autograd.grad(loss, logits)

    assert gpu_calls.counts(call)[1] == 0
    graph, results = captured(call)
    with torch.no_grad():
        replaced.logical_not_()
        tokens[3:] = False
    graph.replay()
    for ours, expected in zip(results, call(), strict=True):
        assert torch.equal(ours, expected)
