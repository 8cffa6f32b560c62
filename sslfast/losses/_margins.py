"""What the losses that take pairs or triplets of a miner check alike, and options of those with margins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast import _check
from sslfast.distributed import takes_other_ranks
from sslfast.losses._indices import check_rows_exist
from sslfast.losses._inputs import check_choice, check_device, check_kernel_dtype, check_labels, check_rows

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
    _check_references(function, *checked, labels_needed=given is None, gather_distributed=gathers)
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


def _check_references(
    function: str,
    embeddings: Tensor,
    ref_emb: Tensor | None,
    ref_labels: Tensor | None,
    copies: Tensor | None = None,
    *,
    labels_needed: bool = True,
    gather_distributed: bool = False,
) -> None:
    """Other rows to compare with and their labels: both or neither, of the width and on the device of the embeddings.

    They are one rank's own, so that they do not go with embeddings of all ranks. ``copies`` is one int64 for each row,
    a row of ``ref_emb`` or -1; what it names is read on the CPU only, and not where a graph is made.

    Raises:
        TypeError: if ``ref_emb`` is not a floating-point tensor, ``ref_labels`` not an integer tensor, or ``copies``
            not an int64 one.
        ValueError: if one is given without the other (labels only where they are needed), has another shape or
            device, ``copies`` names no row, or ``gather_distributed`` is set.
    """
    if ref_emb is None:
        for name, given in (("ref_labels", ref_labels), ("copies", copies)):
            if given is not None:
                raise ValueError(f"{function}: ref_emb must be given with {name}, got None")
        return
    check_rows(function, "ref_emb", ref_emb)
    if ref_emb.shape[1] != embeddings.shape[1]:
        expected = f"(M, {embeddings.shape[1]})"
        raise ValueError(f"{function}: ref_emb must have shape {expected}, like embeddings, got {tuple(ref_emb.shape)}")
    check_device(function, "embeddings", embeddings, "ref_emb", ref_emb)
    if ref_labels is not None:
        check_labels(function, "ref_labels", ref_labels, "ref_emb", ref_emb)
    elif labels_needed:
        raise ValueError(f"{function}: ref_labels must be given with ref_emb, got None")
    if copies is not None:
        check_labels(function, "copies", copies, "embeddings", embeddings)
        if copies.dtype != torch.int64:
            raise TypeError(f"{function}: copies must be an int64 tensor, got {copies.dtype}")
        _check_copies(function, copies, ref_emb)
    if gather_distributed:
        raise ValueError(f"{function}: gather_distributed goes without ref_emb")


def _check_copies(function: str, copies: Tensor, ref_emb: Tensor) -> None:
    if not copies.is_cpu or torch.compiler.is_compiling():
        return
    low, high = (int(end) for end in copies.aminmax())
    if low < -1 or high >= len(ref_emb):
        got = low if low < -1 else high
        raise ValueError(f"{function}: copies must be in [-1, {len(ref_emb) - 1}], rows of ref_emb, got {got}")
