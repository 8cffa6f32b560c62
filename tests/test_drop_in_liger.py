"""Liger's fused linear cross-entropy under its names, against its rules in plain torch."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.losses.drop_in.liger import (
    CrossEntropyOutput,
    LigerFusedLinearCrossEntropyLoss,
    liger_fused_linear_cross_entropy,
)

TARGET = torch.tensor([3, -100, 0, 8, 8, 1, -100, 2])


def definition(
    x: Tensor,
    w: Tensor,
    b: Tensor,
    ce_weight: Tensor | None,
    scale: float,
    smoothing: float,
    reduction: str,
    softcap: float | None,
    token_scaling: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, z-loss, accuracy) by the comments of Liger's kernel."""
    logits, has = F.linear(x, w, b), TARGET != -100
    if softcap is not None:
        logits = softcap * (logits / softcap).tanh()
    ce = F.cross_entropy(logits, TARGET, ce_weight, reduction="none", label_smoothing=smoothing)
    z = scale * logits.logsumexp(1).square() * has
    if reduction == "mean":
        ce = ce / (has.sum() if ce_weight is None else ce_weight[TARGET[has]].sum())
        z = z / has.sum()
    loss = ce + z
    if token_scaling:
        p = logits.softmax(1).detach().gather(1, TARGET.clamp_min(0).unsqueeze(1)).squeeze(1) * has
        loss, z = loss * p, z * p
    accuracy = (logits.argmax(1) == TARGET).float() * has
    if reduction == "none":
        return loss, z, accuracy
    return loss.sum(), z.sum(), accuracy.sum() / has.sum()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("token_scaling", [False, True])
def test_rules_of_liger(reduction: str, token_scaling: bool) -> None:
    leaves = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((8, 5), (9, 5), (9,))]
    x, w, b = leaves
    weights = torch.rand(9, dtype=torch.float64)
    for ce_weight, scale, smoothing, softcap in itertools.product(
        (None, weights), (0.0, 0.02), (0.0, 0.1), (None, 2.0)
    ):
        criterion = LigerFusedLinearCrossEntropyLoss(
            ce_weight, -100, scale, smoothing, reduction, softcap, True, torch.float32, token_scaling, True
        )
        found = criterion(w, x, TARGET, b)
        expected = definition(x, w, b, ce_weight, scale, smoothing, reduction, softcap, token_scaling)
        assert isinstance(found, CrossEntropyOutput)
        assert found.predicted_tokens is None
        for ours, theirs in zip(found[:3], expected, strict=True):
            torch.testing.assert_close(ours, theirs.to(ours.dtype))
        assert not found.z_loss.requires_grad
        pull = torch.rand_like(found.loss)
        grads = [torch.autograd.grad(loss, leaves, pull) for loss in (found.loss, expected[0])]
        for ours, theirs in zip(*grads, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_the_function_and_what_is_returned() -> None:
    x, w, b = torch.randn(2, 4, 5), torch.randn(9, 5), torch.randn(9)
    target = TARGET.view(2, 4)
    plain = liger_fused_linear_cross_entropy(x, w, target, b, chunk_mem_const=4)
    assert isinstance(plain, Tensor)
    torch.testing.assert_close(plain, F.cross_entropy(F.linear(x, w, b).flatten(0, 1), target.flatten()))
    for flag, name in (("return_z_loss", "z_loss"), ("return_token_accuracy", "token_accuracy")):
        found = liger_fused_linear_cross_entropy(x, w, target, b, **{flag: True})
        assert [n for n, value in found._asdict().items() if value is not None] == ["loss", name]
        assert torch.equal(found.loss, plain)
    rows = liger_fused_linear_cross_entropy(x, w, target, b, reduction="none", return_token_accuracy=True)
    assert rows.loss.shape == rows.token_accuracy.shape == target.shape
    for scaling in (False, True):
        nothing = liger_fused_linear_cross_entropy(
            x, w, torch.full_like(target, -100), b, use_token_scaling=scaling, return_token_accuracy=True
        )
        assert not nothing.loss
        assert not nothing.token_accuracy


def test_compiles_whole() -> None:
    leaves = [torch.randn(*s, requires_grad=True) for s in ((9, 5), (8, 5))]
    criterion = LigerFusedLinearCrossEntropyLoss(lse_square_scale=0.1, use_token_scaling=True, return_z_loss=True)
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    losses = [f(*leaves, TARGET).loss for f in (criterion, compiled)]
    for ours, theirs in zip(*(torch.autograd.grad(loss, leaves) for loss in losses), strict=True):
        assert torch.equal(ours, theirs)


def test_class_weights_move_but_are_no_state() -> None:
    criterion = LigerFusedLinearCrossEntropyLoss(torch.rand(9))
    assert not criterion.state_dict()
    assert criterion.double().ce_weight.dtype == torch.float64


X, W = torch.randn(8, 4), torch.randn(9, 4)
BAD = [
    ({"input": X.long()}, TypeError, "input must be a floating-point tensor, got torch.int64"),
    ({"weight": W[:, :3]}, ValueError, "weight must have shape (V, 4), a row a class, got (9, 3)"),
    ({"target": TARGET[:3]}, ValueError, "target must have shape (8,), got (3,)"),
    ({"target": TARGET + 5}, ValueError, "target must be in [0, 8] or -100, got -95"),
    ({"ce_weight": torch.rand(8)}, ValueError, "ce_weight must have shape (9,), got (8,)"),
    (
        {"ce_weight": torch.rand(9, requires_grad=True)},
        ValueError,
        "ce_weight must not require a gradient: detach it",
    ),
    ({"lse_square_scale": -1.0}, ValueError, "lse_square_scale must be at least 0, got -1.0"),
    ({"softcap": 0.0}, ValueError, "softcap must be positive, got 0.0"),
    ({"reduction": "max"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'max'"),
    ({"return_z_loss": 1}, TypeError, "return_z_loss must be a bool, got 1"),
    ({"accum_dtype": "float32"}, TypeError, "accum_dtype must be None or a torch.dtype, got str"),
    (
        {"accum_dtype": torch.float64},
        ValueError,
        "accum_dtype must be None or floating point up to float32, got torch.float64",
    ),
    (
        {"return_predicted_tokens": True},
        ValueError,
        "return_predicted_tokens must be False: the largest logits' classes are not kept",
    ),
    ({"chunk_mem_const": 0}, ValueError, "chunk_mem_const must be at least 1, got 0"),
]


@pytest.mark.parametrize(("given", "error", "text"), BAD)
def test_bad_input(given, error, text) -> None:
    with pytest.raises(error) as caught:
        liger_fused_linear_cross_entropy(**{"input": X, "weight": W, "target": TARGET} | given)
    assert str(caught.value) == f"liger_fused_linear_cross_entropy: {text}"
    if not given.keys() & {"input", "weight", "target", "chunk_mem_const", "ce_weight"}:
        with pytest.raises(error) as caught:
            LigerFusedLinearCrossEntropyLoss(**given)
        assert str(caught.value) == f"LigerFusedLinearCrossEntropyLoss: {text}"
