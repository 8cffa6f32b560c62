"""The operator behind losses against named rows of a table: against the reference, and at its edges."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from loss_oracle import assert_half_is_like_reference, assert_like_reference, with_grads
from torch import Tensor

from sslfast import ops
from sslfast.losses._sampled import SAME_CODES, SAME_ROW, SAME_VALUES, Sampled, sampled_loss
from sslfast.reference.sampled_softmax import sampled_softmax as reference

# rows, table, width, negatives, and why.
SIZES = [
    pytest.param(1, 1, 1, 1, id="the least"),
    pytest.param(7, 5, 3, 4, id="four others at a time"),
    pytest.param(33, 21, 37, 11, id="odd"),
    pytest.param(40, 300, 64, 13, id="rows of the table that nobody names"),
]


def problem(rows: int, table: int, width: int, negatives: int, device: torch.device | str = "cpu"):  # type: ignore[no-untyped-def]
    """Rows, table and offsets; a loss for two rows of three, in another order, and one for no row."""
    floats = [torch.randn(rows, width), torch.randn(table, width), torch.randn(table)]
    index = torch.randperm(rows)[: rows - rows // 3]
    index = torch.cat([index, torch.tensor([-1])])
    positives = torch.randint(0, table, index.shape)
    candidates = torch.randint(0, table, (len(index), negatives), dtype=torch.int32)
    corrections, codes = torch.rand(table), torch.randint(0, 3, (table, 2))
    return floats, [t.to(device) for t in (index, positives, candidates, corrections, codes)]


def ours(numbers: list[Tensor], reduction: str = "sum", **options):  # type: ignore[no-untyped-def]
    index, positives, candidates, corrections, codes = numbers
    twins = options.get("twins", SAME_ROW)

    def loss(rows: Tensor, table: Tensor, offsets: Tensor) -> Tensor:
        sampled = Sampled(index, positives, candidates, corrections, codes if twins == SAME_CODES else None, **options)
        return sampled_loss("test", rows, table, offsets, sampled, reduction)

    return loss


def theirs(numbers: list[Tensor], **options):  # type: ignore[no-untyped-def]
    index, positives, candidates, corrections, codes = (
        t.cpu()[:-1] if k < 3 else t.cpu() for k, t in enumerate(numbers)
    )
    twins = options.pop("twins", SAME_ROW)

    def loss(rows: Tensor, table: Tensor, offsets: Tensor) -> Tensor:
        known = codes if twins == SAME_CODES else None
        less = corrections
        values = twins == SAME_VALUES
        return reference(
            rows[index], table, positives, candidates, offsets, less, known, values=values, **options
        ).sum()

    return loss


@pytest.mark.parametrize(
    ("cosine", "twins"), list(itertools.product([False, True], [SAME_ROW, SAME_CODES, SAME_VALUES]))
)
@pytest.mark.parametrize(("rows", "table", "width", "negatives"), SIZES)
def test_like_reference(rows, table, width, negatives, cosine, twins, device) -> None:
    floats, numbers = problem(rows, table, width, negatives, device)
    floats[1][1:3] = floats[1][:1]
    options = {"scale": 2.5, "shift": 0.3, "cosine": cosine, "twins": twins}
    assert_like_reference(ours(numbers, **options), theirs(numbers, **options), floats, device)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half(dtype, device) -> None:
    floats, numbers = problem(33, 21, 37, 11, device)
    options = {"scale": 2.5, "shift": 0.3, "cosine": True, "twins": SAME_VALUES}
    inputs = [z.to(dtype) for z in floats]
    assert_half_is_like_reference(ours(numbers, **options), theirs(numbers, **options), inputs, device)


def test_derivatives() -> None:
    """gradcheck of every reduction."""
    floats, numbers = problem(5, 6, 4, 3)
    inputs = [z.double().requires_grad_() for z in floats]
    for reduction, cosine in itertools.product(("sum", "mean", "none"), (False, True)):
        assert torch.autograd.gradcheck(ours(numbers, reduction, scale=1.5, cosine=cosine), inputs)


def test_only_what_is_wanted_is_differentiated() -> None:
    floats, numbers = problem(9, 8, 4, 3)
    whole = with_grads(ours(numbers, cosine=True), *floats)[1:]
    for wanted in range(3):
        leaves = [z.clone().requires_grad_(k == wanted) for k, z in enumerate(floats)]
        ours(numbers, cosine=True)(*leaves).backward()
        for k, leaf in enumerate(leaves):
            assert leaf.grad is None if k != wanted else torch.equal(leaf.grad, whole[k])


def test_threads_change_no_bit() -> None:
    floats, numbers = problem(300, 200, 64, 30)
    found, threads = [], torch.get_num_threads()
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        found.append(with_grads(ours(numbers, cosine=True), *floats))
    torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_small_and_large_losses_keep_their_digits() -> None:
    """A loss of 1e-20 and one of 1e4, and their gradients."""
    index, candidates = torch.tensor([0]), torch.tensor([[1]], dtype=torch.int32)
    for distance in (46.0, -1e4):
        rows, table = torch.ones(1, 1), torch.tensor([[distance], [0.0]])
        call = ours([index, index, candidates, torch.zeros(2), None])
        loss, *_, d_table, _ = with_grads(call, rows, table, torch.zeros(2))
        assert loss.item() == pytest.approx(math.exp(-46) if distance > 0 else 1e4, rel=1e-5)
        assert d_table[1].item() == pytest.approx(math.exp(-46) if distance > 0 else 1.0, rel=1e-5)


def test_numbers_that_name_no_row_are_not_read(device) -> None:
    """The loss is NaN where Python has not looked; what counts for nothing may hold anything."""
    rows, table = torch.randn(3, 4, device=device), torch.randn(5, 4, device=device)
    good = (torch.arange(3), torch.arange(3), torch.ones(3, 2, dtype=torch.int32))
    flags = (1.0, 0.0, True, SAME_ROW, False, True, True, True)
    for which, value in itertools.product(range(3), (2**31 - 1, 5, -2)):
        numbers = [t.clone() for t in good]
        numbers[which].view(-1)[0] = value
        arguments = [t.to(device) for t in numbers]
        losses, *grads = ops.sampled_softmax(rows, table, *arguments, None, None, None, None, *flags)
        assert losses.isnan().tolist() == [True, False, False]
        assert all(g.isfinite().all() for g in grads)
        for skipped in range(2):
            arguments[skipped] = arguments[skipped].clone()
            arguments[skipped][0] = -1
            assert ops.sampled_softmax(rows, table, *arguments, None, None, None, None, *flags)[0][0] == 0
            arguments[skipped] = numbers[skipped].to(device)


def test_nan_and_infinity_reach_the_loss() -> None:
    for bad, where in itertools.product((math.nan, math.inf), range(3)):
        floats, numbers = problem(6, 6, 4, 5)
        floats[where].view(-1)[:] = bad
        assert not ours(numbers, cosine=where < 2)(*floats).isfinite()


def test_operator(device) -> None:
    floats, (index, positives, candidates, corrections, codes) = problem(6, 5, 4, 3, device)
    rows, table, offsets = (z.to(device) for z in floats)
    numbers = (rows, table, index, positives, candidates, offsets, corrections, codes, None)
    flags = (2.0, 0.5, True, SAME_CODES, False, True, True, True)
    torch.library.opcheck(ops.sampled_softmax, (*numbers, *flags))


def test_second_derivatives_are_refused() -> None:
    floats, numbers = problem(6, 5, 4, 3)
    for reduction in ("sum", "none"):
        leaves = [z.requires_grad_() for z in floats]
        (grad,) = torch.autograd.grad(ours(numbers, reduction)(*leaves).sum(), leaves[0], create_graph=True)
        with pytest.raises(RuntimeError, match=r"^test: second derivatives are not supported$"):
            grad.sum().backward()
