"""What is installed here, which kernel each operator would run on each device, and why one is missing.

``sslfast doctor`` or ``python -m sslfast.doctor``. Reads only; works on a broken installation, and says what broke.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).parent


def main() -> int:
    """Prints the report.

    Returns:
        The exit code: 1 if the CPU operators cannot be loaded, else 0.
    """
    torch, torch_error = _import("torch")
    ops, ops_error = _import("sslfast.ops") if torch else (None, "torch is missing")
    host, host_error = _import("sslfast._host")
    sections: dict[str, Callable[[], list[tuple[str, str]]]] = {
        "versions": lambda: _versions(torch, torch_error),
        "GPU": lambda: _gpu(torch),
        "CPU": lambda: _cpu(torch, host),
        "libraries": lambda: _libraries(torch, ops_error, host_error),
        "operators (on the CPU, on CUDA)": lambda: _operators(torch) if torch and ops else [],
    }
    for title, section in sections.items():
        rows = section()
        if rows:
            print(title)
        for name, value in rows:
            print(f"  {name:28} {value}")
    return 0 if ops else 1


def _import(name: str) -> tuple[ModuleType | None, str]:
    """The module, or None and the reason in one line."""
    try:
        return importlib.import_module(name), ""
    except Exception as error:  # a library that does not load raises OSError, an ABI mismatch what it likes
        return None, " ".join(f"{type(error).__name__}: {error}".split())


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _versions(torch: ModuleType | None, torch_error: str) -> list[tuple[str, str]]:
    from sslfast import __version__

    return [
        ("sslfast", f"{__version__} in {_PACKAGE}"),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("torch", torch.__version__ if torch else torch_error),
        ("triton", _version("triton")),
        ("numpy", _version("numpy")),
    ]


def _gpu(torch: ModuleType | None) -> list[tuple[str, str]]:
    if torch is None or torch.version.cuda is None:
        return [("CUDA", "this torch is built without CUDA" if torch else "torch is missing")]
    rows = [("CUDA of torch", torch.version.cuda)]
    if not torch.cuda.is_available():
        return [*rows, ("devices", "none: torch finds no usable driver or GPU")]
    driver = torch._C._cuda_getDriverVersion()
    rows.append(("CUDA of the driver", f"{driver // 1000}.{driver % 1000 // 10}"))
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        size = f"{properties.total_memory / 2**30:.0f} GiB"
        rows.append((f"cuda:{index}", f"{properties.name}, sm_{properties.major}{properties.minor}, {size}"))
    return rows


def _cpu(torch: ModuleType | None, host: ModuleType | None) -> list[tuple[str, str]]:
    return [
        ("instruction set", host.instruction_set() if host else "unknown: _host does not load"),
        ("threads", str(torch.get_num_threads()) if torch else "unknown: torch is missing"),
    ]


def _libraries(torch: ModuleType | None, ops_error: str, host_error: str) -> list[tuple[str, str]]:
    loaded = {Path(path).name for path in torch.ops.loaded_libraries} if torch else set()
    return [
        ("_ops.so (CPU)", ops_error or "loaded"),
        ("_ops_cuda.so (CUDA)", "loaded" if "_ops_cuda.so" in loaded else _why_no_cuda(torch)),
        ("_host (NumPy)", host_error or "loaded"),
        ("sslfast.kernels (Triton)", _why_no_triton(torch) or "loaded when a Triton operator first runs"),
    ]


def _why_no_cuda(torch: ModuleType | None) -> str:
    if not (_PACKAGE / "_ops_cuda.so").exists():
        return "not built: there was no nvcc when sslfast was installed"
    if torch is None or torch.version.cuda is None:
        return "built, not loaded: this torch is built without CUDA"
    return "built, not loaded"


def _why_no_triton(torch: ModuleType | None) -> str:
    if _version("triton") == "not installed":
        return "triton is not installed: pip install triton"
    if torch is None or not torch.cuda.is_available():
        return "not used: no GPU"
    return ""


def _operators(torch: ModuleType) -> list[tuple[str, str]]:
    """What torch's dispatcher holds for each operator, which is what a call would run."""
    names = sorted(name for name in torch._C._dispatch_get_all_op_names() if name.startswith("sslfast::"))
    return [(name.removeprefix("sslfast::"), f"{_on_cpu(torch, name):10} {_on_cuda(torch, name)}") for name in names]


def _on_cpu(torch: ModuleType, name: str) -> str:
    if torch._C._dispatch_has_kernel_for_dispatch_key(name, "CPU"):
        return "C++"
    return "not used" if name.startswith("sslfast::nt_xent_") else "missing"  # there the loss calls similarity_softmax


def _on_cuda(torch: ModuleType, name: str) -> str:
    if not torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA"):
        return f"missing (CUDA C++; {_why_no_cuda(torch)})"
    registered = next(line for line in torch._C._dispatch_dump(name).splitlines() if line.startswith("CUDA:"))
    if ".py:" in registered:  # launchers are Python; CUDA C++ registers from a library
        why_not = _why_no_triton(torch)
        return f"missing (Triton; {why_not})" if why_not else "Triton"
    return "CUDA C++" if torch.cuda.is_available() else "missing (CUDA C++; no GPU)"


if __name__ == "__main__":
    raise SystemExit(main())
