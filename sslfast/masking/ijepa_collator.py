"""A collator that draws I-JEPA's contexts and targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sslfast import _check
from sslfast.masking._arguments import errors_of
from sslfast.masking._draws import CollatorDraws
from sslfast.masking._examples import check_examples, collated
from sslfast.masking.jepa_mask import ijepa_masks
from sslfast.masking.masked_patch_collator import batch_number


class IJEPACollator:
    """Collates images and draws I-JEPA's contexts and target blocks of each: :func:`ijepa_masks`.

    Takes the arguments of I-JEPA's ``MaskCollator``, with the same defaults, and returns what it does; with
    ``mode="exact"`` without its defects. ``sslfast.masking.drop_in.ijepa.MaskCollator`` has its distribution.

    Without ``seed`` the draws come from torch's global generator, which a DataLoader seeds in each worker. With
    ``seed`` and ``sample_id_key`` a sample's blocks are placed alike in a given epoch wherever it is, and the sizes of
    a batch's blocks are keyed by the id of its first sample. Works in DataLoader workers; examples are not changed.

    Args:
        input_size: height and width of an image in pixels, or one number for both. Default: (224, 224).
        patch_size: side of a patch in pixels. Default: 16.
        enc_mask_scale: least and largest share of the patches that a context's block has. Default: (0.2, 0.8).
        pred_mask_scale: least and largest share of the patches that a target block has. Default: (0.2, 0.8).
        aspect_ratio: least and largest height over width of a target block. Default: (0.3, 3.0).
        nenc: contexts of an image, in [1, 16]. Default: 1.
        npred: target blocks of an image, in [1, 16]. Default: 2.
        min_keep: least patches of a context, at most all. Default: 4.
        allow_overlap: leave the patches of targets in the contexts. Default: False.
        pad: do not truncate contexts to the shortest of the batch: -1 behind the shorter ones. Default: False.
        mode: "exact" or "compat", see :func:`ijepa_masks`. Default: "exact".
        seed: None | int seed. Default: None.
        sample_id_key: the name of an example's integer id; examples are mappings then. Default: None.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.

    Reference: Assran et al., "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture",
    CVPR 2023; facebookresearch/ijepa, ``src/masks/multiblock.py``.
    """

    def __init__(
        self,
        input_size: int | Sequence[int] = (224, 224),
        patch_size: int = 16,
        enc_mask_scale: Sequence[float] = (0.2, 0.8),
        pred_mask_scale: Sequence[float] = (0.2, 0.8),
        aspect_ratio: Sequence[float] = (0.3, 3.0),
        nenc: int = 1,
        npred: int = 2,
        min_keep: int = 4,
        allow_overlap: bool = False,
        *,
        pad: bool = False,
        mode: str = "exact",
        seed: int | None = None,
        sample_id_key: str | None = None,
    ) -> None:
        name = "IJEPACollator"
        sizes = input_size if isinstance(input_size, (tuple, list)) else (input_size, input_size)
        patch_size = _check.integer(name, "patch_size", patch_size, 1)
        pixels = _check.grid(name, "input_size", sizes, "(H, W)", 2**31)
        if min(pixels) < patch_size:
            raise ValueError(f"{name}: input_size must be at least patch_size {patch_size}, got {pixels}")
        self._grid = tuple(side // patch_size for side in pixels)
        self._options: dict[str, Any] = {
            "enc_mask_scale": enc_mask_scale,
            "pred_mask_scale": pred_mask_scale,
            "aspect_ratio": aspect_ratio,
            "nenc": nenc,
            "npred": npred,
            "min_keep": min_keep,
            "allow_overlap": allow_overlap,
            "pad": pad,
            "mode": mode,
        }
        self._draws = CollatorDraws(name, seed, sample_id_key)
        with errors_of(name):
            ijepa_masks(0, self._grid, generator=0, device="cpu", **self._options)  # checks the rest

    def set_epoch(self, epoch: int) -> None:
        """Makes later calls draw anew. The epoch is at least 0.

        Raises:
            TypeError: if it is not an integer.
            ValueError: if it is negative.
        """
        self._draws.set_epoch(epoch)

    def __call__(self, examples: Sequence[Any]) -> tuple[Any, list[Tensor], list[Tensor]]:
        """``(collated, masks_enc, masks_pred)``: the examples by ``default_collate``, ``nenc`` int64 (N, K), ``npred``
        int64 (N, K').

        Raises:
            KeyError: if an example has no ``sample_id_key``, or not a key of the first.
            TypeError: if examples are no list, cannot be collated, or have no usable id.
            ValueError: if there is no example, or their shapes differ.
        """
        check_examples("IJEPACollator", examples)
        generator, sample_ids = self._draws.next_call(examples)
        batch = collated("IJEPACollator", examples)
        number = 0 if sample_ids is None else batch_number(sample_ids)
        draws: dict[str, Any] = {"generator": generator, "sample_ids": sample_ids, "batch_number": number}
        masks = ijepa_masks(len(examples), self._grid, device="cpu", **draws, **self._options)
        return batch, masks.masks_enc, masks.masks_pred
