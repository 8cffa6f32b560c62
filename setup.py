"""Drives CMake, which builds _ops.so, _host and, where nvcc is present, _ops_cuda.so into the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    def run(self) -> None:
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        cmake = shutil.which("cmake", path=str(Path(sys.executable).parent)) or "cmake"  # pip's, or the system's
        configure = [cmake, "-S", str(ROOT), "-B", str(build), f"-DPython_EXECUTABLE={sys.executable}"]
        subprocess.run(configure, check=True)
        subprocess.run([cmake, "--build", str(build), "--parallel", str(os.cpu_count())], check=True)
        editable = self.inplace or self.editable_mode
        package = ROOT / "sslfast" if editable else Path(self.build_lib) / "sslfast"
        package.mkdir(parents=True, exist_ok=True)
        for library in build.glob("_*.so"):
            (package / library.name).unlink(missing_ok=True)  # a process that has it mapped keeps the old file
            shutil.copy2(library, package)

    def get_outputs(self) -> list[str]:
        return []


setup(
    packages=[*find_packages(include=["sslfast", "sslfast.*"]), "sslfast.kernels", "sslfast.pretrain.corpus"],
    package_dir={"sslfast.kernels": "kernels"},
    package_data={"sslfast": ["py.typed"], "sslfast.pretrain.corpus": ["*"]},
    ext_modules=[Extension("sslfast._ops", sources=[])],  # tells setuptools that the wheel is not pure Python
    cmdclass={"build_ext": CMakeBuild},
)
