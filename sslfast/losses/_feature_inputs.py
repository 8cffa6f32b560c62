"""What masked_feature_loss takes: its options, the teacher's layers, and blocks of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast import _check
from sslfast._arguments import of_dtype
from sslfast.losses._info_nce_inputs import check_reduction
from sslfast.losses._inputs import check_floating, not_negative, positive
from sslfast.losses._patch_places import flat_ids, with_rows

KINDS = ("mse", "l1", "smooth_l1")
NORMS = ("instance", "layer")
_MOST_LAYERS = 48  # kMostLayers of csrc/include/sslfast/masked_feature.h


def layers_of(function: str, targets: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The layers, detached and as the operators read them."""
    if isinstance(targets, Tensor):
        layers, names = [targets], ["targets"]
    elif isinstance(targets, (tuple, list)):
        layers, names = list(targets), [f"targets[{k}]" for k in range(len(targets))]
    else:
        raise TypeError(f"{function}: targets must be a tensor or a list of them, got {type(targets).__name__}")
    if not 1 <= len(layers) <= _MOST_LAYERS:
        raise ValueError(f"{function}: targets must have 1 to {_MOST_LAYERS} layers, got {len(layers)}")
    first = layers[0]
    for name, layer in zip(names, layers, strict=True):
        check_floating(function, name, layer)
        if layer.dim() != 3 or layer.shape[2] < 1:
            raise ValueError(f"{function}: {name} must have shape (N, L, D), got {tuple(layer.shape)}")
        if layer.shape != first.shape or layer.dtype != first.dtype or layer.device != first.device:
            expected = f"{first.dtype} of shape {tuple(first.shape)} on {first.device}, like {names[0]}"
            got = f"{layer.dtype} of shape {tuple(layer.shape)} on {layer.device}"
            raise ValueError(f"{function}: {name} must be {expected}, got {got}")
        if layer.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{function}: {name} must not require a gradient, as targets are constants: detach them")
    return [with_rows(layer.detach() if layer.requires_grad else layer) for layer in layers]


def blocks_of(function: str, pred: Tensor, ids: Sequence[Tensor], rows: int, length: int) -> tuple[Tensor, Tensor]:
    """Predictions of blocks as (R, D), and flat positions of their tokens (R,)."""
    if not isinstance(ids, (tuple, list)):
        raise TypeError(f"{function}: ids must be an int64 tensor or a list of them, got {type(ids).__name__}")
    if not ids:
        raise ValueError(f"{function}: ids must have at least 1 block, got 0")
    for k, block in enumerate(ids):
        of_dtype(function, f"ids[{k}]", block, torch.int64)
        if block.dim() != 2 or block.shape != (rows, ids[0].shape[-1]):
            expected = f"({rows}, R), R the same in every block"
            raise ValueError(f"{function}: ids[{k}] must have shape {expected}, got {tuple(block.shape)}")
        _check_block(function, k, block, length)
    count, each = len(ids) * rows, ids[0].shape[1]
    if pred.dim() != 3 or pred.shape[1] != each or pred.shape[0] % max(count, 1) or (pred.shape[0] and not count):
        raise ValueError(
            f"{function}: pred must have shape (K * {count}, {each}, D), a row for each of ids, got {tuple(pred.shape)}"
        )
    flat = torch.stack([flat_ids(block, length) for block in ids])
    contexts = pred.shape[0] // max(count, 1)
    return pred.flatten(0, 1), flat[:, None].expand(-1, contexts, -1, -1).flatten()


def _check_block(function: str, k: int, block: Tensor, length: int) -> None:
    if block.is_cpu and block.numel() and not torch.compiler.is_compiling():
        low, high = (int(end) for end in block.aminmax())
        if low < -1 or high >= length:
            worst = low if low < -1 else high
            raise ValueError(f"{function}: ids[{k}] must be in [-1, {length - 1}], tokens of targets, got {worst}")


def check_options(
    function: str,
    kind: str,
    beta: float,
    norm_layers: str | None,
    norm_targets: str | None,
    scale: float | None,
    eps: float,
    reduction: str,
) -> tuple[float, float, float | None]:
    _check.one_of(function, "kind", kind, KINDS)
    for name, norm in (("norm_layers", norm_layers), ("norm_targets", norm_targets)):
        if norm is not None and norm not in NORMS:
            raise ValueError(f"{function}: {name} must be None, 'instance' or 'layer', got {_check.shown(norm)}")
    check_reduction(function, reduction)
    return (
        not_negative(function, "beta", beta),
        positive(function, "eps", eps),
        None if scale is None else positive(function, "scale", scale),
    )
