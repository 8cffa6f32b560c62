"""Penalties on a discriminator's gradient with respect to its input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast.losses._inputs import check_floating, check_like, not_negative, positive, widened, without_autocast
from sslfast.losses._samples import Samples, flat_rows, sample_parts, uniform_rows
from sslfast.losses._shown import shown_options
from sslfast.random import STREAMS, Generator, seed_tensor


class GradientPenalty(nn.Module):
    """:func:`gradient_penalty` as a module.

    Args:
        weight: factor of the penalty. Default: 10.
        center: the norm that a gradient is to have. Default: 1.
        grad_scale: positive, see the function. Default: 1.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is negative or not finite, or ``grad_scale`` is 0.

    Example:
        >>> penalty = GradientPenalty()
        >>> loss = gan_discriminator_loss(critic(real), critic(fake), "wasserstein") + penalty(critic, real, fake)
    """

    def __init__(self, weight: float = 10.0, center: float = 1.0, *, grad_scale: float = 1.0) -> None:
        super().__init__()
        name = "GradientPenalty"
        self.weight = not_negative(name, "weight", weight)
        self.center = not_negative(name, "center", center)
        self.grad_scale = positive(name, "grad_scale", grad_scale)

    def forward(
        self,
        discriminator: Callable[..., Tensor],
        real: Samples,
        fake: Samples,
        *,
        generator: Generator = None,
        row_offset: int = 0,
    ) -> Tensor:
        return gradient_penalty(
            discriminator,
            real,
            fake,
            self.weight,
            self.center,
            generator=generator,
            row_offset=row_offset,
            grad_scale=self.grad_scale,
        )

    def extra_repr(self) -> str:
        return shown_options(self, GradientPenalty, "weight", "center")


class R1Penalty(nn.Module):
    """:func:`r1_penalty` as a module.

    Args:
        weight: StyleGAN's gamma. Default: 10.
        grad_scale: positive, see the function. Default: 1.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is negative or not finite, or ``grad_scale`` is 0.

    Example:
        >>> real.requires_grad_()
        >>> real_logits = discriminator(real)
        >>> loss = gan_discriminator_loss(real_logits, fake_logits) + R1Penalty()(real_logits, real)
    """

    def __init__(self, weight: float = 10.0, *, grad_scale: float = 1.0) -> None:
        super().__init__()
        self.weight = not_negative("R1Penalty", "weight", weight)
        self.grad_scale = positive("R1Penalty", "grad_scale", grad_scale)

    def forward(self, real_logits: Tensor, real: Samples) -> Tensor:
        return r1_penalty(real_logits, real, self.weight, grad_scale=self.grad_scale)

    def extra_repr(self) -> str:
        return shown_options(self, R1Penalty, "weight")


def gradient_penalty(
    discriminator: Callable[..., Tensor],
    real: Samples,
    fake: Samples,
    weight: float = 10.0,
    center: float = 1.0,
    *,
    generator: Generator = None,
    row_offset: int = 0,
    grad_scale: float = 1.0,
) -> Tensor:
    """Keeps the norm of a critic's gradient near ``center`` between real and made samples: WGAN-GP.

    ``x = u * real + (1 - u) * fake`` with u uniform in (0, 1), one for each sample;
    ``g = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)``;
    ``loss = weight * (g.flatten(1).norm(dim=1) - center).square().mean()``.

    The penalty is for the discriminator's parameters: ``real`` and ``fake`` get no gradient. The logit of a sample may
    depend on that sample alone, or its gradient is that of others, too: no BatchNorm. autocast around the call holds
    for the discriminator; the gradient's norm is float32 (float64 for float64 samples). Where grad mode is off, also by
    ``torch.inference_mode``, the value comes without a graph.

    In float16 a gradient below 6e-5 loses digits before there is a loss to be scaled, 13 % of a penalty at 1e-7.
    ``grad_scale=scaler.get_scale()`` is PyTorch's recipe against it: the gradient is that of the logits times
    ``grad_scale`` (32768 at most for float16 logits), and divided by it in float32. The second derivative loses as much
    in the same place: scale the loss, too, by no less.

    Args:
        discriminator: module or function that takes samples and returns logits of any shape, whose sum counts. Its
            operators have to be twice differentiable.
        real: (N, ...) floating point; for a discriminator of pairs, ``discriminator(x, z)``, a list or tuple
            ``(x, z)``: the norm is that of both gradients together.
        fake: the same of what the generator made, same shapes and devices.
        weight: factor of the penalty. Default: 10.
        center: the norm that a gradient is to have; 0 penalises all gradients. Default: 1.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of sample 0, for shards of a larger batch. Default: 0.
        grad_scale: positive, best a power of two: what the logits are multiplied by for the gradient. Where a layer's
            is above 65504 / ``grad_scale`` in float16, the penalty is infinite or NaN, and a scaler skips the step.
            Default: 1.

    Returns:
        Scalar penalty, float32, or float64 if samples are.

    Raises:
        TypeError: if the discriminator is not callable or returns no floating-point tensor, samples are not
            floating-point tensors or lists or tuples of them, or a number or the generator has the wrong type.
        ValueError: if samples have no element, differ in N, or fake ones differ from real ones in number, shape or
            device; the logits do not depend on the samples; or a number, ``grad_scale`` or the generator's device is
            out of range.
        RuntimeError: in a compiled graph, where grad mode is on, if samples go through a ``torch.autograd.Function``,
            which torch.compile traces for one derivative.

    Reference: Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017.
    """
    name = "gradient_penalty"
    if not callable(discriminator):
        raise TypeError(f"{name}: discriminator must be callable, got {type(discriminator).__name__}")
    parts, made = sample_parts(name, "real", real), sample_parts(name, "fake", fake)
    if len(made) != len(parts):
        raise ValueError(f"{name}: fake must have {len(parts)} tensors, like real, got {len(made)}")
    for (real_name, r), (fake_name, f) in zip(parts, made, strict=True):
        check_like(name, real_name, r, fake_name, f)
    given = [r for _, r in parts]
    weight = not_negative(name, "weight", weight, *given)
    center = not_negative(name, "center", center, *given)
    row_offset = _check.integer(name, "row_offset", row_offset, 0)
    grad_scale = positive(name, "grad_scale", grad_scale, *given)
    # Inference mode records no graph at all; a compiler cannot ask for it.
    if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
        with torch.inference_mode(False), torch.no_grad():
            real, fake = (tuple(x.clone() for _, x in side) for side in (parts, made))
            return gradient_penalty(
                discriminator,
                real,
                fake,
                weight,
                center,
                generator=generator,
                row_offset=row_offset,
                grad_scale=grad_scale,
            )
    first = parts[0][1]
    seed = seed_tensor(generator, function=name, device=first.device)
    share = uniform_rows(first, seed, STREAMS["gan_interpolate"], len(first), 1, row_offset)
    between = [_between(r, f, share) for (_, r), (_, f) in zip(parts, made, strict=True)]
    with torch.enable_grad():
        logits = discriminator(*between)
    check_floating(name, "the discriminator's result", logits)
    expected = "discriminator must return logits that depend on its input"
    rows = _gradient_rows(name, expected, logits, between, grad_scale)
    with without_autocast(first):
        if center == 0:
            return weight * rows.square().sum(dim=1).mean()
        return weight * (torch.linalg.vector_norm(rows, dim=1) - center).square().mean()


def r1_penalty(real_logits: Tensor, real: Samples, weight: float = 10.0, *, grad_scale: float = 1.0) -> Tensor:
    """Keeps a discriminator flat where the real samples are, without a second pass: R1.

    ``g = torch.autograd.grad(real_logits.sum(), real, create_graph=True)``;
    ``loss = weight / 2 * g.square().flatten(1).sum(dim=1).mean()``.

    R2 is the same of fake logits and samples. The logit of a sample may depend on that sample alone. Lazy
    regularisation, one step in k, is this with k times the weight. The squares are summed in float32 (float64 for
    float64 samples), also under autocast. ``grad_scale`` is as in :func:`gradient_penalty`.

    Args:
        real_logits: floating point, of any shape: ``discriminator(real)``, of operators that are twice
            differentiable. Its graph is kept for the discriminator's loss.
        real: (N, ...) floating point, with ``requires_grad`` since before the discriminator; a list or tuple for a
            discriminator of pairs.
        weight: StyleGAN's gamma. Default: 10.
        grad_scale: positive: what the logits are multiplied by for the gradient, which is divided by it in float32.
            Default: 1.

    Returns:
        Scalar penalty, float32, or float64 if samples are.

    Raises:
        TypeError: if logits or samples are not floating-point tensors, or a number is none.
        ValueError: if samples have no element or differ in N, a tensor of them does not require a gradient, the logits
            do not depend on them (in a compiled graph: within it), a number is negative or not finite, or
            ``grad_scale`` is 0.
        RuntimeError: as :func:`gradient_penalty` does.

    Reference: Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018.
    """
    name = "r1_penalty"
    check_floating(name, "real_logits", real_logits)
    parts = sample_parts(name, "real", real)
    weight = not_negative(name, "weight", weight, *(x for _, x in parts))
    grad_scale = positive(name, "grad_scale", grad_scale, *(x for _, x in parts))
    for part, x in parts:
        if not x.requires_grad:
            raise ValueError(f"{name}: {part} must require a gradient before the discriminator takes it")
    rows = _gradient_rows(name, "real_logits must depend on real", real_logits, [x for _, x in parts], grad_scale)
    with without_autocast(rows):
        return weight / 2 * rows.square().sum(dim=1).mean()


def _between(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """A leaf between the samples, in the dtype of the real ones."""
    with without_autocast(real), torch.no_grad():
        wide_real, wide_fake = widened(real, fake)
        share = share.to(real.device, wide_real.dtype).view(-1, *[1] * (real.dim() - 1))
        between = torch.lerp(wide_fake, wide_real, share).to(real.dtype)
        if torch.compiler.is_compiling():
            from sslfast._compiled_autograd import leaf_of

            return leaf_of(between)
        return between.requires_grad_()


def _gradient_rows(function: str, expected: str, logits: Tensor, inputs: list[Tensor], scale: float) -> Tensor:
    """(N, D) gradients of the sum of the logits, with a graph where grad mode is on."""
    if not logits.requires_grad:
        raise ValueError(f"{function}: {expected}, got some without a graph")
    if logits.dtype == torch.float16:
        scale = min(scale, 2.0**15)  # a larger power of two is infinite
    with without_autocast(logits):
        upstream, create_graph = torch.full_like(logits, scale), torch.is_grad_enabled()
        if torch.compiler.is_compiling():
            from sslfast._compiled_autograd import gradients

            found = gradients(function, logits, inputs, upstream, create_graph)
        else:
            found = torch.autograd.grad(
                logits, inputs, upstream, create_graph=create_graph, retain_graph=True, allow_unused=True
            )
        if all(g is None for g in found):
            raise ValueError(f"{function}: {expected}, got some that do not")
        rows = flat_rows([torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)])
        return rows if scale == 1 else rows / scale
