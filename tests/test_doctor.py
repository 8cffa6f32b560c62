"""The doctor tells the truth about this installation, and about broken ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sslfast
from sslfast import doctor, ops

PACKAGE = Path(sslfast.__file__).parent


def report(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """The exit code and the report's rows."""
    code = doctor.main()
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    return code, {line[2:31].strip(): line[31:].strip() for line in lines if line.startswith("  ")}


def test_this_installation(capsys):
    code, rows = report(capsys)
    assert code == 0
    assert rows["sslfast"].startswith(sslfast.__version__)
    assert rows["torch"] == torch.__version__
    assert rows["threads"] == str(torch.get_num_threads())
    assert re.match(r"x86-64|compiler default", rows["instruction set"])
    assert rows["_ops.so (CPU)"] == rows["_host (NumPy)"] == "loaded"


def test_every_operator_is_listed_with_what_would_run(capsys):
    _, rows = report(capsys)
    for name in ops.__all__:
        on_cpu, on_cuda = re.split(r"\s{2,}", rows[name], maxsplit=1)
        assert on_cpu == ("not used" if name.startswith("nt_xent_") else "C++"), name
        if torch.cuda.is_available():
            assert on_cuda in ("CUDA C++", "Triton"), name
        else:
            assert re.fullmatch(r"missing \((CUDA C\+\+|Triton); .+\)", on_cuda), name
    assert rows["philox_words"].endswith("Triton") or "(Triton;" in rows["philox_words"]
    assert rows["token_mask"].endswith("CUDA C++") or "(CUDA C++;" in rows["token_mask"]


def test_a_missing_kernel_is_reported(capsys):
    library = torch.library.Library("sslfast", "FRAGMENT")
    library.define("test_doctor_only(Tensor x) -> Tensor")
    try:
        rows = report(capsys)[1]
    finally:
        library._destroy()
    assert rows["test_doctor_only"].startswith("missing    missing (CUDA C++; ")


def test_reasons(monkeypatch, tmp_path):
    class Torch:
        class version:
            cuda = None

        class cuda:
            is_available = staticmethod(lambda: False)

    assert (
        doctor._why_no_cuda(Torch) == "built, not loaded: this torch is built without CUDA"
        or not (PACKAGE / "_ops_cuda.so").exists()
    )
    monkeypatch.setattr(doctor, "_PACKAGE", tmp_path)
    assert doctor._why_no_cuda(Torch) == "not built: there was no nvcc when sslfast was installed"
    (tmp_path / "_ops_cuda.so").touch()
    assert doctor._why_no_cuda(Torch) == "built, not loaded: this torch is built without CUDA"
    assert doctor._why_no_triton(Torch) == "not used: no GPU"
    monkeypatch.setattr(doctor, "_version", lambda name: "not installed")
    assert doctor._why_no_triton(Torch) == "triton is not installed: pip install triton"
    assert doctor._gpu(Torch) == [("CUDA", "this torch is built without CUDA")]


def run(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=cwd, check=False)


def test_without_torch(tmp_path):
    done = run("import sys; sys.modules['torch'] = None\nfrom sslfast.doctor import main; sys.exit(main())", tmp_path)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stdout
    assert "_host (NumPy)                loaded" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("broken", ["absent", "garbage"])
def test_without_the_cpu_library(tmp_path, broken):
    ignore = shutil.ignore_patterns("*.so", "__pycache__", "pretrain")
    shutil.copytree(PACKAGE, tmp_path / "sslfast", ignore=ignore)
    if broken == "garbage":
        (tmp_path / "sslfast/_ops.so").write_bytes(b"not a library")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom sslfast.doctor import main; sys.exit(main())"
    done = run(code, tmp_path)
    assert done.returncode == 1, done.stderr
    expected = "is missing: build it with" if broken == "absent" else "OSError: "
    assert re.search(rf"_ops\.so \(CPU\) +.*{expected}", done.stdout)
    assert "not built: there was no nvcc" in done.stdout
    assert done.stderr == ""


def test_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sslfast.doctor"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("versions\n")
