"""DINOv2's block masks under its own names: facebookresearch/dinov2, ``data/masking.py`` and ``data/collate.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast import _block_ranges, _check, ops
from sslfast.masking._examples import check_examples, stacked
from sslfast.random import seed_tensor

__all__ = ["MaskingGenerator", "collate_data_and_cast"]


class MaskingGenerator:
    """``dinov2.data.masking.MaskingGenerator``: block masks of one image, in :func:`sslfast.masking.block_mask`'s
    "compat" mode.

    As there, at most the asked number of patches is masked (93 % of the masks of 58 in 14 x 14 have exactly so many),
    no block is as high or wide as the grid, and the centre is masked far more often than the corners. The draws come
    from torch's global generator, not from Python's ``random``.

    Args:
        input_size: patches along height and width, (H, W), or one number for both.
        num_masking_patches: the limit of a block's area where ``max_num_patches`` is None. Default: None, no limit.
        min_num_patches: least area of a block. Default: 4.
        max_num_patches: largest area of a block. Default: None. Where the least is above it, areas are drawn between
            the two all the same, as there.
        min_aspect: least height over width of a block. Default: 0.3.
        max_aspect: largest height over width of a block. Default: None, ``1 / min_aspect``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        input_size: int | Sequence[int],
        num_masking_patches: int | None = None,
        min_num_patches: float = 4,
        max_num_patches: float | None = None,
        min_aspect: float = 0.3,
        max_aspect: float | None = None,
    ) -> None:
        name = "MaskingGenerator"
        sides = input_size if isinstance(input_size, (tuple, list)) else (input_size, input_size)
        self.height, self.width = _check.grid(name, "input_size", sides, "(H, W)", _block_ranges.LONGEST_SIDE)
        self.num_patches = self.height * self.width
        if num_masking_patches is not None:
            num_masking_patches = _check.integer(name, "num_masking_patches", num_masking_patches, 0)
        self.num_masking_patches = num_masking_patches
        self.min_num_patches = _check.real(name, "min_num_patches", min_num_patches)
        self.max_num_patches = num_masking_patches if max_num_patches is None else max_num_patches
        most = self.num_patches if self.max_num_patches is None else self.max_num_patches
        most = _check.real(name, "max_num_patches", most)
        if self.min_num_patches < 0 or most < 0:
            limits = (self.min_num_patches, self.max_num_patches)
            raise ValueError(f"{name}: min_num_patches and max_num_patches must not be negative, got {limits}")
        self.log_aspect_ratio = _block_ranges.log_aspect(name, min_aspect, max_aspect)
        self.ranges = (self.min_num_patches, most, *self.log_aspect_ratio)

    def __repr__(self) -> str:
        least, most, low, high = self.ranges
        aspects = f"{low:.3f} to {high:.3f}"
        return f"MaskingGenerator({self.height}, {self.width}, blocks of {least} to {most}, log aspects {aspects})"

    def get_shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width

    def __call__(self, num_masking_patches: int = 0) -> Any:
        """A NumPy array, bool (H, W), True where a patch is masked: at most ``num_masking_patches`` of them, none where
        that is below 0, as there.

        Raises:
            TypeError: if the number is not an integer.
        """
        number = _check.integer("MaskingGenerator", "num_masking_patches", num_masking_patches, -(2**63))
        target = min(max(number, 0), self.num_patches)
        like, seed = torch.empty(()), seed_tensor()
        rule = (target, target, 1.0, 1, *self.get_shape(), *self.ranges, False, False, 0)
        mask = ops.block_mask(like, seed, None, None, *rule)
        return mask[0].numpy()


def collate_data_and_cast(
    samples_list: Sequence[Any],
    mask_ratio_tuple: Sequence[float],
    mask_probability: float,
    dtype: torch.dtype,
    n_tokens: int | None = None,
    mask_generator: Callable[[int], Any] | None = None,
) -> dict[str, Any]:
    """``dinov2.data.collate.collate_data_and_cast``: stacks the crops of a batch and masks its global ones.

    With a :class:`MaskingGenerator` of ``n_tokens`` patches the whole batch is masked at once, as
    :func:`sslfast.masking.dino_masks` does in "compat" mode; another generator is called once an image.

    Args:
        samples_list: examples ``(crops, ...)``, where ``crops["global_crops"]`` and ``crops["local_crops"]`` are lists
            of tensors.
        mask_ratio_tuple: least and largest share of masked patches.
        mask_probability: share of the global crops that is masked, rounded down to a whole number of them.
        dtype: what the crops are cast to.
        n_tokens: patches of a global crop. Default: None, which raises, as in DINOv2.
        mask_generator: number of patches -> bool (H, W). Default: None, which raises.

    Returns:
        A dict of ``collated_global_crops``, ``collated_local_crops``, ``collated_masks`` bool (B, n_tokens),
        ``mask_indices_list`` int64 (n,), ``masks_weight`` float32 (n,), ``upperbound`` int and
        ``n_masked_patches`` int64 (1,).

    Raises:
        KeyError: an example has no global or no local crops.
        TypeError: ``n_tokens`` or ``mask_generator`` is missing, an argument has the wrong type, or an example is no
            tuple with a mapping of lists of tensors.
        ValueError: there is no example, examples have other numbers or shapes of crops, a ratio or the probability is
            out of range, or the masks have not ``n_tokens`` patches.
    """
    name = "collate_data_and_cast"
    if n_tokens is None or mask_generator is None:
        raise TypeError(f"{name}: n_tokens and mask_generator must be given, got None")
    n_tokens = _check.integer(name, "n_tokens", n_tokens, 1)
    if not callable(mask_generator):
        raise TypeError(f"{name}: mask_generator must be callable, got {type(mask_generator).__name__}")
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{name}: dtype must be a torch.dtype, got {type(dtype).__name__}")
    check_examples(name, samples_list, "samples_list")
    low, high = _check.interval(name, "mask_ratio_tuple", mask_ratio_tuple, 0, 1)
    probability = _check.probability(name, "mask_probability", mask_probability)
    crops = {key: _stacked_crops(name, key, samples_list) for key in ("global_crops", "local_crops")}
    rows = len(crops["global_crops"])
    masked_rows = int(rows * probability)
    bins = torch.linspace(low, high, masked_rows + 1)  # float32, and so are the products below, as published
    upperbound = int((n_tokens * bins[1:]).long().sum())
    if isinstance(mask_generator, MaskingGenerator) and mask_generator.num_patches == n_tokens:
        masks, indices, weights, found = _whole_batch(mask_generator, rows, masked_rows, low, high)
    else:
        masks, indices, weights, found = _one_by_one(mask_generator, rows, bins, n_tokens)
    if masks.shape[1] != n_tokens:
        raise ValueError(f"{name}: mask_generator must return masks of {n_tokens} patches, got {masks.shape[1]}")
    return {
        "collated_global_crops": crops["global_crops"].to(dtype),
        "collated_local_crops": crops["local_crops"].to(dtype),
        "collated_masks": masks,
        "mask_indices_list": indices,
        "masks_weight": weights,
        "upperbound": upperbound,
        "n_masked_patches": found,
    }


def _stacked_crops(function: str, key: str, samples: Sequence[Any]) -> Tensor:
    """The first crop of all examples, the second of all, and so on."""
    lists = []
    for sample in samples:
        if not isinstance(sample, (tuple, list)) or len(sample) == 0 or not isinstance(sample[0], Mapping):
            raise TypeError(f"{function}: an example must be a tuple (crops, ...), got {type(sample).__name__}")
        if key not in sample[0]:
            raise KeyError(f"{function}: an example's crops must have {key!r}, got {', '.join(map(repr, sample[0]))}")
        lists.append(sample[0][key])
        if len(lists[-1]) != len(lists[0]):
            expected = f"must have {len(lists[0])} {key} like the first"
            raise ValueError(f"{function}: an example {expected}, got {len(lists[-1])}")
    if len(lists[0]) == 0:
        raise ValueError(f"{function}: examples must have {key}, got none")
    return stacked(function, key, [crops[i] for i in range(len(lists[0])) for crops in lists])


def _whole_batch(
    generator: MaskingGenerator, rows: int, masked_rows: int, low: float, high: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    capacity = _block_ranges.dino_upperbound(generator.num_patches, masked_rows, low, high)
    options = (*generator.ranges, False, False, masked_rows, low, high, capacity, 0, 0)
    masks, indices, weights, found = ops.dino_mask(
        torch.empty(()), seed_tensor(), None, rows, *generator.get_shape(), *options
    )
    return masks, indices[: int(found)].clone(), weights[: int(found)].clone(), found


def _one_by_one(
    generator: Callable[[int], Any], rows: int, bins: Tensor, n_tokens: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ratios = bins[:-1] + (bins[1:] - bins[:-1]) * torch.rand(len(bins) - 1)
    targets = [int(n_tokens * ratio) for ratio in ratios.tolist()] + [0] * (rows - len(ratios))
    order = torch.randperm(rows).tolist()
    masks = torch.stack([torch.as_tensor(generator(targets[i]), dtype=torch.bool) for i in order]).flatten(1)
    indices = masks.flatten().nonzero().flatten()
    weights = (1 / masks.sum(1).clamp(min=1))[indices // masks.shape[1]]
    return masks, indices, weights, torch.tensor([len(indices)])
