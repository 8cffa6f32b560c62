"""Corrupted features of tabular data."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast._autograd import traced_once
from sslfast.masking._arguments import numbered_rows, strided
from sslfast.masking.mask_indices import compact
from sslfast.random import Generator, seed_tensor

_UNIFORM = 2  # its number among the sources

# The bits of infinity, above which NaN lies.
_INFINITY = {
    torch.float16: 0x7C00,
    torch.bfloat16: 0x7F80,
    torch.float32: 0x7F800000,
    torch.float64: 0x7FF0000000000000,
}


class CountedFeatures(NamedTuple):
    """Corrupted features and the compact form of their mask, what losses take: :func:`corrupt_features` with
    ``return_counts``.

    Attributes:
        corrupted: (N, D), the features, some of them replaced.
        mask: bool (N, D), True where replaced.
        indices: int64 (N * n,), the flat positions in ascending order, then -1; n is the most that a row may have
            replaced.
        counts: int64 (N,), how many of each row.
    """

    corrupted: Tensor
    mask: Tensor
    indices: Tensor
    counts: Tensor


def corrupt_features(
    x: Tensor,
    corruption_rate: float = 0.6,
    *,
    source: str = "marginals",
    selection: str = "exact",
    bank: Tensor | None = None,
    changed: bool = False,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor] | Any:
    """Replaces random features of every row by values that other rows have there, as SCARF and VIME do.

    SCARF is the default: ``corruption_rate`` of the features, each from a random row of its own. VIME is
    ``corrupt_features(x, p_m, source="permutation", selection="bernoulli", changed=True)``. What is replaced is
    chosen, not multiplied: NaN there does not get through by itself, but a row that is a source of others gives them
    what it has, NaN too. One launch on a GPU, without host synchronisation, two where
    a range has to be known first; the gradients are one more, which adds in the order of the rows, without atomics,
    in float32 (float64 in float64): equal in every run. Twice differentiable.

    A permutation is a uniform shuffle up to 64 rows. Beyond, it is a Feistel network on ceil(sqrt(N)) lines, in which
    every row finds its source by itself: a value goes anywhere and two values go to any two places, to 2^-24 of the
    rectangle of about N places that it is drawn in. Nothing is claimed about all N! orders.

    ``corruption_rate`` is the share that is replaced. The published code of SCARF, whose source is "uniform" and whose
    selection "bernoulli", replaces one minus it, and so does ``mode="compat"`` with that source; with the others
    "compat" is "exact". VIME's ``x * (1 - m) + x_bar * m``, which lets NaN through, is in neither.

    Args:
        x: shape (N, D), any strides, elements of at most 8 bytes, N below 2^31.
        corruption_rate: share of the features that is replaced, in [0, 1]. Default: 0.6.
        source: where a replacement comes from. "marginals": for every cell a random row of the bank, the empirical
            marginal distributions. "rows": for all cells of a row the same random row of the bank. "uniform": uniform
            between the least and the greatest value of the bank's column, NaN where it has one, in float16, bfloat16,
            float32 and float64 only. "permutation": every column of ``x`` is permuted by itself, VIME's way. Default:
            "marginals".
        selection: "exact", exactly ``D * corruption_rate`` features of every row, rounded down, every set equally
            likely; or "bernoulli", each feature independently. Default: "exact".
        bank: shape (M, D), type and device of ``x``, 1 <= M < 2^31: the rows to draw from, such as the training data.
            Default: None, ``x`` itself, a row's own included.
        changed: the mask that is returned leaves out cells whose value came out the same. Default: False.
        mode: "exact"; or "compat", where with source "uniform" it is one minus ``corruption_rate`` that is replaced,
            see above. Default: "exact".
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Which row of the
            bank a draw means depends on the bank, and a permutation on the whole batch. Default: None, ``row_offset``
            and up.

    Returns:
        ``(corrupted, mask)``: shape and type of ``x``; bool (N, D), True where replaced. With ``return_counts``
        ``CountedFeatures(corrupted, mask, indices, counts)``. Differentiable with respect to
        ``x`` and ``bank``, except for the range of "uniform".

    Raises:
        TypeError: ``x``, ``bank`` or another argument has the wrong type.
        ValueError: a shape, device or number is out of range, there is no such source, selection or mode, a bank is
            given that is not used, or the generator is on another GPU.
        RuntimeError: the gradient of complex ``x``, which has none here.

    Reference: Bahri et al., "SCARF: Self-Supervised Contrastive Learning using Random Feature Corruption", ICLR 2022;
    Yoon et al., "VIME: Extending the Success of Self- and Semi-supervised Learning to Tabular Domain", NeurIPS 2020.
    """
    name = "corrupt_features"
    strided(name, "x", x)
    if x.dim() != 2 or x.shape[0] >= 2**31 or x.shape[1] < 1:
        raise ValueError(f"{name}: x must have shape (N, D) with N < 2^31 and D >= 1, got {tuple(x.shape)}")
    if x.dtype == torch.complex128:
        raise TypeError(f"{name}: x must have elements of at most 8 bytes, got {x.dtype}")
    rule = _check.corrupted_features(name, x.shape[1], corruption_rate, source, selection, bank is not None, mode)
    changed = _check.boolean(name, "changed", changed)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    if source == "uniform" and x.dtype not in _INFINITY:
        raise TypeError(f'{name}: x must be floating point with source "uniform", got {x.dtype}')
    if bank is not None:
        _check_bank(name, bank, x)
        bank = None if bank is x else bank
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, x.shape[0], x.device)
    seed = seed_tensor(generator, function=name, device=x.device)
    by_bits = x.dtype in _INFINITY or not (x.is_floating_point() or x.is_complex())  # others may be NaN in other ways
    options = (*rule, changed and by_bits, _INFINITY.get(x.dtype, 0))
    if torch.is_grad_enabled() and (x.requires_grad or (bank is not None and bank.requires_grad)):
        out, mask = _Corrupt.apply(x, bank, seed, sample_ids, *options, row_offset)
    else:
        rows = x if bank is None else bank
        out, mask, _ = ops.feature_corruption(x, rows, seed, sample_ids, *options, False, row_offset)
    mask = mask if by_bits or not changed else mask & (out != x)
    if not return_counts:
        return out, mask
    exact, count = rule[:2]
    return CountedFeatures(out, mask, *compact(mask, count if exact else None))


def _check_bank(name: str, bank: Tensor, x: Tensor) -> None:
    if not isinstance(bank, Tensor) or bank.dtype != x.dtype:
        got = bank.dtype if isinstance(bank, Tensor) else type(bank).__name__
        raise TypeError(f"{name}: bank must be a tensor of {x.dtype}, like x, got {got}")
    if bank.dim() != 2 or not 1 <= bank.shape[0] < 2**31 or bank.shape[1] != x.shape[1]:
        expected = f"(M, {x.shape[1]}) with 1 <= M < 2^31"
        raise ValueError(f"{name}: bank must have shape {expected}, got {tuple(bank.shape)}")
    if bank.device != x.device:
        raise ValueError(f"{name}: bank must be on {x.device}, like x, got {bank.device}")


class _Corrupt(torch.autograd.Function):
    """The corruption and its mask; without a bank x is its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bank: Tensor | None, *draws: Any) -> tuple[Tensor, Tensor]:
        out, mask, sources = ops.feature_corruption(x, x if bank is None else bank, *draws[:-1], True, draws[-1])
        ctx.mark_non_differentiable(mask)
        ctx.save_for_backward(sources)
        ctx.bank_is_x = bank is None and draws[5] != _UNIFORM
        ctx.bank_rows = len(x if bank is None else bank)
        ctx.range_only = draws[5] == _UNIFORM
        return out, mask

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        need_x, need_bank = ctx.needs_input_grad[:2]
        if ctx.bank_is_x:
            need_x, need_bank = False, True
        need_bank = need_bank and not ctx.range_only
        x, bank = _Gradients.apply(grad, *ctx.saved_tensors, ctx.bank_rows, ctx.bank_is_x, need_x, need_bank)
        if ctx.bank_is_x:
            x, bank = bank, None
        else:
            x, bank = x if need_x else None, bank if need_bank else None
        return (x, bank, *[None] * 9)


class _Gradients(torch.autograd.Function):
    """Of x and of the bank, each empty where it is not needed; one where the bank is x."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, sources: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(sources)
        ctx.options = options
        x, bank = ops.feature_corruption_backward(grad, sources, *options)
        return x, bank.to(grad.dtype)

    @staticmethod
    def backward(ctx: Any, x: Tensor, bank: Tensor) -> tuple[Tensor | None, ...]:
        (sources,) = ctx.saved_tensors
        _, bank_is_x, need_x, need_bank = ctx.options
        stays = bank if bank_is_x else x if need_x else torch.zeros_like(sources, dtype=x.dtype)
        moved = bank.gather(0, sources.clamp_min(0).long()) if need_bank else torch.zeros_like(stays)
        return (torch.where(sources < 0, stays, moved), *[None] * 5)
