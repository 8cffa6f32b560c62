"""masked_item_loss: all items, and an estimate from drawn ones whose sum is unbiased."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from loss_oracle import (
    assert_compiles,
    assert_half_is_like_reference,
    assert_like_reference,
    assert_steady,
    largest_tensor,
    with_grads,
)
from torch import Tensor

from sslfast import ops
from sslfast.losses import MaskedItemLoss, item_sampling, masked_item_loss, masked_lm_loss
from sslfast.masking import mask_indices, mask_items
from sslfast.random import step_seed
from sslfast.reference.masked_item import masked_item_loss as reference

SEED, ITEMS = 3, 23


def problem(dtype: torch.dtype = torch.float32):  # type: ignore[no-untyped-def]
    """Hidden states (4, 8, 6), items' embeddings and biases, labels, and where these are."""
    hidden, weight, bias = (
        torch.randn(4, 8, 6, dtype=dtype),
        torch.randn(ITEMS, 6, dtype=dtype),
        torch.randn(ITEMS, dtype=dtype),
    )
    labels = torch.randint(0, ITEMS, (4, 8)).masked_fill(torch.rand(4, 8) < 0.6, -100)
    labels[2, 3] = 5
    return hidden, weight, bias, labels, (labels.flatten() != -100).nonzero().flatten()


def drawn_for(at: Tensor, thresholds: Tensor | None, negatives: int) -> Tensor:
    """What the loss draws for (4, 8) items."""
    return ops.item_negatives(((at // 8) << 32) + at % 8, torch.tensor(SEED), thresholds, ITEMS, negatives)


def samplings():  # type: ignore[no-untyped-def]
    """Each with its logarithms."""
    counts = item_sampling(torch.arange(1, ITEMS + 1))
    zipf = item_sampling("log_uniform", ITEMS)
    uniform = torch.full((ITEMS,), -math.log(ITEMS), dtype=torch.float64)
    return [("uniform", None, uniform), *((s, s.thresholds, s.log_probability) for s in (counts, zipf))]


def test_all_items_are_the_masked_lm_loss(device) -> None:
    hidden, weight, bias, labels, at = (t.to(device) for t in problem())
    for reduction in ("mean", "sum", "none"):
        for indices in (None, at):
            options = {"indices": indices, "reduction": reduction}
            found = masked_item_loss(hidden, weight, labels, bias, **options)
            assert torch.equal(found, masked_lm_loss(hidden, weight, labels, bias, **options))
            metrics = [
                f(hidden, weight, labels, bias, return_metrics=True, **options)
                for f in (masked_item_loss, masked_lm_loss)
            ]
            assert all(torch.equal(a, b) for a, b in zip(*metrics, strict=True))
            assert torch.equal(metrics[0].loss, found)
    wanted = MaskedItemLoss(return_metrics=True)(hidden, weight, labels, bias)
    assert torch.equal(wanted.perplexity, metrics[0].perplexity)
    assert torch.equal(MaskedItemLoss()(hidden, weight, labels, bias), masked_item_loss(hidden, weight, labels, bias))


@pytest.mark.parametrize("which", range(3))
def test_like_reference(which, device) -> None:
    hidden, weight, bias, labels, at = problem()
    sampling, thresholds, logarithms = samplings()[which]
    negatives, given = drawn_for(at, thresholds, 7), sampling
    if thresholds is not None:
        given = type(sampling)(*(t.to(device) for t in sampling))
    assert (negatives == labels.flatten()[at][:, None]).any(), "no draw hits its label"

    def ours(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
        options = {"num_negatives": 7, "sampling": given, "generator": SEED}
        return masked_item_loss(h, w, labels.to(device), b, **options)

    def theirs(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
        rows, own = h.flatten(0, 1)[at], labels.flatten()[at]
        return reference(rows, w, own, b, negatives, logarithms.to(h.dtype)).mean()

    assert_like_reference(ours, theirs, (hidden, weight, bias), device, factor=16.0)
    half = [z.bfloat16() for z in (hidden, weight, bias)]

    def exactly(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return reference(h.flatten(0, 1)[at], w, labels.flatten()[at], b, negatives, logarithms).mean()

    assert_half_is_like_reference(ours, exactly, half, device)


def test_forms_and_reductions_agree(device) -> None:
    hidden, weight, bias, labels, at = (t.to(device) for t in problem())
    call = functools.partial(masked_item_loss, hidden, weight, num_negatives=5, generator=SEED, bias=bias)
    losses = call(labels, reduction="none")
    assert losses.shape == labels.shape
    assert not losses[labels == -100].any()
    masked = losses.flatten()[at]
    padded = torch.cat([at, at.new_full((3,), -1)])
    compact = torch.cat([labels.flatten()[at], at.new_full((3,), 7)])
    for given, indices in ((labels, None), (labels, at), (labels, padded), (compact, padded), (labels.int(), at)):
        for reduction, expected in (("sum", masked.sum()), ("mean", masked.mean())):
            torch.testing.assert_close(call(given, indices=indices, reduction=reduction), expected)
    torch.testing.assert_close(call(labels, indices=at.flip(0), reduction="none"), masked.flip(0))
    torch.testing.assert_close(call(labels, num_items=100), masked.sum() / 100)
    module = MaskedItemLoss(5, reduction="sum")
    torch.testing.assert_close(module(hidden, weight, labels, bias, generator=SEED), masked.sum())
    assert "num_negatives=5" in repr(module)


def test_a_module_of_a_half_type_corrects_as_exactly() -> None:
    hidden, weight, bias, labels, _ = problem()
    module = MaskedItemLoss(5, sampling=item_sampling(torch.rand(ITEMS) ** 4))
    expected = module(hidden, weight, labels, bias, generator=SEED)
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(module.to(dtype)(hidden, weight, labels, bias, generator=SEED), expected)


def test_derivatives() -> None:
    hidden, weight, bias, labels, _ = problem(torch.float64)
    inputs = [z.requires_grad_() for z in (hidden[:2, :3].clone(), weight, bias)]
    sampling = item_sampling("log_uniform", ITEMS)
    for reduction in ("sum", "none"):
        call = functools.partial(
            masked_item_loss, num_negatives=4, sampling=sampling, reduction=reduction, generator=SEED
        )
        own = labels[:2, :3].masked_fill(labels[:2, :3] < 0, 5)
        assert torch.autograd.gradcheck(lambda h, w, b, c=call, y=own: c(h, w, y, b), inputs)


def test_the_sum_of_exponentials_is_unbiased() -> None:
    """Of 20,000 estimates, within 4 standard errors, for each distribution; without the correction it is not."""
    hidden, weight, bias, _, _ = problem(torch.float64)
    h, y, repeats = hidden[0, 0] / 2, 4, 20000
    logits = weight @ h + bias / 2
    rows, labels = h.expand(repeats, -1), torch.full((repeats,), y)
    total = logits.exp().sum()
    for sampling, _, logarithms in samplings():
        options = {"num_negatives": 6, "generator": SEED, "reduction": "none"}
        losses = masked_item_loss(rows, weight, labels, bias / 2, sampling=sampling, **options)
        estimates = (losses + logits[y]).exp()
        error = 4 * estimates.std() / math.sqrt(repeats)
        assert (estimates.mean() - total).abs() < error
        assert losses.mean() < total.log() - logits[y]  # the logarithm of an estimate is biased downwards
        negatives = ops.item_negatives(torch.arange(repeats) << 32, torch.tensor(SEED), None, ITEMS, 6)
        plain = reference(rows, weight, labels, bias / 2, negatives, torch.zeros_like(logarithms))
        assert ((plain + logits[y]).exp().mean() - total).abs() > error


def test_tends_to_the_loss_of_all_items() -> None:
    hidden, weight, bias, labels, _ = problem(torch.float64)
    inputs = (hidden / 2, weight, bias)
    full = with_grads(lambda h, w, b: masked_item_loss(h, w, labels, b), *inputs)
    for sampling, _, _ in samplings():
        errors = []
        for negatives in (50, 50000):
            options = {"num_negatives": negatives, "sampling": sampling, "generator": SEED}
            found = with_grads(lambda h, w, b, o=options: masked_item_loss(h, w, labels, b, **o), *inputs)
            errors.append([float((f - e).abs().max() / e.abs().max()) for f, e in zip(found, full, strict=True)])
        assert all(fine < 0.05 and fine < coarse for coarse, fine in zip(*errors, strict=True))


def test_draws_depend_on_the_sample_and_the_place_alone() -> None:
    hidden, weight, bias, labels, at = problem()
    call = functools.partial(masked_item_loss, weight=weight, bias=bias, num_negatives=5, reduction="none")
    losses = call(hidden, labels=labels, generator=SEED)
    torch.testing.assert_close(call(hidden[2:], labels=labels[2:], generator=SEED, row_offset=2), losses[2:])
    ids = torch.tensor([3, 1, 2, 0])
    torch.testing.assert_close(call(hidden[ids], labels=labels[ids], generator=SEED, sample_ids=ids), losses[ids])
    torch.testing.assert_close(call(hidden[:, :5], labels=labels[:, :5], generator=SEED), losses[:, :5])
    other = call(hidden, labels=labels, generator=step_seed(SEED, 1))
    assert not torch.equal(other, losses)
    flat = call(hidden.flatten(0, 1), labels=labels.flatten(), generator=SEED)  # each row is a sample
    rows, own = hidden.flatten(0, 1)[at], labels.flatten()[at]
    negatives = ops.item_negatives(at << 32, torch.tensor(SEED), None, ITEMS, 5)
    logarithms = torch.full((ITEMS,), -math.log(ITEMS))
    torch.testing.assert_close(flat[at], reference(rows, weight, own, bias, negatives, logarithms))


def test_after_the_masks_of_the_library() -> None:
    items = torch.randint(1, ITEMS, (4, 8))
    masked = mask_items(items, mask_id=ITEMS, generator=1)
    table = torch.nn.Embedding(ITEMS + 1, 6)  # tied: its last row is the mask, which is no item to predict
    at = mask_indices(masked.mask).indices
    for negatives in (None, 9):
        loss = masked_item_loss(
            table(masked.items), table.weight[:ITEMS], masked.labels, indices=at, num_negatives=negatives, generator=2
        )
        (2 * loss).backward()
        twice = table.weight.grad.clone()
        table.weight.grad = None
        loss = masked_item_loss(
            table(masked.items), table.weight[:ITEMS], masked.labels, num_negatives=negatives, generator=2
        )
        loss.backward()
        torch.testing.assert_close(twice, 2 * table.weight.grad)
        table.weight.grad = None


def test_none_masked_one_masked_all_masked() -> None:
    hidden, weight, bias, _, _ = problem()
    none = torch.full((4, 8), -100)
    one, every = none.clone(), torch.randint(0, ITEMS, (4, 8))
    one[2, 3] = 11
    call = functools.partial(masked_item_loss, num_negatives=4, generator=SEED)
    for indices in (None, torch.full((3,), -1), torch.zeros(0, dtype=torch.int64)):
        found = with_grads(lambda h, w, b, i=indices: call(h, w, none, b, indices=i), hidden, weight, bias)
        assert all(not z.any() for z in found)
    logarithms = torch.full((ITEMS,), -math.log(ITEMS))
    for labels in (one, every):
        at = (labels.flatten() >= 0).nonzero().flatten()
        expected = reference(
            hidden.flatten(0, 1)[at], weight, labels.flatten()[at], bias, drawn_for(at, None, 4), logarithms
        )
        torch.testing.assert_close(call(hidden, weight, labels, bias), expected.mean())
    assert call(hidden[:0], weight, none[:0]) == 0
    lone = call(hidden, weight[:1], torch.zeros_like(none))  # every draw hits the label
    assert lone == 0


def test_what_is_not_masked_is_not_read_and_nothing_large_is_made() -> None:
    hidden, weight, _bias, labels, _ = problem()
    spoiled = hidden.masked_fill((labels == -100).unsqueeze(2), torch.nan)
    call = functools.partial(masked_item_loss, labels=labels, num_negatives=50, generator=SEED)
    for a, b in zip(with_grads(call, spoiled, weight), with_grads(call, hidden, weight), strict=True):
        assert torch.equal(a, b)
    masked = int((labels != -100).sum())
    assert largest_tensor(call, hidden, weight) <= masked * 51


def test_steady_and_compiled() -> None:
    hidden, weight, bias, labels, at = problem()
    sampling = item_sampling("log_uniform", ITEMS)
    seed = torch.tensor(SEED)
    call = functools.partial(masked_item_loss, labels=labels, num_negatives=5, sampling=sampling, generator=seed)
    assert_steady(lambda h, w, b: call(h, w, bias=b), hidden, weight, bias)
    assert_compiles(lambda h, w, b: call(h, w, bias=b), hidden, weight, bias)
    assert_compiles(lambda h, w, b: call(h, w, bias=b, indices=at), hidden, weight, bias)


def test_second_derivatives_are_refused() -> None:
    hidden, weight, _, labels, _ = problem()
    hidden.requires_grad_()
    for negatives in (None, 5):
        loss = masked_item_loss(hidden, weight, labels, num_negatives=negatives)
        (grad,) = torch.autograd.grad(loss, hidden, create_graph=True)
        with pytest.raises(RuntimeError, match=r"^masked_item_loss: second derivatives are not supported$"):
            grad.sum().backward()
