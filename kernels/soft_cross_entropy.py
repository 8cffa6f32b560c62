"""Cross-entropy of students' rows with the softmax of teachers' rows over K prototypes, in Triton.

For a student's row s and targets q_g = softmax(teacher_scale (t_g - center)), of the teacher views that it is to
predict: loss = count log sum_k exp(y_k) - sum_k y_k sum_g q_gk with y = student_scale (s - max s), and the gradient
(count softmax(y) - sum_g q_g) times a factor and the sample's weight. No probability is written. Bytes: the teachers
are read once for their sums (kernels/prototype_rows.py, which sums their columns too) and once more with each student
view; a student's row is read for the loss and, while L2 has it, again for the gradient, which is written in the same
launch: nothing is left to compute backwards. Launches: one a teacher view and one a student view for two of its
targets each. Rows of weight 0 are not read, and get zeros.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch
from sslfast.kernels.prototype_rows import prototype_rows, row_total


@triton.jit
def target_block(t_ptr, center_ptr, k, inside, top, inverse, scale):
    x = tl.load(t_ptr + k, inside, float("-inf")).to(tl.float32)
    if center_ptr is not None:
        x -= tl.load(center_ptr + k, inside, 0.0)
    return tl.where(inside, tl.exp((x - top) * scale) * inverse, 0.0)


@triton.jit
def soft_cross_entropy_kernel(
    s_ptr,
    t0_ptr,
    t1_ptr,
    center0_ptr,
    center1_ptr,
    top0_ptr,
    sum0_ptr,
    top1_ptr,
    sum1_ptr,
    weights_ptr,
    loss_ptr,
    grad_ptr,
    N,
    K,
    splits,
    s_stride,
    t0_stride,
    t1_stride,
    student_scale,
    teacher_scale,
    grad_factor,
    MORE: tl.constexpr,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """One row; MORE adds to what earlier targets left."""
    row = tl.program_id(0).to(tl.int64)
    weight = 1.0
    read = row < N
    if weights_ptr is not None:
        weight = tl.load(weights_ptr + row)
        read = weight != 0.0
    width = tl.where(read, K, 0)
    s_ptr += row * s_stride
    t0_ptr += row * t0_stride
    top0, total0 = row_total(top0_ptr, sum0_ptr, row, N, splits, teacher_scale, SPLITS)
    count = 1.0
    if t1_ptr is not None:
        t1_ptr += row * t1_stride
        top1, total1 = row_total(top1_ptr, sum1_ptr, row, N, splits, teacher_scale, SPLITS)
        count = 2.0
    top = float("-inf")
    total = 0.0
    along = 0.0  # of targets with y, relative to the largest logit so far
    mass = 0.0  # of targets so far
    for start in range(0, width, BLOCK):
        k = start + tl.arange(0, BLOCK)
        inside = k < width
        s = tl.load(s_ptr + k, inside, float("-inf")).to(tl.float32)
        target = target_block(t0_ptr, center0_ptr, k, inside, top0, 1.0 / total0, teacher_scale)
        if t1_ptr is not None:
            target += target_block(t1_ptr, center1_ptr, k, inside, top1, 1.0 / total1, teacher_scale)
        new_top = tl.maximum(top, tl.max(s, 0))
        safe = tl.where(new_top == float("-inf"), 0.0, new_top)
        y = (s - safe) * student_scale
        total = total * tl.exp((top - safe) * student_scale) + tl.sum(tl.exp(y), 0)
        along += tl.where(top == float("-inf"), 0.0, (top - safe) * student_scale * mass)
        along += tl.sum(tl.where(inside, target * y, 0.0), 0)
        mass += tl.sum(target, 0)
        top = new_top
    loss = tl.where(read, count * tl.log(total) - along, 0.0)
    if MORE:
        loss += tl.load(loss_ptr + row)
    tl.store(loss_ptr + row, loss)
    if grad_ptr is not None:
        grad_ptr += row * K
        factor = grad_factor * weight
        for start in range(0, K, BLOCK):
            k = start + tl.arange(0, BLOCK)
            inside = k < width
            s = tl.load(s_ptr + k, inside, float("-inf")).to(tl.float32)
            target = target_block(t0_ptr, center0_ptr, k, inside, top0, 1.0 / total0, teacher_scale)
            if t1_ptr is not None:
                target += target_block(t1_ptr, center1_ptr, k, inside, top1, 1.0 / total1, teacher_scale)
            grad = (tl.exp((s - top) * student_scale) * (count / total) - target) * factor
            grad = tl.where(inside, grad, 0.0)
            if MORE:
                grad += tl.load(grad_ptr + k, k < K, 0.0).to(tl.float32)
            tl.store(grad_ptr + k, grad, k < K)


def soft_cross_entropy(
    students: list[Tensor],
    teachers: list[Tensor],
    centers: Tensor | None,
    weights: Tensor | None,
    student_scale: float,
    teacher_scale: float,
    grad_factor: float,
    skip_same_view: bool,
    need_grad: bool,
    need_sum: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    first, views = students[0], len(students)
    if torch.float64 in (first.dtype, teachers[0].dtype):
        raise TypeError("soft_cross_entropy: float64 runs on the CPU only, got float64 on a GPU")
    size, width = first.shape
    losses = first.new_zeros((views, size), dtype=torch.float32)
    grads = first.new_empty((views if need_grad else 0, size, width))
    if size == 0:
        return losses, grads, losses.new_zeros((width if need_sum else 0,))
    blocks = triton.cdiv(size, _launch.prototype_rows(width)["ROWS"])
    columns = losses.new_empty((len(teachers), blocks, width)) if need_sum else None
    center_rows = [None] * len(teachers) if centers is None else list(centers.expand(len(teachers), -1))
    totals = [
        prototype_rows(t, center_rows[g], weights, teacher_scale, None if columns is None else columns[g])
        for g, t in enumerate(teachers)
    ]
    splits = len(totals[0][0])
    options = _launch.soft_cross_entropy(width) | {"SPLITS": triton.next_power_of_2(splits)}
    for v, student in enumerate(students):
        picked = [g for g in range(len(teachers)) if not (skip_same_view and g == v)]
        grad = grads[v] if need_grad else None
        if not picked and grad is not None:
            grad.zero_()
        for at in range(0, len(picked), 2):
            pair = picked[at : at + 2]
            one, two = pair[0], pair[1] if len(pair) == 2 else None
            with _launch.on_device_of(first):
                soft_cross_entropy_kernel[(size,)](
                    student,
                    teachers[one],
                    None if two is None else teachers[two],
                    center_rows[one],
                    None if two is None else center_rows[two],
                    *totals[one],
                    *((None, None) if two is None else totals[two]),
                    weights,
                    losses[v],
                    grad,
                    size,
                    width,
                    splits,
                    student.stride(0),
                    teachers[one].stride(0),
                    0 if two is None else teachers[two].stride(0),
                    student_scale,
                    teacher_scale,
                    grad_factor,
                    MORE=at > 0,
                    **options,
                )
    teacher_sum = losses.new_empty((0,)) if columns is None else columns.flatten(0, 1).sum(0)
    return losses, grads, teacher_sum
