"""Rows as the kernels read them best: a multiple of 16 numbers long, at a multiple of 16 bytes.

Where both hold, the compiler loads 16 bytes at once, and copies them to shared memory with no register between. Else it
loads numbers one by one, whose addresses and values take registers: kernels that keep a gradient spill up to 1,000
bytes a thread. So a launcher copies other rows once, N D numbers, with zeros behind each, which change no product
of rows, and returns the first D columns of their gradients. Every kernel that makes products of rows is launched with a
D that is a multiple of 16, like those for which tests/test_codegen.py compiles them.
"""

import torch.nn.functional as F
from torch import Tensor

_NUMBERS = 16  # whose divisors alone the compiler knows of a D that it has not seen as a constant
_BYTES = 16


def padded(rows: Tensor) -> Tensor:
    """The rows with zeros up to a multiple of 16 columns; as they are, whatever their strides, where they have that."""
    lacking = -rows.shape[1] % _NUMBERS
    return F.pad(rows, (0, lacking)) if lacking else rows


def aligned(rows: Tensor) -> Tensor:
    """The same, contiguous, at an address of that multiple."""
    rows = padded(rows).contiguous()
    return rows.clone() if rows.data_ptr() % _BYTES else rows


def first_columns(grad: Tensor, dim: int) -> Tensor:
    """The gradient of the rows that were padded: contiguous, as if they had not been."""
    return grad if grad.shape[1] == dim else grad[:, :dim].contiguous()
