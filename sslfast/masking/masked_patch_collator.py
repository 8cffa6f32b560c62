"""A collator that masks the patches of images and videos."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from sslfast import _check
from sslfast.masking._arguments import errors_of
from sslfast.masking._draws import CollatorDraws
from sslfast.masking._examples import check_examples, collated
from sslfast.masking.block_mask import block_mask, inverse_block_mask
from sslfast.masking.cell_mask import grid_patch_mask
from sslfast.masking.dino_mask import dino_masks
from sslfast.masking.mask_indices import mask_indices, short_form
from sslfast.masking.patch_mask import random_patch_mask
from sslfast.masking.square_mask import square_mask
from sslfast.masking.tube_mask import frame_mask, tube_mask

# (batch size, grid, generator=, sample_ids=, options) -> a mask, or tensors by name
Rule: TypeAlias = Callable[..., "Tensor | Mapping[str, Any]"]


class MaskedPatchCollator:
    """Collates examples and draws a mask of patches for each.

    Examples are stacked by ``torch.utils.data.default_collate``. Of examples that are mappings the result has their
    keys; others are under ``"inputs"``. Beside them is the mask, True where a patch is masked:

    - ``"block"``: :func:`block_mask` of ``int(H * W * mask_ratio)`` patches (default 0.4);
    - ``"ibot"``: :func:`block_mask` as iBOT has it: half of the images are masked, each in a share of its own between
      ``pred_ratio - pred_ratio_var`` and ``pred_ratio + pred_ratio_var`` (0.3 and 0.2), by blocks of at least
      ``(min(H, W) // 3) ** 2`` patches. ``mode="exact"`` draws the number of patches, both ends included;
      ``mode="compat"`` has the distribution of iBOT's loader, which draws the share as a real number;
    - ``"inverse_block"``: :func:`inverse_block_mask`, all but one block;
    - ``"square"``: :func:`square_mask`, all but small squares, data2vec 2.0's;
    - ``"grid"``: :func:`grid_patch_mask`, coarse squares; needs ``cell_size``;
    - ``"random"``: :func:`random_patch_mask` of any grid;
    - ``"tube"`` and ``"frame"``: :func:`tube_mask`, :func:`frame_mask` of a (T, H, W) grid;
    - ``"dinov2"``: :func:`dino_masks`, under DINOv2's names ``collated_masks``, ``mask_indices_list``,
      ``masks_weight``, ``upperbound`` and ``n_masked_patches``, the lists as long as there are masked patches;
    - a callable ``rule(batch_size, grid, *, generator, sample_ids, **options)`` that returns a bool tensor whose first
      dimension is the batch, or a mapping of what is added to the batch.

    Without ``seed`` the draws come from torch's global generator, which a DataLoader seeds in each worker. With
    ``seed`` and ``sample_id_key`` a sample is masked alike in a given epoch wherever it is; what rows share in
    ``"dinov2"`` is then keyed by the id of the batch's first sample. Works in DataLoader workers; examples are not
    changed.

    Args:
        grid: patches along height and width, (H, W), or with time before them, (T, H, W).
        rule: one of the names above, or a callable. Default: "block".
        mask_key: the mask's name in the result. Default: "mask".
        seed: None | int seed. Default: None.
        sample_id_key: the name of an example's integer id; examples are mappings then. Default: None.
        return_masked_indices: whether the batch gets ``masked_indices``, int64 (n,), the ascending flat positions of
            the masked patches, which :func:`sslfast.losses.masked_patch_loss`, ``masked_code_loss`` and
            ``masked_feature_loss`` take, and ``masked_counts``, int64 (N,), how many each row has; not with a rule that
            returns a mapping of its own. Default: False.
        options: keywords of the rule.

    Raises:
        TypeError: an argument has the wrong type, or the rule does not know an option.
        ValueError: an argument is out of range, or the rule needs another grid or an option that is missing.
    """

    def __init__(
        self,
        grid: Sequence[int],
        rule: str | Rule = "block",
        *,
        mask_key: str = "mask",
        seed: int | None = None,
        sample_id_key: str | None = None,
        return_masked_indices: bool = False,
        **options: Any,
    ) -> None:
        name = "MaskedPatchCollator"
        axes = "(T, H, W)" if isinstance(grid, (tuple, list)) and len(grid) == 3 else "(H, W)"
        self._grid = _check.grid(name, "grid", grid, axes)
        if isinstance(rule, str):
            if rule not in _RULES:
                raise ValueError(f"{name}: rule must be one of {', '.join(_RULES)} or a callable, got {rule!r}")
        elif not callable(rule):
            raise TypeError(f"{name}: rule must be a str or a callable, got {type(rule).__name__}")
        if not isinstance(mask_key, str):
            raise TypeError(f"{name}: mask_key must be a str, got {type(mask_key).__name__}")
        self._rule, self._mask_key, self._options = rule, mask_key, options
        self._return_masked_indices = _check.boolean(name, "return_masked_indices", return_masked_indices)
        self._draws = CollatorDraws(name, seed, sample_id_key)
        if isinstance(rule, str):
            _check_options(name, rule, options)
            with errors_of(name):
                self._mask(0, 0, None)  # the rule checks what they are

    def set_epoch(self, epoch: int) -> None:
        """Makes later calls draw anew. The epoch is at least 0.

        Raises:
            TypeError: if it is not an integer.
            ValueError: if it is negative.
        """
        self._draws.set_epoch(epoch)

    def __call__(self, examples: Sequence[Any]) -> dict[str, Any]:
        """The batch and its masks.

        Raises:
            KeyError: if an example has no ``sample_id_key``, or not a key of the first.
            TypeError: if examples are no list, cannot be collated, or have no usable id, or a callable rule returns
                neither a bool tensor nor a mapping, or a mapping where its masked indices are wanted.
            ValueError: if there is no example, their shapes differ, the batch has a key that the masks have too, or a
                callable rule returns a mask of another batch size.
        """
        check_examples("MaskedPatchCollator", examples)
        generator, sample_ids = self._draws.next_call(examples)
        columns = collated("MaskedPatchCollator", examples)
        batch = dict(columns) if isinstance(columns, Mapping) else {"inputs": columns}
        masks = self._mask(len(examples), generator, sample_ids)
        added = dict(masks) if isinstance(masks, Mapping) else {self._mask_key: masks}
        if self._return_masked_indices:
            added |= self._short_form(masks)
        for key in added:
            if key in batch:
                raise ValueError(f"MaskedPatchCollator: an example must not have the key of the mask, got {key!r}")
        return {**batch, **added}

    def _short_form(self, masks: Tensor | Mapping[str, Any]) -> dict[str, Tensor]:
        if isinstance(masks, Tensor):
            return short_form(*mask_indices(masks.cpu()))
        if self._rule == "dinov2":
            return short_form(*mask_indices(masks["collated_masks"]))
        expected = "must return a bool tensor where return_masked_indices"
        raise TypeError(f"MaskedPatchCollator: rule {expected}, got {type(masks).__name__}")

    def _mask(self, rows: int, generator: int | None, sample_ids: Tensor | None) -> Tensor | Mapping[str, Any]:
        rule = _RULES[self._rule][0] if isinstance(self._rule, str) else self._rule
        masks = rule(rows, self._grid, generator=generator, sample_ids=sample_ids, **self._options)
        if isinstance(masks, Mapping):
            return masks
        if not isinstance(masks, Tensor) or masks.dtype != torch.bool:
            got = masks.dtype if isinstance(masks, Tensor) else type(masks).__name__
            raise TypeError(f"MaskedPatchCollator: rule must return a bool tensor or a mapping, got {got}")
        if masks.dim() == 0 or len(masks) != rows:
            expected = f"must return a mask of shape ({rows}, ...)"
            raise ValueError(f"MaskedPatchCollator: rule {expected}, got {tuple(masks.shape)}")
        return masks


def _block(rows: int, grid: Sequence[int], *, mask_ratio: float = 0.4, **options: Any) -> Tensor:
    masked = _check.share("MaskedPatchCollator", math.prod(grid), mask_ratio, "patches")
    return block_mask(rows, grid, masked, device="cpu", **options)


def _ibot(
    rows: int,
    grid: Sequence[int],
    *,
    pred_ratio: float = 0.3,
    pred_ratio_var: float = 0.2,
    mode: str = "exact",
    **options: Any,
) -> Tensor:
    name = "MaskedPatchCollator"
    ratio = _check.probability(name, "pred_ratio", pred_ratio)
    spread = _check.probability(name, "pred_ratio_var", pred_ratio_var)
    if spread > min(ratio, 1 - ratio):
        raise ValueError(f"{name}: pred_ratio_var must leave pred_ratio {ratio} in [0, 1], got {spread}")
    patches = math.prod(grid)
    ends = patches * max(0.0, ratio - spread), patches * min(1.0, ratio + spread)
    numbers = [int(end + 1e-9) for end in ends] if _check.mode_is_exact(name, mode) else ends
    options = {"min_patches": max(1, (min(grid) // 3) ** 2), "mask_probability": 0.5, **options}
    return block_mask(rows, grid, numbers, mode=mode, device="cpu", **options)


def _inverse_block(rows: int, grid: Sequence[int], **options: Any) -> Tensor:
    return inverse_block_mask(rows, grid, device="cpu", **options)


def _grid_cells(rows: int, grid: Sequence[int], *, cell_size: Any = None, **options: Any) -> Tensor:
    if cell_size is None:
        raise ValueError("MaskedPatchCollator: cell_size must be given with rule 'grid', got None")
    return grid_patch_mask(rows, grid, cell_size, device="cpu", **options)


def _random(rows: int, grid: Sequence[int], *, mask_ratio: float = 0.75, **options: Any) -> Tensor:
    return random_patch_mask(rows, math.prod(grid), mask_ratio, device="cpu", **options).mask.view(rows, *grid)


def _square(rows: int, grid: Sequence[int], **options: Any) -> Tensor:
    return square_mask(rows, grid, device="cpu", **options)


def _tube(rows: int, grid: Sequence[int], **options: Any) -> Tensor:
    return tube_mask(rows, grid, device="cpu", **options)


def _frame(rows: int, grid: Sequence[int], **options: Any) -> Tensor:
    return frame_mask(rows, grid, device="cpu", **options)


def _dinov2(rows: int, grid: Sequence[int], *, sample_ids: Tensor | None, **options: Any) -> dict[str, Any]:
    if sample_ids is not None and rows > 0:
        options.setdefault("batch_number", batch_number(sample_ids))
    masks, indices, weights, upperbound, n_masked = dino_masks(
        rows, grid, sample_ids=sample_ids, device="cpu", **options
    )
    found = int(n_masked)
    return {
        "collated_masks": masks,
        "mask_indices_list": indices[:found],
        "masks_weight": weights[:found],
        "upperbound": upperbound,
        "n_masked_patches": n_masked,
    }


# a rule, and the public function whose keywords it takes beside its own
_RULES: dict[str, tuple[Rule, Callable[..., Any]]] = {
    "block": (_block, block_mask),
    "dinov2": (_dinov2, dino_masks),
    "frame": (_frame, frame_mask),
    "grid": (_grid_cells, grid_patch_mask),
    "ibot": (_ibot, block_mask),
    "inverse_block": (_inverse_block, inverse_block_mask),
    "random": (_random, random_patch_mask),
    "square": (_square, square_mask),
    "tube": (_tube, tube_mask),
}
_OF_THE_COLLATOR = {"rows", "batch_size", "grid", "num_masked", "num_patches", "generator", "row_offset", "sample_ids"}
_OF_NO_MEANING = {"device", "noise", "num_prefix_tokens", "order", "return_counts"}


def _check_options(function: str, rule: str, options: Mapping[str, Any]) -> None:
    """Refuses an option that the rule has not.

    Raises:
        TypeError: if there is one.
    """
    given = (inspect.signature(f).parameters.values() for f in _RULES[rule])
    names = {p.name for parameters in given for p in parameters if p.kind is not p.VAR_KEYWORD}
    names -= _OF_THE_COLLATOR | _OF_NO_MEANING
    for option in options:
        if option not in names:
            expected = ", ".join(sorted(names))
            raise TypeError(f"{function}: options of rule {rule!r} must be among {expected}, got {option!r}")


def batch_number(sample_ids: Tensor) -> int:
    """The number of a batch in the draws that its rows share: the id of its first sample, as a number in [0, 2^63)."""
    return int(sample_ids[0]) & torch.iinfo(torch.int64).max
