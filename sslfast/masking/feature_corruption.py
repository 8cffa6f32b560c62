"""Corrupted features of tabular data."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.masking._arguments import numbered_rows
from sslfast.random import STREAMS, Generator, seed_tensor


def corrupt_features(
    x: Tensor,
    corruption_rate: float = 0.6,
    *,
    source: str = "marginals",
    selection: str = "exact",
    bank: Tensor | None = None,
    changed: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Replaces random features of every row by values that other rows have there, as SCARF and VIME do.

    SCARF is the default: ``corruption_rate`` of the features, each from a random row of its own. VIME is
    ``corrupt_features(x, p_m, source="permutation", selection="bernoulli", changed=True)``. What is replaced is
    chosen, not multiplied: NaN there does not get through. No host synchronisation on a GPU.

    ``corruption_rate`` is the share that is replaced; implementations of SCARF exist that replace one minus it.

    Args:
        x: shape (N, D), any strides, elements of at most 8 bytes.
        corruption_rate: share of the features that is replaced, in [0, 1]. Default: 0.6.
        source: where a replacement comes from. "marginals": for every cell a random row of the bank, the empirical
            marginal distributions. "rows": for all cells of a row the same random row of the bank. "uniform": uniform
            between the least and the greatest value of the bank's column, floating point only, NaN where the column has
            one. "permutation": every column of ``x`` is permuted by itself, VIME's way. Default: "marginals".
        selection: "exact", exactly ``D * corruption_rate`` features of every row, rounded down, every set equally
            likely; or "bernoulli", each feature independently. Default: "exact".
        bank: shape (M, D), type and device of ``x``, M at least 1: the rows to draw from, such as the training data.
            Default: None, ``x`` itself, a row's own included.
        changed: the mask that is returned leaves out cells whose value came out the same. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Which row of the
            bank a draw means depends on the bank, and a permutation on the whole batch. Default: None, ``row_offset``
            and up.

    Returns:
        ``(corrupted, mask)``: shape and type of ``x``; bool (N, D), True where replaced. Differentiable with respect to
        ``x`` and ``bank``, except for the range of "uniform".

    Raises:
        TypeError: ``x``, ``bank`` or another argument has the wrong type.
        ValueError: a shape, device or number is out of range, there is no such source or selection, a bank is given
            that is not used, or the generator is on another GPU.

    Reference: Bahri et al., "SCARF: Self-Supervised Contrastive Learning using Random Feature Corruption", ICLR 2022;
    Yoon et al., "VIME: Extending the Success of Self- and Semi-supervised Learning to Tabular Domain", NeurIPS 2020.
    """
    name = "corrupt_features"
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: x must be a tensor, got {type(x).__name__}")
    if x.dim() != 2 or x.shape[1] < 1:
        raise ValueError(f"{name}: x must have shape (N, D) with D >= 1, got {tuple(x.shape)}")
    if x.dtype == torch.complex128:
        raise TypeError(f"{name}: x must have elements of at most 8 bytes, got {x.dtype}")
    rule = _check.corrupted_features(name, x.shape[1], corruption_rate, source, selection, bank is not None)
    changed = _check.boolean(name, "changed", changed)
    if source == "uniform" and not x.is_floating_point():
        raise TypeError(f'{name}: x must be floating point with source "uniform", got {x.dtype}')
    if bank is not None:
        _check_bank(name, bank, x)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, x.shape[0], x.device)
    seed = seed_tensor(generator, function=name, device=x.device)
    bank = x if bank is None else bank
    if x.shape[0] == 0:
        return x.clone(), torch.zeros(x.shape, dtype=torch.bool, device=x.device)
    differentiable = torch.is_grad_enabled() and (x.requires_grad or bank.requires_grad)
    order = None
    if source == "permutation":
        order = ops.column_permutations(x.detach(), seed, STREAMS["feature_order"], x.shape[1], x.shape[0])
    if source != "uniform" and not differentiable:
        out, mask = ops.feature_corruption(x, bank, seed, sample_ids, order, *rule, row_offset)
    else:
        words = 2**32 if source == "uniform" else bank.shape[0]
        mask, sources = ops.feature_draws(x.detach(), seed, sample_ids, *x.shape, *rule, words, row_offset)
        sources = sources if order is None else order.T.long()
        replacement = _uniform(bank, sources, x.dtype) if source == "uniform" else bank.gather(0, sources)
        out = torch.where(mask, replacement, x)
    return out, mask & (out != x) if changed else mask


def _check_bank(name: str, bank: Tensor, x: Tensor) -> None:
    if not isinstance(bank, Tensor) or bank.dtype != x.dtype:
        got = bank.dtype if isinstance(bank, Tensor) else type(bank).__name__
        raise TypeError(f"{name}: bank must be a tensor of {x.dtype}, like x, got {got}")
    if bank.dim() != 2 or not 1 <= bank.shape[0] <= 2**32 or bank.shape[1] != x.shape[1]:
        raise ValueError(f"{name}: bank must have shape (M, {x.shape[1]}) with M >= 1, got {tuple(bank.shape)}")
    if bank.device != x.device:
        raise ValueError(f"{name}: bank must be on {x.device}, like x, got {bank.device}")


def _uniform(bank: Tensor, words: Tensor, dtype: torch.dtype) -> Tensor:
    """In float64, where no two devices differ, then rounded."""
    low, high = bank.detach().amin(0).double(), bank.detach().amax(0).double()
    return (low + (high - low) * (words.double() / 2**32)).to(dtype)
