"""Draws one picture of every masking rule for docs/masking.md: ``python docs/mask_figures.py [folder]``.

Each shows a few samples and, over some thousand more, how likely every position is. Seeds are fixed. Needs matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
from mask_pictures import FIGURES, save  # noqa: E402


def main(folder: Path = FOLDER / "images" / "masks", count: int = 4096) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        save(draw(count), folder / f"{name}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
