"""The distributions of mixed and erased images, checked and in the form that the operators take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sslfast import _check

_MIX_MODES = {"batch": 0, "pair": 1, "elem": 2}
_MIX_PARTNERS = {"roll": 0, "flip": 1, "permutation": 2}
_MIX_BOXES = {"torchvision": 0, "timm": 1}
_MIX_SIDES = 2  # of a box, drawn by themselves


def mix_rules(
    function: str,
    mixup_alpha: float,
    cutmix_alpha: float,
    cutmix_minmax: Sequence[float] | None,
    prob: float,
    switch_prob: float,
    mode: str,
    partner: str,
    box: str,
    correct_lam: bool,
) -> tuple[int, int, float, float, float, float, int, float, float, bool]:
    """Returns the distributions of a mixing of images as the operator takes them, from ``mode`` to ``area_lambda``.

    Raises:
        TypeError: if a number has the wrong type.
        ValueError: if a number is out of range, both alphas are 0, a word is not known, or pairs are not mirrored.
    """
    alphas = []
    for argument, value in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha)):
        number = _check.real(function, argument, value)
        if not 0 <= number <= 1e6:
            raise ValueError(f"{function}: {argument} must be in [0, 1e6], got {value}")
        alphas.append(number)
    for argument, word, words in (
        ("mode", mode, _MIX_MODES),
        ("partner", partner, _MIX_PARTNERS),
        ("box", box, _MIX_BOXES),
    ):
        _check.one_of(function, argument, word, tuple(words))
    if mode == "pair" and partner != "flip":
        raise ValueError(f'{function}: partner must be "flip" in mode "pair", got {_check.shown(partner)}')
    correct_lam = _check.boolean(function, "correct_lam", correct_lam)
    low, high, rule = 0.0, 0.0, _MIX_BOXES[box]
    if cutmix_minmax is not None:
        low, high = _check.interval(function, "cutmix_minmax", cutmix_minmax, 0.0, 1.0)
        rule, correct_lam, alphas[1] = _MIX_SIDES, True, 1.0
    if not any(alphas):
        raise ValueError(f"{function}: mixup_alpha or cutmix_alpha must be positive, got 0 and 0")
    prob, switch_prob = (
        _check.probability(function, argument, value)
        for argument, value in (("prob", prob), ("switch_prob", switch_prob))
    )
    mixup, cutmix = alphas
    return _MIX_MODES[mode], _MIX_PARTNERS[partner], mixup, cutmix, prob, switch_prob, rule, low, high, correct_lam


def erase_rules(
    function: str, p: float, scale: Sequence[float], ratio: Sequence[float]
) -> tuple[float, list[float], list[float]]:
    """Returns the distribution of erased boxes as the operator takes it: probability, scale and ratio.

    Raises:
        TypeError: if a number has the wrong type.
        ValueError: if a number is out of range, or a (low, high) is the wrong way round.
    """
    p = _check.probability(function, "p", p)
    scales = _check.interval(function, "scale", scale, 0.0, 1.0)
    low, high = _check.interval(function, "ratio", ratio, 0.0, math.inf)
    if low == 0:
        raise ValueError(f"{function}: ratio must be positive, got {tuple(ratio)}")
    return p, list(scales), [low, high]


def erase_values(function: str, value: float | Sequence[float] | str, channels: int | None) -> tuple[list[float], bool]:
    """Returns what is written into erased boxes, one number or one per channel, and whether it is noise instead.

    Raises:
        TypeError: if it is neither a number, a tuple of numbers nor a word.
        ValueError: if it is another word than "random", or has not one number per channel.
    """
    if isinstance(value, str):
        if value != "random":
            raise ValueError(
                f'{function}: value must be a number, one per channel, or "random", got {_check.shown(value)}'
            )
        return [0.0], True
    if not isinstance(value, (tuple, list)):
        return [_check.real(function, "value", value)], False  # type: ignore[arg-type]
    values = [_check.real(function, "value", number) for number in value]
    if not 1 <= len(values) <= 64 or (channels is not None and len(values) not in (1, channels)):
        expected = "one number per channel" if channels is None else f"1 or {channels} numbers, one per channel"
        raise ValueError(f"{function}: value must have {expected}, at most 64, got {len(values)}")
    return values, False


def check_byte_values(function: str, values: Sequence[float], noise: bool) -> None:
    """Raises ValueError unless what is written into boxes of uint8 images is numbers in [0, 255]."""
    if noise:
        raise ValueError(f'{function}: value must be a number, or one per channel, for uint8 images, got "random"')
    if min(values) < 0 or max(values) > 255:
        raise ValueError(f"{function}: value must be in [0, 255] for uint8 images, got {tuple(values)}")
