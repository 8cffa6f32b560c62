"""What the autograd functions of sslfast share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast import ops
from sslfast._first_order import linked

_EPS = 1e-12  # of F.normalize


def unit_rows(z: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """``F.normalize(z, dim=1)``, contiguous, and the factors (N, 1) that do it, in the dtype of accumulation.

    Args:
        z: (N, D), floating point, any strides.
        dtype: of the unit rows: that of ``z`` in half types, or the default, that of accumulation, which is float64 for
            float64 and float32 otherwise.

    Returns:
        ``(unit, inverse_norm)``.
    """
    wide = torch.float64 if z.dtype == torch.float64 else torch.float32
    rows = z if z.stride(1) == 1 else z.contiguous()
    results: tuple[Tensor, Tensor] = ops.unit_rows(rows, dtype or wide)
    return results


def multiplies_half(dtype: torch.dtype, side: Tensor) -> bool:
    """Whether the kernels of the side's device multiply in that half type.

    They multiply bfloat16 as it is, on the CPU and on a GPU; float16 on a GPU only: the CPU widens it.
    """
    return dtype == torch.bfloat16 or (dtype == torch.float16 and side.is_cuda)


def product_side(side: Tensor, dtype: torch.dtype) -> Tensor:
    """A side of similarities, contiguous, in the dtype to multiply it in.

    Args:
        side: in any dtype.
        dtype: of the inputs that it comes from.
    """
    if dtype == torch.float16 and not multiplies_half(dtype, side):
        dtype = torch.float32
    return side.to(dtype).contiguous()


def unit_side(z: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
    """``F.normalize(z, dim=1)`` as :func:`product_side`.

    A side that kernels multiply in a half type is ``z`` itself, which needs no rounding, and the operators multiply by
    the factors. In float16, whose range is small, powers of two bring its norms into (1, 2], which rounds nothing but
    numbers far below the norm, and the factors into [1/2, 1).

    Returns:
        ``(side, inverse_norm, factors)``: the factors (N, 1) that normalise, and what the operators are to multiply the
        side by, (N,) or None.
    """
    if not multiplies_half(dtype, z):
        # Beside a float64 side the factors are float64 too, as the gradient will be.
        unit, inverse_norm = unit_rows(z.double() if dtype == torch.float64 else z)
        return product_side(unit, dtype), inverse_norm, None
    norm = torch.linalg.vector_norm(z, dim=1, keepdim=True, dtype=torch.float32)
    inverse_norm = norm.clamp_min(_EPS).reciprocal()
    if dtype == torch.bfloat16:
        return product_side(_within_range(z, inverse_norm), dtype), inverse_norm, inverse_norm.flatten()
    factors, exponents = torch.frexp(inverse_norm)
    return product_side(torch.ldexp(z.float(), exponents), dtype), inverse_norm, factors.flatten()


def pair_sides(
    rows: Tensor, columns: Tensor, dtype: torch.dtype, normalize: bool, exact: Sequence[Tensor | None]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor | None, Tensor | None], tuple[Tensor | None, Tensor | None]]:
    """What rows and columns are multiplied as, their inverse norms and factors, each of both.

    Args:
        rows: in any dtype.
        columns: likewise.
        dtype: of the inputs that they come from.
        normalize: divide them by their norms, as :func:`unit_side` does.
        exact: without ``normalize``, the side of the rows and its factors, and the columns', where they are known.
    """
    if normalize:
        row_side, row_norm, row_factors = unit_side(rows, dtype)
        col_side, col_norm, col_factors = unit_side(columns, dtype)
        return (row_side, col_side), (row_norm, col_norm), (row_factors, col_factors)
    known_row, row_factors, known_col, col_factors = exact
    row_side = product_side(rows, dtype) if known_row is None else known_row
    col_side = product_side(columns, dtype) if known_col is None else known_col
    return (row_side, col_side), (None, None), (row_factors, col_factors)


def _within_range(z: Tensor, inverse_norm: Tensor) -> Tensor:
    """bfloat16 rows as their factors can normalise them: 0 where the norm is more than float32 holds.

    There the factor is 0, and so is the row of F.normalize, but the products that it multiplies may be infinite. What
    is infinite becomes NaN. A GPU is not waited for, and a compiled graph asks nothing: they leave such rows as they
    are.
    """
    if not z.is_cpu or torch.compiler.is_compiling() or inverse_norm.all():
        return z
    return z.detach() * (inverse_norm != 0.0).to(z.dtype)


def exact_side(z: Tensor, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    """The side and the factors of :func:`unit_side` where they are more exact than unit rows: in half types.

    Returns:
        ``(side, factors)``, or ``(None, None)``.
    """
    if not multiplies_half(dtype, z):
        return None, None
    side, _, factors = unit_side(z.detach(), dtype)
    return side, factors


def unit_of(side: Tensor, factors: Tensor | None) -> Tensor:
    """The unit rows of a side and its factors."""
    return side if factors is None else side.float().mul_(factors.unsqueeze(1))


def scale_gradient(product: Tensor, side: Tensor, factors: Tensor | None) -> Tensor:
    """The gradient of the scale of ``S = scale * Q K^T``, ``sum_ij G_ij <q_i, k_j>``.

    Args:
        product: ``G K``, (N, D), the gradient of the rows over the scale.
        side: the rows Q, and
        factors: their factors, as of :func:`unit_side`.
    """
    rows = _rows_at_once(product)
    blocks = product.split(rows), side.split(rows)
    own = [None] * len(blocks[0]) if factors is None else factors.split(rows)
    sums = [(part * unit_of(q, f)).sum() for part, q, f in zip(*blocks, own, strict=True)]
    return sums[0] if len(sums) == 1 else torch.stack(sums).sum()


def scaled_(product: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """``product * factor`` in a dtype; ``product`` is overwritten."""
    if product.dtype == dtype:
        return product.mul_(factor)
    rows = _rows_at_once(product)
    result = torch.empty_like(product, dtype=dtype)
    for part, to in zip(product.split(rows), result.split(rows), strict=True):
        to.copy_(part.mul_(factor))
    return result


def _rows_at_once(product: Tensor) -> int:
    """How many rows of a matrix several passes are to take at once, so that the next one finds them in the cache.

    All on a GPU, which would rather have one launch, and in a graph, of which a compiler makes one pass.
    """
    if not product.is_cpu or torch.compiler.is_compiling():
        return len(product)
    return max(1, 2**17 // product.shape[1])


def unit_rows_backward(grad: Tensor, unit: Tensor, inverse_norm: Tensor) -> Tensor:
    """The gradient of z from that of ``unit``, in place of it.

    Where a row's norm is below eps, normalize divides by the constant eps: no projection.
    """
    ops.unit_rows_backward_(grad, unit, inverse_norm)
    return grad


def unit_and_side(z: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """:func:`unit_side` behind its unit rows, in the dtype of accumulation."""
    if _in_one_pass(z) and z.dtype == dtype:
        unit, inverse_norm = unit_rows(z)
        return unit, _within_range(z, inverse_norm).contiguous(), inverse_norm, inverse_norm.flatten()
    side, inverse_norm, factors = unit_side(z, dtype)
    return unit_of(side, factors).to(inverse_norm.dtype), side, inverse_norm, factors


def side_gradient(
    grad: Tensor, side: Tensor, inverse_norm: Tensor, factors: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The gradient of what :func:`unit_side` made a side of, in its dtype, from that of the unit rows, overwritten."""
    if factors is not None and grad.is_cpu and side.dtype == dtype == torch.bfloat16:  # then the side is the rows
        made: Tensor = ops.unit_rows_gradient(grad.contiguous(), side, inverse_norm)
        return made
    return unit_rows_backward(grad, unit_of(side, factors), inverse_norm).to(dtype)


def _in_one_pass(z: Tensor) -> bool:
    """Whether the norms of what is multiplied as it is come with its unit rows for next to nothing."""
    return z.is_cpu and z.dtype == torch.bfloat16


def normalized_side(
    function: str, z: Tensor, wide: torch.dtype, dtype: torch.dtype
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    """:func:`normalized` in the dtype of accumulation, ``wide``, and what :func:`exact_side` gives."""
    if not (_in_one_pass(z) and wide == torch.float32):
        return normalized(function, z.to(wide)), exact_side(z, dtype)
    unit, inverse_norm = _Normalized.apply(function, z)
    if dtype != z.dtype:
        return unit, (None, None)
    return unit, (_within_range(z.detach(), inverse_norm).contiguous(), inverse_norm.flatten())


def normalized(function: str, z: Tensor) -> Tensor:
    """:func:`unit_rows` with its gradient, which is rounded to the dtype of ``z`` once.

    Args:
        function: the name that the error about second derivatives begins with.
        z: (N, D), floating point.
    """
    unit: Tensor = _Normalized.apply(function, z)[0]
    return unit


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, z):  # type: ignore[no-untyped-def]
        unit, inverse_norm = unit_rows(z)
        ctx.save_for_backward(z, None if z.is_cpu else unit, inverse_norm)
        ctx.mark_non_differentiable(inverse_norm)
        ctx.function = function
        return unit, inverse_norm

    @staticmethod
    def backward(ctx, grad, _):  # type: ignore[no-untyped-def]
        z, unit, inverse_norm = ctx.saved_tensors
        with torch.no_grad():
            if unit is None:
                rows = z if z.stride(1) == 1 else z.contiguous()
                grad_z = ops.unit_rows_gradient(grad.contiguous(), rows, inverse_norm)
            else:
                own = grad.clone(memory_format=torch.contiguous_format)
                grad_z = unit_rows_backward(own, unit, inverse_norm).to(z.dtype)
        return None, first_order_only(ctx.function, grad_z, z, grad)


def distinct(*arguments: Tensor | None) -> list[Any]:
    """The arguments, with a view in the place of a tensor that stands there a second time.

    torch.compile takes no tensor twice among the arguments of an autograd function.
    """
    found: list[Any] = []
    for argument in arguments:
        again = argument is not None and any(argument is other for other in found)
        found.append(argument.view_as(argument) if again and argument is not None else argument)
    return found


def is_last_plain(grad: Tensor) -> bool:
    """Whether a gradient that was made in forward may be given away as it is: that of a plain ``backward()``.

    Its pass over the gradient is saved, on the CPU, where ``grad`` is not waited for. A graph that is retained needs
    the gradient again, which whoever gets it may keep and add to, as a leaf does, also behind a view. A fake tensor, or
    another subclass, may have no number to look at.
    """
    return is_last(grad) and grad.is_cpu and type(grad) is Tensor and grad.item() == 1.0


def is_last(grad: Tensor) -> bool:
    """Whether what the running graph has saved may be overwritten with its multiple by ``grad``.

    Nothing will need it again, and ``grad`` is one gradient, not the many of ``is_grads_batched=True``.
    """
    if torch.compiler.is_compiling() or torch._C._autograd._get_current_graph_task_keep_graph():
        return False
    return not torch._C._functorch.is_legacy_batchedtensor(grad)


def first_order_only(function: str, grad: Tensor, *inputs: Tensor) -> Tensor:
    """``grad``, made to raise if it is differentiated with respect to ``inputs``.

    ``once_differentiable`` is not enough: it links the result to the incoming gradient only, so that a gradient
    penalty would silently lose the term through the inputs.

    Args:
        function: the name the error begins with.
        grad: a first derivative, computed without a graph.
        inputs: what it depends on.
    """
    if torch.compiler.is_compiling():
        from sslfast._compiled_autograd import linked_if_kept

        return linked_if_kept(function, grad, *inputs)
    return linked(function, grad, *inputs) if torch.is_grad_enabled() else grad


def traced_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward that may be differentiated, but not where dynamo has traced it, which it does without a graph.

    There what it gives raises where it is differentiated with respect to what was saved, or to what came in.
    """

    @functools.wraps(backward)
    def traced(ctx: Any, *grads: Any) -> Any:
        found = backward(ctx, *grads)
        if not torch.compiler.is_compiling():
            return found
        inputs = [t for t in (*ctx.saved_tensors, *grads) if isinstance(t, Tensor)]
        several = found if isinstance(found, tuple) else (found,)
        return tuple(None if g is None else first_order_only("torch.compile", g, *inputs) for g in several)

    return traced
