"""What losses over classes take and give: checks, the options of a call, and the module that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast._arguments import strided
from sslfast.losses._info_nce_inputs import check_reduction
from sslfast.losses._inputs import check_device, check_floating, check_kernel_dtype, not_negative, positive


class ClassificationOutput(NamedTuple):
    """A loss over classes and what falls out of it, which is detached; on the device, nothing is waited for.

    Attributes:
        loss: as it is without the metrics.
        accuracy: scalar, the share of targets whose logit is the largest, alone; 0 where there are no targets.
        perplexity: scalar, exp of the mean negative log-likelihood, without smoothing, weights and z-loss.
        z_loss: scalar, the part of a mean or a sum that ``z_loss`` has added; 0 for ``reduction="none"``.
        num_targets: scalar int64, the number of targets.
    """

    loss: Tensor
    accuracy: Tensor
    perplexity: Tensor
    z_loss: Tensor
    num_targets: Tensor


@dataclass(frozen=True)
class Options:
    """What a loss over classes has beside its tensors, checked."""

    reduction: str = "mean"
    label_smoothing: float = 0.0
    softcap: float = 0.0
    z_loss: float = 0.0


class ClassLoss(nn.Module):
    """A loss over classes as a module: it holds what is the same in every call."""

    def __init__(
        self,
        reduction: str,
        ignore_index: int | None,
        label_smoothing: float,
        softcap: float | None,
        z_loss: float,
        return_metrics: bool,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        options_of(name, reduction, label_smoothing, softcap, z_loss)
        if ignore_index is not None:
            ignore_index = _check.integer(name, "ignore_index", ignore_index, -(2**63))
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.softcap = softcap
        self.z_loss = z_loss
        self.return_metrics = _check.boolean(name, "return_metrics", return_metrics)

    def held(self) -> dict[str, Any]:
        """The arguments of a call that the module has."""
        names = ("reduction", "ignore_index", "label_smoothing", "softcap", "z_loss", "return_metrics")
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        how = f"reduction={self.reduction!r}, ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}"
        return f"{how}, softcap={self.softcap}, z_loss={self.z_loss}"


def options_of(
    function: str, reduction: str, label_smoothing: float, softcap: float | None, z_loss: float, *like: Tensor
) -> Options:
    """Raises TypeError or ValueError where one of them is none, or a number not finite as :func:`finite` says."""
    check_reduction(function, reduction)
    return Options(
        reduction,
        _check.probability(function, "label_smoothing", label_smoothing),
        0.0 if softcap is None else positive(function, "softcap", softcap, *like),
        not_negative(function, "z_loss", z_loss, *like),
    )


def check_layer(function: str, rows: tuple[str, Tensor], weight: tuple[str, Tensor], bias: tuple[str, object]) -> None:
    """Rows (..., D) and the weight (V, D) and bias (V,) of a layer, with their names.

    Raises:
        TypeError: if one is not a floating-point tensor, or float64 on a GPU.
        ValueError: if shapes or devices do not go together.
    """
    check_floating(function, *rows)
    check_floating(function, *weight)
    (rows_name, x), (weight_name, w) = rows, weight
    if x.dim() < 2 or x.shape[-1] < 1:
        raise ValueError(f"{function}: {rows_name} must have shape (..., D) with D >= 1, got {tuple(x.shape)}")
    if w.dim() != 2 or w.shape[0] < 1 or w.shape[1] != x.shape[-1]:
        expected = f"(V, {x.shape[-1]}), a row a class"
        raise ValueError(f"{function}: {weight_name} must have shape {expected}, got {tuple(w.shape)}")
    check_device(function, rows_name, x, weight_name, w)
    check_kernel_dtype(function, x, w)
    check_class_vector(function, *bias, w)


def check_class_vector(function: str, name: str, vector: object, weight: Tensor) -> None:
    """A number for each class, or None.

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it has another shape or device.
    """
    if vector is None:
        return
    check_floating(function, name, vector)  # type: ignore[arg-type]
    assert isinstance(vector, Tensor)
    if vector.shape != weight.shape[:1]:
        raise ValueError(f"{function}: {name} must have shape ({len(weight)},), got {tuple(vector.shape)}")
    check_device(function, "the classes", weight, name, vector)


def check_targets(function: str, name: str, targets: Tensor, classes: int, ignore_index: int | None) -> Tensor:
    """``targets`` as the kernels read them: int64, contiguous, -1 where there is none, ``classes`` if it is no class.

    Raises:
        ValueError: if one is neither ``ignore_index`` nor a class, on the CPU; a GPU is not waited for.
    """
    flat = targets.reshape(-1).long()
    ignored = torch.zeros_like(flat, dtype=torch.bool) if ignore_index is None else flat == ignore_index
    if flat.is_cpu and len(flat) and not torch.compiler.is_compiling():
        low, high = (int(end) for end in flat.masked_fill(ignored, 0).aminmax())
        if low < 0 or high >= classes:
            worst = low if low < 0 else high
            either = "" if ignore_index is None else f" or {ignore_index}"
            raise ValueError(f"{function}: {name} must be in [0, {classes - 1}]{either}, got {worst}")
        return flat.masked_fill(ignored, -1)
    return flat.masked_fill(flat < 0, classes).masked_fill(ignored, -1)


def check_num_items(function: str, num_items: float | Tensor | None, reduction: str, like: Tensor) -> None:
    """A number above 0, or a tensor of one on the device of ``like``, which is read on the CPU only.

    Raises:
        TypeError: if it is neither.
        ValueError: if the number is 0 or less or not finite, the tensor has more than one or is elsewhere, or the
            reduction is none that divides.
    """
    if num_items is None:
        return
    if reduction != "mean":
        raise ValueError(f"{function}: num_items goes with reduction='mean', got {reduction!r}")
    if not isinstance(num_items, Tensor):
        positive(function, "num_items", num_items)
        return
    strided(function, "num_items", num_items)
    if num_items.is_complex() or num_items.dtype == torch.bool:
        raise TypeError(f"{function}: num_items must be a number, got {num_items.dtype}")
    if num_items.numel() != 1:
        raise ValueError(f"{function}: num_items must have one element, got shape {tuple(num_items.shape)}")
    check_device(function, "the rows", like, "num_items", num_items)
    if num_items.is_cpu and not torch.compiler.is_compiling():
        positive(function, "num_items", num_items.item())
