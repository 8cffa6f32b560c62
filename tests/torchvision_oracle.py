"""torchvision beside a CPU-only torch, as an oracle: its transforms, or a skip with the reason.

``make test`` puts it into ``build/peers``, from where benchmarks/peers.py imports it beside any torch.
"""

from __future__ import annotations

from types import ModuleType

import pytest

from benchmarks import peers


def transforms() -> ModuleType:
    """``torchvision.transforms.v2``."""
    try:
        return peers.load("torchvision.transforms.v2")
    except ImportError as error:
        pytest.skip(f"the comparison with torchvision needs it in build/peers (`make test` installs it): {error}")


def functional() -> ModuleType:
    """``torchvision.transforms.v2.functional``."""
    return transforms().functional
