"""What the masks of time spans compute from their arguments, for the faces over tensors and over arrays alike."""

from __future__ import annotations

from sslfast import _check

_RULES = {"exact": 0, "compat": 1, "hf": 1, "fairseq": 2}  # of the two peers "compat" is the one that most copy
_LENGTHS = {"static": 0, "uniform": 1, "normal": 2, "poisson": 3}
_OPTIONS = {  # fairseq's alone, with their defaults
    "mask_type": "static",
    "mask_other": 0.0,
    "no_overlap": False,
    "min_space": 0,
    "idc_select_ver": 1,
    "num_mask_ver": 2,
    "require_same_masks": False,
    "add_masks": False,
    "mask_dropout": 0.0,
}


def spans(
    function: str, batch_size: int, length: int, mask_prob: float, mask_length: int, min_masks: int, mode: str
) -> tuple[int, int, float, int, int, int]:
    """Returns the arguments of any mask as the operators take them, from ``rows`` to ``min_masks``, and the rule.

    Raises:
        TypeError: if a number has the wrong type.
        ValueError: if a number is out of range, there is no such mode, or in mode "exact" spans would mask every frame
            of every full row.
    """
    batch_size = _check.integer(function, "batch_size", batch_size, 0)
    length = _check.integer(function, "length", length, 1, 2**32 - 1)
    mask_prob = _check.probability(function, "mask_prob", mask_prob)
    mask_length = _check.integer(function, "mask_length", mask_length, 1)
    min_masks = _check.integer(function, "min_masks", min_masks, 0)
    _check.one_of(function, "mode", mode, tuple(_RULES))
    if _RULES[mode] == _RULES["hf"] and mask_length > length:
        expected = f'at most length ({length}) in mode "{mode}"'
        raise ValueError(f"{function}: mask_length must be {expected}, got {mask_length}")
    least = max(int(mask_prob * length / mask_length), min_masks)  # spans of a full row
    one_way = mask_length in (1, length)  # only these have no choice where so many spans go
    if _RULES[mode] == _RULES["exact"] and one_way and least * mask_length >= length:
        got = f"{mask_prob}, {mask_length} and {min_masks}"
        expected = f'leave a frame of {length} unmasked in mode "exact"'
        raise ValueError(f"{function}: mask_prob, mask_length and min_masks must {expected}, got {got}")
    return batch_size, length, mask_prob, mask_length, min_masks, _RULES[mode]


def no_options(function: str, *options: object) -> None:
    """Checks that fairseq's options, in their order, are left out.

    Raises:
        ValueError: if one is not.
    """
    for (name, default), value in zip(_OPTIONS.items(), options, strict=True):
        plain = isinstance(value, (str, int, float)) or _check.is_boolean(value)
        if not plain or value != default:
            raise ValueError(f'{function}: {name} must be left out except in mode "fairseq", got {_check.shown(value)}')


def fairseq_options(
    function: str,
    mask_length: int,
    padded: bool,
    mask_type: str,
    mask_other: float,
    no_overlap: bool,
    min_space: int,
    idc_select_ver: int,
    num_mask_ver: int,
    require_same_masks: bool,
    add_masks: bool,
    mask_dropout: float,
) -> tuple[int, float, bool, int, bool, bool, int, float]:
    """Returns fairseq's options as the operator takes them, from ``span_length`` to ``mask_dropout``.

    Raises:
        TypeError: if one has the wrong type.
        ValueError: if one is out of range, or ``mask_length`` for spans of random lengths.
    """
    _check.one_of(function, "mask_type", mask_type, tuple(_LENGTHS))
    if mask_type != "static":
        _check.integer(function, "mask_length", mask_length, 1, 2**31 - 1)
    mask_other = _check.real(function, "mask_other", mask_other)
    if mask_type == "uniform" and not 0 <= mask_other <= 2 * mask_length:
        expected = f"in [0, {2 * mask_length}], twice mask_length"
        raise ValueError(f'{function}: mask_other must be {expected}, for mask_type "uniform", got {mask_other}')
    if mask_type == "normal" and mask_other < 0:
        raise ValueError(f'{function}: mask_other must be at least 0 for mask_type "normal", got {mask_other}')
    no_overlap = _check.boolean(function, "no_overlap", no_overlap)
    min_space = _check.integer(function, "min_space", min_space, 0, 2**32 - 1)
    versions = {"idc_select_ver": idc_select_ver, "num_mask_ver": num_mask_ver}
    for name, version in versions.items():
        if _check.integer(function, name, version, -(2**63)) not in (1, 2):
            raise ValueError(f"{function}: {name} must be 1 or 2, got {version}")
    require_same_masks = _check.boolean(function, "require_same_masks", require_same_masks)
    add_masks = _check.boolean(function, "add_masks", add_masks)
    return (
        _LENGTHS[mask_type],
        mask_other if mask_type in ("uniform", "normal") else 0.0,
        no_overlap,
        min_space,
        idc_select_ver == 2,
        num_mask_ver == 1 and not padded,
        (2 if add_masks else 1) if require_same_masks else 0,
        _check.probability(function, "mask_dropout", mask_dropout),
    )
