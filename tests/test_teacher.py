"""update_teacher and cosine_schedule against lightly and by definition."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from peer_oracle import peer
from torch import nn

from sslfast.losses import cosine_schedule, update_teacher


def models(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, nn.Module]:
    """A student and a teacher with normalisation, a shared parameter and a frozen one."""

    def make() -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
        model[2].weight = model[0].weight
        model[2].bias.requires_grad_(False)
        model(torch.randn(8, 4))
        return model

    return make(), make().to(dtype)


def test_is_lightlys_update(device: torch.device) -> None:
    student, teacher = (model.to(device) for model in models())
    expected = copy.deepcopy(teacher)
    peer("lightly.models.utils").update_momentum(student, expected, 0.9)
    pointers = [p.data_ptr() for p in teacher.parameters()]
    update_teacher(student, teacher, 0.9)
    for ours, theirs in zip(teacher.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert [p.data_ptr() for p in teacher.parameters()] == pointers
    assert all(p.grad is None and p.grad_fn is None for p in teacher.parameters())


def test_ends_of_the_range_are_exact() -> None:
    student, teacher = models()
    before = copy.deepcopy(teacher.state_dict())
    update_teacher(student, teacher, 1.0, buffers="average")
    assert all(torch.equal(z, before[name]) for name, z in teacher.state_dict().items() if "num" not in name)
    update_teacher(student, teacher, 0.0, buffers="copy")
    assert all(torch.equal(z, student.state_dict()[name]) for name, z in teacher.state_dict().items())


@pytest.mark.parametrize("buffers", ["keep", "copy", "average"])
def test_buffers(buffers: str) -> None:
    student, teacher = models()
    student(torch.randn(8, 4))  # one batch more
    mean, count = teacher[1].running_mean.clone(), teacher[1].num_batches_tracked.clone()
    of_student = student[1].running_mean.clone()
    expected = {"keep": mean, "copy": of_student, "average": 0.75 * mean + 0.25 * of_student}
    update_teacher(student, teacher, 0.75, buffers=buffers)
    torch.testing.assert_close(teacher[1].running_mean, expected[buffers])
    assert teacher[1].num_batches_tracked == (count if buffers == "keep" else count + 1)
    assert torch.equal(student[1].running_mean, of_student)


def test_dtypes_may_differ() -> None:
    student, teacher = models()
    student.bfloat16()
    expected = [0.5 * t + 0.5 * s.float() for s, t in zip(student.parameters(), teacher.parameters(), strict=True)]
    update_teacher(student, teacher, 0.5)
    for ours, theirs in zip(teacher.parameters(), expected, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs)
    teacher[2].double()  # in one model, too
    update_teacher(student, teacher, 0.5)


def test_compiles() -> None:
    student, teacher = models()
    expected = copy.deepcopy(teacher)
    torch.compile(update_teacher, fullgraph=True, backend="aot_eager")(student, teacher, 0.9)
    update_teacher(student, expected, 0.9)
    for ours, theirs in zip(teacher.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_without_parameters_nothing_happens() -> None:
    update_teacher(nn.ReLU(), nn.ReLU(), 0.5, buffers="average")


@pytest.mark.parametrize("max_steps", [1, 2, 10])
def test_is_lightlys_schedule(max_steps: int) -> None:
    theirs = peer("lightly.utils.scheduler").cosine_schedule
    for step in range(max_steps):
        ours = cosine_schedule(step, max_steps, 0.996, 1)
        assert ours == pytest.approx(theirs(step, max_steps, 0.996, 1), rel=1e-15)
    assert cosine_schedule(max_steps + 5, max_steps, 0.996, 1) == 1
    if max_steps > 1:
        assert cosine_schedule(0, max_steps, 0.996, 1) == pytest.approx(0.996)


LINEAR = nn.Linear(2, 2)
BAD = [
    ([None, LINEAR, 0.5], {}, TypeError, "student must be an nn.Module, got NoneType"),
    ([LINEAR, [LINEAR], 0.5], {}, TypeError, "teacher must be an nn.Module, got list"),
    ([LINEAR, LINEAR, 1.5], {}, ValueError, "momentum must be a probability in [0, 1], got 1.5"),
    ([LINEAR, LINEAR, "1"], {}, TypeError, "momentum must be a number, got str"),
    ([LINEAR, LINEAR, 1], {"buffers": "all"}, ValueError, "buffers must be 'keep', 'copy' or 'average', got 'all'"),
    ([LINEAR, nn.ReLU(), 1], {}, ValueError, "teacher must have 2 parameters, like student, got 0"),
    (
        [LINEAR, nn.Linear(3, 2), 1],
        {},
        ValueError,
        "parameters 0 of teacher must have shape (2, 2), like student, got (2, 3)",
    ),
    (
        [LINEAR, nn.Linear(2, 2, device="meta"), 1],
        {},
        ValueError,
        "parameters 0 of teacher must be on cpu, like student, got meta",
    ),
    (
        [nn.BatchNorm1d(2), nn.LayerNorm(2), 1],
        {"buffers": "copy"},
        ValueError,
        "teacher must have 3 buffers, like student, got 0",
    ),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args: list, kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"update_teacher: {text}") + "$"):
        update_teacher(*args, **kwargs)


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        ((-1, 5, 0, 1), ValueError, "step must be at least 0, got -1"),
        ((0, 0, 0, 1), ValueError, "max_steps must be at least 1, got 0"),
        ((0.5, 5, 0, 1), TypeError, "step must be an int, got float"),
        ((0, 5, None, 1), TypeError, "start_value must be a number, got NoneType"),
    ],
)
def test_schedule_errors(args: tuple, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"cosine_schedule: {text}") + "$"):
        cosine_schedule(*args)


class Quantised(nn.Module):
    """A parameter of integers beside one of floats."""

    def __init__(self, value: int, dtype: torch.dtype = torch.int8) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.full((3,), value).to(dtype), requires_grad=False)
        self.scale = nn.Parameter(torch.full((2,), float(value)))


def test_integer_parameters_are_copied():
    student, teacher = Quantised(4), Quantised(2)
    update_teacher(student, teacher, 0.75)
    assert torch.equal(teacher.codes, student.codes)
    torch.testing.assert_close(teacher.scale.detach(), torch.full((2,), 2.5))
    with pytest.raises(TypeError) as raised:
        update_teacher(student, Quantised(2, torch.float32), 0.75)
    expected = "parameters 0 of teacher must be torch.int8, like student, got torch.float32"
    assert str(raised.value) == f"update_teacher: {expected}"
