"""Every contrastive loss in every regime against its definition in float64; the tables are imported."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from loss_bounds import assert_within_bounds, cast, differentiated, relative_bound
from loss_cases import CASES, Inputs, LossCase
from loss_oracle import assert_compiles, assert_steady
from loss_regimes import REGIMES, Regime, problem

from sslfast.losses import info_nce_loss
from sslfast.reference.info_nce import info_nce_loss as info_nce_reference

EARLY = Regime(None, 0.1, 5, 7)
LATE = Regime(1e-4, 0.04, 3, 7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("regime", REGIMES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_oracle(name: str, regime: Regime, dtype: torch.dtype) -> None:
    if regime.rows < CASES[name].least:
        pytest.skip("takes more rows: an error, in the test of the loss")
    if dtype == torch.float16:  # whose range the gradient needs too
        low, high = (min(max(norm, 0.01), 100.0) for norm in (regime.low, regime.high))
        regime = dataclasses.replace(regime, low=low, high=high)
    assert_within_bounds(name, regime, dtype)


def further_negatives(**options) -> LossCase:
    return LossCase(
        lambda q, k, t: info_nce_loss(q, k, temperature=t, **options),
        lambda q, k, t: info_nce_reference(q, k, None, t, **options).mean(),
    )


HARD = {"hardness_mode": "in_batch_negatives", "hardness_strength": 2.0}
ROW_DOTS = {
    **{name: CASES[name] for name in ("nt_xent_loss", "nt_xent_loss, in tiles", "clip_loss", "info_nce_loss, keys")},
    "info_nce_loss, hard": further_negatives(**HARD),
    "info_nce_loss, queries of keys": further_negatives(key_to_query_negatives=True),
    "info_nce_loss, hard by index": further_negatives(positives=torch.arange(64), key_to_query_negatives=True, **HARD),
}


@pytest.mark.parametrize("loss", [1e-2, 2e-4])
@pytest.mark.parametrize("name", ROW_DOTS)
def test_positive_logits_are_finer_than_a_product(name: str, loss: float) -> None:
    """At CLIP's temperature a float32 matrix product alone puts the gradient off by 1.3e-6 to 2.6e-6."""
    case = ROW_DOTS[name]
    inputs = cast(
        case, problem(name if name in CASES else "info_nce_loss, keys", Regime(loss, 0.07, 64, 128)), torch.float32
    )
    ours = differentiated(case.ours, case, inputs, 0.07)
    truth = differentiated(case.reference, case, tuple(z.double() for z in inputs), 0.07)
    for f, g in zip(ours[1:3], truth[1:3], strict=True):
        assert (f.double() - g).norm() <= 1e-6 * g.norm()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows", [80, 92, 122])
@pytest.mark.parametrize("name", [name for name in CASES if "three" in name])
def test_positives_that_have_become_one(name: str, rows: int, dtype: torch.dtype) -> None:
    # Of several positives no weight is left then but what keeps the negatives away: not the rounding of their shares.
    # The negatives are of one weight, whose rounding would be that of the gradient.
    case, regime = CASES[name], Regime(None, 0.07, rows, rows + 16)
    z0 = torch.linalg.qr(problem("nt_xent_loss", regime)[0].T)[0].T.contiguous()
    inputs = cast(case, case.inputs(z0, z0.clone(), regime.temperature), dtype)
    found = differentiated(case.ours, case, inputs, regime.temperature)
    truth = differentiated(case.reference, case, tuple(z.double() for z in inputs), regime.temperature)
    for f, g in zip(found[1:], truth[1:], strict=True):
        if dtype == torch.float64:
            assert (f - g).norm() <= 1e-9 * g.norm()
        else:
            rounding = 2.5e-3 if dtype == torch.bfloat16 else 0.0
            assert (f.double() - g).norm() <= (4 * relative_bound(case, regime) + rounding) * g.norm()


def prepared(name: str, regime: Regime = LATE, dtype: torch.dtype = torch.float32) -> tuple[LossCase, Inputs]:
    return CASES[name], cast(CASES[name], problem(name, regime), dtype)


@pytest.mark.parametrize("regime", [EARLY, LATE], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_a_gradient_is_the_same_whatever_else_has_one(name: str, regime: Regime) -> None:
    case, inputs = prepared(name, regime)
    _, *expected = differentiated(case.ours, case, inputs, regime.temperature)
    for at, grad in enumerate(expected):
        # Where the other input is locked, another operator sums the logits in another order; their rounding shows.
        bound = relative_bound(case, regime) if case.locks and at == 0 else 1e-6
        leaves = [z.clone().requires_grad_(k == at) for k, z in enumerate(inputs)]
        case.ours(*leaves, regime.temperature).backward()
        torch.testing.assert_close(leaves[at].grad, grad, rtol=bound, atol=bound * grad.abs().max().item())
        assert all(leaf.grad is None for k, leaf in enumerate(leaves) if k != at)
    with torch.no_grad():
        assert not case.ours(
            *(z.clone().requires_grad_() for z in inputs[:1]), *inputs[1:], regime.temperature
        ).requires_grad


@pytest.mark.parametrize("regime", [EARLY, LATE], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_backward_again_and_by_another_factor(name: str, regime: Regime) -> None:
    case, inputs = prepared(name, regime)
    count = len(inputs) - case.constants
    _, *expected = differentiated(case.ours, case, inputs, regime.temperature)
    leaves = [z.clone().requires_grad_() for z in inputs[:count]]
    loss = case.ours(*leaves, *inputs[count:], regime.temperature)
    for total, factor in ((1.0, 1.0), (2.0, 1.0), (-1.0, -3.0), (-1.0, 0.0)):  # the sum so far, and what is added to it
        (factor * loss).backward(retain_graph=True)
        for leaf, grad in zip(leaves, expected, strict=True):
            assert leaf.grad is not None
            rounding = 1e-3 if case.infimum else 1e-6  # of what is left of a difference
            torch.testing.assert_close(leaf.grad, total * grad, rtol=1e-5, atol=rounding * grad.abs().max().item())


@pytest.mark.parametrize("regime", [EARLY, LATE], ids=str)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.unreduced])
def test_every_row_by_a_weight_of_its_own(name: str, regime: Regime) -> None:
    case, inputs = prepared(name, regime)
    assert case.unreduced is not None
    weights = torch.linspace(-1, 2, regime.rows)
    found, expected = (
        differentiated(lambda *z, f=f: (weights.to(z[0].dtype) * f(*z)).sum(), case, z, regime.temperature)
        for f, z in zip(case.unreduced, (inputs, tuple(z.double() for z in inputs)), strict=True)
    )
    for f, g in zip(found, expected, strict=True):
        torch.testing.assert_close(f.double(), g, rtol=1e-5, atol=1e-5 * g.abs().max().item())


@pytest.mark.parametrize("name", CASES)
def test_any_strides(name: str) -> None:
    case, inputs = prepared(name, EARLY, torch.float64)
    rows = [z for z in inputs if z.dim()]
    numbers = [z for z in inputs if not z.dim()]
    layouts = {
        "transposed": [z.t().contiguous().t() for z in rows],
        "sliced": [torch.stack([z, -z], dim=-1).flatten(-2)[..., ::2] for z in rows],
        "one row, repeated": [z[:1].expand_as(z) for z in rows],
        "one column, repeated": [z[:, :1].expand_as(z) for z in rows],
    }
    for layout, views in layouts.items():
        packed = differentiated(case.ours, case, (*(z.contiguous() for z in views), *numbers), EARLY.temperature)
        for f, g in zip(differentiated(case.ours, case, (*views, *numbers), EARLY.temperature), packed, strict=True):
            torch.testing.assert_close(f, g, rtol=1e-10, atol=1e-10, msg=lambda text, at=layout: f"{at}: {text}")


@pytest.mark.parametrize("name", CASES)
def test_autocast_and_checkpointing_change_no_bit(name: str) -> None:
    case, inputs = prepared(name)
    count = len(inputs) - case.constants
    assert_steady(lambda *z: case.ours(*z, *inputs[count:], LATE.temperature), *inputs[:count])


@pytest.mark.parametrize("name", CASES)
def test_compiles_in_one_graph(name: str) -> None:
    case, inputs = prepared(name)
    count = len(inputs) - case.constants
    torch.compiler.reset()  # one code object for all losses: dynamo would take them for recompilations of it
    assert_compiles(lambda *z: case.ours(*z, *inputs[count:], LATE.temperature), *inputs[:count])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_zero_rows(name: str, dtype: torch.dtype) -> None:
    case, inputs = prepared(name, EARLY, dtype)
    inputs[0][1] = 0
    found = differentiated(case.ours, case, inputs, EARLY.temperature)
    truth = differentiated(case.reference, case, tuple(z.double() for z in inputs), EARLY.temperature)
    for f, g in zip(found, truth, strict=True):
        scale = g.abs().amax(dim=1, keepdim=True) if g.dim() else g.abs()  # F.normalize's: 1e12 times the gradient
        rounding = max(1e-5 if f.dtype != torch.float64 else 1e-12, torch.finfo(f.dtype).eps)
        assert ((f.double() - g).abs() <= rounding * scale.clamp_min(1e-3)).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", CASES)
def test_nan_and_inf_reach_the_loss(name: str, bad: float) -> None:
    case, inputs = prepared(name, EARLY)
    for at in range(len(inputs)):
        spoiled = [z.clone() for z in inputs]
        spoiled[at].view(-1)[-1] = bad
        expected = case.reference(*spoiled, EARLY.temperature)
        found = case.ours(*spoiled, EARLY.temperature)
        assert found.isfinite() == expected.isfinite(), f"input {at}: {found}, by definition {expected}"
        if math.isnan(bad):
            assert found.isnan()


@pytest.mark.parametrize("name", CASES)
def test_second_derivatives_are_refused(name: str) -> None:
    case, inputs = prepared(name, EARLY)
    count = len(inputs) - case.constants
    function = name.split(",")[0]
    leaves = [z.clone().requires_grad_() for z in inputs[:count]]
    loss = case.ours(*leaves, *inputs[count:], EARLY.temperature)
    for grad in torch.autograd.grad(loss, leaves, create_graph=True):
        for leaf in leaves:  # with a path of its own to the leaf, as a gradient penalty has
            with pytest.raises(RuntimeError, match=rf"^{function}: second derivatives are not supported$"):
                torch.autograd.grad(grad.square().sum() + leaf.sum(), leaf, retain_graph=True)


@pytest.mark.parametrize(
    "name",
    [
        "nt_xent_loss",
        "nt_xent_loss, in tiles",
        "supcon_loss, pairs",
        "supcon_loss, classes",
        "clip_loss",
        "clip_loss, normalize",
    ],
)
def test_one_sample_alone_has_no_loss(name: str) -> None:
    case, inputs = prepared(name, Regime(None, 0.1, 1, 7))
    for value in differentiated(case.ours, case, inputs, 0.1):
        assert not value.any()  # 0, gradients too, not rounding
