"""Cross-entropy of rows against the classes of a linear layer, and its gradients in the same pass, in Triton.

For rows Q (N, D), classes K (V, D) with bias b, targets t, s = f(Q K^T + b) with f a cap or nothing: of every row nll =
log(1 + exp(n - s_t)) with n the log-sum-exp of all classes but t, the log-sum-exp of all, sum_j c_j s_j; and with the
weights of the rows the gradient in the logits, G_j = (scale exp(s_j - n) - flat c_j) f'_j and G_t apart, its products
G K and G^T Q and its sums over the rows. Only rows with a target are gathered and multiplied.

3 N V D multiply-adds: no logit is made twice. A strip of rows with all classes is held in float32, so that its softmax
is complete. A tile of the first launch leaves s, its maxima and its sums in slots of its own; the second launch adds up
the slots of each row in order; the third makes G of the rows' type, which torch's matrix product takes to both sides:
no atomics, the same bits in every run. 14 to 18 bytes a logit go through memory.

Rounding is that of one_way_softmax: G is rounded once, each row's and each class's sum of products is brought back to
the sum that its weights had, and those of the targets, which may weigh as much as all the rest, are added in float32.
"""

import torch
import triton
from torch import Tensor

from sslfast.kernels import _launch
from sslfast.kernels.aligned_rows import aligned, first_columns, padded
from sslfast.kernels.class_softmax import class_gradients_kernel, class_logits_kernel, class_rows_kernel
from sslfast.kernels.weight_tile import add_pairs, add_product, correct_


def _check_elsewhere(
    weight: Tensor, targets: Tensor, class_weights: Tensor | None, elsewhere: Tensor | None, num_classes: int
) -> None:
    """Raises RuntimeError, as csrc/ops does, where classes elsewhere do not go with the other arguments."""
    is_right = elsewhere is None or (elsewhere.dtype == torch.float32 and elsewhere.is_contiguous())
    if not is_right or (elsewhere is not None and elsewhere.shape != (2, len(targets))):
        raise RuntimeError("linear_cross_entropy: elsewhere must be (2, R), of the dtype of the results")
    together = elsewhere is not None and num_classes >= len(weight) and class_weights is None
    if not together and (elsewhere is not None or num_classes != 0):
        expected = "goes with elsewhere, is no less than the classes here, and knows no weights"
        raise RuntimeError(f"linear_cross_entropy: num_classes {expected}")


def _picked(targets: Tensor, index: Tensor | None) -> tuple[Tensor | None, Tensor]:
    """Which results are computed, None for all of them, and which row of hidden each of them is of."""
    if index is not None:
        return None, index
    if targets.is_cuda and torch.cuda.is_current_stream_capturing():
        return None, torch.arange(len(targets), device=targets.device)
    rows = (targets >= 0).nonzero().flatten()  # waits for the device
    return rows, rows


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    index: Tensor | None,
    bias: Tensor | None,
    weights: Tensor | None,
    others: Tensor | None,
    class_weights: Tensor | None,
    label_smoothing: float,
    softcap: float,
    z_loss: float,
    need_hidden: bool,
    need_weight: bool,
    need_bias: bool,
    elsewhere: Tensor | None = None,
    num_classes: int = 0,
) -> tuple[Tensor, ...]:
    if hidden.dtype == torch.float64:
        raise TypeError("linear_cross_entropy: float64 runs on the CPU only, got float64 rows on a GPU")
    _check_elsewhere(weight, targets, class_weights, elsewhere, num_classes)
    picked, at = _picked(targets, index)
    goals = targets if picked is None else targets[picked]
    if picked is None:  # -1 has no target, and what names no row one that is no class, here or elsewhere
        goals = targets.masked_fill(at == -1, -1).masked_fill_((at < -1) | (at >= len(hidden)), len(weight) + 1)
        at = at.clamp(0, max(len(hidden), 1) - 1)
    both = (None, None) if elsewhere is None else elsewhere.unbind()
    per_row = [z if z is None or picked is None else z[picked] for z in (weights, others, *both)]
    # What stands in for a row without a target is 0: a product with its gradient, 0, must not be NaN.
    width = hidden.shape[1]
    source = hidden if len(hidden) else hidden.new_zeros((1, width))
    rows = source[at].masked_fill_((goals < 0).unsqueeze(1), 0.0)
    results, gradients = _of_rows(
        padded(rows),
        aligned(weight),
        goals,
        bias,
        *per_row,
        class_weights,
        (label_smoothing, softcap, z_loss),
        (need_hidden, need_weight, need_bias),
        num_classes or len(weight),
    )
    if picked is not None:
        results = [z.new_zeros((len(targets),)).index_copy_(0, picked, z) for z in results]
    d_rows, d_weight, d_bias = gradients
    d_hidden = d_rows.new_zeros((len(hidden) if need_hidden else 0, width))
    if need_hidden and len(hidden):
        if index is None:
            d_hidden.index_copy_(0, at, d_rows[:, :width])
        else:
            # A row may have several, added one by one: sorted on a GPU, where index_add_ would take atomics. So those
            # without a target, whose gradient is 0, are spread over all rows.
            anywhere = torch.arange(len(at), device=at.device) % len(hidden)
            d_hidden.index_put_((torch.where(goals < 0, anywhere, at),), d_rows[:, :width], accumulate=True)
    return *results, d_hidden, first_columns(d_weight, width), d_bias


def _of_rows(
    rows: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    weights: Tensor | None,
    others: Tensor | None,
    elsewhere: Tensor | None,
    elsewhere_own: Tensor | None,
    class_weights: Tensor | None,
    terms: tuple[float, float, float],
    needs: tuple[bool, bool, bool],
    num_classes: int,
) -> tuple[list[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Results of gathered rows, and gradients in them, the weight and the bias."""
    label_smoothing, cap, z_loss = terms
    need_rows, need_weight, need_bias = needs
    (size, dim), length = rows.shape, len(weight)
    smoothing, rounded, half = label_smoothing / num_classes, rows.dtype != torch.float32, rows.dtype == torch.float16
    config = _launch.weights(dim, rows.element_size(), _launch.arch(rows))
    blocks = _launch.one_way_weights(config["BLOCK_N"])
    height = max(1, min(_launch.one_way_rows(length, rows.element_size()), size))
    slots, lines = triton.cdiv(length, config["BLOCK_N"]), triton.cdiv(height, blocks["BLOCK_M"])
    # A stride that is a multiple of 16 keeps the rows of a ragged tile aligned, for the kernels and for the products.
    stride = triton.cdiv(length, 16) * 16
    number = {"dtype": torch.float32, "device": rows.device}
    shifts, sums = (torch.empty((slots, height), **number) for _ in range(2))
    weighted = torch.empty_like(shifts) if smoothing else None
    nll, lse, weighted_sums, positive, own, top, scale, offset, flat, pair = (
        torch.empty((size,), **number) for _ in range(10)
    )
    total = torch.full((), num_classes, **number) if class_weights is None else class_weights.sum()
    d_rows = torch.zeros((size if need_rows else 0, dim), **number)
    d_weight = torch.zeros((length if need_weight else 0, dim), **number)
    need = any(needs)
    strip = torch.empty((height, stride), **number) if need else None
    out = rows.new_empty((height, stride)) if rounded and (need_rows or need_weight) else strip
    bias_sums, col_sums = torch.zeros((lines, length), **number) if need_bias else None, None
    tops = 1.0 if class_weights is None else class_weights.abs().amax()
    capped = cap != 0.0
    with _launch.on_device_of(rows):
        for row0 in range(0, size, height):
            row1 = min(row0 + height, size)
            here = slice(row0, row1)
            class_logits_kernel[(triton.cdiv(row1 - row0, config["BLOCK_M"]) * slots,)](
                rows,
                weight,
                bias,
                class_weights,
                targets,
                strip,
                shifts,
                sums,
                weighted,
                positive,
                cap,
                row0,
                height,
                stride,
                row1,
                length,
                dim,
                **config,
                CAPPED=capped,
                PRECISION=_launch.input_precision(rows),
            )
            class_rows_kernel[(triton.cdiv(row1 - row0, 16),)](
                shifts,
                sums,
                weighted,
                positive,
                targets,
                weights,
                others,
                class_weights,
                total,
                nll,
                lse,
                weighted_sums,
                own,
                top,
                scale,
                offset,
                flat,
                pair,
                elsewhere,
                elsewhere_own,
                1.0 - label_smoothing,
                smoothing,
                z_loss,
                cap,
                row0,
                height,
                slots,
                row1,
                length,
                BLOCK=16,
                SLOTS=64,
                CAPPED=capped,
            )
            if not need:
                continue
            factors, peak = (scale[here], flat[here]), None
            if half:
                # Gradients of about 1 / N would be below float16's range: bring their peak to 256, and take it out.
                peak = (factors[0].abs() + tops * factors[1].abs()).amax().clamp_min(1e-30) / 256
                factors = (factors[0] / peak, factors[1] / peak)
            row_sums = torch.zeros((slots, 2, height), **number) if rounded and need_rows else None
            if rounded and need_weight and (half or row0 == 0):
                col_sums = torch.zeros((lines, 2, length), **number)
            strip_bias = torch.zeros_like(bias_sums) if half and bias_sums is not None else bias_sums
            class_gradients_kernel[(triton.cdiv(row1 - row0, blocks["BLOCK_M"]) * slots,)](
                strip,
                out,
                targets,
                factors[0],
                offset,
                factors[1],
                class_weights,
                row_sums,
                col_sums,
                strip_bias,
                cap,
                row0,
                height,
                stride,
                row1,
                length,
                **blocks,
                CAPPED=capped,
            )
            if half and bias_sums is not None:
                bias_sums.addcmul_(strip_bias, peak)
            tile = (slice(row1 - row0), slice(length))
            if need_rows:
                part = d_rows[here]
                add_product(part, out[tile], weight)
                correct_(part, None if row_sums is None else row_sums[..., : len(part)])
                if peak is not None:
                    part.mul_(peak)
            if need_weight:
                part = d_weight if peak is None else torch.zeros_like(d_weight)
                add_product(part, out[tile].t(), rows[here])
                if peak is not None:
                    correct_(part, col_sums)
                    d_weight.addcmul_(part, peak)
        if not half:
            correct_(d_weight, col_sums)
        picks = targets.masked_fill(targets >= length, -1)
        if size and (need_rows or need_weight):
            sides = (d_rows if need_rows else None, d_weight if need_weight else None)
            add_pairs(*sides, rows, weight, None, None, picks, pair)
        d_bias = torch.zeros((0,), **number) if bias_sums is None else bias_sums.sum(dim=0)
        if size and need_bias:
            add_pairs(None, d_bias.unsqueeze(1), torch.ones((size, 1), **number), weight, None, None, picks, pair)
    return [nll, lse, weighted_sums, own, top], (d_rows, d_weight, d_bias)
