"""Cross-entropy of students' rows with the softmax of teachers' rows over K prototypes, in Triton.

For a student's row s and targets q_g = softmax(teacher_scale (t_g - center)), of the teacher views that it is to
predict: loss = count log sum_k exp(y_k) - sum_k y_k sum_g q_gk with y = student_scale (s - max s), and the gradient
(count softmax(y) - sum_g q_g) times a factor and the sample's weight. No probability is written.

One pass over the logits of all views makes the losses (soft_cross_entropy_pass.py): every teacher's and every student's
logit is read once, (G + V) N K numbers, the targets' products with y are carried along in the same online softmax, and
the sums of the teachers' columns, which are the center's update, come out of the same read. What a run of columns
leaves is 2 G + 2 V + G V numbers a row. The second launch, here, adds the runs up in order, writes the losses and, if
gradients are wanted, reads the logits once more to write them, V N K numbers: nothing is left to compute backwards. It
begins where the first ended, with what L2 still has.

So DINO and iBOT are two launches, whatever the number of views: as many as fit the registers of a program
(_prototype_launch.soft_views). More teachers go through the pass in groups, of which each reads the students again, and
more students through both launches, of which each reads the teachers again. No atomics: the same bits in every run.
Rows of weight 0 are not read, and get zeros.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, _prototype_launch
from sslfast.kernels.soft_cross_entropy_pass import LIFT, soft_sums_kernel


@triton.jit
def run_stats(stat_ptr, q, row, N, splits, read, empty, STATS: tl.constexpr, SPLITS: tl.constexpr):
    """Number q of what every run of columns left of the rows: (SPLITS, ROWS)."""
    split = tl.arange(0, SPLITS).to(tl.int64)[:, None]
    return tl.load(stat_ptr + (split * STATS + q) * N + row[None, :], (split < splits) & read[None, :], empty)


@triton.jit
def softmax_sum(tops, sums, scale):
    """The largest number of rows and the sum relative to it, of their runs."""
    top = tl.max(tops, 0)
    safe = tl.where(top == float("-inf"), 0.0, top)
    return top, tl.sum(tl.exp((tops - safe[None, :]) * scale) * sums, 0)


@triton.jit
def soft_gradient_kernel(
    s_ptrs,
    t_ptrs,
    s_strides,
    t_strides,
    center_ptr,
    weights_ptr,
    stat_ptr,
    loss_ptr,
    grad_ptr,
    N,
    K,
    center_stride,
    run,
    splits,
    student_scale,
    teacher_scale,
    grad_factor,
    PAIRS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """The losses of ROWS rows, and their gradients in columns [split * run, (split + 1) * run)."""
    TEACHERS: tl.constexpr = len(t_ptrs)
    VIEWS: tl.constexpr = len(s_ptrs)
    STATS: tl.constexpr = 2 * TEACHERS + 2 * VIEWS + TEACHERS * VIEWS
    EVERY: tl.constexpr = (1 << TEACHERS) - 1
    block = (tl.num_programs(0) - 1 - tl.program_id(0)).to(tl.int64)
    split = (tl.num_programs(1) - 1 - tl.program_id(1)).to(tl.int64)
    row = block * ROWS + tl.arange(0, ROWS)
    inside, weight = row < N, tl.full((ROWS,), 1.0, tl.float32)
    read = inside
    if weights_ptr is not None:
        weight = tl.load(weights_ptr + row, inside, 0.0)
        read = weight != 0.0
    t_tops, t_totals = (), ()
    for g in tl.static_range(TEACHERS):
        tops = run_stats(stat_ptr, 2 * g, row, N, splits, read, float("-inf"), STATS, SPLITS)
        sums = run_stats(stat_ptr, 2 * g + 1, row, N, splits, read, 0.0, STATS, SPLITS)
        top, total = softmax_sum(tops, sums, teacher_scale)
        t_tops += (top,)
        t_totals += (total,)
    s_tops, s_totals = (), ()
    for v in tl.static_range(VIEWS):
        q = 2 * (TEACHERS + v)
        tops = run_stats(stat_ptr, q, row, N, splits, read, float("-inf"), STATS, SPLITS)
        sums = run_stats(stat_ptr, q + 1, row, N, splits, read, 0.0, STATS, SPLITS)
        top, total = softmax_sum(tops, sums, student_scale)
        s_tops += (top,)
        s_totals += (total,)
        if split == 0:
            safe = tl.where(top == float("-inf"), 0.0, top)[None, :]
            fall = tl.where(tops == float("-inf"), 0.0, (tops - safe) * (1.0 / LIFT))
            loss = tl.zeros((ROWS,), tl.float32)
            for g in tl.static_range(TEACHERS):
                if (PAIRS >> (v * TEACHERS + g)) & 1:
                    pair = 2 * (TEACHERS + VIEWS) + v * TEACHERS + g
                    along = run_stats(stat_ptr, pair, row, N, splits, read, 0.0, STATS, SPLITS)
                    t_tops_of = run_stats(stat_ptr, 2 * g, row, N, splits, read, float("-inf"), STATS, SPLITS)
                    mass = run_stats(stat_ptr, 2 * g + 1, row, N, splits, read, 0.0, STATS, SPLITS)
                    t_safe = tl.where(t_tops[g] == float("-inf"), 0.0, t_tops[g])[None, :]
                    share = tl.exp((t_tops_of - t_safe) * teacher_scale)
                    product = tl.sum(share * (along + fall * mass), 0)
                    product = tl.where(product == product, product, float("-inf"))  # no NaN of its own: see the pass
                    loss += tl.log(total) - product / t_totals[g] * (student_scale * LIFT)
            loss = tl.where(read, loss, 0.0)
            at = loss_ptr + v * tl.cast(N, tl.int64) + row
            tl.store(at, loss, inside)
    if grad_ptr is not None:
        factor = (grad_factor * weight)[:, None]
        end = tl.minimum((split + 1) * run, K)
        for start in range(split * run, end, BLOCK):
            k = (start + tl.arange(0, BLOCK))[None, :]
            there = inside[:, None] & (k < end)
            known = read[:, None] & (k < end)
            targets = ()
            for g in tl.static_range(TEACHERS):
                t = tl.load(t_ptrs[g] + row[:, None] * t_strides[g] + k, known, 0.0).to(tl.float32)
                if center_ptr is not None:
                    t -= tl.load(center_ptr + g * center_stride + k, k < end, 0.0)
                inverse = (1.0 / t_totals[g])[:, None]
                targets += (tl.exp((t - t_tops[g][:, None]) * teacher_scale) * inverse,)
            for v in tl.static_range(VIEWS):
                at = grad_ptr + (v * tl.cast(N, tl.int64) + row)[:, None] * K + k
                if (PAIRS >> (v * TEACHERS)) & EVERY:
                    target, count = tl.zeros((ROWS, BLOCK), tl.float32), 0.0
                    for g in tl.static_range(TEACHERS):
                        if (PAIRS >> (v * TEACHERS + g)) & 1:
                            target += targets[g]
                            count += 1.0
                    s = tl.load(s_ptrs[v] + row[:, None] * s_strides[v] + k, known, 0.0).to(tl.float32)
                    share = (count / s_totals[v])[:, None]
                    grad = (tl.exp((s - s_tops[v][:, None]) * student_scale) * share - target) * factor
                    grad = tl.where(known, grad, 0.0)
                    tl.store(at, grad, there)
                else:
                    tl.store(at, tl.zeros((ROWS, BLOCK), tl.float32), there)


def _sides(students: list[Tensor], teachers: list[Tensor]) -> tuple[tuple[Tensor | int, ...], ...]:
    """Views and their strides, as both kernels take them."""
    strides = (tuple(z.stride(0) for z in views) for views in (students, teachers))
    return tuple(students), tuple(teachers), *strides


def _pairs(v0: int, g0: int, students: int, teachers: int, skip_same_view: bool) -> int:
    """Bit v * teachers + g is set where student view v0 + v predicts teacher view g0 + g."""
    pairs = [(v, g) for v in range(students) for g in range(teachers) if not (skip_same_view and v0 + v == g0 + g)]
    return sum(1 << (v * teachers + g) for v, g in pairs)


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
    losses = first.new_empty((views, size), dtype=torch.float32)
    grads = first.new_empty((views if need_grad else 0, size, width))
    if size == 0:
        return losses, grads, losses.new_zeros((width if need_sum else 0,))
    aligned = width % 16 == 0 and all(z.stride(0) % 16 == z.data_ptr() % 16 == 0 for z in (*students, *teachers))
    config = _prototype_launch.soft_cross_entropy(min(first.element_size(), teachers[0].element_size()), aligned)
    most_teachers, most_views = _prototype_launch.soft_views()
    tile = config["LANES"] * config["EACH"]
    blocks = triton.cdiv(size, config["ROWS"])
    run = _prototype_launch.prototype_run(blocks, width, tile)
    splits = triton.cdiv(width, run)
    columns = losses.new_empty((len(teachers), blocks, width)) if need_sum else None
    centers = None if centers is None else centers.expand(len(teachers), -1)
    center_stride = 0 if centers is None else centers.stride(0)
    for v0 in range(0, views, most_views):
        part = students[v0 : v0 + most_views]
        stats = losses.new_empty((splits, 2 * (len(teachers) + len(part)) + len(teachers) * len(part), size))
        with _launch.on_device_of(first):
            for g0 in range(0, len(teachers), most_teachers):
                group = teachers[g0 : g0 + most_teachers]
                soft_sums_kernel[(blocks, splits)](
                    *_sides(part, group),
                    None if centers is None else centers[g0:],
                    weights,
                    stats,
                    columns[g0:] if columns is not None and v0 == 0 else None,
                    size,
                    width,
                    center_stride,
                    run,
                    student_scale,
                    teacher_scale,
                    PAIRS=_pairs(v0, g0, len(part), len(group), skip_same_view),
                    FIRST=g0,
                    ALL=len(teachers),
                    **config,
                )
            soft_gradient_kernel[(blocks, splits if need_grad else 1)](
                *_sides(part, teachers),
                centers,
                weights,
                stats,
                losses[v0:],
                grads[v0:] if need_grad else None,
                size,
                width,
                center_stride,
                run,
                splits,
                student_scale,
                teacher_scale,
                grad_factor,
                PAIRS=_pairs(v0, 0, len(part), len(teachers), skip_same_view),
                ROWS=config["ROWS"],
                BLOCK=tile,
                SPLITS=triton.next_power_of_2(splits),
                num_warps=config["num_warps"],
            )
    teacher_sum = losses.new_empty((0,)) if columns is None else columns.flatten(0, 1).sum(0)
    return losses, grads, teacher_sum
