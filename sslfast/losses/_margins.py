"""What the losses that take pairs or triplets of a miner check alike, and options of those with margins."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from sslfast import _check
from sslfast.distributed import takes_other_ranks
from sslfast.losses._indices import check_rows_exist
from sslfast.losses._inputs import check_choice, check_kernel_dtype, check_references

_DISTANCES = ("euclidean", "squared_euclidean", "cosine")
_REDUCTIONS = ("mean_nonzero", "mean", "sum")


def metric_options(function: str, distance: str, normalize: bool, reduction: str) -> tuple[str, bool, str]:
    """Returns the three.

    Raises:
        TypeError: if ``normalize`` is not a bool.
        ValueError: if one of the others is none of its values.
    """
    check_choice(function, "distance", distance, _DISTANCES)
    check_choice(function, "reduction", reduction, _REDUCTIONS)
    return distance, _check.boolean(function, "normalize", normalize), reduction


def compared_rows(
    function: str,
    embeddings: Tensor,
    labels: Tensor | None,
    ref_emb: Tensor | None,
    ref_labels: Tensor | None,
    copies: Tensor | None,
    given: Sequence[Tensor] | None,
    gather_distributed: bool | str,
) -> tuple[Tensor | None, Tensor | None]:
    """Returns references and their labels, checked, as tensors of their own.

    Raises:
        TypeError: if a tensor has the wrong type, or is float64 on a GPU.
        ValueError: if a shape, a device or a row of ``copies`` does not fit, one of references and labels is given
            without the other, or ``gather_distributed`` takes other ranks with what is ``given`` or with references.
        IndexError: on the CPU, if what is ``given``, by :func:`given_rows`, names a row that does not exist.
    """
    gathers = takes_other_ranks(gather_distributed)
    checked = (embeddings, ref_emb, ref_labels, copies)
    check_references(function, *checked, labels_needed=given is None, gather_distributed=gathers)
    check_kernel_dtype(function, embeddings, *([] if ref_emb is None else [ref_emb]))
    if gathers and given is not None:
        raise ValueError(f"{function}: gather_distributed goes without indices_tuple")
    for at, rows in enumerate(given or ()):
        anchors = at in (0, 2) if len(given or ()) == 4 else at == 0
        named = ("embeddings", embeddings) if anchors or ref_emb is None else ("ref_emb", ref_emb)
        check_rows_exist(function, rows, named[0], len(named[1]))
    if ref_emb is embeddings:
        ref_emb = ref_emb.view_as(ref_emb)  # a graph takes no tensor twice into one function
    if ref_labels is not None and ref_labels is labels:
        ref_labels = ref_labels.view_as(ref_labels)
    return ref_emb, ref_labels
