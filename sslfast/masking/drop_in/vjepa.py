"""V-JEPA's collator under its own name: facebookresearch/jepa, ``src/masks/multiblock3d.py``."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast import _check
from sslfast.masking._arguments import errors_of
from sslfast.masking._examples import check_examples, collated
from sslfast.masking.jepa_mask import VJepaMasks, vjepa_masks

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

    Raises:
        KeyError: a setting lacks one of the four.
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        cfgs_mask: Sequence[Mapping[str, Any]],
        crop_size: int | tuple[int, int] = (224, 224),
        num_frames: int = 16,
        patch_size: int | tuple[int, int] = (16, 16),
        tubelet_size: int = 2,
    ) -> None:
        name = "MaskCollator"
        sides = crop_size if isinstance(crop_size, (tuple, list)) else (crop_size, crop_size)
        pixels = _check.grid(name, "crop_size", sides, "(H, W)", 2**31)
        sides = patch_size if isinstance(patch_size, (tuple, list)) else (patch_size, patch_size)
        patch = _check.grid(name, "patch_size", sides, "(h, w)", 2**31)
        frames = _check.integer(name, "num_frames", num_frames, 1)
        tubelet = _check.integer(name, "tubelet_size", tubelet_size, 1, frames)
        if pixels[0] < patch[0] or pixels[1] < patch[1]:
            raise ValueError(f"{name}: crop_size must be at least patch_size {patch}, got {pixels}")
        self.grid = (frames // tubelet, pixels[0] // patch[0], pixels[1] // patch[1])
        if isinstance(cfgs_mask, (Mapping, str)) or not isinstance(cfgs_mask, Sequence):
            raise TypeError(f"{name}: cfgs_mask must be a list of mappings, got {type(cfgs_mask).__name__}")
        if len(cfgs_mask) == 0:
            raise ValueError(f"{name}: cfgs_mask must not be empty, got {cfgs_mask}")
        self.settings = [_setting(f"cfgs_mask[{i}]", cfg) for i, cfg in enumerate(cfgs_mask)]
        self._calls = multiprocessing.Value("q", -1)  # of all workers
        for which in range(len(self.settings)):
            self._masks(which, 0, 0, 0)  # checks the rest

    def step(self) -> int:
        """Counts one call and returns its number."""
        with self._calls.get_lock():
            self._calls.value += 1
            return int(self._calls.value)

    def __call__(self, batch: Sequence[Any]) -> tuple[Any, list[Tensor], list[Tensor]]:
        """``(collated, masks_enc, masks_pred)``: of each setting an int64 (N, K) and an int64 (N, K').

        Raises:
            KeyError: an example has not a key of the first.
            TypeError: the batch is no list, or an example cannot be collated.
            ValueError: there is no example, or their shapes differ.
        """
        check_examples("MaskCollator", batch, "batch")
        collated_batch = collated("MaskCollator", batch)
        call = self.step()
        masks = [
            self._masks(which, len(batch), call, int(torch.randint(2**62, ()))) for which in range(len(self.settings))
        ]
        return collated_batch, [m.masks_enc for m in masks], [m.masks_pred for m in masks]

    def _masks(self, which: int, rows: int, call: int, row_offset: int) -> VJepaMasks:
        with errors_of(
            "MaskCollator", npred="num_blocks", max_context_frames_ratio="max_temporal_keep", grid="crop_size"
        ):
            return vjepa_masks(
                rows,
                self.grid,
                **self.settings[which],
                mode="compat",
                generator=which,  # sizes are keyed by setting and call, places by rows that nobody else has
                batch_number=call,
                row_offset=row_offset,
                device="cpu",
            )


def _setting(name: str, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """One setting in the words of :func:`vjepa_masks`."""
    if not isinstance(cfg, Mapping):
        raise TypeError(f"MaskCollator: {name} must be a mapping, got {type(cfg).__name__}")
    for key in ("spatial_scale", "temporal_scale", "aspect_ratio", "num_blocks"):
        if key not in cfg:
            raise KeyError(f"MaskCollator: {name} must have {key!r}, got {', '.join(map(repr, cfg)) or 'nothing'}")
    return {
        "spatial_scale": cfg["spatial_scale"],
        "temporal_scale": cfg["temporal_scale"],
        "aspect_ratio": cfg["aspect_ratio"],
        "npred": cfg["num_blocks"],
        "max_context_frames_ratio": cfg.get("max_temporal_keep", 1.0),
        "max_keep": cfg.get("max_keep"),
    }
