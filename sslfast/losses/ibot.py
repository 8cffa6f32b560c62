"""iBOT: the student predicts the teacher's softmax over prototypes of the patches that it does not see."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast._arguments import of_dtype
from sslfast._verdict import JointChecks
from sslfast.distributed import mean_over_ranks
from sslfast.losses._center import Centered
from sslfast.losses._inputs import check_choice, check_floating, check_kernel_dtype, check_like, divisor
from sslfast.losses._shown import shown_options
from sslfast.losses._sinkhorn import sharing
from sslfast.losses._soft_targets import SoftTargets, soft_cross_entropy
from sslfast.losses._teacher_options import CENTERINGS, agree_on_views, balanced_center, check_center, checked_options


class _Buffer(nn.Module):
    """The center under the name that it has in lightly's ``state_dict``."""

    center: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(1, width))

    @property
    def value(self) -> Tensor:
        return self.center


class IBOTPatchLoss(Centered):
    """iBOT's loss with its center; see :func:`ibot_patch_loss`.

    The center is updated as :class:`DINOLoss` does it, from the rows whose weight is not 0.

    Arguments, defaults and ``state_dict`` are lightly's. DINOv2's is ``iBOTPatchLoss(patch_out_dim, student_temp=0.1,
    center_momentum=0.9)`` with ``teacher_temp`` given step by step; its value is this one.

    Args:
        output_dim: number of prototypes K. Default: 65536.
        teacher_temp: divides the teacher's logits. Default: 0.04.
        student_temp: divides the student's logits. Default: 0.1.
        center_mode: "mean". Default: "mean".
        center_momentum: in [0, 1]. Default: 0.9.
        centering: "centering" or "sinkhorn_knopp", see :func:`ibot_patch_loss`. Default: "centering".
        sinkhorn_iterations: of "sinkhorn_knopp". Default: 3.
        gather_distributed: the loss of the samples of all ranks, see :func:`ibot_patch_loss`. The center, and what
            "sinkhorn_knopp" balances, are those of all ranks in either case. Default: False.

    Raises:
        TypeError: if a temperature or ``center_momentum`` is not a number, a count not an int or ``gather_distributed``
            not a bool.
        ValueError: if a temperature is below 1e-8 or infinite, ``center_momentum`` is outside [0, 1], ``output_dim``
            or ``sinkhorn_iterations`` is below 1, or ``center_mode`` or ``centering`` is none of these.

    Example:
        >>> criterion = IBOTPatchLoss(8192)
        >>> masks = dino_masks(len(images), (14, 14))
        >>> at = masks.mask_indices_list.clamp_min(0)  # what is behind the masked ones has weight 0
        >>> t, s = (head(patches.flatten(0, 1)[at]) for head, patches in ((teacher, clean), (student, masked)))
        >>> loss = criterion(t, s, masks.masks, masks_weight=masks.masks_weight)
    """

    def __init__(
        self,
        output_dim: int = 65536,
        teacher_temp: float = 0.04,
        student_temp: float = 0.1,
        center_mode: str = "mean",
        center_momentum: float = 0.9,
        *,
        centering: str = "centering",
        sinkhorn_iterations: int = 3,
        gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        name = "IBOTPatchLoss"
        output_dim = _check.integer(name, "output_dim", output_dim, 1)
        self.teacher_temp = divisor(name, "teacher_temp", teacher_temp)
        self.student_temp = divisor(name, "student_temp", student_temp)
        if center_mode != "mean":
            raise ValueError(f"{name}: center_mode must be 'mean', got {center_mode!r}")
        self.center_momentum = _check.probability(name, "center_momentum", center_momentum)
        self.centering = check_choice(name, "centering", centering, CENTERINGS)
        self.sinkhorn_iterations = _check.integer(name, "sinkhorn_iterations", sinkhorn_iterations, 1)
        self.gather_distributed = _check.boolean(name, "gather_distributed", gather_distributed)
        self.center = _Buffer(output_dim)

    def center_buffer(self) -> Tensor:
        return self.center.center

    def forward(
        self,
        teacher_out: Tensor,
        student_out: Tensor,
        mask: Tensor,
        teacher_temp: float | None = None,
        *,
        masks_weight: Tensor | None = None,
    ) -> Tensor:
        """The loss, and the update of the center.

        Args:
            teacher_out, student_out, mask, masks_weight: as in :func:`ibot_patch_loss`.
            teacher_temp: the teacher temperature. Default: None, the module's.

        Returns:
            Scalar loss, float32, or float64 if an input is.

        Raises:
            TypeError, ValueError: as :func:`ibot_patch_loss`.
        """
        options = (
            masks_weight,
            self.centering,
            self.teacher_temp if teacher_temp is None else teacher_temp,
            self.student_temp,
            self.sinkhorn_iterations,
            self.gather_distributed,
        )
        if self.centering == "sinkhorn_knopp":
            return _ibot("IBOTPatchLoss", teacher_out, student_out, mask, None, *options, False)[0]
        self.finish_center_update()
        center = self.center_buffer()
        loss, total = _ibot("IBOTPatchLoss", teacher_out, student_out, mask, center, *options, True)
        count: int | Tensor = len(teacher_out)
        if masks_weight is not None:
            count = masks_weight.count_nonzero()
            if count.is_cpu and not torch.compiler.is_compiling():
                count = int(count)  # read at once there, and a number takes fewer steps than a tensor
        self._update.start(center, self.center_momentum, total, count)
        return loss

    def extra_repr(self) -> str:
        options = shown_options(self, IBOTPatchLoss, "teacher_temp", "student_temp", "centering")
        return f"{self.center_buffer().numel()}, {options}"


def ibot_patch_loss(
    teacher_out: Tensor,
    student_out: Tensor,
    mask: Tensor,
    center: Tensor | None = None,
    *,
    masks_weight: Tensor | None = None,
    teacher_temp: float = 0.04,
    student_temp: float = 0.1,
    centering: str = "centering",
    sinkhorn_iterations: int = 3,
    gather_distributed: bool = False,
) -> Tensor:
    """Cross-entropy of the student's masked patches with the teacher's, over K prototypes.

    With ``q = softmax((teacher_out - center) / teacher_temp)``, a constant: ``(masks_weight *
    F.cross_entropy(student_out / student_temp, q, reduction="none")).sum() / len(mask)``, so that every image with a
    masked patch weighs the same.

    Value and gradient are those of DINOv2's ``iBOTPatchLoss.forward_masked`` and lightly's ``IBOTPatchLoss``. Every
    logit is read once (on a GPU once more for the gradient), and no probability is written to memory. With
    ``masks_weight`` nothing waits for a GPU, and the number of rows may be larger than that of masked patches, so that
    it is the same for every batch: rows of weight 0 are not read and get a gradient of 0. Nothing masked gives 0.
    Accumulates in float32 (float64 inputs in float64). A second derivative raises.

    Args:
        teacher_out: logits of the masked patches, (M, K), floating point, any strides; gets no gradient.
        student_out: logits of the same patches, (M, K), on the same device.
        mask: bool (B, ...), True where a patch is masked: the rows are its True positions in order. Of a mask with
            ``masks_weight`` only B is used.
        center: K numbers, subtracted from the teacher's rows, in any shape. Default: None, none.
        masks_weight: (M,), floating point, in [0, 1]: 1 / the number of masked patches of the row's image, and 0 for a
            row to leave out, as :func:`sslfast.masking.dino_masks` makes them. Default: None, made from ``mask``.
        teacher_temp: divides the teacher's logits. Default: 0.04.
        student_temp: divides the student's logits. Default: 0.1.
        centering: "centering", or "sinkhorn_knopp": ``q`` is ``sinkhorn_knopp(teacher_out, sinkhorn_iterations,
            teacher_temp)`` over the rows of all ranks whose weight is not 0. Default: "centering".
        sinkhorn_iterations: at least 1. Default: 3.
        gather_distributed: with torch.distributed initialised, return the loss of the samples of all ranks, the same on
            every rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in
            size, and two numbers travel. Otherwise the loss is the rank's own, whose mean over shards of one size this
            is. Default: False.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if logits, ``center`` or ``masks_weight`` are not floating-point tensors, or float64 on a GPU,
            ``mask`` is not a bool tensor, a temperature not a number, ``sinkhorn_iterations`` not an int or
            ``gather_distributed`` not a bool.
        ValueError: if ``teacher_out`` is not (M, K) with K >= 1, ``student_out`` differs in shape or device, ``mask``
            has no image or no patches, or, without ``masks_weight`` and on the CPU, not M patches masked; ``center``
            has not K numbers, or is given with "sinkhorn_knopp"; ``masks_weight`` is not (M,), or on the CPU not in
            [0, 1], or one of these is on another device; a temperature is below 1e-8 or infinite; ``centering`` is none
            of these, or ``sinkhorn_iterations`` is below 1; with ``gather_distributed`` or "sinkhorn_knopp" on all of
            several ranks, if one raises, or they differ in K, in an option that the sums depend on, or in whether what
            is summed, of the teacher with "sinkhorn_knopp", is float64.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Zhou et al., "iBOT: Image BERT Pre-Training with Online Tokenizer", ICLR 2022; Oquab et al., "DINOv2:
    Learning Robust Visual Features without Supervision", TMLR 2024.
    """
    options = (masks_weight, centering, teacher_temp, student_temp, sinkhorn_iterations, gather_distributed)
    return _ibot("ibot_patch_loss", teacher_out, student_out, mask, center, *options, False)[0]


def _ibot(
    name: str,
    teacher_out: Tensor,
    student_out: Tensor,
    mask: Tensor,
    center: Tensor | None,
    masks_weight: Tensor | None,
    centering: str,
    teacher_temp: float,
    student_temp: float,
    iterations: int,
    gather: bool,
    need_sum: bool,
) -> tuple[Tensor, Tensor]:
    strategy = sharing(gather, centering == "sinkhorn_knopp")
    with JointChecks(name, gather if centering == "centering" else True, teacher_out, takes_none=True):
        for argument, rows in (("teacher_out", teacher_out), ("student_out", student_out)):
            check_floating(name, argument, rows)
        if teacher_out.dim() != 2 or teacher_out.shape[1] == 0:
            raise ValueError(f"{name}: teacher_out must have shape (M, K) with K >= 1, got {tuple(teacher_out.shape)}")
        check_like(name, "teacher_out", teacher_out, "student_out", student_out)
        check_kernel_dtype(name, teacher_out, student_out)
        weights = _weights(name, mask, masks_weight, teacher_out)
        options = checked_options(name, teacher_temp, student_temp, centering, iterations, gather)
        centers = check_center(name, center, teacher_out, centering)
    agree_on_views(name, strategy, [teacher_out], [student_out], centers, options)
    if options.balanced:
        wide = torch.float64 if teacher_out.dtype == torch.float64 else torch.float32
        centers = balanced_center(teacher_out.detach(), options.teacher_temp, options.iterations, weights.to(wide))
    targets = SoftTargets(*options.temperatures, 1 / len(mask), False, need_sum)
    loss, total = soft_cross_entropy(name, [student_out], [teacher_out], centers, weights, targets)
    return mean_over_ranks(loss, count=len(mask)) if options.gather else loss, total


def _weights(function: str, mask: Tensor, masks_weight: Tensor | None, rows: Tensor) -> Tensor:
    """(M,), what the rows weigh."""
    of_dtype(function, "mask", mask, torch.bool)
    if mask.dim() < 2 or 0 in mask.shape:
        raise ValueError(f"{function}: mask must have shape (B, ...) with B >= 1 and patches, got {tuple(mask.shape)}")
    given = mask if masks_weight is None else masks_weight
    if masks_weight is not None:
        check_floating(function, "masks_weight", masks_weight)
        if masks_weight.shape != rows.shape[:1]:
            expected = f"({len(rows)},)"
            raise ValueError(f"{function}: masks_weight must have shape {expected}, got {tuple(masks_weight.shape)}")
    if given.device != rows.device:
        name = "mask" if masks_weight is None else "masks_weight"
        raise ValueError(f"{function}: {name} must be on {rows.device}, like the logits, got {given.device}")
    if masks_weight is not None:
        if masks_weight.is_cpu and len(masks_weight) and not torch.compiler.is_compiling():
            low, high = (end.item() for end in masks_weight.detach().aminmax())
            if not (low >= 0 and high <= 1):
                raise ValueError(f"{function}: masks_weight must be in [0, 1], got {high if low >= 0 else low}")
        return masks_weight
    counts = mask.flatten(1).sum(dim=1)
    if mask.is_cpu and not torch.compiler.is_compiling() and int(counts.sum()) != len(rows):
        raise ValueError(f"{function}: mask must have {len(rows)} patches masked, one a row, got {int(counts.sum())}")
    wide = torch.float64 if rows.dtype == torch.float64 else torch.float32
    return torch.repeat_interleave(counts.clamp_min(1).to(wide).reciprocal(), counts, output_size=len(rows))
