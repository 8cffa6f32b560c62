"""The rules of audio augmentation, checked, in the form in which the operators take them: torch's and NumPy's face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from sslfast import _check

Between: TypeAlias = "tuple[float, float] | None"

# Columns of a parameter tensor, in the operators' order.
AUDIO_PARAMS = (
    "shift",
    "gain_db",
    "polarity",
    "noise_snr_db",
    "noise_row",
    "noise_start",
    "noise_key",
    "mix_row",
    "mix_snr_db",
    "mix_ratio",
    "mix_start",
    "mix_at",
    "mix_length",
)

MOST_SAMPLES = 2**31 - 1
_DECIBELS = 1000.0  # at most: a float64 holds 10^(1000 / 20) and its square


def check_bank_is_used(function: str, name: str, bank: object, noise_snr_db: object) -> None:
    """Raises ValueError where noise is given, and not how loud it is: nothing would be added."""
    if bank is not None and noise_snr_db is None:
        raise ValueError(f"{function}: noise_snr_db must be given beside {name}, got None")


class AudioRules(NamedTuple):
    """``ranges`` and ``chances`` as the operator takes them, and what else it asks."""

    ranges: list[float]
    chances: list[float]
    shift_in_samples: bool
    mix_by_ratio: bool

    @property
    def powers(self) -> bool:
        """Whether a ratio of powers can be asked for."""
        return self.chances[3] > 0 or (self.chances[4] > 0 and not self.mix_by_ratio)


def audio_rules(
    function: str,
    *,
    shift: Between,
    shift_unit: str,
    shift_p: float,
    gain_db: Between,
    gain_p: float,
    polarity_p: float,
    noise_snr_db: Between,
    noise_p: float,
    mix_snr_db: Between,
    mix_ratio: Between,
    mix_length: Sequence[float],
    mix_p: float,
) -> AudioRules:
    """Returns the rules of :func:`sslfast.augment.sample_audio_params`.

    Raises:
        TypeError: if a number has the wrong type, or a range is no pair.
        ValueError: if a number is out of range, there is no such unit, or both ways of mixing are given.
    """
    _check.one_of(function, "shift_unit", shift_unit, ("fraction", "samples"))
    if mix_snr_db is not None and mix_ratio is not None:
        raise ValueError(f"{function}: mix_ratio must be None beside mix_snr_db, got {tuple(mix_ratio)}")
    samples = shift_unit == "samples"
    shift_reach = float(2**30) if samples else 1.0
    ranges: list[float] = []
    for name, value, low, high in (
        ("shift", shift, -shift_reach, shift_reach),
        ("gain_db", gain_db, -_DECIBELS, _DECIBELS),
        ("noise_snr_db", noise_snr_db, -_DECIBELS, _DECIBELS),
        ("mix_snr_db", mix_snr_db, -_DECIBELS, _DECIBELS),
        ("mix_ratio", mix_ratio, 0.0, 1.0),
        ("mix_length", mix_length, 0.0, 1.0),
    ):
        ranges += (0.0, 0.0) if value is None else _check.interval(function, name, value, low, high)
    if samples and (ranges[0] % 1 or ranges[1] % 1):
        raise ValueError(f"{function}: shift must be whole numbers where shift_unit is 'samples', got {shift}")
    chances = [
        _check.probability(function, name, p) if used else _check.probability(function, name, p) * 0.0
        for name, p, used in (
            ("shift_p", shift_p, shift is not None),
            ("gain_p", gain_p, gain_db is not None),
            ("polarity_p", polarity_p, True),
            ("noise_p", noise_p, noise_snr_db is not None),
            ("mix_p", mix_p, mix_snr_db is not None or mix_ratio is not None),
        )
    ]
    return AudioRules(ranges, chances, samples, mix_ratio is not None)
