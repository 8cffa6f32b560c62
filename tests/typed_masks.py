"""What a type checker makes of the masking rules: ``make lint`` runs mypy over this file, nothing runs it.

A rule's type follows ``return_counts``; ``mode`` and the other words are plain strings.
"""

from __future__ import annotations

from typing import assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslfast import host, masking

mode: str = "compat"
wanted: bool = bool(torch.rand(()) < 0.5)
ids = torch.arange(40).view(2, 20)

assert_type(masking.time_mask(2, 100), Tensor)
assert_type(masking.time_mask(2, 100, return_counts=False), Tensor)
assert_type(masking.time_mask(2, 100, return_counts=True).counts, Tensor)
either = masking.time_mask(2, 100, return_counts=wanted)
mask: Tensor = either if isinstance(either, Tensor) else either.mask
assert_type(masking.block_mask(2, (8, 8), (9.5, 20.5), mode=mode), Tensor)
assert_type(masking.block_mask(2, (8, 8), 20, return_counts=True).indices, Tensor)
assert_type(masking.inverse_block_mask(2, (8, 8), return_counts=True).indices, Tensor)
assert_type(masking.grid_patch_mask(2, (8, 8), 2, return_counts=True).indices, Tensor)
assert_type(masking.tube_mask(2, (2, 8, 8), return_counts=True).indices, Tensor)
assert_type(masking.frame_mask(2, (2, 8, 8), return_counts=True).indices, Tensor)
assert_type(masking.square_mask(2, (8, 8), return_counts=True).indices, Tensor)
assert_type(masking.mask_items(ids, mask_id=50, mode=mode).labels, Tensor)
assert_type(masking.mask_items(ids, mask_id=50, return_counts=True).counts, Tensor)
assert_type(masking.permutation_mask(ids, mask_token_id=4, return_counts=True).counts, Tensor)
assert_type(masking.mask_spans(ids, mask_token_id=4, vocab_size=50, return_counts=True).counts, Tensor)
assert_type(masking.random_patch_mask(2, 49, return_counts=True).counts, Tensor)
words = masking.mask_words(ids, word_ids=ids, mask_token_id=4, vocab_size=50, replace=mode)[0]
collators = [
    masking.MLMCollator(vocab_size=50, mask_token_id=4, mode=mode, return_tensors=mode),
    masking.WholeWordCollator(vocab_size=50, mask_token_id=4, mode=mode, replace=mode),
]

assert_type(host.time_mask(2, 100, seed=1), NDArray[np.bool_])
assert_type(host.time_mask(2, 100, seed=1, return_counts=True).counts, NDArray[np.int64])
assert_type(host.block_mask(2, (8, 8), 20, seed=1, return_counts=True).mask, NDArray[np.bool_])
assert_type(host.mask_items(ids.numpy(), mask_id=50, seed=1, return_counts=True).counts, NDArray[np.int64])
padded: NDArray[np.int64] = host.pad_sequences([[1]], padding_value=0, side=mode)
