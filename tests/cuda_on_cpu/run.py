"""Builds the CUDA kernels for the CPU and runs the tests of their operators with them.

    python tests/cuda_on_cpu/run.py [--checked] [--order ascending] [tests and options of pytest ...]

`--checked` builds with the sanitizers of addresses and of undefined behaviour. `--order` is that of the threads of a
block (block.cpp). Without tests those of every operator that has a .cu file are run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"  # setup.py's
TESTS = sorted(path.name for path in (ROOT / "tests").glob("test_*.py"))


def build(checked: bool) -> Path:
    """The folder with the libraries."""
    cmake = shutil.which("cmake", path=str(Path(sys.executable).parent)) or "cmake"
    subprocess.run([cmake, "-S", ROOT, "-B", BUILD, f"-DPython_EXECUTABLE={sys.executable}"], check=True)
    target = "cuda_on_cpu_checked_ops" if checked else "cuda_on_cpu_ops"
    subprocess.run([cmake, "--build", BUILD, "--target", target, "--parallel", str(os.cpu_count())], check=True)
    return BUILD / "tests" / "cuda_on_cpu" / ("checked" if checked else "plain")


def package(libraries: Path) -> Path:
    """A folder with the package, whose files are the source tree's but for the compiled operators."""
    folder = libraries / "package" / "sslfast"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (ROOT / "sslfast").iterdir():
        if path.name not in ("_ops.so", "_ops_cuda.so", "__pycache__"):
            (folder / path.name).symlink_to(path)
    (folder / "kernels").symlink_to(ROOT / "kernels")
    (folder / "_ops.so").symlink_to(libraries / "_ops.so")
    return folder.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checked", action="store_true")
    parser.add_argument("--order", default="ascending")
    options, pytest = parser.parse_known_args()
    libraries = build(options.checked)
    environment = {**os.environ, "CUDA_ON_CPU_ORDER": options.order}
    environment["PYTHONPATH"] = os.pathsep.join([str(package(libraries)), str(ROOT / "tests"), str(ROOT)])
    if options.checked:
        runtime = subprocess.run(["g++", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
        environment["LD_PRELOAD"] = runtime.stdout.strip()
        environment["ASAN_OPTIONS"] = "detect_leaks=0"
    command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", *(pytest or TESTS)]
    return subprocess.run(command, cwd=ROOT / "tests", env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
