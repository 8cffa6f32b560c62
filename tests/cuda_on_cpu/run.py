"""Builds the CUDA kernels for the CPU and runs the tests of their operators with them.

    python tests/cuda_on_cpu/run.py [--checked] [--order ORDER] [tests and options of pytest ...]

`--checked` builds with the sanitizers of addresses and of undefined behaviour. `--order` is that of the threads of a
block (order.h); without it the tests run once ascending and once descending. Tests are files of this repository's
tests; without any, faults.py, launches.py, sizes.py, walks.py and those of every operator that has a .cu file are run.
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
TESTS = """
audio_augment audio_params augment_buffers augment_masks augment_output augment_recipes augment_replay augment_video
batch_mix batch_mix_input block_mask cell_mask counted_masks dino_mask fairseq_span_mask feature_corruption
feature_noise frame_indices gather_patches graph_mask graph_mask_statistics gumbel_sample image_augment
image_augment_bytes image_augment_channels image_augment_contrast image_augment_erased image_augment_fill
image_augment_flat image_augment_layouts image_augment_params image_augment_stored image_augment_stores item_mask
item_negatives jepa_mask mask_indices mask_token_apply masked_feature masked_patch masked_patch_autograd
negative_indices patch_gather patch_mask patch_mask_noise patch_unshuffle permutation_mask random_erase replaced_token
row_lengths rule_modes sample_ids sampled_softmax span_corruption spec_augment spec_mean square_mask text_span_mask
time_span_mask token_augment token_mask whole_word_mask word_budget
"""


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
    parser.add_argument("--order", action="append")
    options, pytest = parser.parse_known_args()
    chosen = [name.removeprefix("tests/") for name in pytest] or [
        *(f"cuda_on_cpu/{name}.py" for name in ("faults", "launches", "sizes", "walks")),
        *(f"test_{name}.py" for name in TESTS.split()),
    ]
    libraries = build(options.checked)
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}  # the kernels have one thread of the CPU
    paths = [package(libraries), ROOT / "tests", ROOT / "tests" / "cuda_on_cpu", ROOT]
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    if options.checked:
        runtime = subprocess.run(["g++", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
        environment["LD_PRELOAD"] = runtime.stdout.strip()
        environment["ASAN_OPTIONS"] = "detect_leaks=0:malloc_context_size=2"
    failed = 0
    for order in options.order or ["ascending", "descending"]:
        print(f"order: {order}", flush=True)
        environment["CUDA_ON_CPU_ORDER"] = order
        command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "-p", "on_cpu", *chosen]
        failed |= subprocess.run(command, cwd=ROOT / "tests", env=environment, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
