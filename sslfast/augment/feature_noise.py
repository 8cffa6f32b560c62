"""Noise of tabular features."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._arguments import numbered_rows
from sslfast.host.feature_noise import check_noise, check_scale
from sslfast.random import Generator, seed_tensor

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def add_feature_noise(
    x: Tensor,
    scale: float | Tensor = 0.1,
    *,
    std: Tensor | None = None,
    noise: str = "gaussian",
    probability: float = 1.0,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``x + scale * std * noise``, drawn and added in one launch.

    The noise is standard normal, by Box and Muller from two words of 32 bits for two numbers, up to 6.8; or uniform in
    (-1, 1). Arithmetic is float32, in float64 the last product and the sum are float64; half types
    are rounded once. With ``probability`` a cell gets noise or stays as it is. Equal bits on every device.

    To replace cells by those of other rows there is ``sslfast.masking.corrupt_features``.

    Args:
        x: shape (N, D), float32, float64, bfloat16 or float16, any strides. Not changed.
        scale: of the noise, one number of at least 0, or one for each feature, floating point (D,). Default: 0.1.
        std: floating point (D,), what ``scale`` is in units of, such as the standard deviations of the training data.
            Default: None, absolute.
        noise: ``"gaussian"`` or ``"uniform"``. Default: ``"gaussian"``.
        probability: of each cell to get noise, in [0, 1]. Default: 1.0.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.

    Returns:
        Shape and type of ``x``, contiguous. The gradient goes to ``x`` unchanged, of any order; ``scale`` and ``std``
        get none.

    Raises:
        TypeError: a tensor or number has the wrong type.
        ValueError: a shape, device, number or name is out of range, or the generator is on another GPU.
    """
    name = "add_feature_noise"
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: x must be a tensor, got {type(x).__name__}")
    if x.dtype not in _DTYPES:
        raise TypeError(f"{name}: x must be float32, float64, bfloat16 or float16, got {x.dtype}")
    if x.dim() != 2:
        raise ValueError(f"{name}: x must have shape (N, D), got {tuple(x.shape)}")
    factors, number = None, 1.0
    if isinstance(scale, Tensor):
        factors = _factors(name, "scale", scale, x)
    else:
        number = check_scale(name, scale)
    if std is not None:
        given = _factors(name, "std", std, x)
        factors = given if factors is None else factors * given
    gaussian, probability = check_noise(name, noise, probability)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, x.shape[0], x.device)
    seed = seed_tensor(generator, function=name, device=x.device)
    arguments = (factors, seed, sample_ids, number, probability, gaussian, row_offset)
    result: Tensor
    if torch.is_grad_enabled() and x.requires_grad:
        result = _Noise.apply(x, *arguments)
    else:
        result = ops.feature_noise(x, *arguments)
    return result


class _Noise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, *arguments):  # type: ignore[no-untyped-def]
        return ops.feature_noise(x, *arguments)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad, *(None,) * 7


def _factors(function: str, name: str, value: Tensor, x: Tensor) -> Tensor:
    """One number a feature, as the operator takes it."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{function}: {name} must be a floating-point tensor, got {got}")
    if value.shape != (x.shape[1],):
        raise ValueError(f"{function}: {name} must have shape ({x.shape[1]},), one a feature, got {tuple(value.shape)}")
    if value.device != x.device:
        raise ValueError(f"{function}: {name} must be on {x.device}, like x, got {value.device}")
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return value.detach().to(wide).contiguous()
