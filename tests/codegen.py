"""Ahead-of-time compilation of the Triton kernels, run by test_codegen.py as a program of its own: Triton's
interpreter, which the other tests need, replaces what would be compiled here.

Every line of codegen_cases.py is compiled for every target.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codegen_case import Case
from codegen_cases import cases

# Compute capability, and the shared memory of one block in bytes: the least that a chip with its major number has.
TARGETS = {80: 99 * 1024, 90: 227 * 1024, 100: 227 * 1024}


def compile_case(case: Case, capability: int, disassemble: bool) -> dict[str, Any]:
    """Registers, bytes of stack (which is where spills go) and of shared memory, and tensor-core instructions: of PTX,
    and of the machine's code where it is to be disassembled.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, name = case.kernel.split(".")
    kernel = getattr(importlib.import_module(f"sslfast.kernels.{module}"), name)
    launch = {key: value for key, value in case.options.items() if key in ("num_warps", "num_stages")}
    constexprs = {key: value for key, value in case.options.items() if key not in launch}
    plain = [argument for argument in kernel.arg_names if argument not in constexprs]
    types = dict(zip(plain, map(_type, case.signature.split()), strict=True))
    signature = {argument: types.get(argument, "constexpr") for argument in kernel.arg_names}
    # As at a launch with aligned tensors and sizes that are multiples of 16, but for those that are odd.
    odd = {place for place, name in enumerate(signature) if name in case.odd}
    attributes = {
        place: [["tt.divisibility", 16]]
        for place, kind in _places(signature)
        if kind[0] in "*i" and place[0] not in odd
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constexprs, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=launch)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        usage = _tool("cuobjdump", "--dump-resource-usage", cubin)
        sass = _tool("cuobjdump", "--dump-sass", cubin) if disassemble else None
    found = {
        "registers": int(re.search(r"REG:(\d+)", usage)[1]),
        "stack": int(re.search(r"STACK:(\d+)", usage)[1]) + int(re.search(r"LOCAL:(\d+)", usage)[1]),
        "shared": compiled.metadata.shared,
        "products": len(re.findall(r"\b(?:w?mma|wgmma|tcgen05)\.(?:mma|sync)", compiled.asm["ptx"])),
    }
    if sass is not None:
        found["tensor_cores"] = len(re.findall(r"\b(?:HMMA|HGMMA|UTC\w*MMA)\b", sass))
    return found


def _type(text: str) -> str | tuple[str, ...]:
    """``(*fp32,*fp32)`` is a tuple of two pointers."""
    return tuple(text.strip("()").split(",")) if text.startswith("(") else text


def _places(signature: dict[str, str | tuple[str, ...]]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Arguments, and members of those that are tuples."""
    for i, kind in enumerate(signature.values()):
        yield from [((i,), kind)] if isinstance(kind, str) else [((i, j), of) for j, of in enumerate(kind)]


def _tool(name: str, *arguments: Any) -> str:
    import triton

    program = Path(triton.__file__).parent / "backends/nvidia/bin" / name
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def line_of(job: tuple[Case, int, bool]) -> str:
    case, capability, disassemble = job
    try:
        found = compile_case(case, capability, disassemble)
    except Exception as error:  # reported as this case's failure
        found = {"error": f"{type(error).__name__}: {error}"}
    return json.dumps([case.id, capability, found])


def jobs() -> Iterator[tuple[Case, int, bool]]:
    """Cases by target. To disassemble takes as long as to compile: the first of a kernel on tensor cores and the first
    without them show what the machine makes of PTX.
    """
    for capability in TARGETS:
        seen = set()
        for case in cases(capability):
            yield case, capability, (case.kernel, case.tensor_cores) not in seen
            seen.add((case.kernel, case.tensor_cores))


def main() -> None:
    """Prints one JSON line per case and target."""
    with multiprocessing.Pool(min(os.cpu_count() or 1, 4)) as pool:  # each takes half a GB
        for line in pool.imap(line_of, jobs()):
            print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
