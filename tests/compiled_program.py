"""A C++ program around headers of csrc, compiled by itself for the CPU and run."""

from __future__ import annotations

import subprocess
from pathlib import Path

CSRC = Path(__file__).resolve().parents[1] / "csrc"


def words_of(source: str, folder: Path) -> list[str]:
    """What the program writes, word by word; it and its source go into the folder."""
    (folder / "program.cpp").write_text(source)
    flags = ["-O1", "-std=c++20", f"-I{CSRC / 'include'}", f"-I{CSRC}"]
    program = str(folder / "program")
    subprocess.run(["g++", *flags, f"{program}.cpp", "-o", program], check=True)
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
