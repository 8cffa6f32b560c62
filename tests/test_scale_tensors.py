"""Temperature, scale and bias as tensors: every contrastive loss that takes them does so alike, the others refuse."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sslfast import losses

N, D = 6, 4


class Case(NamedTuple):
    """A loss of unit rows and a number, which may be a tensor; the number's name, and what errors begin with."""

    loss: Callable[[Tensor, Tensor, float | Tensor], Tensor]
    argument: str
    function: str


def info_nce(**options) -> Case:
    def loss(a: Tensor, b: Tensor, number: float | Tensor) -> Tensor:
        given = dict(options)
        hard = torch.stack([b + a, b - a], dim=1) if given.pop("hard", False) else None
        queue = {"queue": F.normalize(a - 2 * b, dim=1)} if given.pop("queue", False) else {}
        return losses.info_nce_loss(a, b, hard, number, **queue, **given)

    return Case(loss, "temperature", "info_nce_loss")


def halves(z: Tensor) -> Tensor:
    return torch.arange(len(z), device=z.device) // 2


ALL = dict.fromkeys(("queue", "in_batch", "query_negatives", "key_negatives"), True)
CASES = {
    "info_nce": info_nce(),
    "info_nce, sum": info_nce(reduction="sum"),
    "info_nce, none": info_nce(reduction="none"),
    "info_nce, symmetric": info_nce(symmetric=True),
    "info_nce, queue": info_nce(queue=True),
    "info_nce, hard": info_nce(hard=True),
    "info_nce, all kinds": info_nce(**ALL),
    "info_nce, all kinds, hard": info_nce(**ALL, hard=True, label_smoothing=0.2),
    "info_nce, all kinds, smooth": info_nce(**ALL, symmetric=True, label_smoothing=0.2, tau_plus=0.01),
    "info_nce, all kinds, margin": info_nce(**ALL, symmetric=True, margin=0.1),
    "info_nce, hardness": info_nce(hardness_mode="in_batch_negatives", hardness_strength=3.0),
    "info_nce, queries of keys": info_nce(key_to_query_negatives=True),
    "info_nce, hardness, all kinds": info_nce(
        **ALL,
        key_to_query_negatives=True,
        hard=True,
        symmetric=True,
        label_smoothing=0.2,
        hardness_mode="all_negatives",
        hardness_strength=3.0,
    ),
    "info_nce, hard, margin": info_nce(hard=True, in_batch=True, label_smoothing=0.2, margin=0.1),
    "InfoNCELoss": Case(lambda a, b, t: losses.InfoNCELoss(t)(a, b), "temperature", "InfoNCELoss"),
    "clip": Case(lambda a, b, t: losses.clip_loss(a, b, t), "logit_scale", "clip_loss"),
    "clip, smooth": Case(
        lambda a, b, t: losses.clip_loss(a, b, t, label_smoothing=0.2, tau_plus=0.01), "logit_scale", "clip_loss"
    ),
    "clip, ids": Case(
        lambda a, b, t: losses.clip_loss(a, b, t, **dict.fromkeys(("image_ids", "text_ids"), halves(a))),
        *("logit_scale", "clip_loss"),
    ),
    "clip, hard": Case(
        lambda a, b, t: losses.clip_loss(a, b, t, label_smoothing=0.2, negative_keys=torch.stack([b + a, b - a], 1)),
        *("logit_scale", "clip_loss"),
    ),
    "clip, margin": Case(
        lambda a, b, t: losses.clip_loss(a, b, t, margin=0.1, negative_keys=b - a), "logit_scale", "clip_loss"
    ),
    "CLIPLoss": Case(lambda a, b, t: losses.CLIPLoss()(a, b, t), "logit_scale", "clip_loss"),
    "clip, bias": Case(lambda a, b, t: losses.clip_loss(a, b, 3.0, t), "logit_bias", "clip_loss"),
    "siglip": Case(lambda a, b, t: losses.siglip_loss(a, b, t, -1.0), "logit_scale", "siglip_loss"),
    "siglip, bias": Case(lambda a, b, t: losses.siglip_loss(a, b, 3.0, t), "logit_bias", "siglip_loss"),
    "SigLIPLoss": Case(lambda a, b, t: losses.SigLIPLoss()(a, b, t, -1.0), "logit_scale", "siglip_loss"),
}
DIVIDES = [name for name, case in CASES.items() if case.argument == "temperature"]
TURNS = [name for name in CASES if "margin" not in name and "hardness" not in name]  # takes a negative one


def views() -> list[Tensor]:
    return [F.normalize(torch.randn(N, D), dim=1) for _ in range(2)]


def value_and_gradient(case: Case, rows: list[Tensor], number: Tensor) -> tuple[Tensor, Tensor]:
    number = number.clone().requires_grad_()
    loss = case.loss(*rows, number)
    (grad,) = torch.autograd.grad(loss.sum(), number)
    assert grad.shape == number.shape
    assert grad.dtype == number.dtype
    return loss.detach(), grad


@pytest.mark.parametrize("name", CASES)
def test_is_the_number(name: str) -> None:
    """Of any shape and type with one element, with a gradient of its own shape and type."""
    case, rows = CASES[name], views()
    for value in (0.5, -0.5) if name in TURNS else (0.5,):
        expected = case.loss(*rows, value)
        step = 1e-3
        wide = [z.double() for z in rows]
        slope = (case.loss(*wide, value + step) - case.loss(*wide, value - step)).sum() / (2 * step)
        for shape in ((), (1,), (1, 1)):
            loss, grad = value_and_gradient(case, rows, torch.full(shape, value))
            torch.testing.assert_close(loss, expected)
            torch.testing.assert_close(grad.sum().double(), slope, rtol=1e-3, atol=1e-5)
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            loss, grad = value_and_gradient(case, rows, torch.tensor(value, dtype=dtype))
            torch.testing.assert_close(loss, expected)  # float32 still
            torch.testing.assert_close(grad.double(), slope, rtol=1e-2, atol=1e-5)
        without = case.loss(*rows, torch.tensor(value))
        assert without.grad_fn is None
        torch.testing.assert_close(without, expected)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", CASES)
def test_what_is_not_finite_is_seen_in_the_loss(name: str, value: float) -> None:
    case, rows = CASES[name], views()
    assert not case.loss(*rows, torch.tensor(value)).isfinite().any()
    with pytest.raises(ValueError, match=f"^{case.function}: {case.argument} must be finite, got {value}$"):
        case.loss(*rows, value)


@pytest.mark.parametrize("name", CASES)
def test_zero(name: str) -> None:
    """Nothing may be divided by it; times it all logits are equal."""
    case, rows = CASES[name], views()
    if name in DIVIDES:
        for value in (0.0, 1e-9):
            text = f"{case.function}: temperature must be at least 1e-8 in absolute value, got {value}"
            for number in (value, torch.tensor(value, dtype=torch.float64)):
                with pytest.raises(ValueError, match=f"^{text}$"):
                    case.loss(*rows, number)
        return
    if "margin" in name:  # nor are they in the order of the similarities
        for number in (0.0, torch.zeros(())):
            with pytest.raises(ValueError, match=r"^clip_loss: logit_scale must be positive with a margin, got 0.0$"):
                case.loss(*rows, number)
        return
    loss, grad = value_and_gradient(case, rows, torch.zeros(()))
    torch.testing.assert_close(loss, case.loss(*rows, 0.0))
    assert grad.isfinite()
    if name in ("clip", "CLIPLoss"):
        torch.testing.assert_close(loss, torch.tensor(float(N)).log())


ONES = torch.ones(2)
BAD = [
    (ONES, ValueError, "have one element, got shape (2,)"),
    (ONES[:0], ValueError, "have one element, got shape (0,)"),
    (torch.tensor(1), TypeError, "be a floating-point tensor, got torch.int64"),
    (torch.tensor(True), TypeError, "be a floating-point tensor, got torch.bool"),
    (torch.tensor(1j), TypeError, "be a floating-point tensor, got torch.complex64"),
    (torch.ones((), device="meta"), ValueError, "be on cpu, like the features, got meta"),
    (True, TypeError, "be a number, got bool"),
    ("1", TypeError, "be a number, got str"),
]


@pytest.mark.parametrize(("number", "error", "text"), BAD, ids=[b[2] for b in BAD])
@pytest.mark.parametrize("name", CASES)
def test_errors(name: str, number, error, text: str) -> None:
    case = CASES[name]
    function = "info_nce_loss" if "meta" in text and name == "InfoNCELoss" else case.function  # known at the call
    with pytest.raises(error, match="^" + re.escape(f"{function}: {case.argument} must {text}") + "$"):
        case.loss(*views(), number)


NUMBERS = {
    "nt_xent_loss": lambda a, b, t: losses.nt_xent_loss(a, b, t),
    "NTXentLoss": lambda a, b, t: losses.NTXentLoss(t),
    "dcl_loss": lambda a, b, t: losses.dcl_loss(a, b, t),
    "DCLLoss": lambda a, b, t: losses.DCLLoss(t),
    "dclw_loss": lambda a, b, t: losses.dclw_loss(a, b, t),
    "DCLWLoss": lambda a, b, t: losses.DCLWLoss(t),
    "supcon_loss": lambda a, b, t: losses.supcon_loss(a, torch.zeros(N, dtype=torch.int64), t),
    "SupConLoss": lambda a, b, t: losses.SupConLoss(t),
    "multi_positive_nt_xent_loss": lambda a, b, t: losses.multi_positive_nt_xent_loss(a, torch.arange(N) // 2, t),
    "MultiPositiveNTXentLoss": lambda a, b, t: losses.MultiPositiveNTXentLoss(t),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_others_take_a_number_alone(name: str) -> None:
    """A tensor would have to be read."""
    for number in (torch.tensor(0.5), torch.tensor(0.0), torch.tensor(math.nan), ONES):
        with pytest.raises(TypeError, match=f"^{name}: temperature must be a number, got Tensor$"):
            NUMBERS[name](*views(), number)


@pytest.mark.parametrize("name", [name for name in CASES if "hard" not in name])
def test_a_gpu_is_not_waited_for(name: str) -> None:
    """Tensors without numbers raise where one would be read. (Without a GPU torch makes no gradients and no slices.)"""
    with FakeTensorMode(), torch.no_grad():
        rows = [torch.empty(N, D, device="cuda") for _ in range(2)]
        loss = CASES[name].loss(*rows, torch.empty((), device="cuda"))
        assert loss.is_cuda
        with pytest.raises(RuntimeError):
            loss.sum().item()


@pytest.mark.parametrize("name", ["info_nce", "info_nce, all kinds, smooth", "info_nce, all kinds, margin"])
def test_zero_on_a_gpu_is_seen_in_the_loss(name: str) -> None:
    """There, as in a compiled graph, it is not looked at."""
    case, rows = CASES[name], views()
    compiled = torch.compile(lambda a, b, t: case.loss(a, b, t), fullgraph=True, backend="eager")
    assert not compiled(*rows, torch.zeros(())).isfinite().any()
