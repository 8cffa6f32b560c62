"""hubert_loss: fairseq's numbers, without embeddings laid out for every frame."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import (
    assert_compiles,
    assert_half_is_like_reference,
    assert_has_values_of,
    assert_like_reference,
    assert_steady,
    largest_tensor,
    with_grads,
)
from torch import Tensor

from sslfast.losses import HubertLoss, hubert_loss
from sslfast.masking import mask_indices
from sslfast.reference.hubert import hubert_loss as reference


def problem(dtype: torch.dtype = torch.float32, width: int = 7, classes: int = 11):  # type: ignore[no-untyped-def]
    """Frames, embeddings, targets, mask and padding; what does not count has targets out of range."""
    hidden, embs = torch.randn(3, 20, width, dtype=dtype), torch.randn(classes, width, dtype=dtype)
    mask, padding = torch.rand(3, 20) < 0.5, torch.arange(20) >= torch.tensor([[20], [15], [11]])
    targets = torch.randint(0, classes, (3, 20)).masked_fill(padding, -1)
    return hidden, embs, targets, mask, padding


def fairseq(hidden: Tensor, embs: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """The formula of its model and criterion for one set of labels."""
    frames, own = hidden[counted], embs[targets[counted]]
    every = embs.unsqueeze(1).expand(-1, len(frames), -1)
    same = (own == every).all(-1)
    logits = torch.cosine_similarity(frames, torch.cat([own[None], every]), dim=-1) / 0.1
    logits = torch.cat([logits[:1], logits[1:].masked_fill(same, -torch.inf)]).T
    return F.cross_entropy(logits, torch.zeros(len(frames), dtype=torch.long), reduction="sum")


def test_like_reference(device) -> None:
    hidden, embs, targets, mask, padding = problem()
    moved = {"targets": targets.to(device), "mask_time_indices": mask.to(device), "padding_mask": padding.to(device)}
    assert_like_reference(
        functools.partial(hubert_loss, **moved),
        lambda h, e: reference(h, e, targets, mask & ~padding),
        (hidden, embs),
        device,
        factor=16.0,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half(dtype, device) -> None:
    hidden, embs, targets, mask, padding = problem(dtype)
    moved = {"targets": targets.to(device), "mask_time_indices": mask.to(device), "padding_mask": padding.to(device)}
    assert_half_is_like_reference(
        functools.partial(hubert_loss, **moved),
        lambda h, e: reference(h, e, targets, mask & ~padding),
        (hidden, embs),
        device,
    )


def test_values_of_fairseq() -> None:
    hidden, embs, targets, mask, padding = problem(torch.float64)
    call = functools.partial(hubert_loss, targets=targets, mask_time_indices=mask, padding_mask=padding)
    masked, others = mask & ~padding, ~mask & ~padding
    assert_has_values_of(lambda h, e: fairseq(h, e, targets, masked), call, (hidden, embs))
    both = functools.partial(call, pred_masked_weight=0.7, pred_nomask_weight=0.3)
    assert_has_values_of(
        lambda h, e: 0.7 * fairseq(h, e, targets, masked) + 0.3 * fairseq(h, e, targets, others), both, (hidden, embs)
    )
    alone = functools.partial(call, pred_masked_weight=0.0, pred_nomask_weight=1.0)
    assert_has_values_of(lambda h, e: fairseq(h, e, targets, others), alone, (hidden, embs))


def test_several_sets_of_labels_and_the_penalty() -> None:
    hidden, embs, targets, mask, padding = problem(torch.float64)
    other_embs, other_targets = torch.randn(5, 7, dtype=torch.float64), torch.randint(0, 5, (3, 20))
    other_hidden, features = torch.randn_like(hidden), torch.randn(3, 20, 4)
    masked, others = mask & ~padding, ~mask & ~padding
    penalty = features.pow(2).mean()
    weights = {"pred_masked_weight": 1.0, "pred_nomask_weight": 0.5, "features_pen_weight": 10.0}
    for frames in ((hidden, hidden), (hidden, other_hidden)):
        expected = sum(
            weight * fairseq(h, e, t, at)
            for weight, at in ((1.0, masked), (0.5, others))
            for h, e, t in zip(frames, (embs, other_embs), (targets, other_targets), strict=True)
        )
        count = int(masked.sum() + others.sum())
        expected = expected + 10 * penalty * count
        given = hidden if frames[1] is hidden else frames
        arguments = (given, [embs, other_embs], (targets, other_targets), mask)
        rest = {"padding_mask": padding, "features_pen": penalty}
        torch.testing.assert_close(hubert_loss(*arguments, **rest, **weights), expected)
        module = HubertLoss(**weights, reduction="mean")
        torch.testing.assert_close(module(*arguments, **rest), expected / count)
    assert "pred_nomask_weight=0.5" in repr(module)


def test_compact_form(device) -> None:
    hidden, embs, targets, mask, padding = (t.to(device) for t in problem())
    counted = mask & ~padding
    expected = with_grads(
        functools.partial(hubert_loss, targets=targets, mask_time_indices=mask, padding_mask=padding), hidden, embs
    )
    at = mask_indices(counted).indices
    for indices in (at, at[: int(counted.sum())].flip(0)):
        found = with_grads(functools.partial(hubert_loss, targets=targets, indices=indices), hidden, embs)
        for f, e in zip(found, expected, strict=True):
            torch.testing.assert_close(f, e)


def test_derivatives() -> None:
    hidden, embs, targets, mask, padding = problem(torch.float64, 3, 4)
    inputs = (hidden[:2, :4].clone().requires_grad_(), embs.requires_grad_())
    given = {"targets": targets[:2, :4], "mask_time_indices": mask[:2, :4], "padding_mask": padding[:2, :4]}
    for reduction in ("sum", "mean"):
        call = functools.partial(hubert_loss, **given, reduction=reduction, pred_nomask_weight=0.5)
        assert torch.autograd.gradcheck(call, inputs)


def test_none_masked_one_masked_all_masked() -> None:
    hidden, embs, targets, mask, _ = problem()
    targets = targets.clamp_min(0)
    none, one = torch.zeros_like(mask), torch.zeros_like(mask)
    one[1, 3] = True
    for reduction in ("sum", "mean"):
        call = functools.partial(hubert_loss, targets=targets, reduction=reduction)
        for given in (
            {"mask_time_indices": none},
            {"indices": torch.tensor([-1])},
            {"indices": none.flatten().nonzero().flatten()},
        ):
            assert all(not z.any() for z in with_grads(functools.partial(call, **given), hidden, embs))
        for counted in (one, ~none):
            expected = reference(hidden, embs, targets, counted) / (counted.sum() if reduction == "mean" else 1)
            torch.testing.assert_close(call(hidden, embs, mask_time_indices=counted), expected)
    assert hubert_loss(hidden[:0], embs, targets[:0], mask[:0]) == 0
    lone = torch.randn(1, 7)  # one cluster is always right
    assert hubert_loss(hidden, lone, torch.zeros_like(targets), mask).abs() < 1e-4


def test_what_does_not_count_is_not_read() -> None:
    hidden, embs, targets, mask, padding = problem()
    counted = mask & ~padding
    spoiled = hidden.masked_fill(~counted[:, :, None], torch.nan)
    call = functools.partial(hubert_loss, targets=targets, mask_time_indices=mask, padding_mask=padding)
    for a, b in zip(with_grads(call, spoiled, embs), with_grads(call, hidden, embs), strict=True):
        assert torch.equal(a, b)


def test_nothing_of_the_size_of_embeddings_for_every_frame_is_made() -> None:
    hidden, embs, targets, mask, padding = problem(width=32, classes=40)
    call = functools.partial(hubert_loss, targets=targets, mask_time_indices=mask, padding_mask=padding)
    assert largest_tensor(call, hidden, embs) <= hidden.numel()
    counted = mask & ~padding
    assert largest_tensor(lambda h, e: fairseq(h, e, targets, counted), hidden, embs) > 10 * hidden.numel()


def test_steady_tied_and_compiled() -> None:
    hidden, embs, targets, mask, padding = problem()
    call = functools.partial(hubert_loss, targets=targets, mask_time_indices=mask, padding_mask=padding)
    assert_steady(call, hidden, embs)
    assert_compiles(call, hidden, embs)
    at = mask_indices(mask & ~padding).indices
    assert_compiles(functools.partial(hubert_loss, targets=targets, indices=at), hidden, embs)
    two = functools.partial(
        hubert_loss, targets=[targets, targets.flip(0).clamp_min(0)], mask_time_indices=mask, padding_mask=padding
    )
    expected = with_grads(lambda h, e: two(h, [e, e]), hidden, embs)
    for f, e in zip(with_grads(lambda h, e: two(h, e), hidden, embs), expected, strict=True):
        torch.testing.assert_close(f, e)


def test_second_derivatives_are_refused() -> None:
    hidden, embs, targets, mask, padding = problem()
    hidden.requires_grad_()
    loss = hubert_loss(hidden, embs, targets, mask, padding_mask=padding)
    (grad,) = torch.autograd.grad(loss, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^hubert_loss: second derivatives are not supported$"):
        grad.sum().backward()


H, E = torch.randn(2, 5, 4), torch.randn(3, 4)
Y, M = torch.zeros(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.bool)
AT = torch.tensor([1, -1])
BAD = [
    ((H[0], E, Y, M), {}, ValueError, "hidden must have shape (B, T, D), got (5, 4)"),
    (([H, H[:1]], E, Y, M), {}, ValueError, "hidden must have shape (B, T, D), alike in all of them, got (1, 5, 4)"),
    ((H, E.int(), Y, M), {}, TypeError, "label_embs must be a floating-point tensor, got torch.int32"),
    ((H, E.T, Y, M), {}, ValueError, "label_embs must have shape (C, 4), got (4, 3)"),
    ((H, E, Y.float(), M), {}, TypeError, "targets must be an integer tensor, got torch.float32"),
    ((H, E, Y.T, M), {}, ValueError, "targets must have shape (2, 5), like hidden, got (5, 2)"),
    ((H, E, Y + 3, M), {}, ValueError, "targets must be in [0, 2], got 3"),
    ((H, [E, E], [Y], M), {}, ValueError, "lists must have one length, at least 1, got 2 of label_embs, 1 of targets"),
    ((H, E, Y), {}, ValueError, "either mask_time_indices or indices must be given, got neither"),
    ((H, E, Y, M), {"indices": AT}, ValueError, "either mask_time_indices or indices must be given, got both"),
    ((H, E, Y, M.int()), {}, TypeError, "mask_time_indices must be a bool tensor, got torch.int32"),
    ((H, E, Y, M), {"padding_mask": M.T}, ValueError, "padding_mask must have shape (2, 5), like hidden, got (5, 2)"),
    ((H, E, Y), {"indices": AT + 9}, ValueError, "indices must be in [-1, 9], got 10"),
    ((H, E, Y), {"indices": AT.int()}, TypeError, "indices must be an int64 tensor, got torch.int32"),
    (
        (H, E, Y),
        {"indices": AT, "padding_mask": M},
        ValueError,
        "padding_mask goes with mask_time_indices, got indices",
    ),
    (
        (H, E, Y),
        {"indices": AT, "pred_nomask_weight": 1.0},
        ValueError,
        "pred_nomask_weight goes with mask_time_indices, got indices",
    ),
    (
        (H, E, Y, M),
        {"pred_masked_weight": 0.0},
        ValueError,
        "pred_masked_weight or pred_nomask_weight must be above 0, got 0 for both",
    ),
    ((H, E, Y, M), {"temperature": -1.0}, ValueError, "temperature must be positive, got -1.0"),
    ((H, E, Y, M), {"temperature": 1e-40}, ValueError, "temperature must be at least 1e-8, got 1e-40"),
    ((H, E, Y, M), {"reduction": "none"}, ValueError, "reduction must be 'sum' or 'mean', got 'none'"),
    ((H, E, Y, M), {"features_pen": torch.ones(2)}, ValueError, "features_pen must have one element, got shape (2,)"),
]


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD)
def test_bad_input(args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        hubert_loss(*args, **options)
    assert str(caught.value) == f"hubert_loss: {text}"


def test_nan_stays_out_of_gradients(device):
    """NaN in frames that are not masked, also in the one that stands in for an index of none."""
    hidden, embs, targets = torch.randn(2, 4, 8), torch.randn(5, 8), torch.randint(5, (2, 4))
    hidden[0, 0] = torch.nan
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[0, 0] = False
    hidden, embs, targets, mask = (t.to(device) for t in (hidden, embs, targets, mask))
    expected = with_grads(lambda h, e: hubert_loss(h, e, targets, mask), hidden, embs)
    assert all(g.isfinite().all() for g in expected)
    assert not expected[1][0, 0].any()
    at = mask.flatten().nonzero().flatten()
    padded = torch.cat([at, at.new_full((3,), -1)])
    found = with_grads(lambda h, e: hubert_loss(h, e, targets, indices=padded), hidden, embs)
    torch.testing.assert_close(found, expected)
    compiled = torch.compile(lambda h, e: hubert_loss(h, e, targets, mask), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(with_grads(compiled, hidden, embs), expected)


def test_a_retained_graph_keeps_its_gradients(device):
    hidden = torch.randn(2, 4, 8, device=device, requires_grad=True)
    embs = torch.randn(5 * 8, device=device, requires_grad=True)
    targets, mask = torch.randint(5, (2, 4), device=device), torch.ones(2, 4, dtype=torch.bool, device=device)
    loss = hubert_loss(hidden, embs.view(5, 8), targets, mask)
    first = [g.clone() for g in torch.autograd.grad(loss, (hidden, embs), retain_graph=True)]
    for times in (1, 2, 3):
        loss.backward(retain_graph=True)
        torch.testing.assert_close([hidden.grad, embs.grad], [times * g for g in first])
    hidden.grad.zero_()
    embs.grad.zero_()
    (0.5 * loss).backward()
    torch.testing.assert_close([hidden.grad, embs.grad], [0.5 * g for g in first])
