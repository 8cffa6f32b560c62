"""masked_lm_loss: transformers' numbers from the masked rows alone."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.losses import MaskedLMLoss, masked_lm_loss
from sslfast.masking import mask_tokens


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Hidden states (4, 8, 6), decoder weight and bias of 20 words, labels, and where these are."""
    leaves = [torch.randn(*size, dtype=dtype, requires_grad=True) for size in ((4, 8, 6), (20, 6), (20,))]
    labels = torch.randint(0, 20, (4, 8)).masked_fill(torch.rand(4, 8) < 0.7, -100)
    return *leaves, labels, (labels.flatten() != -100).nonzero().flatten()


def test_labels_and_compact_forms_agree_with_torch() -> None:
    hidden, weight, bias, labels, at = problem()
    logits = F.linear(hidden, weight, bias).flatten(0, 1)
    leaves = (hidden, weight, bias)
    padded = torch.cat([at, torch.full((5,), -1)])
    compact = torch.cat([labels.flatten()[at], torch.full((5,), 7)])
    for reduction in ("mean", "sum"):
        expected = F.cross_entropy(logits, labels.flatten(), reduction=reduction)
        truth = torch.autograd.grad(expected, leaves, retain_graph=True)
        call = functools.partial(masked_lm_loss, hidden, weight, bias=bias, reduction=reduction)
        for loss in (
            call(labels),
            call(labels, indices=at),
            call(labels, indices=padded),
            call(compact, indices=padded),
            MaskedLMLoss(reduction)(hidden, weight, labels.int(), bias, indices=at.flip(0)),
            masked_lm_loss(hidden.flatten(0, 1), weight, labels.flatten(), bias, reduction=reduction),
        ):
            torch.testing.assert_close(loss, expected)
            torch.testing.assert_close(torch.autograd.grad(loss, leaves), truth)


def test_a_loss_for_each_label_or_index() -> None:
    hidden, weight, bias, labels, at = problem()
    expected = F.cross_entropy(F.linear(hidden, weight, bias).flatten(0, 1), labels.flatten(), reduction="none")
    call = functools.partial(masked_lm_loss, hidden, weight, labels, bias, reduction="none")
    torch.testing.assert_close(call(), expected.view(4, 8))
    torch.testing.assert_close(call(indices=at), expected[at])
    upstream = torch.rand(4, 8, dtype=torch.float64)
    truth = torch.autograd.grad((expected.view(4, 8) * upstream).sum(), (hidden, weight, bias))
    found = torch.autograd.grad((call() * upstream).sum(), (hidden, weight, bias))
    torch.testing.assert_close(found, truth)
    found = torch.autograd.grad((call(indices=at) * upstream.flatten()[at]).sum(), (hidden, weight, bias))
    torch.testing.assert_close(found, truth)


def test_after_the_masks_of_the_library() -> None:
    ids = torch.randint(5, 20, (4, 8))
    masked, labels, indices = mask_tokens(ids, mask_token_id=3, vocab_size=20, generator=1)
    hidden, weight = torch.randn(4, 8, 6), torch.randn(20, 6)
    assert (masked != ids).any()
    expected = F.cross_entropy((hidden @ weight.T).flatten(0, 1), labels.flatten())
    torch.testing.assert_close(masked_lm_loss(hidden, weight, labels), expected)
    torch.testing.assert_close(masked_lm_loss(hidden, weight, labels, indices=indices), expected)


def test_the_number_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=50, **sizes)).eval()
    ids = torch.randint(0, 50, (3, 9))
    labels = ids.masked_fill(torch.rand(3, 9) < 0.6, -100)
    theirs = model(ids, labels=labels).loss
    head = model.cls.predictions
    hidden = head.transform(model.bert(ids).last_hidden_state)
    ours = masked_lm_loss(hidden, head.decoder.weight, labels, head.decoder.bias)
    torch.testing.assert_close(ours, theirs)
    parameters = list(model.parameters())
    found, truth = (torch.autograd.grad(z, parameters, allow_unused=True) for z in (ours, theirs))
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-6)


def test_micro_batches_add_up() -> None:
    hidden, weight, bias, labels, _ = problem()
    whole = masked_lm_loss(hidden, weight, labels, bias)
    items = int((labels != -100).sum())
    parts = [masked_lm_loss(h, weight, t, bias, num_items=items) for h, t in zip(hidden, labels, strict=True)]
    torch.testing.assert_close(sum(parts), whole)


def test_metrics_of_the_masked_tokens() -> None:
    hidden, weight, bias, labels, at = problem()
    out = MaskedLMLoss(return_metrics=True)(hidden, weight, labels, bias, indices=at)
    logits = F.linear(hidden, weight, bias).flatten(0, 1)[at]
    torch.testing.assert_close(out.accuracy, (logits.argmax(1) == labels.flatten()[at]).float().mean())
    torch.testing.assert_close(out.perplexity, out.loss.exp().detach())
    assert not out.perplexity.requires_grad
    assert out.num_targets == len(at)


def test_one_masked_none_masked_all_masked() -> None:
    hidden, weight, bias, _, _ = problem()
    none = torch.full((4, 8), -100)
    one, every = none.clone(), torch.randint(0, 20, (4, 8))
    one[2, 3] = 11
    for labels in (one, every):
        expected = F.cross_entropy(F.linear(hidden, weight, bias).flatten(0, 1), labels.flatten())
        torch.testing.assert_close(masked_lm_loss(hidden, weight, labels, bias), expected)
    for indices in (None, torch.full((3,), -1), torch.zeros(0, dtype=torch.int64)):
        loss = masked_lm_loss(hidden, weight, none, bias, indices=indices)
        assert loss == 0
        assert all(not g.any() for g in torch.autograd.grad(loss, (hidden, weight, bias)))


def test_what_is_not_masked_may_be_nan() -> None:
    hidden, weight, bias, labels, at = problem()
    spoiled = hidden.detach().clone().masked_fill((labels == -100).unsqueeze(2), math.nan).requires_grad_()
    loss = masked_lm_loss(spoiled, weight, labels, bias, indices=at)
    torch.testing.assert_close(loss, masked_lm_loss(hidden, weight, labels, bias))
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (spoiled, weight, bias)))


def test_compiles_whole() -> None:
    hidden, weight, bias, labels, at = problem(torch.float32)
    call = functools.partial(masked_lm_loss, hidden, weight, labels, bias)
    compiled = torch.compile(lambda: call(), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(), call())
    compiled = torch.compile(lambda indices: call(indices=indices), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(at), call(indices=at))


H, W = torch.randn(2, 3, 4), torch.randn(9, 4)
LABELS = torch.full((2, 3), -100)
ONE = torch.tensor([0])
BAD = [
    ((H[0, 0], W, LABELS), {}, ValueError, "hidden must have shape (..., D) with D >= 1, got (4,)"),
    ((H, W.int(), LABELS), {}, TypeError, "weight must be a floating-point tensor, got torch.int32"),
    ((H, W.T, LABELS), {}, ValueError, "weight must have shape (V, 4), a row a class, got (4, 9)"),
    ((H, W, LABELS, torch.zeros(1)), {}, ValueError, "bias must have shape (9,), got (1,)"),
    ((H, W, LABELS.double()), {}, TypeError, "labels must be an integer tensor, got torch.float64"),
    ((H, W, None), {}, TypeError, "labels must be an integer tensor, got NoneType"),
    ((H, W, LABELS.T), {}, ValueError, "labels must have shape (2, 3), like hidden, got (3, 2)"),
    ((H, W, LABELS - 1), {}, ValueError, "labels must be in [0, 8] or -100, got -101"),
    ((H, W, LABELS), {"ignore_index": -1}, ValueError, "labels must be in [0, 8] or -1, got -100"),
    ((H, W, LABELS), {"indices": ONE.int()}, TypeError, "indices must be an int64 tensor, got torch.int32"),
    ((H, W, LABELS), {"indices": ONE[None]}, ValueError, "indices must have shape (R,), got (1, 1)"),
    ((H, W, LABELS), {"indices": ONE + 6}, ValueError, "indices must be in [-1, 5], tokens of hidden, got 6"),
    ((H, W, LABELS), {"indices": ONE - 2}, ValueError, "indices must be in [-1, 5], tokens of hidden, got -2"),
    (
        (H, W, LABELS[0]),
        {"indices": ONE},
        ValueError,
        "labels must have shape (2, 3), like hidden, or (1,), like indices, got (3,)",
    ),
    ((H, W, LABELS), {"reduction": None}, ValueError, "reduction must be 'mean', 'sum' or 'none', got None"),
    (
        (H, W, LABELS),
        {"num_items": 5, "reduction": "none"},
        ValueError,
        "num_items goes with reduction='mean', got 'none'",
    ),
]


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD)
def test_bad_input(args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        masked_lm_loss(*args, **options)
    assert str(caught.value) == f"masked_lm_loss: {text}"
