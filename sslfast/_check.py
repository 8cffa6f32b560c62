"""Argument checks shared by the public functions. One message form: function, argument, expected, got."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence

_INT64_MAX = 2**63 - 1
_NUMPY_BOOLS = (("numpy", "bool"), ("numpy", "bool_"))


def probability(function: str, name: str, value: float) -> float:
    """Returns ``value`` as a float in [0, 1].

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is outside [0, 1] or NaN.
    """
    number = real(function, name, value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{function}: {name} must be a probability in [0, 1], got {value}")
    return number


def shown(value: object) -> str:
    """How an error shows what it got: in one short line, whatever it is; an array or a tensor by its shape."""
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "dtype"):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"


def one_of(function: str, name: str, value: str, words: Sequence[str]) -> str:
    """Returns ``value``, which is one of the words, at least two.

    Raises:
        ValueError: if it is none of them, or no string.
    """
    if not isinstance(value, str) or value not in words:
        expected = f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}"
        raise ValueError(f"{function}: {name} must be {expected}, got {shown(value)}")
    return value


def real(function: str, name: str, value: float) -> float:
    """Returns ``value`` as a finite float. NumPy's numbers are taken too; bools of any kind are not.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is NaN or infinite, or larger than floats are.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, numbers.Real)):
        raise TypeError(f"{function}: {name} must be a number, got {type(value).__name__}")
    if not -math.inf < value < math.inf:  # not isfinite: a float that torch.compile made symbolic has none
        raise ValueError(f"{function}: {name} must be finite, got {value}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{function}: {name} must fit in a float, got a larger {type(value).__name__}") from None


def boolean(function: str, name: str, value: bool) -> bool:
    """Returns ``value`` as a bool, which it is, or one of NumPy.

    Raises:
        TypeError: if it is neither.
    """
    if not is_boolean(value):
        raise TypeError(f"{function}: {name} must be a bool, got {shown(value)}")
    return bool(value)


def mode_is_exact(function: str, mode: str) -> bool:
    """Whether ``mode`` is "exact" and not "compat".

    Raises:
        ValueError: if it is neither.
    """
    return one_of(function, "mode", mode, ("exact", "compat")) == "exact"


def selection_is_exact(function: str, selection: str) -> bool:
    """Whether ``selection`` is "exact", a fixed number of a row, and not "bernoulli", each by itself.

    Raises:
        ValueError: if it is neither.
    """
    return one_of(function, "selection", selection, ("bernoulli", "exact")) == "exact"


def is_boolean(value: object) -> bool:
    """Whether it is a bool, or one of NumPy, which is not imported for that."""
    return isinstance(value, bool) or (type(value).__module__, type(value).__name__) in _NUMPY_BOOLS


def integer(function: str, name: str, value: int, low: int, high: int = _INT64_MAX) -> int:
    """Returns ``value`` as an int of at least ``low`` and at most ``high``, by default what an operator can take.

    NumPy's integers and arrays and tensors of one integer are taken too; bools of any kind are not.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is out of range.
    """
    number = value
    if isinstance(value, bool) or not isinstance(value, int):  # a symbolic size is an int to torch.compile alone
        try:
            if isinstance(value, bool) or str(getattr(value, "dtype", "")) == "torch.bool":
                raise TypeError
            number = operator.index(value)
        except TypeError:  # bools, fractions, arrays of several numbers
            raise TypeError(f"{function}: {name} must be an int, got {type(value).__name__}") from None
    if number < low or number > high:
        expected = f"at least {low}" if number < low and high == _INT64_MAX else f"in [{low}, {high}]"
        raise ValueError(f"{function}: {name} must be {expected}, got {number}")
    return number


def kept_patches(function: str, num_patches: int, mask_ratio: float, mode: str = "exact") -> int:
    """Returns how many of ``num_patches`` stay: ``num_patches * (1 - mask_ratio)``, rounded down.

    Rounded as exact arithmetic would: of 10 patches at ratio 0.9 one stays, though ``int(10 * (1 - 0.9))`` is 0, which
    is what ``"compat"`` returns.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if ``num_patches`` < 1, there is no such mode, or, in ``"exact"``, ``mask_ratio`` is outside [0, 1)
            or no patch would stay, in ``"compat"`` it is outside [0, 1].
    """
    num_patches = integer(function, "num_patches", num_patches, 1, 2**32 - 1)
    if not mode_is_exact(function, mode):
        return int(num_patches * (1 - probability(function, "mask_ratio", mask_ratio)))
    ratio = real(function, "mask_ratio", mask_ratio)
    if not 0.0 <= ratio < 1.0:
        raise ValueError(f"{function}: mask_ratio must be in [0, 1), got {mask_ratio}")
    keep = int(num_patches * (1.0 - ratio) + 1e-12 * num_patches)  # above the rounding of 1 - ratio and the product
    if keep < 1:
        raise ValueError(f"{function}: mask_ratio must keep at least 1 of {num_patches} patches, got {mask_ratio}")
    return keep


def grid(function: str, name: str, value: Sequence[int], axes: str, high: int = 2**15) -> tuple[int, ...]:
    """Returns the sides of a grid of patches, one for each axis of ``axes`` such as ``"(H, W)"``.

    Raises:
        TypeError: if it is no sequence of integers.
        ValueError: if there are not as many as axes, or one is outside [1, ``high``].
    """
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{function}: {name} must be {axes}, got {type(value).__name__}")
    if len(value) != axes.count(",") + 1:
        raise ValueError(f"{function}: {name} must be {axes}, got {tuple(value)}")
    return tuple(integer(function, name, side, 1, high) for side in value)


def share(function: str, total: int, ratio: float, what: str, mode: str = "exact", *, up: bool = False) -> int:
    """Returns ``total * ratio`` as exact arithmetic would round it: of 100 at 0.29 these are 29, not ``int(28.99..)``,
    which is what ``"compat"`` returns.

    Raises:
        TypeError: if ``ratio`` is not a number.
        ValueError: if there is no such mode, or, in ``"exact"``, the ratio is outside [0, 1) or nothing of ``total``
            would be left, in ``"compat"`` it is outside [0, 1].
    """
    if not mode_is_exact(function, mode):
        product = total * probability(function, "mask_ratio", ratio)
        return math.ceil(product) if up else int(product)
    ratio = real(function, "mask_ratio", ratio)
    if not 0.0 <= ratio < 1.0:
        raise ValueError(f"{function}: mask_ratio must be in [0, 1), got {ratio}")
    slack = 1e-12 * total  # above the rounding of the ratio and the product
    masked = math.ceil(total * ratio - slack) if up else int(total * ratio + slack)
    if masked >= total:
        raise ValueError(f"{function}: mask_ratio must keep at least 1 of {total} {what}, got {ratio}")
    return masked


def interval(function: str, name: str, value: Sequence[float], low: float, high: float) -> tuple[float, float]:
    """Returns the two ends of a range within [``low``, ``high``], in order.

    Raises:
        TypeError: if it is no pair of numbers.
        ValueError: if it has not two numbers, they are not in order, or one is out of range.
    """
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{function}: {name} must be a pair of numbers, got {type(value).__name__}")
    if len(value) != 2:
        raise ValueError(f"{function}: {name} must be a pair of numbers, got {tuple(value)}")
    first, last = (real(function, name, number) for number in value)
    if not low <= first <= last <= high:
        expected = f"two numbers in order in [{low}, {high}]"
        raise ValueError(f"{function}: {name} must be {expected}, got {tuple(value)}")
    return first, last


def negatives(function: str, num_negatives: int, rows: int, length: int, narrow: bool) -> int:
    """Returns ``num_negatives`` if the positions of so many frames fit the draws and, where narrow, int32.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is out of range, or the frames are too many.
    """
    num_negatives = integer(function, "num_negatives", num_negatives, 1, 2**31 - 1)
    if length >= 2**31 or length * ((num_negatives + 3) // 4) > 2**32:
        got = f"{length} and {num_negatives}"
        raise ValueError(f"{function}: frames of a row times num_negatives must be at most 2^34, got {got}")
    if narrow and rows * length > 2**31:
        raise ValueError(f"{function}: dtype must be int64 for {rows * length} frames, got int32")
    return num_negatives


def spec_masks(
    function: str,
    bins: int,
    n_freq_masks: int,
    freq_mask_param: int,
    n_time_masks: int,
    time_mask_param: int,
    p: float,
    iid: bool,
    mode: str,
) -> tuple[int, int, int, int, float, bool, int]:
    """Returns the arguments of SpecAugment as the operator takes them, from ``bin_masks`` to ``rule``.

    Raises:
        TypeError: if a number has the wrong type.
        ValueError: if a number is out of range, or there is no such mode.
    """
    n_freq_masks = integer(function, "n_freq_masks", n_freq_masks, 0, 32)
    freq_mask_param = integer(function, "freq_mask_param", freq_mask_param, 0, 2**31 - 1)
    n_time_masks = integer(function, "n_time_masks", n_time_masks, 0, 32)
    time_mask_param = integer(function, "time_mask_param", time_mask_param, 0, 2**31 - 1)
    p = probability(function, "p", p)
    iid = boolean(function, "iid", iid)
    compat = not mode_is_exact(function, mode)
    if compat and p < 1:
        freq_mask_param = min(freq_mask_param, int(bins * p))
    return n_freq_masks, freq_mask_param, n_time_masks, time_mask_param, p, not iid, int(compat)


_FEATURE_SOURCES = ("marginals", "rows", "uniform", "permutation")


def corrupted_features(
    function: str, features: int, corruption_rate: float, source: str, selection: str, has_bank: bool, mode: str
) -> tuple[bool, int, float, int]:
    """Returns the arguments of feature corruption as the operators take them, from ``exact`` to ``source``.

    The exact count is ``features * corruption_rate``, rounded down as exact arithmetic would. In ``"compat"`` the
    source "uniform" takes the rate for the share that stays, as SCARF's published code does.

    Raises:
        TypeError: if a number has the wrong type.
        ValueError: if a number is out of range, there is no such source, selection or mode, or a bank is given that is
            not used.
    """
    integer(function, "features", features, 1, 2**32 - 1)
    rate = probability(function, "corruption_rate", corruption_rate)
    one_of(function, "source", source, _FEATURE_SOURCES)
    if not mode_is_exact(function, mode) and source == "uniform":
        rate = 1 - rate
    if source == "permutation" and has_bank:
        raise ValueError(f'{function}: bank must be None with source "permutation", which permutes x')
    count = int(features * rate + 1e-12 * features)  # above the rounding of the product
    return selection_is_exact(function, selection), min(count, features), rate, _FEATURE_SOURCES.index(source)


def keeping_share(function: str, name: str, value: float, exact: bool) -> float:
    """Returns a share of what is masked as a float in [0, 1], below 1 where ``exact``.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is out of range.
    """
    share = probability(function, name, value)
    if exact and share == 1.0:
        raise ValueError(f'{function}: {name} must be below 1 in mode "exact", got {value}')
    return share


def masked_nodes(
    function: str, nodes: int, mask_rate: float, replace_rate: float, keep_rate: float, exact: bool
) -> tuple[int, tuple[float, float, float]]:
    """Returns how many of ``nodes`` are masked, and the three rates; a share is rounded down, where ``exact`` as exact
    arithmetic would.

    Raises:
        TypeError: if a number has the wrong type.
        ValueError: if a share is out of range, the first keeps nothing where ``exact``, or the last two exceed 1.
    """
    mask_rate = keeping_share(function, "mask_rate", mask_rate, exact)
    replace_rate = probability(function, "replace_rate", replace_rate)
    keep_rate = probability(function, "keep_rate", keep_rate)
    if replace_rate + keep_rate > 1:
        raise ValueError(f"{function}: replace_rate + keep_rate must be at most 1, got {replace_rate} + {keep_rate}")
    masked = min(int(nodes * mask_rate + (1e-12 * nodes if exact else 0.0)), nodes)
    return masked, (mask_rate, replace_rate, keep_rate)
