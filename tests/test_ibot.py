"""IBOTPatchLoss and ibot_patch_loss against the definition, lightly, DINOv2's published code and analytic values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import loss_oracle
import pytest
import torch
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import sinkhorn_knopp
from sslfast.losses.ibot import IBOTPatchLoss, ibot_patch_loss
from sslfast.masking import dino_masks
from sslfast.reference.soft_cross_entropy import ibot_patch_loss as reference


def batch(images: int, k: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masks (images, 4, 5), of which the second image has none, what their rows weigh, and logits of both sides."""
    mask = torch.rand(images, 4, 5) < 0.4
    mask[1:2] = False
    mask[0, 0, 0] = True
    counts = mask.flatten(1).sum(1)
    weights = (1.0 / counts.clamp_min(1).double())[:, None, None].expand_as(mask)[mask]
    teacher, student = torch.randn(2, len(weights), k, dtype=torch.float64).to(dtype)
    return mask, weights, teacher, student


def of_student(function: Callable[..., Tensor], teacher: Tensor, *args, **kwargs) -> Callable[..., Tensor]:
    def loss(student: Tensor) -> Tensor:
        wide = torch.float64 if student.dtype == torch.float64 else teacher.dtype
        return function(teacher.to(student.device, wide), student, *args, **kwargs)

    return loss


@pytest.mark.parametrize(("images", "k"), [(1, 1), (3, 7), (6, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(images: int, k: int, dtype: torch.dtype, device: torch.device) -> None:
    mask, weights, teacher, student = batch(images, k, dtype)
    center = torch.randn(k)
    ours = of_student(ibot_patch_loss, teacher, mask.to(device), center.to(device), teacher_temp=0.06, student_temp=0.2)
    theirs = of_student(reference, teacher, weights, images, center.double(), 0.2, 0.06)
    loss_oracle.assert_like_reference(ours, theirs, [student], device, factor=64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(dtype: torch.dtype, device: torch.device) -> None:
    mask, weights, teacher, student = batch(4, 200, dtype)
    ours = of_student(ibot_patch_loss, teacher, mask.to(device))
    loss_oracle.assert_half_is_like_reference(ours, of_student(reference, teacher, weights, 4), [student], device)


def test_rows_to_leave_out_are_not_read(device: torch.device) -> None:
    """A fixed number of rows with the weights of dino_masks: the value of the masked ones alone, whatever is behind."""
    masks = dino_masks(6, (4, 5), generator=3, device=device)
    teacher, student = torch.randn(2, masks.upperbound, 9, device=device)
    count = int(masks.n_masked)
    assert 0 < count < masks.upperbound
    teacher[count:] = student[count:] = math.nan
    kept = [teacher[:count], student[:count]]
    for centering in ("centering", "sinkhorn_knopp"):
        found = loss_oracle.with_grads(
            lambda z, c=centering: ibot_patch_loss(
                teacher, z, masks.masks, masks_weight=masks.masks_weight, centering=c
            ),
            student,
        )
        expected = loss_oracle.with_grads(
            lambda z, c=centering: ibot_patch_loss(kept[0], z, masks.masks, centering=c), kept[1]
        )
        torch.testing.assert_close(found[0], expected[0])
        torch.testing.assert_close(found[1][:count], expected[1])
        assert not found[1][count:].any()
    module = IBOTPatchLoss(9, center_momentum=0).to(device)
    module(teacher, student, masks.masks, masks_weight=masks.masks_weight)
    torch.testing.assert_close(module.center.value[0], kept[0].mean(0))


def test_has_lightlys_value_gradients_and_center() -> None:
    arguments = (7, 0.0625, 0.125, "mean", 0.75)
    theirs, ours = peer("lightly.loss").IBOTPatchLoss(*arguments), IBOTPatchLoss(*arguments)
    for temperature in (None, 0.03125):
        # Numbers of patches whose inverse is exact in lightly's float32.
        mask = torch.arange(20).reshape(4, 5) < torch.tensor([1, 8, 0, 16])[:, None, None]
        teacher, student = torch.randn(2, 25, 7, dtype=torch.float64)
        loss_oracle.assert_has_values_of(
            of_student(theirs, teacher, mask, temperature), of_student(ours, teacher, mask, temperature), [student]
        )
        theirs.center.center = theirs.center.center.float()
        torch.testing.assert_close(ours.center.value, theirs.center.value)
        ours.center.value.copy_(theirs.center.value)


def test_has_lightlys_signature_and_state() -> None:
    theirs = peer("lightly.loss").IBOTPatchLoss
    loss_oracle.assert_has_signature_of(theirs, IBOTPatchLoss)
    a, b = IBOTPatchLoss(7).state_dict(), theirs(7).state_dict()
    assert {name: z.shape for name, z in a.items()} == {name: z.shape for name, z in b.items()}


def test_is_the_published_loss() -> None:
    """DINOv2's forward_masked: rows cut at n_masked_patches, weighted, divided by the number of masks."""
    masks = dino_masks(6, (4, 5), generator=5)
    n, weights = int(masks.n_masked), masks.masks_weight
    teacher, student, center = torch.randn(n, 9), torch.randn(n, 9), torch.randn(1, 9)
    t = torch.softmax((teacher - center) / 0.07, dim=-1)
    loss = torch.sum(t * torch.log_softmax(student / 0.1, dim=-1), dim=-1) * weights[:n]
    expected = -loss.sum() / masks.masks.shape[0]
    ours = ibot_patch_loss(teacher, student, masks.masks, center, masks_weight=weights[:n], teacher_temp=0.07)
    torch.testing.assert_close(ours, expected)


def test_sinkhorn_centering_is_the_assignment() -> None:
    mask, weights, teacher, student = batch(4, 6)
    q = sinkhorn_knopp(teacher, 3, 0.05)
    losses = torch.nn.functional.cross_entropy(student / 0.1, q, reduction="none")
    found = ibot_patch_loss(teacher, student, mask, centering="sinkhorn_knopp", teacher_temp=0.05)
    torch.testing.assert_close(found, (losses * weights).sum() / 4, rtol=1e-12, atol=0)
    module = IBOTPatchLoss(6, 0.05, centering="sinkhorn_knopp")
    torch.testing.assert_close(module(teacher, student, mask), found)
    assert not module.center.value.any()


@pytest.mark.parametrize("centering", ["centering", "sinkhorn_knopp"])
def test_nothing_masked_is_zero(centering: str) -> None:
    student = torch.ones(0, 3, requires_grad=True)
    module = IBOTPatchLoss(3, centering=centering)
    with torch.no_grad():
        module.center.value.fill_(2)
    loss = module(torch.ones(0, 3), student, torch.zeros(2, 4, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert student.grad is not None
    assert student.grad.shape == (0, 3)
    assert (module.center.value == 2).all()


def test_analytic_values() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    flat = torch.zeros(3, 8)
    torch.testing.assert_close(ibot_patch_loss(flat, flat, mask), torch.tensor(math.log(8)))
    student = torch.eye(8)[:3] * torch.tensor([[1.0], [1.0], [0.0]])  # the second image's is flat
    one_hot = 10 * torch.eye(8)[:3]
    expected = (math.log(math.exp(10) + 7) - 10 + math.log(8)) / 2  # each image weighs the same
    torch.testing.assert_close(ibot_patch_loss(one_hot, student, mask), torch.tensor(expected))


def test_gradients() -> None:
    mask, _, teacher, student = batch(3, 5)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: ibot_patch_loss(teacher, z, mask), student)
    (grad,) = torch.autograd.grad(ibot_patch_loss(teacher, student, mask), student, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^ibot_patch_loss: second derivatives are not supported$"):
        grad.sum().backward()


def test_strides_dtypes_autocast_checkpointing_and_compilation() -> None:
    mask, weights, teacher, student = batch(4, 8, torch.float32)
    given = of_student(ibot_patch_loss, teacher, mask, masks_weight=weights.float())
    for function in (of_student(ibot_patch_loss, teacher, mask), given):
        loss_oracle.assert_takes_strides_and_mixed_dtypes(function, student)
        loss_oracle.assert_steady(function, student)
    loss_oracle.assert_compiles(given, student)


GOOD, MASK = torch.ones(4, 3), torch.ones(2, 2, dtype=torch.bool)
TYPE, VALUE = TypeError, ValueError
BAD = [
    ([None, GOOD, MASK], {}, TYPE, "teacher_out must be a floating-point tensor, got NoneType"),
    ([GOOD, GOOD.long(), MASK], {}, TYPE, "student_out must be a floating-point tensor, got torch.int64"),
    ([GOOD[0], GOOD[0], MASK], {}, VALUE, "teacher_out must have shape (M, K) with K >= 1, got (3,)"),
    ([GOOD, GOOD[:2], MASK], {}, VALUE, "student_out must have shape (4, 3), like teacher_out, got (2, 3)"),
    ([GOOD, GOOD, MASK.float()], {}, TYPE, "mask must be a bool tensor, got torch.float32"),
    ([GOOD, GOOD, MASK[0]], {}, VALUE, "mask must have shape (B, ...) with B >= 1 and patches, got (2,)"),
    ([GOOD, GOOD, MASK[:, :1]], {}, VALUE, "mask must have 4 patches masked, one a row, got 2"),
    ([GOOD, GOOD, MASK.to("meta")], {}, VALUE, "mask must be on cpu, like the logits, got meta"),
    ([GOOD, GOOD, MASK], {"masks_weight": [1]}, TYPE, "masks_weight must be a floating-point tensor, got list"),
    ([GOOD, GOOD, MASK], {"masks_weight": GOOD[0]}, VALUE, "masks_weight must have shape (4,), got (3,)"),
    ([GOOD, GOOD, MASK, GOOD], {}, VALUE, "center must have 3 numbers, got shape (4, 3)"),
    ([GOOD, GOOD, MASK], {"teacher_temp": -1}, VALUE, "teacher_temp must be positive, got -1"),
    ([GOOD, GOOD, MASK], {"student_temp": None}, TYPE, "student_temp must be a number, got NoneType"),
    ([GOOD, GOOD, MASK], {"centering": 0}, VALUE, "centering must be 'centering' or 'sinkhorn_knopp', got 0"),
    ([GOOD, GOOD, MASK], {"sinkhorn_iterations": 0}, VALUE, "sinkhorn_iterations must be at least 1, got 0"),
    ([GOOD, GOOD, MASK], {"gather_distributed": 1}, TYPE, "gather_distributed must be a bool, got 1"),
]
BAD += [
    (
        [GOOD, GOOD, MASK],
        {"masks_weight": torch.tensor([0.5, bad, 1.0, 0.0])},
        VALUE,
        f"masks_weight must be in [0, 1], got {bad}",
    )
    for bad in (-0.5, 1.5, math.inf, math.nan)
]

MODULE_BAD = [
    ({"output_dim": "3"}, TYPE, "output_dim must be an int, got str"),
    ({"center_momentum": -1}, VALUE, "center_momentum must be a probability in [0, 1], got -1"),
    ({"center_mode": None}, VALUE, "center_mode must be 'mean', got None"),
    ({"student_temp": 0.0}, VALUE, "student_temp must be positive, got 0.0"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args: list, kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"ibot_patch_loss: {text}") + "$"):
        ibot_patch_loss(*args, **kwargs)


@pytest.mark.parametrize(("kwargs", "error", "text"), MODULE_BAD, ids=[b[2] for b in MODULE_BAD])
def test_module_errors(kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"IBOTPatchLoss: {text}") + "$"):
        IBOTPatchLoss(**kwargs)
