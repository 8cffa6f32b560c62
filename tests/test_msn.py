"""MSNLoss against the definition, lightly and analytic values."""

from __future__ import annotations

import math
import re

import loss_oracle
import pytest
import torch
from peer_oracle import peer
from torch import Tensor

from sslfast.losses.msn import MSNLoss, msn_loss
from sslfast.reference.msn import msn_loss as reference

# Views, N, K, D
CASES = [(1, 1, 1, 3), (2, 5, 7, 4), (3, 20, 33, 16)]


def inputs(views: int, n: int, k: int, d: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(rows, d, dtype=torch.float64).to(dtype) for rows in (views * n, k, n)]


def without_targets(function, targets: Tensor, *args, **kwargs):
    """The loss as a function of anchors and prototypes; targets follow their dtype."""
    return lambda a, w: function(a, targets.to(w), w, *args, **kwargs)


@pytest.mark.parametrize(("views", "n", "k", "d"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(views: int, n: int, k: int, d: int, dtype: torch.dtype, device: torch.device) -> None:
    *leaves, targets = inputs(views, n, k, d, dtype)
    loss_oracle.assert_like_reference(
        without_targets(msn_loss, targets), without_targets(reference, targets), leaves, device, factor=256
    )


@pytest.mark.parametrize(("views", "n", "k", "d"), CASES)
@pytest.mark.parametrize("arguments", [(0.1, 3, 1.0), (0.2, 0, 0.5), (0.3, 5, 0.0)])
def test_has_lightlys_value_and_gradients(views: int, n: int, k: int, d: int, arguments: tuple) -> None:
    *leaves, targets = inputs(views, n, k, d)
    theirs, ours = (without_targets(cls(*arguments), targets, 0.5) for cls in (peer("lightly.loss").MSNLoss, MSNLoss))
    loss_oracle.assert_has_values_of(theirs, ours, leaves)


def test_has_lightlys_signature() -> None:
    loss_oracle.assert_has_signature_of(peer("lightly.loss").MSNLoss, MSNLoss)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(dtype: torch.dtype, device: torch.device) -> None:
    *leaves, targets = inputs(2, 12, 9, 8, dtype)
    loss_oracle.assert_half_is_like_reference(
        without_targets(msn_loss, targets), without_targets(reference, targets), leaves, device
    )


def test_gradients_of_both_orders() -> None:
    *leaves, targets = inputs(2, 3, 4, 3)
    targets.requires_grad_()
    leaves = [z.requires_grad_() for z in leaves]
    # The assignments are constants, though prototypes move them: the derivative in the anchors alone is a difference.
    assert torch.autograd.gradcheck(lambda a: msn_loss(a, targets, leaves[1]), leaves[:1])
    assert torch.autograd.gradgradcheck(lambda a: msn_loss(a, targets, leaves[1]), leaves[:1])
    assert torch.autograd.grad(msn_loss(leaves[0], targets, leaves[1]), targets, allow_unused=True) == (None,)


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_second_derivatives_are_the_references(weight: float) -> None:
    """In anchors and prototypes together, of which the assignments are constants in both."""
    *leaves, targets = inputs(2, 5, 6, 4)
    found = []
    for function, named in ((msn_loss, {}), (reference, {})):
        a, w = (z.clone().requires_grad_() for z in leaves)
        loss = function(a, targets, w, 0.5, temperature=0.2, regularization_weight=weight, **named)
        first = torch.autograd.grad(loss, (a, w), create_graph=True)
        penalty = sum(g.square().sum() for g in first)
        found.append([*first, *torch.autograd.grad(penalty + loss, (a, w))])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_gradients_of_a_part_a_multiple_and_many() -> None:
    anchors, prototypes, targets = inputs(2, 5, 6, 4)
    leaves = anchors.requires_grad_(), prototypes.requires_grad_()
    loss = msn_loss(anchors, targets, prototypes)
    whole = torch.autograd.grad(loss, leaves, retain_graph=True)
    torch.testing.assert_close(
        torch.autograd.grad(loss, leaves, torch.tensor(3.0).double(), retain_graph=True)[0], 3 * whole[0]
    )
    several = torch.autograd.grad(loss, leaves, torch.tensor([1.0, -2.0]).double(), is_grads_batched=True)
    torch.testing.assert_close(several[1], torch.stack([whole[1], -2 * whole[1]]))
    for at in range(2):  # the other is a constant
        own = [z.detach() for z in leaves]
        own[at].requires_grad_()
        alone = torch.autograd.grad(msn_loss(own[0], targets, own[1]), own[at])
        assert torch.equal(alone[0], whole[at])
    with torch.no_grad():
        assert torch.equal(msn_loss(anchors, targets, prototypes), loss)


def test_scaled_losses_of_float16() -> None:
    """Gradients below float16's range survive a loss scale, as they are rounded after it."""
    *leaves, targets = (2e3 * z.clamp(-9, 9) for z in inputs(2, 40, 9, 8))
    halves = [z.half().requires_grad_() for z in leaves]
    scaled = 2.0**16 * msn_loss(halves[0], targets.half(), halves[1])
    truth = [z.detach().double().requires_grad_() for z in halves]
    expected = torch.autograd.grad(2.0**16 * msn_loss(truth[0], targets.half(), truth[1]), truth)
    for f, g in zip(torch.autograd.grad(scaled, halves), expected, strict=True):
        assert f.dtype == torch.float16
        torch.testing.assert_close(f.double(), g, rtol=1e-3, atol=1e-3 * g.abs().max().item())


def test_small_temperatures_stay_finite() -> None:
    leaves = [z.requires_grad_() for z in inputs(2, 6, 5, 4, torch.float32)]
    anchors, prototypes, targets = leaves
    loss = msn_loss(anchors, targets, prototypes, 0.1, temperature=0.002)
    grads = torch.autograd.grad(loss, leaves[:2])
    truth = msn_loss(*(z.double() for z in (anchors, targets, prototypes)), 0.1, temperature=0.002)
    torch.testing.assert_close(loss.double(), truth, rtol=1e-3, atol=0)
    assert all(g.isfinite().all() for g in grads)


def test_analytic_values() -> None:
    unit = torch.eye(4)
    # Anchors, targets and prototypes alike: no entropy but that of a softmax; the mean prediction is flat.
    own = math.log(math.exp(2) + 3) - 2
    torch.testing.assert_close(msn_loss(unit, unit, unit, 0.01, temperature=0.5), torch.tensor(own))
    # One prediction for all: the regulariser is log K minus its entropy.
    same, k = torch.ones(3, 1), 2
    prototypes = torch.tensor([[1.0], [-1.0]])
    p = torch.tensor([2.0, -2.0]).softmax(0)
    flat = msn_loss(same, same, prototypes, temperature=0.5, regularization_weight=2.0)
    plain = msn_loss(same, same, prototypes, temperature=0.5, regularization_weight=0)
    torch.testing.assert_close(flat - plain, 2 * (math.log(k) + (p * p.log()).sum()))


def test_strides_dtypes_autocast_checkpointing_and_compilation() -> None:
    *leaves, targets = inputs(2, 6, 5, 4, torch.float32)
    function = without_targets(msn_loss, targets)
    loss_oracle.assert_takes_strides_and_mixed_dtypes(function, *leaves)
    loss_oracle.assert_steady(function, *leaves)
    loss_oracle.assert_compiles(function, *leaves)


def test_module() -> None:
    anchors, prototypes, targets = inputs(2, 6, 5, 4)
    arguments = {"temperature": 0.2, "sinkhorn_iterations": 1, "regularization_weight": 3.0, "gather_distributed": True}
    expected = msn_loss(anchors, targets, prototypes, 0.5, **arguments)
    assert torch.equal(MSNLoss(**arguments)(anchors, targets, prototypes, 0.5), expected)
    shown = "temperature=0.1, sinkhorn_iterations=3, regularization_weight=1.0, gather_distributed=False"
    assert repr(MSNLoss()) == f"MSNLoss({shown})"


GOOD = torch.ones(4, 3)
BAD = [
    ([None, GOOD, GOOD], {}, TypeError, "anchors must be a floating-point tensor, got NoneType"),
    ([GOOD, GOOD.long(), GOOD], {}, TypeError, "targets must be a floating-point tensor, got torch.int64"),
    ([GOOD, GOOD[0], GOOD], {}, ValueError, "targets must have shape (N, D) with N, D >= 1, got (3,)"),
    ([GOOD[:3], GOOD[:2], GOOD], {}, ValueError, "anchors must have shape (V * 2, 3), got (3, 3)"),
    ([GOOD, GOOD, GOOD[:, :2]], {}, ValueError, "prototypes must have shape (K, 3) with K >= 1, got (4, 2)"),
    ([GOOD, GOOD, GOOD.to("meta")], {}, ValueError, "prototypes must be on cpu, like targets, got meta"),
    ([GOOD] * 3, {"temperature": 0}, ValueError, "temperature must be positive, got 0"),
    ([GOOD] * 3 + [-1], {}, ValueError, "target_sharpen_temperature must be positive, got -1"),
    ([GOOD] * 3, {"sinkhorn_iterations": -1}, ValueError, "sinkhorn_iterations must be at least 0, got -1"),
    ([GOOD] * 3, {"regularization_weight": -1}, ValueError, "regularization_weight must be at least 0, got -1"),
    ([GOOD] * 3, {"gather_distributed": "no"}, TypeError, "gather_distributed must be a bool, got 'no'"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args: list, kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"msn_loss: {text}") + "$"):
        msn_loss(*args, **kwargs)
    if kwargs:
        with pytest.raises(error, match="^" + re.escape(f"MSNLoss: {text}") + "$"):
            MSNLoss(**kwargs)
