"""The oracle: our error may not exceed that of plain torch in the same dtype."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def assert_no_worse(ours: Tensor, same_dtype: Tensor, truth: Tensor, tol: float | Tensor) -> None:
    """Asserts ``|truth - ours| <= |truth - same_dtype| + tol`` for every element.

    Args:
        ours: what sslfast computed.
        same_dtype: what plain torch computes from the same inputs in the same dtype.
        truth: what the reference computes from them in float64.
        tol: allowance for rounding in another order, a number or one per element.

    Where the truth is NaN or infinite, ours must be the same. Shapes must agree, and ours must have the dtype of
    ``same_dtype``.
    """
    __tracebackhide__ = True
    assert truth.dtype == torch.float64, f"truth must be float64, got {truth.dtype}"
    assert ours.dtype == same_dtype.dtype, f"ours is {ours.dtype}, plain torch gives {same_dtype.dtype}"
    shapes = [tuple(t.shape) for t in (ours, same_dtype, truth)]
    assert shapes[0] == shapes[1] == shapes[2], f"shapes of ours, plain torch and truth differ: {shapes}"
    k, r, g = (t.detach().cpu().double() for t in (ours, same_dtype, truth))
    finite = g.isfinite()
    excused = (g - r).abs().nan_to_num(nan=0.0, posinf=0.0)  # plain torch overflowed: that excuses nothing
    allowed = torch.where(finite, excused + torch.as_tensor(tol, dtype=torch.float64).cpu(), 0.0)
    same = (k == g) | (k.isnan() & g.isnan())
    bad = torch.where(finite, ~((k - g).abs() <= allowed), ~same)
    if not bad.any():
        return
    excess = torch.where(bad, ((k - g).abs() - allowed).nan_to_num(nan=torch.inf), -1.0)
    worst = excess.argmax()
    index = tuple(int(i) for i in torch.unravel_index(worst, g.shape))
    raise AssertionError(
        f"{int(bad.sum())} of {bad.numel()} elements are worse than plain torch; the worst, at {index}:\n"
        f"  truth        {g.flatten()[worst]:.17g}\n"
        f"  plain torch  {r.flatten()[worst]:.17g}  (error {(g - r).abs().flatten()[worst]:.3g})\n"
        f"  ours         {k.flatten()[worst]:.17g}  (error {(g - k).abs().flatten()[worst]:.3g}, "
        f"allowed {allowed.flatten()[worst]:.3g})"
    )


def all_equal(ours: Iterable[Tensor], expected: Iterable[Tensor]) -> bool:
    """Whether the tensors have equal dtypes, shapes and bits, wherever they lie: for what is exact by contract."""
    return all(k.dtype == g.dtype and torch.equal(k.cpu(), g.cpu()) for k, g in zip(ours, expected, strict=True))
