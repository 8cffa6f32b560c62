"""The law of the house, proven from the sources: who may import whom, how long files are, how they may not be called.

test_stems.py has where the files of an operator lie.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
STANDARD = sys.stdlib_module_names

# ---- Python. Module or package -> what of sslfast, and which other libraries, it may import.

KERNEL_CALLERS = {
    "_arguments",
    "_autograd",
    "_batch_rules",
    "_block_ranges",
    "_check",
    "_compiled_autograd",
    "_jepa_rules",
    "_time_spans",
    "distributed",
    "ops",
    "random",
}
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "sslfast.__init__": (set(), set()),
    "sslfast._check": (set(), set()),
    "sslfast._arguments": ({"_check"}, {"torch"}),
    "sslfast._batch_rules": ({"_check"}, set()),
    "sslfast._audio_rules": ({"_check"}, set()),
    "sslfast._block_ranges": ({"_check"}, set()),
    "sslfast._jepa_rules": ({"_check"}, set()),
    "sslfast._image_plan": ({"_image_steps"}, set()),
    "sslfast._image_steps": (set(), set()),
    "sslfast._moved_masks": ({"_check", "_image_plan", "_image_steps"}, set()),
    "sslfast._frame_clips": ({"_check"}, set()),
    "sslfast._time_spans": ({"_check"}, set()),
    "sslfast._autograd": ({"_compiled_autograd", "_first_order", "ops"}, {"torch"}),
    "sslfast._compiled_autograd": ({"_first_order"}, {"torch"}),
    "sslfast._first_order": (set(), {"torch"}),
    "sslfast.ops": ({"kernels"}, {"torch"}),
    "sslfast.random": ({"_check", "ops"}, {"torch"}),
    "sslfast._verdict": ({"_check"}, {"torch"}),
    "sslfast._shards": ({"_verdict"}, {"torch"}),
    "sslfast.distributed": ({"_autograd", "_check", "_shards", "_verdict"}, {"torch"}),
    "sslfast.host": (
        {
            "_audio_rules",
            "_batch_rules",
            "_block_ranges",
            "_check",
            "_frame_clips",
            "_host",
            "_image_plan",
            "_image_steps",
            "_jepa_rules",
            "_moved_masks",
            "_time_spans",
        },
        {"numpy"},
    ),
    "sslfast.doctor": ({"__version__"}, set()),  # all else by name, so that it works where they do not
    "sslfast.losses": (KERNEL_CALLERS | {"_verdict"}, {"torch"}),
    "sslfast.masking": (KERNEL_CALLERS | {"host"}, {"torch"}),
    "sslfast.augment": (
        KERNEL_CALLERS | {"_audio_rules", "_frame_clips", "_image_plan", "_image_steps", "_moved_masks", "host"},
        {"numpy", "torch"},
    ),
    "sslfast.reference": (set(), {"torch"}),
    "sslfast.kernels": (set(), {"torch", "triton"}),
    "sslfast.integrations": ({"losses", "masking", "augment"}, {"torch"}),
    "sslfast.pretrain": (
        {"__version__", "augment", "distributed", "doctor", "host", "losses", "masking", "random"},
        {
            "lightning",
            "matplotlib",
            "numpy",
            "PIL",
            "rich",
            "sklearn",
            "torch",
            "threadpoolctl",
            "tokenizers",
            "torchmetrics",
            "transformers",
            "typer",
        },
    ),
}
# What a package may import within a function alone, because it need not be installed.
OPTIONAL = {"sslfast.augment": {"cv2", "simplejpeg", "torchaudio"}}
PEERS = {
    "lightly",
    "open_clip",
    "pytorch_metric_learning",
    "sentence_transformers",
    "stable_pretraining",
    "transformers",
}


class Import(NamedTuple):
    name: str  # dotted
    lazy: bool  # inside a function


def module_name(path: Path) -> str:
    """kernels/ is the package sslfast.kernels."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("sslfast", *parts) if parts[0] == "kernels" else parts)


def layer(module: str) -> str:
    """The entry of ALLOWED that governs a module."""
    return module if module in ALLOWED else ".".join(module.split(".")[:2])


def imports(tree: ast.AST, lazy: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "sslfast":
                yield from (Import(f"sslfast.{alias.name}", lazy) for alias in node.names)
            else:
                yield Import(node.module or "", lazy)
        else:
            yield from imports(node, lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))


def violations(module: str, source: str) -> list[str]:
    inside, outside = ALLOWED[layer(module)]
    package = layer(module)
    found = []
    for name, lazy in imports(ast.parse(source)):
        top, *rest = name.split(".")
        if top == "sslfast":
            part = rest[0] if rest else "__version__"
            if part not in inside and f"sslfast.{part}" != package:
                found.append(f"{module} imports {name}")
            elif part == "kernels" and package == "sslfast.ops" and not lazy:
                found.append(f"{module} imports {name} before it is needed")
        elif lazy and top in OPTIONAL.get(package, set()) | (PEERS if package == "sslfast.integrations" else set()):
            continue
        elif top not in STANDARD | outside:
            found.append(f"{module} imports {name}")
    return found


PYTHON = sorted([*ROOT.glob("sslfast/**/*.py"), *ROOT.glob("kernels/**/*.py")])


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_imports(path):
    assert layer(module_name(path)) in ALLOWED, f"{path.name} belongs to no layer"
    assert violations(module_name(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sslfast.masking.x", "from sslfast.reference import token_mask"),
        ("sslfast.masking.x", "from sslfast import reference"),
        ("sslfast.losses.x", "def f():\n    from sslfast.masking import mask_tokens"),
        ("sslfast.losses.x", "import numpy"),
        ("sslfast.ops", "from sslfast.kernels import philox"),
        ("sslfast.kernels.x", "from sslfast import ops"),
        ("sslfast.host", "import torch"),
        ("sslfast.reference.x", "from sslfast import ops"),
        ("sslfast.integrations.x", "import lightly"),
        ("sslfast.augment.x", "import cv2"),
        ("sslfast.pretrain.x", "from sslfast import ops"),
    ],
)
def test_python_imports_can_fail(module, source):
    assert len(violations(module, source)) == 1


# ---- C++: what each folder may include

STD = r"[a-z_]+"  # <vector>, <cstdint>: no dot, no slash
CUDA = r"cuda_runtime_api\.h|cuda_(bf16|fp16)\.h|cub/.*\.cuh"
SYSTEM = r"omp\.h|immintrin\.h|sys/mman\.h"
TORCH = r"torch/(csrc/stable|headeronly|csrc/inductor/aoti_torch)/.*\.h"
INCLUDES = {
    "csrc/include/sslfast": rf"sslfast/.*|{STD}|{CUDA}",
    "csrc/shared": rf"sslfast/.*|[a-z_]+\.h|{STD}|{CUDA}",
    "csrc/cpu": rf"sslfast/.*|(\.\./)?shared/.*|[a-z0-9_]+\.h|{STD}|{SYSTEM}",
    "csrc/cuda": rf"sslfast/.*|(\.\./)?shared/.*|[a-z_]+\.(h|cuh)|{STD}|{CUDA}",
    "csrc/ops": rf"sslfast/.*|[a-z_]+\.h|{STD}|{TORCH}",
    "csrc/host": rf"sslfast/.*|[a-z_]+\.h|\.\./cpu/.*\.h|{STD}|pybind11/.*",
}
CPP = sorted(p for p in ROOT.glob("csrc/**/*") if p.suffix in (".h", ".cuh", ".cpp", ".cu"))


def forbidden_includes(folder: str, source: str) -> list[str]:
    found = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', source, re.M)
    return [name for name in found if not re.fullmatch(INCLUDES[folder], name)]


@pytest.mark.parametrize("path", CPP, ids=lambda p: str(p.relative_to(ROOT)))
def test_cpp_includes(path):
    folder = str(path.relative_to(ROOT).parent)
    assert folder in INCLUDES, f"{path.name} is in no layer"
    assert forbidden_includes(folder, path.read_text()) == []


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("csrc/cpu", "#include <torch/csrc/stable/tensor.h>"),
        ("csrc/cuda", "#include <ATen/cuda/CUDAContext.h>"),
        ("csrc/ops", "#include <ATen/ATen.h>"),
        ("csrc/ops", "  #include <torch/all.h>"),
        ("csrc/shared", '#include "../cpu/isa.h"'),
        ("csrc/host", "#include <torch/extension.h>"),
    ],
)
def test_cpp_includes_can_fail(folder, source):
    assert len(forbidden_includes(folder, source)) == 1


# ---- files

SOURCES = [
    path
    for folder in ("sslfast", "kernels", "csrc", "tests", "benchmarks")
    for path in sorted(ROOT.glob(f"{folder}/**/*"))
    if path.suffix in (".py", ".h", ".cuh", ".cpp", ".cu")
]


def test_files_are_not_too_long():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in SOURCES}
    assert {name: n for name, n in lengths.items() if n > 500} == {}


def test_no_drawers():
    drawers = {"utils", "util", "common", "base", "helpers", "helper", "misc"}
    assert [str(p.relative_to(ROOT)) for p in SOURCES if p.stem in drawers] == []


def test_no_environment_variables_in_the_product():
    for path in PYTHON:
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not names & {"environ", "getenv", "putenv"}, path
        assert not re.search(r"from os import .*(environ|getenv)", path.read_text()), path
    for path in CPP:
        assert "getenv" not in path.read_text(), path
