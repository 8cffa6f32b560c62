"""CL4SRec's augmentation of item sequences: crop, mask and reorder."""

from __future__ import annotations

from torch import Tensor

from sslfast import _check
from sslfast.augment._own_draws import DrawingModule
from sslfast.augment.token_augment import AugmentedTokens, augment_tokens, check_ids
from sslfast.host.token_rules import CropTokens, MaskTokens, ReorderTokens, check_ratio
from sslfast.random import Generator


def crop_items(
    items: Tensor,
    ratio: float = 0.6,
    *,
    padding_id: int = 0,
    lengths: Tensor | None = None,
    padding_side: str = "left",
    positions: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> AugmentedTokens:
    """Keeps ``max(1, int(ratio * n))`` neighbours of the n items of each row, every place equally likely.

    ``augment_tokens(items, CropTokens(ratio), ...)`` with the padding of recommenders. One launch.

    Args:
        items: item ids, shape (N, L), int64 or int32, any strides. Not changed.
        ratio: share of a row that stays, in (0, 1]. Default: 0.6.
        padding_id: never an item. Default: 0.
        lengths: integer (N,), items of each row, on the other side of ``padding_side``. Default: None, what is not
            ``padding_id``.
        padding_side: ``"left"`` or ``"right"``, of the result. Default: ``"left"``.
        positions: whether to return the columns that items come from. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.

    Returns:
        ``AugmentedTokens(ids, attention_mask, positions)``.

    Raises:
        TypeError: a tensor or number has the wrong type.
        ValueError: a shape, device, number or name is out of range, or the generator is on another GPU.

    Reference: Xie et al., "Contrastive Learning for Sequential Recommendation", ICDE 2022, section III-C.
    """
    check_ids("crop_items", "items", items)
    check_ratio("crop_items", ratio)
    rule = CropTokens(ratio)
    options = {"pad_id": padding_id, "lengths": lengths, "padding_side": padding_side, "positions": positions}
    draws = {"generator": generator, "row_offset": row_offset, "sample_ids": sample_ids}
    return augment_tokens(items, rule, **options, **draws)  # type: ignore[arg-type]


def reorder_items(
    items: Tensor,
    ratio: float = 0.6,
    *,
    padding_id: int = 0,
    lengths: Tensor | None = None,
    padding_side: str = "left",
    positions: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> AugmentedTokens:
    """Shuffles ``int(ratio * n)`` neighbours of the n items of each row, every place and order equally likely.

    ``augment_tokens(items, ReorderTokens(ratio), ...)`` with the padding of recommenders. One launch.

    Args:
        items: item ids, shape (N, L), int64 or int32, any strides. Not changed.
        ratio: share of a row that is shuffled, in (0, 1]. Default: 0.6.
        padding_id: never an item. Default: 0.
        lengths: integer (N,), items of each row, on the other side of ``padding_side``. Default: None, what is not
            ``padding_id``.
        padding_side: ``"left"`` or ``"right"``, of the result. Default: ``"left"``.
        positions: whether to return the columns that items come from. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.

    Returns:
        ``AugmentedTokens(ids, attention_mask, positions)``.

    Raises:
        TypeError: a tensor or number has the wrong type.
        ValueError: a shape, device, number or name is out of range, or the generator is on another GPU.

    Reference: Xie et al., "Contrastive Learning for Sequential Recommendation", ICDE 2022, section III-C.
    """
    check_ids("reorder_items", "items", items)
    check_ratio("reorder_items", ratio)
    rule = ReorderTokens(ratio)
    options = {"pad_id": padding_id, "lengths": lengths, "padding_side": padding_side, "positions": positions}
    draws = {"generator": generator, "row_offset": row_offset, "sample_ids": sample_ids}
    return augment_tokens(items, rule, **options, **draws)  # type: ignore[arg-type]


class CL4SRecAugment(DrawingModule):
    """Two views of every item sequence: each is cropped, masked or reordered, at random, in one launch for both.

    Args:
        mask_id: what takes the place of a masked item; not ``padding_id``.
        crop_ratio: share of a row that a crop keeps, in (0, 1]. Default: 0.6.
        mask_ratio: share of a row's items that are masked, in (0, 1]. Default: 0.3.
        reorder_ratio: share of a row that is shuffled, in (0, 1]. Default: 0.6.
        distinct: the second view of a row takes another rule than the first, as in RecBole's and DuoRec's versions.
            Default: False, the paper's independent choices.
        padding_id: never an item. Default: 0.
        padding_side: ``"left"`` or ``"right"``. Default: ``"left"``.
        generator: what calls draw from that are given none: None | torch.Generator | int seed | int64 seed tensor. An
            int seeds a torch.Generator, so that successive calls differ and a run repeats; a DataLoader's workers mix
            it with the loader's seed, so that they and their epochs differ too. A tensor is the seed itself, read at
            every call. Default: None, torch's global generator.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number or name is out of range.

    Reference: Xie et al., "Contrastive Learning for Sequential Recommendation", ICDE 2022.
    """

    def __init__(
        self,
        mask_id: int,
        *,
        crop_ratio: float = 0.6,
        mask_ratio: float = 0.3,
        reorder_ratio: float = 0.6,
        distinct: bool = False,
        padding_id: int = 0,
        padding_side: str = "left",
        generator: Generator = None,
    ) -> None:
        super().__init__(generator)
        name = type(self).__name__
        shares = {"crop_ratio": crop_ratio, "mask_ratio": mask_ratio, "reorder_ratio": reorder_ratio}
        for of, share in shares.items():
            check_ratio(name, share, of)
        self.rules = (CropTokens(crop_ratio), MaskTokens(mask_ratio), ReorderTokens(reorder_ratio))
        self.choose = "distinct" if _check.boolean(name, "distinct", distinct) else "one"
        self.padding_id = _check.integer(name, "padding_id", padding_id, -(2**31))
        self.mask_id = _check.integer(name, "mask_id", mask_id, 0)
        if self.mask_id == self.padding_id:
            raise ValueError(f"{name}: mask_id must not be padding_id, got {mask_id}")
        _check.one_of(name, "padding_side", padding_side, ("left", "right"))
        self.padding_side = padding_side

    def forward(
        self,
        items: Tensor,
        *,
        lengths: Tensor | None = None,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> tuple[AugmentedTokens, AugmentedTokens]:
        """Augments a batch.

        Args:
            items: item ids, shape (N, L), int64 or int32, any strides. Not changed.
            lengths: integer (N,), items of each row. Default: None, what is not ``padding_id``.
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, the constructor's.
            row_offset: global index of row 0, for shards of a larger batch. Default: 0.
            sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.

        Returns:
            Two ``AugmentedTokens(ids, attention_mask, None)``, (N, L) each.

        Raises:
            TypeError: a tensor or number has the wrong type.
            ValueError: a shape, device or number is out of range, or the generator is on another GPU.
        """
        check_ids(type(self).__name__, "items", items)
        both = augment_tokens(
            items,
            self.rules,
            pad_id=self.padding_id,
            lengths=lengths,
            mask_id=self.mask_id,
            choose=self.choose,
            views=2,
            padding_side=self.padding_side,
            generator=self._chosen(generator),
            row_offset=row_offset,
            sample_ids=sample_ids,
        )
        first, second = (AugmentedTokens(both.ids[v], both.attention_mask[v], None) for v in range(2))
        return first, second

    def extra_repr(self) -> str:
        return f"mask_id={self.mask_id}, choose={self.choose!r}, padding_side={self.padding_side!r}"
