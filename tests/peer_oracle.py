"""Peers as oracles: the real library, or a skip with the reason.

``make test`` puts torchvision, lightly, open_clip, pytorch-metric-learning and RecBole into ``build/peers``, from where
benchmarks/peers.py imports them beside any torch.
"""

from __future__ import annotations

from types import ModuleType

import pytest

from benchmarks import peers


def peer(module: str) -> ModuleType:
    """A module of a peer, such as ``lightly.loss``."""
    try:
        return peers.load(module)
    except ImportError as error:
        pytest.skip(f"the comparison with {module} needs it in build/peers (`make test` installs it): {error}")
