"""Masking rules: token and patch masks from counter-based draws, equal on every device."""

from sslfast.masking.block_mask import block_mask, inverse_block_mask
from sslfast.masking.cell_mask import frame_mask, grid_patch_mask, tube_mask
from sslfast.masking.dino_mask import DinoMasks, dino_masks
from sslfast.masking.ijepa_collator import IJEPACollator
from sslfast.masking.jepa_mask import IJepaMasks, VJepaMasks, ijepa_masks, vjepa_masks
from sslfast.masking.mask_indices import MaskIndices, mask_indices
from sslfast.masking.masked_patch_collator import MaskedPatchCollator
from sslfast.masking.patch_mask import PatchMask, mask_patches, random_patch_mask
from sslfast.masking.square_mask import square_mask
from sslfast.masking.token_mask import mask_tokens

__all__ = [
    "DinoMasks",
    "IJEPACollator",
    "IJepaMasks",
    "MaskIndices",
    "MaskedPatchCollator",
    "PatchMask",
    "VJepaMasks",
    "block_mask",
    "dino_masks",
    "frame_mask",
    "grid_patch_mask",
    "ijepa_masks",
    "inverse_block_mask",
    "mask_indices",
    "mask_patches",
    "mask_tokens",
    "random_patch_mask",
    "square_mask",
    "tube_mask",
    "vjepa_masks",
]
