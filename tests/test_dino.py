"""DINOLoss and dino_loss against the definition, lightly, DINO's published code and analytic values."""

from __future__ import annotations

import copy
import io
import math
import re
from collections.abc import Callable

import loss_oracle
import pytest
import torch
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import sinkhorn_knopp
from sslfast.losses.dino import DINOLoss, dino_loss
from sslfast.reference.soft_cross_entropy import dino_loss as reference

# Teacher views, student views, N, K
CASES = [(1, 2, 3, 4), (2, 2, 5, 1), (2, 6, 9, 40), (3, 2, 4, 7)]


def views(count: int, n: int, k: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(n, k).to(dtype) for _ in range(count)]


def of_students(function: Callable[..., Tensor], teachers: list[Tensor], *args, **kwargs) -> Callable[..., Tensor]:
    """The loss as a function of the student views one by one; the teachers follow their dtype."""

    def loss(*students: Tensor) -> Tensor:
        wide = torch.float64 if students[0].dtype == torch.float64 else teachers[0].dtype
        return function([t.to(students[0].device, wide) for t in teachers], list(students), *args, **kwargs)

    return loss


@pytest.mark.parametrize(("teacher_count", "count", "n", "k"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(
    teacher_count: int, count: int, n: int, k: int, dtype: torch.dtype, device: torch.device
) -> None:
    teachers, students, center = views(teacher_count, n, k, dtype), views(count, n, k, dtype), torch.randn(1, 1, k)
    ours = of_students(
        lambda t, s: dino_loss(t, s, center.to(s[0].device), teacher_temp=0.06, student_temp=0.2), teachers
    )
    theirs = of_students(lambda t, s: reference(t, s, center.to(s[0].dtype), 0.2, 0.06), teachers)
    if teacher_count == 1:  # its own view predicts nothing: no graph in the reference
        own, *students = students
        ours, theirs = (lambda *z, f=f: f(own.to(z[0]), *z) for f in (ours, theirs))
    loss_oracle.assert_like_reference(ours, theirs, students, device, factor=64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(dtype: torch.dtype, device: torch.device) -> None:
    teachers = views(2, 6, 200, dtype)
    ours, theirs = (of_students(f, teachers) for f in (dino_loss, reference))
    loss_oracle.assert_half_is_like_reference(ours, theirs, views(4, 6, 200, dtype), device)


def test_float16_gradients_under_a_loss_scale() -> None:
    # Shares of 65,536 prototypes: below float16's least number, unless scaled on the way.
    teachers, students = views(1, 1, 65536, torch.float32), views(2, 1, 65536, torch.float16)
    loss = of_students(lambda t, s: 1024 * dino_loss(t, [students[0], *s]), teachers)
    theirs = of_students(lambda t, s: 1024 * reference(t, [students[0].double(), *s]), teachers)
    _, scaled = loss_oracle.with_grads(loss, students[1])
    _, truth = loss_oracle.with_grads(theirs, students[1].double())
    assert scaled.dtype == torch.float16
    torch.testing.assert_close(scaled.double(), truth, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("teacher_count", "count", "n", "k"), CASES)
def test_has_lightlys_value_gradients_and_center(teacher_count: int, count: int, n: int, k: int) -> None:
    # Temperatures that are exact in lightly's float32 tensor of them.
    arguments = (k, 0.0625, 0.0625, 30, 0.125, 0.75)
    theirs, ours = peer("lightly.loss").DINOLoss(*arguments), DINOLoss(*arguments)
    for step in range(3):
        teachers, students = views(teacher_count, n, k), views(count, n, k)
        loss_oracle.assert_has_values_of(
            of_students(theirs, teachers, epoch=step), of_students(ours, teachers, epoch=step), students
        )
        theirs.center.data = theirs.center.float()  # float64 views make it float64
        torch.testing.assert_close(ours.center, theirs.center)
        ours.center.copy_(theirs.center)


def test_has_lightlys_signature_schedule_and_state() -> None:
    theirs = peer("lightly.loss").DINOLoss
    loss_oracle.assert_has_signature_of(theirs, DINOLoss)
    assert list(DINOLoss(7).state_dict()) == list(theirs(7).state_dict())
    assert DINOLoss(7).center.shape == theirs(7).center.shape
    for arguments in ((7, 0.04, 0.07, 5), (7, 0.04, 0.07, 1)):
        expected = theirs(*arguments)
        for epoch in range(8):
            temperature = expected.teacher_temp_schedule[epoch] if epoch < arguments[3] else expected.teacher_temp
            assert DINOLoss(*arguments).temperature(epoch) == pytest.approx(float(temperature))


def test_is_the_published_loss() -> None:
    """DINO's own steps: chunks of one tensor, q without the student's view of the same number, the mean of pairs."""
    n, k, crops = 5, 9, 4
    student, teacher, center = torch.randn(crops * n, k), torch.randn(2 * n, k), torch.randn(1, k)
    total, terms = torch.zeros(()), 0
    for g, q in enumerate(torch.softmax((teacher - center) / 0.05, dim=-1).chunk(2)):
        for v, s in enumerate((student / 0.1).chunk(crops)):
            if v != g:
                total, terms = total + torch.sum(-q * torch.log_softmax(s, dim=-1), dim=-1).mean(), terms + 1
    ours = dino_loss(teacher.chunk(2), student.chunk(crops), center, teacher_temp=0.05)
    torch.testing.assert_close(ours, total / terms)


def test_sinkhorn_centering_is_the_assignment_of_all_rows() -> None:
    teachers, students = views(2, 6, 5), views(3, 6, 5)
    q = sinkhorn_knopp(torch.cat(teachers), 4, 0.07).chunk(2)
    losses = [torch.nn.functional.cross_entropy(students[v] / 0.1, q[g]) for g in range(2) for v in range(3) if v != g]
    options = {"centering": "sinkhorn_knopp", "sinkhorn_iterations": 4}
    found = dino_loss(teachers, students, teacher_temp=0.07, **options)
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-12, atol=0)
    module = DINOLoss(5, 0.07, 0.07, **options)
    torch.testing.assert_close(module(teachers, students), found)
    assert not module.center.any()


def test_analytic_values() -> None:
    flat = [torch.ones(3, 8)] * 2
    torch.testing.assert_close(dino_loss(flat, flat), torch.tensor(math.log(8)))
    torch.testing.assert_close(
        dino_loss(flat[:1], [100 * torch.ones(3, 8), torch.zeros(3, 8)]), torch.tensor(math.log(8))
    )
    one_hot = [torch.eye(4)] * 2
    torch.testing.assert_close(
        dino_loss(one_hot, one_hot, teacher_temp=0.01, student_temp=0.5), torch.tensor(math.log(math.exp(2) + 3) - 2)
    )
    # The center takes out what is common to all rows.
    shift = torch.randn(4)
    torch.testing.assert_close(dino_loss([t + shift for t in one_hot], one_hot, shift), dino_loss(one_hot, one_hot))


def test_logits_of_ten_thousand() -> None:
    teachers, students = ([1e4 * z for z in views(2, 4, 30, torch.float32)] for _ in range(2))
    loss, *grads = loss_oracle.with_grads(of_students(dino_loss, teachers), *students)
    truth = reference([t.double() for t in teachers], [s.double() for s in students])
    torch.testing.assert_close(loss.double(), truth, rtol=1e-6, atol=0)
    assert all(g.isfinite().all() for g in grads)


def test_nan_reaches_the_loss() -> None:
    for side in (0, 1):
        inputs = [views(2, 3, 4, torch.float32), views(2, 3, 4, torch.float32)]
        inputs[side][1][2, 1] = math.nan
        assert dino_loss(*inputs).isnan()


def test_gradients() -> None:
    teachers, students = views(2, 3, 5), [z.requires_grad_() for z in views(3, 3, 5)]
    assert torch.autograd.gradcheck(lambda *z: dino_loss(teachers, z), students)
    assert torch.autograd.gradcheck(lambda *z: 3 * dino_loss(teachers, z), students)
    (grad,) = torch.autograd.grad(dino_loss(teachers, students), students[:1], create_graph=True)
    with pytest.raises(RuntimeError, match=r"^dino_loss: second derivatives are not supported$"):
        grad.sum().backward()
    teachers[0].requires_grad_()
    assert torch.autograd.grad(dino_loss(teachers, students), teachers[:1], allow_unused=True) == (None,)
    loss = dino_loss(teachers, students)
    first = torch.autograd.grad(loss, students, retain_graph=True)
    again = torch.autograd.grad(loss, students)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])  # a leaf may also keep what a view of it hands on
def test_a_retained_graph_keeps_its_gradients(shape: tuple[int, int]) -> None:
    teachers, students = views(2, 3, 5), [z.view(shape).requires_grad_() for z in views(3, 3, 5)]
    loss = dino_loss(teachers, [z if shape == (3, 5) else z.view(3, 5) for z in students])
    for times in (1, 2, 3):
        loss.backward(retain_graph=True)
        assert students[0].grad is not None
        if times == 1:
            first = students[0].grad.clone()
        torch.testing.assert_close(students[0].grad, times * first)
    students[0].grad.zero_()
    assert torch.equal(torch.autograd.grad(loss, students)[0], first)


def test_probabilities_are_never_made() -> None:
    teachers, students = views(2, 6, 500), views(3, 6, 500)
    for needed, largest_allowed in ((False, 1), (True, 3)):  # in views: the inputs; the gradient
        with loss_oracle.Largest() as largest:
            dino_loss(teachers, [s.requires_grad_(needed) for s in students])
        assert largest.numel <= largest_allowed * 6 * 500


def test_strides_dtypes_autocast_checkpointing_and_compilation() -> None:
    teachers, students = views(2, 6, 8, torch.float32), views(3, 6, 8, torch.float32)
    function = of_students(dino_loss, teachers)
    loss_oracle.assert_takes_strides_and_mixed_dtypes(function, *students)
    loss_oracle.assert_steady(function, *students)
    loss_oracle.assert_compiles(function, *students)
    same = views(2, 4, 5, torch.float32)  # a view that stands there twice
    loss_oracle.assert_compiles(lambda a, b: dino_loss([a, b], [a, b, a]), *same)


def test_module_compiles_and_moves_its_center() -> None:
    module = DINOLoss(6, center_momentum=0.5)
    twin = copy.deepcopy(module)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        teachers, students = views(2, 4, 6, torch.float32), views(2, 4, 6, torch.float32)
        torch.testing.assert_close(compiled(teachers, students), module(teachers, students))
        torch.testing.assert_close(twin.center, module.center)
    assert module.center.any()


def test_module_is_saved_and_loaded() -> None:
    module = DINOLoss(6)
    module(views(2, 4, 6), views(2, 4, 6))
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded.center, module.center)
    other = DINOLoss(6)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.center, module.center)
    assert repr(module) == "DINOLoss(6, teacher_temp=0.04, student_temp=0.1, centering='centering')"


GOOD, WIDE = torch.ones(4, 3), torch.ones(4, 5)
BAD = [
    ([GOOD, [GOOD]], {}, TypeError, "teacher_out must be a list or tuple of tensors, got Tensor"),
    ([[GOOD], []], {}, ValueError, "student_out must hold at least 1 tensor, got 0"),
    (
        [[GOOD], [GOOD]],
        {},
        ValueError,
        "there must be a pair of different views, got 1 of the teacher and 1 of the student",
    ),
    ([[GOOD.long()], [GOOD] * 2], {}, TypeError, "teacher_out[0] must be a floating-point tensor, got torch.int64"),
    ([[GOOD], [GOOD, None]], {}, TypeError, "student_out[1] must be a floating-point tensor, got NoneType"),
    ([[GOOD[0]], [GOOD] * 2], {}, ValueError, "teacher_out[0] must have shape (N, K) with N, K >= 1, got (3,)"),
    ([[GOOD], [GOOD, WIDE]], {}, ValueError, "student_out[1] must have shape (4, 3), like teacher_out[0], got (4, 5)"),
    ([[GOOD], [GOOD, GOOD.to("meta")]], {}, ValueError, "student_out[1] must be on cpu, like teacher_out[0], got meta"),
    ([[GOOD], [GOOD] * 2, [1.0]], {}, TypeError, "center must be a floating-point tensor, got list"),
    ([[GOOD], [GOOD] * 2, WIDE[0]], {}, ValueError, "center must have 3 numbers, got shape (5,)"),
    ([[GOOD], [GOOD] * 2], {"teacher_temp": 0}, ValueError, "teacher_temp must be positive, got 0"),
    ([[GOOD], [GOOD] * 2], {"student_temp": "1"}, TypeError, "student_temp must be a number, got str"),
    ([[GOOD], [GOOD] * 2], {"sinkhorn_iterations": 0}, ValueError, "sinkhorn_iterations must be at least 1, got 0"),
    ([[GOOD], [GOOD] * 2], {"gather_distributed": 1}, TypeError, "gather_distributed must be a bool, got 1"),
    (
        [[GOOD], [GOOD] * 2],
        {"centering": "no"},
        ValueError,
        "centering must be 'centering' or 'sinkhorn_knopp', got 'no'",
    ),
    (
        [[GOOD], [GOOD] * 2, GOOD[0]],
        {"centering": "sinkhorn_knopp"},
        ValueError,
        "center must be None with centering='sinkhorn_knopp', got a tensor",
    ),
]
MODULE_BAD = [
    ({"output_dim": 0}, ValueError, "output_dim must be at least 1, got 0"),
    ({"center_momentum": 2}, ValueError, "center_momentum must be a probability in [0, 1], got 2"),
    ({"center_mode": "median"}, ValueError, "center_mode must be 'mean', got 'median'"),
    ({"warmup_teacher_temp": -1}, ValueError, "warmup_teacher_temp must be positive, got -1"),
    ({"warmup_teacher_temp_epochs": None}, TypeError, "warmup_teacher_temp_epochs must be an int, got NoneType"),
    ({"centering": 1}, ValueError, "centering must be 'centering' or 'sinkhorn_knopp', got 1"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args: list, kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"dino_loss: {text}") + "$"):
        dino_loss(*args, **kwargs)


@pytest.mark.parametrize(("kwargs", "error", "text"), MODULE_BAD, ids=[b[2] for b in MODULE_BAD])
def test_module_errors(kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"DINOLoss: {text}") + "$"):
        DINOLoss(**kwargs)
    with pytest.raises(ValueError, match=r"^DINOLoss: epoch must be at least 0, got -1$"):
        DINOLoss(3)([GOOD], [GOOD] * 2, epoch=-1)
