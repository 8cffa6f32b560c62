"""One pass of online softmax over the rows of all teacher and student views together, in Triton.

In the notation of soft_cross_entropy.py, with x_g = t_g - center and over a run of columns: for every teacher
top_g = max x_g and mass_g = sum exp(teacher_scale (x_g - top_g)), for every student top_v and sum_v likewise, and for
every pair that predicts along_gv = sum exp(teacher_scale (x_g - top_g)) (s_v - top_v) / LIFT. Where top_v grows by d,
along_gv falls by d / LIFT mass_g; where top_g grows, along_gv and mass_g shrink alike. All terms have one sign, so
that nothing cancels. Of each tile of columns every teacher is read once and kept, and every student is read once and
meets all of them: (G + V) N K numbers, and 2 G + 2 V + G V written for each run and row.

A tile is ROWS x LANES x EACH: a thread's own EACH columns of a row are a lane, which carries its maxima and sums by
itself. So the walk needs no reduction across threads; the lanes are put together at its end. Sums of the teachers'
columns, (row blocks, K), come out of the same read.

A student's logit of -inf makes along -inf, or NaN where what it is multiplied by, of a teacher far below its top, has
underflowed: the second launch takes a NaN for -inf, as one of the logits shows in mass or sum too. A large finite
logit, as a mask fills in, counts for its share alone: divided by LIFT, sums of the largest floats are finite, and 0
times them is 0.
"""

import triton
import triton.language as tl

LIFT = tl.constexpr(2.0**40)  # a power of two: what is divided and multiplied by it loses no digit


@triton.jit
def soft_sums_kernel(
    s_ptrs,
    t_ptrs,
    s_strides,
    t_strides,
    center_ptr,
    weights_ptr,
    stat_ptr,
    column_ptr,
    N,
    K,
    center_stride,
    run,
    student_scale,
    teacher_scale,
    PAIRS: tl.constexpr,
    FIRST: tl.constexpr,
    ALL: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    EACH: tl.constexpr,
):
    """ROWS rows, columns [split * run, (split + 1) * run).

    Student v predicts teacher g where bit v * TEACHERS + g of PAIRS is set. The teachers are FIRST and on, of ALL.
    """
    SHRINK: tl.constexpr = 1.0 / LIFT
    TEACHERS: tl.constexpr = len(t_ptrs)
    VIEWS: tl.constexpr = len(s_ptrs)
    STATS: tl.constexpr = 2 * ALL + 2 * VIEWS + ALL * VIEWS
    lifted_scale = student_scale * LIFT
    block, split = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row = block * ROWS + tl.arange(0, ROWS)
    read = row < N
    if weights_ptr is not None:
        read = read & (tl.load(weights_ptr + row, read, 0.0) != 0.0)
    column = (tl.arange(0, LANES)[:, None] * EACH + tl.arange(0, EACH)[None, :])[None, :, :]
    at = row[:, None, None]
    t_tops, masses, s_tops, sums, along = (), (), (), (), ()
    for _g in tl.static_range(TEACHERS):
        t_tops += (tl.full((ROWS, LANES), float("-inf"), tl.float32),)
        masses += (tl.zeros((ROWS, LANES), tl.float32),)
    for _v in tl.static_range(VIEWS):
        s_tops += (tl.full((ROWS, LANES), float("-inf"), tl.float32),)
        sums += (tl.zeros((ROWS, LANES), tl.float32),)
        for _g in tl.static_range(TEACHERS):
            along += (tl.zeros((ROWS, LANES), tl.float32),)
    end = tl.minimum((split + 1) * run, K)
    for start in range(split * run, end, LANES * EACH):
        k = start + column
        inside = read[:, None, None] & (k < end)
        exps, factors, new_t_tops, new_masses = (), (), (), ()
        for g in tl.static_range(TEACHERS):
            t = tl.load(t_ptrs[g] + at * t_strides[g] + k, inside, 0.0).to(tl.float32)
            if column_ptr is not None:
                tl.store(column_ptr + (g * tl.num_programs(0) + block) * K + k, tl.sum(t, 0)[None, :, :], k < end)
            if center_ptr is not None:
                t -= tl.load(center_ptr + g * center_stride + k, k < end, 0.0)
            t = tl.where(inside, t, float("-inf"))
            top = tl.maximum(t_tops[g], tl.max(t, 2))
            safe = tl.where(top == float("-inf"), 0.0, top)
            factor = tl.exp((t_tops[g] - safe) * teacher_scale)
            exp = tl.exp((t - safe[:, :, None]) * teacher_scale)
            exps += (exp,)
            factors += (factor,)
            new_t_tops += (top,)
            new_masses += (masses[g] * factor + tl.sum(exp, 2),)
        new_s_tops, new_sums, new_along = (), (), ()
        for v in tl.static_range(VIEWS):
            s = tl.load(s_ptrs[v] + at * s_strides[v] + k, inside, float("-inf")).to(tl.float32)
            top = tl.maximum(s_tops[v], tl.max(s, 2))
            safe = tl.where(top == float("-inf"), 0.0, top)
            y = (s - safe[:, :, None]) * SHRINK
            fall = (s_tops[v] - safe) * SHRINK
            new_s_tops += (top,)
            new_sums += (sums[v] * tl.exp(fall * lifted_scale) + tl.sum(tl.exp(y * lifted_scale), 2),)
            fall = tl.where(s_tops[v] == float("-inf"), 0.0, fall)
            for g in tl.static_range(TEACHERS):
                if (PAIRS >> (v * TEACHERS + g)) & 1:
                    product = tl.sum(tl.where(inside, exps[g] * y, 0.0), 2)
                    new_along += ((along[v * TEACHERS + g] + fall * masses[g]) * factors[g] + product,)
                else:
                    new_along += (along[v * TEACHERS + g],)
        t_tops, masses, s_tops, sums, along = new_t_tops, new_masses, new_s_tops, new_sums, new_along
    shares = ()
    rows, kept = tl.cast(N, tl.int64), row < N
    stat_ptr += split * STATS * rows + row
    for g in tl.static_range(TEACHERS):
        top = tl.max(t_tops[g], 1)
        safe = tl.where(top == float("-inf"), 0.0, top)[:, None]
        share = tl.exp((t_tops[g] - safe) * teacher_scale)
        tl.store(stat_ptr + 2 * (FIRST + g) * rows, top, kept)
        tl.store(stat_ptr + (2 * (FIRST + g) + 1) * rows, tl.sum(share * masses[g], 1), kept)
        shares += (share,)
    for v in tl.static_range(VIEWS):
        top = tl.max(s_tops[v], 1)
        safe = tl.where(top == float("-inf"), 0.0, top)[:, None]
        fall = (s_tops[v] - safe) * SHRINK
        tl.store(stat_ptr + 2 * (ALL + v) * rows, top, kept)
        tl.store(stat_ptr + (2 * (ALL + v) + 1) * rows, tl.sum(tl.exp(fall * lifted_scale) * sums[v], 1), kept)
        fall = tl.where(s_tops[v] == float("-inf"), 0.0, fall)
        for g in tl.static_range(TEACHERS):
            if (PAIRS >> (v * TEACHERS + g)) & 1:
                product = tl.sum(shares[g] * (along[v * TEACHERS + g] + fall * masses[g]), 1)
                tl.store(stat_ptr + (2 * (ALL + VIEWS) + v * ALL + FIRST + g) * rows, product, kept)
