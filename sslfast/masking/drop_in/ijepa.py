"""I-JEPA's collator under its own name: facebookresearch/ijepa, ``src/masks/multiblock.py``."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast import _check
from sslfast.masking._arguments import errors_of
from sslfast.masking._examples import check_examples, collated
from sslfast.masking.jepa_mask import IJepaMasks, ijepa_masks

__all__ = ["MaskCollator"]


class MaskCollator:
    """``MaskCollator`` of I-JEPA: collates images and draws their contexts and target blocks in "compat" mode.

    Has the collator's five defects (see :func:`sslfast.masking.ijepa_masks`): the last line and column are never masked
    nor context, contexts are cut to their first patches, they shrink with the batch, one draw decides share and aspect,
    and no block is as high or wide as the grid. As there, the sizes of a batch's blocks depend on the number of the
    call alone, counted over all workers, so that the ranks of a run draw equal sizes; places come from torch's global
    generator. What does not end there ends here: after 20 times a context avoids one target less, at last none.

    Args:
        input_size: height and width of an image in pixels, or one number for both. Default: (224, 224).
        patch_size: side of a patch in pixels. Default: 16.
        enc_mask_scale: least and largest share of the patches that a context's block has. Default: (0.2, 0.8).
        pred_mask_scale: least and largest share of the patches that a target block has. Default: (0.2, 0.8).
        aspect_ratio: least and largest height over width of a target block. Default: (0.3, 3.0).
        nenc: contexts of an image. Default: 1.
        npred: target blocks of an image. Default: 2.
        min_keep: a context has more patches than that. Default: 4.
        allow_overlap: leave the patches of targets in the contexts. Default: False.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        input_size: int | tuple[int, int] = (224, 224),
        patch_size: int = 16,
        enc_mask_scale: Sequence[float] = (0.2, 0.8),
        pred_mask_scale: Sequence[float] = (0.2, 0.8),
        aspect_ratio: Sequence[float] = (0.3, 3.0),
        nenc: int = 1,
        npred: int = 2,
        min_keep: int = 4,
        allow_overlap: bool = False,
    ) -> None:
        name = "MaskCollator"
        self.patch_size = _check.integer(name, "patch_size", patch_size, 1)
        sizes = input_size if isinstance(input_size, (tuple, list)) else (input_size, input_size)
        pixels = _check.grid(name, "input_size", sizes, "(H, W)", 2**31)
        if min(pixels) < patch_size:
            raise ValueError(f"{name}: input_size must be at least patch_size {patch_size}, got {pixels}")
        self.height, self.width = (side // patch_size for side in pixels)
        self.enc_mask_scale = enc_mask_scale
        self.pred_mask_scale = pred_mask_scale
        self.aspect_ratio = aspect_ratio
        self.nenc = nenc
        self.npred = npred
        self.min_keep = min_keep
        self.allow_overlap = allow_overlap
        self._calls = multiprocessing.Value("q", -1)  # of all workers
        self._masks(0, 0, 0)  # checks the rest

    def step(self) -> int:
        """Counts one call and returns its number."""
        with self._calls.get_lock():
            self._calls.value += 1
            return int(self._calls.value)

    def __call__(self, batch: Sequence[Any]) -> tuple[Any, list[Tensor], list[Tensor]]:
        """``(collated, masks_enc, masks_pred)``: ``nenc`` int64 (N, K) and ``npred`` int64 (N, K').

        Raises:
            KeyError: an example has not a key of the first.
            TypeError: the batch is no list, or an example cannot be collated.
            ValueError: there is no example, or their shapes differ.
        """
        check_examples("MaskCollator", batch, "batch")
        collated_batch = collated("MaskCollator", batch)
        masks = self._masks(len(batch), self.step(), int(torch.randint(2**62, ())))
        return collated_batch, masks.masks_enc, masks.masks_pred

    def _masks(self, rows: int, call: int, row_offset: int) -> IJepaMasks:
        with errors_of("MaskCollator"):
            return ijepa_masks(
                rows,
                (self.height, self.width),
                enc_mask_scale=self.enc_mask_scale,
                pred_mask_scale=self.pred_mask_scale,
                aspect_ratio=self.aspect_ratio,
                nenc=self.nenc,
                npred=self.npred,
                min_keep=self.min_keep,
                allow_overlap=self.allow_overlap,
                mode="compat",
                generator=0,  # sizes are keyed by the call alone, places by rows that nobody else has
                batch_number=call,
                row_offset=row_offset,
                device="cpu",
            )
