"""One binary serves torch >= 2.10: the compiled libraries call only what that version exports, through C symbols."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import sslfast

PACKAGE = Path(sslfast.__file__).parent
TORCH = Path(torch.__file__).parent
LIBRARIES = sorted(PACKAGE.glob("_*.so"))
OLDEST = (2, 10)
CUDA_ONLY = {"aoti_torch_get_current_cuda_stream"}  # exported by libtorch_cuda.so

pytestmark = pytest.mark.skipif(not (shutil.which("nm") and shutil.which("readelf")), reason="needs binutils")


def listed() -> list[str]:
    lines = (Path(__file__).with_name("torch_symbols.txt")).read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def undefined(library: Path) -> set[str]:
    out = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines()}


def is_torch(symbol: str) -> bool:
    """C symbols of torch, and C++ ones of its namespaces (mangled: length and name)."""
    return bool(re.match(r"(aoti_)?torch_", symbol) or re.search(r"(2at|3c10|5torch|8torch_)\w", symbol))


def test_the_libraries_are_built():
    assert {path.name.split(".")[0] for path in LIBRARIES} >= {"_ops", "_host"}


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda p: p.name.split(".")[0])
def test_only_listed_symbols(library):
    found = {symbol for symbol in undefined(library) if is_torch(symbol)}
    if library.name.startswith("_host"):
        assert found == set(), "_host works without torch"
    else:
        assert "aoti_torch_library_init_impl" in found
        assert found - set(listed()) == set(), "not known to be in torch 2.10: see the head of torch_symbols.txt"


def test_mangled_names_are_recognised():
    assert is_torch("_ZN2at6Tensor3fooEv")
    assert is_torch("_ZNK3c1010TensorImpl4sizeEl")
    assert is_torch("torch_new_stable_ivalue")
    assert not is_torch("_ZNSt6vectorIlSaIlEE17_M_realloc_insertIJlEEEvv")


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda p: p.name.split(".")[0])
def test_links(library):
    dynamic = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    assert not re.search(r"\((RPATH|RUNPATH)\)", dynamic), "a path of the machine that built it"
    torchs = {name for name in needed if "torch" in name or "c10" in name}
    wanted = {"_ops": {"libtorch_cpu.so"}, "_ops_cuda": {"libtorch_cpu.so", "libtorch_cuda.so"}, "_host": set()}
    assert torchs == wanted[library.name.split(".")[0]]
    assert not any("cudart" in name for name in needed), "the CUDA runtime is linked statically"


def versions_of(text: str) -> dict[str, tuple[int, int]]:
    """Each identifier of a stable header, with the lowest version whose gate admits it; (0, 0) outside all gates."""
    gates: list[tuple[int, int]] = []
    found: dict[str, tuple[int, int]] = {}
    for line in text.splitlines():
        if re.match(r"\s*#\s*if", line):
            gate = re.search(r"TORCH_FEATURE_VERSION >= TORCH_VERSION_(\d+)_(\d+)_0", line)
            gates.append((int(gate[1]), int(gate[2])) if gate else (0, 0))
        elif re.match(r"\s*#\s*endif", line):
            gates.pop()
        else:
            for symbol in re.findall(r"\b(?:aoti_)?torch_\w+", line):
                version = max(gates, default=(0, 0))
                found[symbol] = min(version, found.get(symbol, version))
    return found


def test_gates_are_read():
    gate = "#if TORCH_FEATURE_VERSION >= TORCH_VERSION_2_11_0"
    text = f"a torch_a();\n{gate}\n#ifdef X\ntorch_b();\n#endif\ntorch_c();\n#endif"
    assert versions_of(text) == {"torch_a": (0, 0), "torch_b": (2, 11), "torch_c": (2, 11)}


def test_the_list_agrees_with_the_headers_of_this_torch():
    include = TORCH / "include/torch/csrc"
    headers = [include / "stable/c/shim.h", *sorted((include / "inductor/aoti_torch").rglob("*.h"))]
    versions: dict[str, tuple[int, int]] = {}
    for header in headers:
        for symbol, version in versions_of(header.read_text()).items():
            versions[symbol] = min(version, versions.get(symbol, version))
    # aoti_torch_dtype_<name>() and the like are declared through macros that paste the name
    missing = [s for s in listed() if s not in versions and not re.match(r"aoti_torch_(dtype|device_type)_", s)]
    assert missing == []
    assert {s: versions[s] for s in listed() if versions.get(s, (0, 0)) > OLDEST} == {}


def test_the_list_agrees_with_the_library_of_this_torch():
    library = ctypes.CDLL(str(TORCH / "lib/libtorch_cpu.so"))
    assert [symbol for symbol in listed() if symbol not in CUDA_ONLY and not hasattr(library, symbol)] == []
    assert listed() == sorted(set(listed()))
