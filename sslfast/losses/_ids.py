"""Ids of rows and columns, which tell what is no negative of what."""

from __future__ import annotations

from torch import Tensor

from sslfast.losses._inputs import check_labels, kernel_integers


def ids_of(
    function: str,
    rows: Tensor,
    columns: Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    names: tuple[str, str, str, str],
) -> tuple[Tensor, Tensor] | None:
    """Ids of rows and of columns as the kernels take them, or None where there are none.

    Args:
        function: the name that errors begin with.
        rows: (N, D), checked by the caller.
        columns: (M, D).
        row_ids: (N,) integers, or None.
        col_ids: (M,) integers, or None.
        names: of these four, as errors call them.

    Raises:
        TypeError: if ids are no integers.
        ValueError: if ids have another shape or device, or one of the two is given alone.
    """
    if row_ids is None and col_ids is None:
        return None
    rows_name, columns_name, row_ids_name, col_ids_name = names
    if row_ids is None or col_ids is None:
        given, missing = (col_ids_name, row_ids_name) if row_ids is None else (row_ids_name, col_ids_name)
        raise ValueError(f"{function}: {missing} must be given with {given}, got None")
    check_labels(function, row_ids_name, row_ids, rows_name, rows)
    check_labels(function, col_ids_name, col_ids, columns_name, columns)
    return kernel_integers(row_ids), kernel_integers(col_ids)
