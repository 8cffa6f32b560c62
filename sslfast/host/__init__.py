"""The masking operators over NumPy arrays, for DataLoader workers, tokenising jobs and people without torch.

The same kernels as behind the torch functions: equal arguments and seed give equal bits. The GIL is released while
they run. Nothing here imports torch.
"""

from sslfast.host.block_mask import block_mask, inverse_block_mask
from sslfast.host.cell_mask import frame_mask, grid_patch_mask, tube_mask
from sslfast.host.dino_mask import DinoMasks, dino_masks
from sslfast.host.jepa_mask import IJepaMasks, VJepaMasks, ijepa_masks, vjepa_masks
from sslfast.host.patch_mask import PatchMask, random_patch_mask
from sslfast.host.philox_words import philox_words, step_seed
from sslfast.host.square_mask import square_mask
from sslfast.host.token_mask import mask_tokens

__all__ = [
    "DinoMasks",
    "IJepaMasks",
    "PatchMask",
    "VJepaMasks",
    "block_mask",
    "dino_masks",
    "frame_mask",
    "grid_patch_mask",
    "ijepa_masks",
    "inverse_block_mask",
    "mask_tokens",
    "philox_words",
    "random_patch_mask",
    "square_mask",
    "step_seed",
    "tube_mask",
    "vjepa_masks",
]
