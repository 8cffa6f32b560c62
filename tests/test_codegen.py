"""What the GPU compilers make of the kernels, without a GPU: no spills, shared memory that fits, tensor cores in use.

Triton kernels are compiled by codegen.py with the types that codegen_cases.py lists; .cu files by nvcc.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("needs triton", allow_module_level=True)

from codegen import TARGETS
from codegen_cases import cases

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow

# ---- Triton


@pytest.fixture(scope="session")
def compiled() -> dict[tuple[str, int], dict]:
    """All cases by one program, without the interpreter; Triton keeps what it compiled for the next run."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(ROOT / "tests/codegen.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {(case, capability): found for case, capability, found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize(
    ("case", "capability"),
    [pytest.param(case, chip, id=f"{case.id}-{chip}") for chip in TARGETS for case in cases(chip)],
)
def test_triton(case, capability, compiled):
    found = compiled[case.id, capability]
    assert "error" not in found, found["error"]
    assert found["stack"] == 0, "registers spill"
    assert found["shared"] <= TARGETS[capability]
    assert (found["products"] > 0) == case.tensor_cores
    assert "tensor_cores" not in found or (found["tensor_cores"] > 0) == case.tensor_cores
    assert 0 < found["registers"] <= 255


def test_every_kernel_has_a_case():
    kernels = set()
    for path in ROOT.glob("kernels/*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.endswith("_kernel"):  # what these call comes along
                kernels.add(f"{path.stem}.{node.name}")
    assert kernels == {case.kernel for case in cases(80)}


# ---- CUDA C++

CUDA_FILES = sorted(ROOT.glob("csrc/cuda/*.cu"))
CHIPS = {"80": 163 * 1024, "90": 227 * 1024}
# Bytes of dynamic shared memory that launches may ask for beside what is static, and what blocks have on chips of
# compute capability 8.6, 8.9 and 12, which have the least.
DYNAMIC = {
    "image_augment": {"make_views": 76_888},
    "image_augment_passes": {"walk_views": 58_752},
}
LEAST_SHARED = 99 * 1024
# Bytes of stack that arrays of these kernels take: what has no more does not spill.
ARRAYS = {"make_views": 64, "sum_views": 48, "walk_views": 176, "place_rows": 32}
FLAGS = ["-O3", "-std=c++17", "-DSSLFAST_WITH_CUDA", "-I", str(ROOT / "csrc/include"), "-I", str(ROOT / "csrc")]
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc (no CUDA toolkit here)")


def audit(log: str) -> list[tuple[str, str, int, int]]:
    """(kernel, chip, bytes spilled, bytes of static shared memory) from what ptxas -v says."""
    found = []
    pattern = r"Compiling entry function '(\w+)' for 'sm_(\d+)\w*'(.*?)(?=Compiling entry function|\Z)"
    for name, chip, body in re.findall(pattern, log, re.S):
        spilled = sum(map(int, re.findall(r"(\d+) bytes spill", body)))
        shared = re.search(r"(\d+) bytes smem", body)
        found.append((name, chip, spilled, int(shared[1]) if shared else 0))
    return found


def ptxas_log(path: Path, cache: pytest.Cache) -> str:
    """nvcc's report on one file, kept until the file, a header or nvcc changes."""
    sources = [path, *sorted(ROOT.glob("csrc/**/*.h")), *sorted(ROOT.glob("csrc/**/*.cuh"))]
    digest = hashlib.sha256(subprocess.run(["nvcc", "--version"], capture_output=True, check=True).stdout)
    for source in sources:
        digest.update(source.read_bytes())
    key = f"sslfast/ptxas/{path.stem}"
    kept = cache.get(key, ["", ""])
    if kept[0] != digest.hexdigest():
        chips = [f"-gencode=arch=compute_{chip},code=sm_{chip}" for chip in CHIPS]
        command = ["nvcc", *FLAGS, *chips, "--threads", "2", "-Xptxas", "-v", "-c", str(path), "-o", os.devnull]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        kept = [digest.hexdigest(), done.stderr + done.stdout]
        cache.set(key, kept)
    return kept[1]


@functools.cache
def library() -> dict[str, list[tuple[str, str, int, int]]]:
    """File -> (kernel, chip, bytes of stack, bytes of static shared memory) of the library that was built; empty where
    it is older than a source.
    """
    built = ROOT / "sslfast/_ops_cuda.so"
    sources = [*CUDA_FILES, *ROOT.glob("csrc/**/*.h"), *ROOT.glob("csrc/**/*.cuh")]
    if not built.exists() or built.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        return {}
    program = Path(importlib.util.find_spec("triton").origin).parent / "backends/nvidia/bin/cuobjdump"
    done = subprocess.run([program, "--dump-resource-usage", built], capture_output=True, text=True, check=False)
    return resources(done.stdout)


def resources(log: str) -> dict[str, list[tuple[str, str, int, int]]]:
    """What cuobjdump says, by file: the names of a file's own kernels have the file's."""
    found: dict[str, list[tuple[str, str, int, int]]] = {}
    for part in log.split("Fatbin elf code:")[1:]:
        file, chip = re.search(r"_\d+_(\w+?)_cu_[0-9a-f]{8}", part), re.search(r"arch = sm_(\d+)", part)
        kernels = re.findall(r"Function (\w+):\s+REG:\d+ STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", part)
        if file and chip:
            rows = [(name, chip[1], int(stack) + int(local), int(shared)) for name, stack, shared, local in kernels]
            found.setdefault(file[1], []).extend(rows)
    return found


def beyond_arrays(kernel: str, stack: int) -> int:
    """Bytes of a kernel's stack that its arrays do not explain."""
    return max(0, stack - sum(size for name, size in ARRAYS.items() if name in kernel))


def kernels_of(path: Path, cache: pytest.Cache) -> list[tuple[str, str, int, int]]:
    """(kernel, chip, bytes spilled, bytes of static shared memory). Spills lie on the stack: where the library has
    kernels with no more of it than for their arrays, nothing spills; of others nvcc says what is there.
    """
    rows = library().get(path.stem, [])
    built = [(name, chip, beyond_arrays(name, stack), shared) for name, chip, stack, shared in rows]
    if {chip for _, chip, _, _ in built} == set(CHIPS) and not any(stack for _, _, stack, _ in built):
        return built
    return audit(ptxas_log(path, cache))


@needs_nvcc
@pytest.mark.parametrize("path", CUDA_FILES, ids=lambda path: path.stem)
def test_cuda(path, request):
    found = kernels_of(path, request.config.cache)
    assert {chip for _, chip, _, _ in found} == set(CHIPS)
    assert [(name, chip, spilled) for name, chip, spilled, _ in found if spilled] == []
    assert [(name, chip, shared) for name, chip, _, shared in found if shared > CHIPS[chip]] == []
    for kernel, dynamic in DYNAMIC.get(path.stem, {}).items():
        shared = [shared for name, _, _, shared in found if kernel in name]
        assert shared
        assert max(shared) + dynamic <= LEAST_SHARED


def test_the_audit_sees_spills():
    log = """ptxas info    : Compiling entry function '_Z1fv' for 'sm_80'
ptxas info    : Function properties for _Z1fv
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 4096 bytes smem, 368 bytes cmem[0]
ptxas info    : Compiling entry function '_Z1gv' for 'sm_90'
ptxas info    : Function properties for _Z1gv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
"""
    assert audit(log) == [("_Z1fv", "80", 20, 4096), ("_Z1gv", "90", 0, 0)]


def test_the_audit_sees_stacks():
    log = """Fatbin elf code:
================
arch = sm_90
Resource usage:
 Common:
  GLOBAL:28 CONSTANT[4]:224
 Function _ZN7sslfast4cuda45_GLOBAL__N__8f5bdbff_12_batch_mix_cu_caa05f331fv:
  REG:46 STACK:64 SHARED:16 LOCAL:8 CONSTANT[0]:496 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _Z1gv:
  REG:20 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:496 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
    spilling = "_ZN7sslfast4cuda45_GLOBAL__N__8f5bdbff_12_batch_mix_cu_caa05f331fv"
    assert resources(log) == {"batch_mix": [(spilling, "90", 72, 16), ("_Z1gv", "90", 0, 0)]}
