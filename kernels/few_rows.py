"""Sides of few rows in half types, for operators whose weights go back to them as gradients.

Rounded weights are exact enough where their errors average out. Those of few rows may all be off the same way, by 2^-8
in bfloat16. So fewer than 64 rows or columns, which together are fewer than 256, are widened, and fewer than 128 rows
with one another, as the CPU's operators do (csrc/ops/tile_products.h): one launch a side, of what is too little to fill
a GPU. They are multiplied by their factors, and what follows is what float32 sides take.

A launcher asks for the precision of its products first: float32 sides may be allowed to take tf32, which would round
these products with factors. (Those of torch with weights, in strips, may take it: both sides are then off by 2^-11.)
NT-Xent's own kernel, one launch in all, would spill registers in float32: it splits the weights (weight_tile.py).
"""

from torch import Tensor

from sslfast.kernels.aligned_rows import aligned

_FEW = 64


def are_few(size: int, length: int, element_size: int, *, same: bool = False) -> bool:
    """Whether weights of so many rows and columns, or of rows with the same, are not to be rounded to so many bytes."""
    return element_size == 2 and size + length < 4 * _FEW and (same or min(size, length) < _FEW)


def weighed_sides(
    rows: Tensor, columns: Tensor, row_factors: Tensor | None, col_factors: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Both sides, aligned, and their factors; of few rows in half types the products, float32, and no factors."""
    same = rows.data_ptr() == columns.data_ptr() and len(rows) == len(columns)
    if are_few(len(rows), len(columns), rows.element_size(), same=same):
        return _wide(rows, row_factors), _wide(columns, col_factors), None, None
    return aligned(rows), aligned(columns), row_factors, col_factors


def weighed_rows(rows: Tensor, factors: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The same of rows with one another."""
    if are_few(len(rows), len(rows), rows.element_size(), same=True):
        return _wide(rows, factors), None
    return aligned(rows), factors


def _wide(x: Tensor, factors: Tensor | None) -> Tensor:
    # With factors they become float32, the wider type of the two.
    return aligned(x).float() if factors is None else aligned(x) * factors.unsqueeze(1)
