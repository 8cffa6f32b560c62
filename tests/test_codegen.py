"""What the GPU compilers make of the kernels, without a GPU: no spills, shared memory that fits, tensor cores in use.

Triton kernels are compiled by codegen.py with the types that codegen_cases.py lists; .cu files by nvcc.
"""

from __future__ import annotations

import ast
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
    assert (found["tensor_cores"] > 0) == case.tensor_cores
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


@needs_nvcc
@pytest.mark.parametrize("path", CUDA_FILES, ids=lambda path: path.stem)
def test_cuda(path, request):
    found = audit(ptxas_log(path, request.config.cache))
    assert {chip for _, chip, _, _ in found} == set(CHIPS)
    assert [(name, chip, spilled) for name, chip, spilled, _ in found if spilled] == []
    assert [(name, chip, shared) for name, chip, _, shared in found if shared > CHIPS[chip]] == []


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
