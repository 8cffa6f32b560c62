"""Objectives of generative adversarial networks, over the logits of any discriminator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check
from sslfast.losses._inputs import check_device, check_floating, widened, without_autocast

_OBJECTIVES = ("non_saturating", "hinge", "wasserstein")


class GANDiscriminatorLoss(nn.Module):
    """:func:`gan_discriminator_loss` as a module.

    Args:
        objective: ``"non_saturating"``, ``"hinge"`` or ``"wasserstein"``. Default: ``"non_saturating"``.
        label_smoothing: in [0, 1]. Default: 0.

    Raises:
        TypeError: if ``label_smoothing`` is not a number.
        ValueError: if there is no such objective, or ``label_smoothing`` is out of range or goes with another
            objective than ``"non_saturating"``.

    Example:
        >>> criterion = GANDiscriminatorLoss("hinge")
        >>> loss = criterion(discriminator(images), discriminator(generator(noise).detach()))
    """

    def __init__(self, objective: str = "non_saturating", *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        name = "GANDiscriminatorLoss"
        self.objective = _check.one_of(name, "objective", objective, _OBJECTIVES)
        self.label_smoothing = _smoothing(name, objective, label_smoothing)

    def forward(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return gan_discriminator_loss(real_logits, fake_logits, self.objective, label_smoothing=self.label_smoothing)

    def extra_repr(self) -> str:
        return f"objective={self.objective!r}, label_smoothing={self.label_smoothing}"


class GANGeneratorLoss(nn.Module):
    """:func:`gan_generator_loss` as a module.

    Args:
        objective: ``"non_saturating"``, ``"hinge"`` or ``"wasserstein"``. Default: ``"non_saturating"``.

    Raises:
        ValueError: if there is no such objective.

    Example:
        >>> criterion = GANGeneratorLoss("hinge")
        >>> loss = criterion(discriminator(generator(noise)))
    """

    def __init__(self, objective: str = "non_saturating") -> None:
        super().__init__()
        self.objective = _check.one_of("GANGeneratorLoss", "objective", objective, _OBJECTIVES)

    def forward(self, fake_logits: Tensor) -> Tensor:
        return gan_generator_loss(fake_logits, self.objective)

    def extra_repr(self) -> str:
        return f"objective={self.objective!r}"


class BiGANLoss(nn.Module):
    """:func:`bigan_loss` as a module.

    Args:
        objective: ``"non_saturating"``, ``"hinge"`` or ``"wasserstein"``. Default: ``"non_saturating"``.

    Raises:
        ValueError: if there is no such objective.

    Example:
        >>> criterion = BiGANLoss()
        >>> loss = criterion(discriminator(x, encoder(x)), discriminator(generator(z), z))
    """

    def __init__(self, objective: str = "non_saturating") -> None:
        super().__init__()
        self.objective = _check.one_of("BiGANLoss", "objective", objective, _OBJECTIVES)

    def forward(self, encoder_logits: Tensor, generator_logits: Tensor) -> Tensor:
        return bigan_loss(encoder_logits, generator_logits, self.objective)

    def extra_repr(self) -> str:
        return f"objective={self.objective!r}"


def gan_discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, objective: str = "non_saturating", *, label_smoothing: float = 0.0
) -> Tensor:
    """What a discriminator, or critic, minimises: high logits for what is real, low ones for what is made.

    ``"non_saturating"``: ``F.softplus(-real).mean() + F.softplus(fake).mean()``, the binary cross-entropy;
    ``"hinge"``: ``F.relu(1 - real).mean() + F.relu(1 + fake).mean()``;
    ``"wasserstein"``: ``fake.mean() - real.mean()``, beside which a critic needs
    :func:`~sslfast.losses.gradient_penalty`.

    Accumulates in float32 (float64 inputs in float64); no logit overflows. Twice differentiable.

    Args:
        real_logits: floating point, of any shape with at least one element: of samples, or of their patches.
        fake_logits: the same of what the generator made, which should be detached from it. May differ in shape.
        objective: see above. Default: ``"non_saturating"``.
        label_smoothing: real samples are to have the probability 1 - ``label_smoothing``; fake ones still 0. In [0, 1],
            for ``"non_saturating"`` only. Default: 0.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if the logits are not floating-point tensors, or ``label_smoothing`` is not a number.
        ValueError: if logits have no element, fake ones are on another device than real ones, there is no such
            objective, or ``label_smoothing`` is out of range or goes with another objective.

    Reference: Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014; Lim and Ye, "Geometric GAN", 2017;
    Arjovsky et al., "Wasserstein Generative Adversarial Networks", ICML 2017; Salimans et al., "Improved Techniques for
    Training GANs", NeurIPS 2016 (one-sided smoothing).
    """
    name = "gan_discriminator_loss"
    _check_logits(name, ("real_logits", real_logits), ("fake_logits", fake_logits))
    _check.one_of(name, "objective", objective, _OBJECTIVES)
    smoothing = _smoothing(name, objective, label_smoothing)
    with without_autocast(real_logits):
        real, fake = widened(real_logits, fake_logits)
        if objective == "wasserstein":
            return fake.mean() - real.mean()
        if objective == "hinge":
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        yes = _softplus_of_minus(real).mean()
        if smoothing:
            yes = (1 - smoothing) * yes + smoothing * _softplus(real).mean()
        return yes + _softplus(fake).mean()


def gan_generator_loss(fake_logits: Tensor, objective: str = "non_saturating") -> Tensor:
    """What a generator minimises: the discriminator is to take what it makes for real.

    ``"non_saturating"``: ``F.softplus(-fake).mean()``; ``"hinge"`` and ``"wasserstein"``: ``-fake.mean()``.

    Accumulates in float32 (float64 inputs in float64); no logit overflows. Twice differentiable.

    Args:
        fake_logits: floating point, of any shape with at least one element, with a graph back to the generator.
        objective: that of the discriminator. Default: ``"non_saturating"``.

    Returns:
        Scalar loss, float32, or float64 for float64 logits.

    Raises:
        TypeError: if the logits are not a floating-point tensor.
        ValueError: if they have no element, or there is no such objective.

    Reference: as :func:`gan_discriminator_loss`.
    """
    name = "gan_generator_loss"
    _check_logits(name, ("fake_logits", fake_logits))
    _check.one_of(name, "objective", objective, _OBJECTIVES)
    with without_autocast(fake_logits):
        (fake,) = widened(fake_logits)
        return _softplus_of_minus(fake).mean() if objective == "non_saturating" else -fake.mean()


def bigan_loss(encoder_logits: Tensor, generator_logits: Tensor, objective: str = "non_saturating") -> Tensor:
    """What encoder and generator minimise together in BiGAN and ALI: the discriminator is to confuse their pairs.

    The discriminator sees pairs (x, encoder(x)) and (generator(z), z) and minimises
    ``gan_discriminator_loss(encoder_logits, generator_logits)``; here the labels are swapped:

    ``"non_saturating"``: ``F.softplus(encoder).mean() + F.softplus(-generator).mean()``; ``"hinge"`` and
    ``"wasserstein"``: ``encoder.mean() - generator.mean()``, as in BigBiGAN, which adds the same of logits of x alone
    and of z alone.

    Accumulates in float32 (float64 inputs in float64); no logit overflows. Twice differentiable.

    Args:
        encoder_logits: floating point, of any shape with at least one element, of pairs (x, encoder(x)).
        generator_logits: the same of pairs (generator(z), z). May differ in shape.
        objective: that of the discriminator. Default: ``"non_saturating"``.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if the logits are not floating-point tensors.
        ValueError: if logits have no element, the generator's are on another device than the encoder's, or there is
            no such objective.

    Reference: Donahue et al., "Adversarial Feature Learning", ICLR 2017; Dumoulin et al., "Adversarially Learned
    Inference", ICLR 2017; Donahue and Simonyan, "Large Scale Adversarial Representation Learning", NeurIPS 2019.
    """
    name = "bigan_loss"
    _check_logits(name, ("encoder_logits", encoder_logits), ("generator_logits", generator_logits))
    _check.one_of(name, "objective", objective, _OBJECTIVES)
    with without_autocast(encoder_logits):
        encoder, generator = widened(encoder_logits, generator_logits)
        if objective == "non_saturating":
            return _softplus(encoder).mean() + _softplus_of_minus(generator).mean()
        return encoder.mean() - generator.mean()


def _softplus(logits: Tensor) -> Tensor:
    """``log(1 + exp(logits))``; in float64 without the threshold of ``F.softplus``, which costs digits there."""
    return _softplus_of_minus(-logits) if logits.dtype == torch.float64 else F.softplus(logits)


def _softplus_of_minus(logits: Tensor) -> Tensor:
    """``log(1 + exp(-logits))``, without a pass for the sign in forward and in backward."""
    return -F.logsigmoid(logits)


def _smoothing(function: str, objective: str, label_smoothing: float) -> float:
    smoothing = _check.probability(function, "label_smoothing", label_smoothing)
    if smoothing and objective != "non_saturating":
        raise ValueError(f"{function}: label_smoothing goes with objective='non_saturating', got {objective!r}")
    return smoothing


def _check_logits(function: str, *logits: tuple[str, Tensor]) -> None:
    for name, z in logits:
        check_floating(function, name, z)
        if z.numel() == 0:
            raise ValueError(f"{function}: {name} must have at least one element, got shape {tuple(z.shape)}")
    check_device(function, *logits[0], *logits[-1])
