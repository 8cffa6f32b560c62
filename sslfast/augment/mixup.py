"""MixUp, CutMix and one of the two at random, with the arguments of torchvision and of timm."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sslfast import _batch_rules, _check
from sslfast.augment import _float_batch
from sslfast.augment._own_draws import DrawingModule
from sslfast.augment.batch_mix import MixedLabels, MixRules, draw_mix, mix_images, mix_labels
from sslfast.random import Generator


class _BatchMix(DrawingModule):
    """A mixing whose rules the subclasses name."""

    def __init__(
        self,
        rules: MixRules,
        num_classes: int | None,
        label_smoothing: float,
        inplace: bool,
        generator: Generator,
    ) -> None:
        super().__init__(generator)
        name = type(self).__name__
        self._rules = rules
        self.num_classes = None if num_classes is None else _check.integer(name, "num_classes", num_classes, 1)
        self.label_smoothing = _check.probability(name, "label_smoothing", label_smoothing)
        self.inplace = _check.boolean(name, "inplace", inplace)

    def forward(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        params: Tensor | None = None,
        return_params: bool = False,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | MixedLabels] | tuple[Tensor, Tensor | MixedLabels, Tensor]:
        """Mixes a batch.

        Args:
            images: float32, bfloat16, float16, float64 or uint8, whose blends are rounded, shape (N, C, H, W), any
                strides.
            labels: int64 (N,) or floating point (N, K); None counts the images. Default: None.
            params: float32 (N, 7), of ``sample_params`` or ``sample_mix``, or by hand. Default: None, drawn.
            return_params: return the parameters too. Default: False.
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, the constructor's.
            row_offset: global index of row 0, for shards of a larger batch. Default: 0.
            sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.

        Returns:
            ``(images, targets)``, or ``(images, targets, params)``: targets (N, K), or ``MixedLabels(labels_a,
            labels_b, lam)`` where ids have no ``num_classes``.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape, device or number is wrong, or images cannot be changed where ``inplace``.
        """
        _float_batch.check_batch(type(self).__name__, images, bytes_too=True)
        if params is None:
            params = self.sample_params(images, generator=generator, row_offset=row_offset, sample_ids=sample_ids)
        mixed = mix_images(images, params, inplace=self.inplace)
        targets = mix_labels(labels, params, num_classes=self.num_classes, label_smoothing=self.label_smoothing)
        return (mixed, targets, params) if return_params else (mixed, targets)

    def sample_params(
        self,
        images: Tensor,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor:
        """The parameters that ``forward`` would draw: (N, 7), columns ``MIX_PARAMS``. Takes and raises what it does."""
        name = type(self).__name__
        _float_batch.check_batch(name, images, bytes_too=True)
        rows, _, height, width = images.shape
        chosen = self._chosen(generator)
        return draw_mix(name, images.detach(), rows, (height, width), self._rules, chosen, row_offset, sample_ids)

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}, inplace={self.inplace}"


class MixUp(_BatchMix):
    """``lam * x[i] + (1 - lam) * x[partner]`` for images and labels, lam ~ Beta(alpha, alpha).

    ``torchvision.transforms.v2.MixUp`` with the same arguments and defaults, one lambda for the batch and the image
    before as partner; ``num_classes=None`` returns both labels and lambda where torchvision raises an error.

    Args:
        alpha: of the Beta distribution, positive. Default: 1, uniform.
        num_classes: K of soft targets from class ids. Default: None, ``MixedLabels``.
        prob: probability of mixing. Default: 1.
        mode: "batch", "pair" (with ``partner="flip"``) or "elem": who shares a draw. Default: "batch".
        partner: "roll", the image before; "flip", image N - 1 - i; "permutation", a random one. Default: "roll".
        label_smoothing: of class ids. Default: 0.
        inplace: change the images that are given. Default: False.
        generator: what calls draw from that are given none: None | torch.Generator | int seed | int64 seed tensor. An
            int seeds a torch.Generator, so that successive calls differ and a run repeats; a DataLoader's workers mix
            it with the loader's seed, so that they and their epochs differ too. A tensor is the seed itself, read at
            every call. Default: None, torch's global generator.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a word is not one of these.

    Reference: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; for self-supervision, with labels
    that count the images: Lee et al., "i-Mix", ICLR 2021; Shen et al., "Un-Mix", AAAI 2022.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        num_classes: int | None = None,
        prob: float = 1.0,
        mode: str = "batch",
        partner: str = "roll",
        label_smoothing: float = 0.0,
        inplace: bool = False,
        generator: Generator = None,
    ) -> None:
        alpha = _positive("MixUp", alpha)
        rules = _batch_rules.mix_rules("MixUp", alpha, 0.0, None, prob, 0.0, mode, partner, "torchvision", True)
        super().__init__(rules, num_classes, label_smoothing, inplace, generator)


class CutMix(_BatchMix):
    """A box of the partner in each image, of about 1 - lam of its area, lam ~ Beta(alpha, alpha).

    ``torchvision.transforms.v2.CutMix`` with the same arguments and defaults; lambda of the labels is the share of the
    image outside the box. In place the boxes alone are touched.

    Args:
        alpha: of the Beta distribution, positive. Default: 1, uniform.
        num_classes: K of soft targets from class ids. Default: None, ``MixedLabels``.
        prob: probability of mixing. Default: 1.
        mode: "batch", "pair" (with ``partner="flip"``) or "elem": who shares a draw. Default: "batch".
        partner: "roll", the image before; "flip", image N - 1 - i; "permutation", a random one. Default: "roll".
        box: "torchvision" or "timm": whose rounding of a box's sides. Default: "torchvision".
        label_smoothing: of class ids. Default: 0.
        inplace: change the images that are given. Default: False.
        generator: as for ``MixUp``. Default: None, torch's global generator.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a word is not one of these.

    Reference: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
    ICCV 2019.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        num_classes: int | None = None,
        prob: float = 1.0,
        mode: str = "batch",
        partner: str = "roll",
        box: str = "torchvision",
        label_smoothing: float = 0.0,
        inplace: bool = False,
        generator: Generator = None,
    ) -> None:
        alpha = _positive("CutMix", alpha)
        rules = _batch_rules.mix_rules("CutMix", 0.0, alpha, None, prob, 1.0, mode, partner, box, True)
        super().__init__(rules, num_classes, label_smoothing, inplace, generator)


class RandomMix(_BatchMix):
    """MixUp or CutMix at random, as ``timm.data.Mixup``: its arguments and defaults.

    Where timm changes the images it is given, this does where ``inplace`` alone. A batch may be odd: its middle image
    is its own partner.

    Args:
        mixup_alpha: of the blends; 0: no blends. Default: 1.
        cutmix_alpha: of the boxes; 0: no boxes. Default: 0.
        cutmix_minmax: (low, high): sides of boxes uniform within these shares of the image's. Default: None.
        prob: probability of mixing. Default: 1.
        switch_prob: probability of a box, where there are both. Default: 0.5.
        mode: "batch", "pair" or "elem": who shares a draw. Default: "batch".
        correct_lam: lambda of a box is the share of the image outside it. Default: True.
        label_smoothing: of class ids. Default: 0.1.
        num_classes: K of soft targets from class ids; None: ``MixedLabels``. Default: 1000.
        partner: "flip", image N - 1 - i; "roll", the image before; "permutation", a random one. Default: "flip".
        inplace: change the images that are given. Default: False.
        generator: as for ``MixUp``. Default: None, torch's global generator.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, a word is not one of these, or both alphas are 0.

    Reference: timm.data.Mixup.
    """

    def __init__(
        self,
        mixup_alpha: float = 1.0,
        cutmix_alpha: float = 0.0,
        cutmix_minmax: tuple[float, float] | None = None,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        mode: str = "batch",
        correct_lam: bool = True,
        label_smoothing: float = 0.1,
        num_classes: int | None = 1000,
        *,
        partner: str = "flip",
        inplace: bool = False,
        generator: Generator = None,
    ) -> None:
        rules = _batch_rules.mix_rules(
            "RandomMix",
            mixup_alpha,
            cutmix_alpha,
            cutmix_minmax,
            prob,
            switch_prob,
            mode,
            partner,
            "timm",
            correct_lam,
        )
        super().__init__(rules, num_classes, label_smoothing, inplace, generator)


def _positive(name: str, alpha: Any) -> float:
    number = _check.real(name, "alpha", alpha)
    if not 0 < number <= 1e6:
        raise ValueError(f"{name}: alpha must be in (0, 1e6], got {alpha}")
    return number
