"""Rules and parameters that the tests of audio_augment share."""

from __future__ import annotations

import math

import torch

from sslfast.augment import AUDIO_PARAMS

ALL = {"shift": (-0.5, 0.5), "gain_db": (-18.0, 6.0), "polarity_p": 0.5, "noise_snr_db": (3.0, 30.0)}
EVERY = ALL | {"shift_p": 0.8, "noise_p": 0.8, "mix_p": 0.8}
PIECE, MIXUP = {"mix_snr_db": (-5.0, 5.0)}, {"mix_ratio": (0.1, 0.9)}
NOTHING = {"polarity": 1.0, "noise_snr_db": math.inf, "noise_row": -1.0, "mix_row": -1.0, "mix_snr_db": math.inf}


def by_hand(rows: int = 1, **columns: float) -> torch.Tensor:
    given = dict.fromkeys(AUDIO_PARAMS, 0.0) | NOTHING | {"mix_ratio": 1.0} | columns
    return torch.tensor([[given[name] for name in AUDIO_PARAMS]] * rows, dtype=torch.float64)
