"""Feature matching of generative adversarial networks, over the features of any discriminator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check
from sslfast.losses._inputs import check_device, check_like, widened, without_autocast
from sslfast.losses._samples import Samples, sample_parts

_MATCHES = ("pairs", "mean")


class FeatureMatchingLoss(nn.Module):
    """:func:`feature_matching_loss` as a module.

    Args:
        match: ``"pairs"`` or ``"mean"``. Default: ``"pairs"``.

    Raises:
        ValueError: if ``match`` is neither.

    Example:
        >>> criterion = FeatureMatchingLoss()
        >>> loss = criterion(discriminator.features(images), discriminator.features(generator(labels)))
    """

    def __init__(self, match: str = "pairs") -> None:
        super().__init__()
        self.match = _check.one_of("FeatureMatchingLoss", "match", match, _MATCHES)

    def forward(self, real_features: Samples, fake_features: Samples) -> Tensor:
        return feature_matching_loss(real_features, fake_features, self.match)

    def extra_repr(self) -> str:
        return f"match={self.match!r}"


def feature_matching_loss(real_features: Samples, fake_features: Samples, match: str = "pairs") -> Tensor:
    """A discriminator's features of what is made are to be those of what is real.

    ``"pairs"``: ``F.l1_loss(fake, real)``, for a sample that is made from each real one (pix2pixHD);
    ``"mean"``: ``(fake.mean(0) - real.mean(0)).square().sum()``, for batches without pairs (Salimans et al.);

    of several layers the mean. Real features are constants: no gradient goes into them. Accumulates in float32
    (float64 inputs in float64). Twice differentiable.

    Args:
        real_features: (N, ...) floating point, or a list of them, one a layer.
        fake_features: the same of what the generator made, same shapes and device; for ``"mean"`` N may differ.
        match: see above. Default: ``"pairs"``.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if features are neither floating-point tensors nor lists or tuples of them.
        ValueError: if there are no layers, not as many fake as real ones, a layer has no element, fake features
            differ from real ones in shape or device, or ``match`` is neither.

    Reference: Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016; Wang et al., "High-Resolution
    Image Synthesis and Semantic Manipulation with Conditional GANs", CVPR 2018.
    """
    name = "feature_matching_loss"
    _check.one_of(name, "match", match, _MATCHES)
    real = sample_parts(name, "real_features", real_features)
    fake = sample_parts(name, "fake_features", fake_features)
    if len(fake) != len(real):
        raise ValueError(f"{name}: fake_features must have {len(real)} layers, like real_features, got {len(fake)}")
    for (real_name, r), (fake_name, f) in zip(real, fake, strict=True):
        if match == "pairs":
            check_like(name, real_name, r, fake_name, f)
        elif f.shape[1:] != r.shape[1:]:
            expected = f"(N, {', '.join(map(str, r.shape[1:]))}) for any N, like {real_name}"
            raise ValueError(f"{name}: {fake_name} must have shape {expected}, got {tuple(f.shape)}")
        check_device(name, real_name, r, fake_name, f)
    with without_autocast(fake[0][1]):
        terms = []
        for (_, r), (_, f) in zip(real, fake, strict=True):
            r, f = widened(r.detach(), f)
            terms.append(F.l1_loss(f, r) if match == "pairs" else (f.mean(0) - r.mean(0)).square().sum())
        return torch.stack(terms).mean()
