"""V-JEPA's collator under its own name: facebookresearch/jepa, ``src/masks/multiblock3d.py``."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from sslfast.masking.jepa_mask import vjepa_masks

__all__ = ["MaskCollator"]


class MaskCollator:
    """``MaskCollator`` of V-JEPA: collates videos and draws their contexts and targets by several settings, in "compat"
    mode: lists are cut to their first patches, so that the last frames are hardly ever context.

    As there, the sizes of a batch's blocks depend on the setting's number of the call alone, counted over all workers,
    so that the ranks of a run draw equal sizes; here the settings of one call draw independently, there they share a
    seed. Places come from torch's global generator. Blocks that leave no context are placed again; after 20 times there
    is one less, so that it ends.

    Args:
        cfgs_mask: one mapping a setting, with ``spatial_scale``, ``temporal_scale``, ``aspect_ratio``, ``num_blocks``
            and, if given, ``max_temporal_keep`` (1.0) and ``max_keep`` (None).
        crop_size: height and width of a video in pixels, or one number for both. Default: (224, 224).
        num_frames: frames of a video. Default: 16.
        patch_size: side of a patch in pixels, or its height and width. Default: (16, 16).
        tubelet_size: frames of a patch. Default: 2.
    """

    def __init__(
        self,
        cfgs_mask: Sequence[Mapping[str, Any]],
        crop_size: int | tuple[int, int] = (224, 224),
        num_frames: int = 16,
        patch_size: int | tuple[int, int] = (16, 16),
        tubelet_size: int = 2,
    ) -> None:
        pixels = crop_size if isinstance(crop_size, tuple) else (crop_size, crop_size)
        patch = patch_size if isinstance(patch_size, tuple) else (patch_size, patch_size)
        self.grid = (num_frames // tubelet_size, pixels[0] // patch[0], pixels[1] // patch[1])
        self.settings = [
            {
                "spatial_scale": cfg["spatial_scale"],
                "temporal_scale": cfg["temporal_scale"],
                "aspect_ratio": cfg["aspect_ratio"],
                "npred": cfg["num_blocks"],
                "max_context_frames_ratio": cfg.get("max_temporal_keep", 1.0),
                "max_keep": cfg.get("max_keep"),
            }
            for cfg in cfgs_mask
        ]
        self._calls = multiprocessing.Value("q", -1)  # of all workers

    def step(self) -> int:
        """Counts one call and returns its number."""
        with self._calls.get_lock():
            self._calls.value += 1
            return int(self._calls.value)

    def __call__(self, batch: Sequence[Any]) -> tuple[Any, list[Tensor], list[Tensor]]:
        """``(collated, masks_enc, masks_pred)``: of each setting an int64 (N, K) and an int64 (N, K').

        Raises:
            TypeError: an argument of the collator has the wrong type, or an example cannot be collated.
            ValueError: an argument of the collator is out of range.
        """
        collated = default_collate(list(batch))
        number = self.step()
        masks = [
            vjepa_masks(
                len(batch),
                self.grid,
                **setting,
                mode="compat",
                generator=which,  # sizes are keyed by setting and call, places by rows that nobody else has
                batch_number=number,
                row_offset=int(torch.randint(2**62, ())),
                device="cpu",
            )
            for which, setting in enumerate(self.settings)
        ]
        return collated, [m.masks_enc for m in masks], [m.masks_pred for m in masks]
