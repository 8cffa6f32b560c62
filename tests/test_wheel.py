"""A wheel built from the sources, installed where nothing but torch is: it holds everything and works from anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import torch

import sslfast

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("g++"), reason="needs g++"),
]


def run(*command: object, **options: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a source distribution, which so proves complete; as on a machine without nvcc and not optimised, in a
    third of the time. The installation builds the CUDA library."""
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns(
        ".*", "build", "dist", "runs", "results", "lightning_logs", "*.so", "*.egg-info", "__pycache__"
    )
    shutil.copytree(ROOT, folder / "source", ignore=ignore)
    environment = os.environ | {"CUDACXX": str(folder / "no-nvcc-here"), "CMAKE_BUILD_TYPE": "Unoptimized"}
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", folder, cwd=folder / "source")
    (source,) = folder.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--verbose")
    log = run(*pip, "--wheel-dir", folder, source, cwd=folder, env=environment)
    assert "sslfast: no nvcc, building for the CPU only" in log
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel, and torch by its path: no file of the editable installation acts there."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "torch.pth").write_text(str(Path(torch.__file__).parent.parent))
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    return python


def test_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    expected = {"sslfast/_ops.so", f"sslfast/_host{suffix}", "sslfast/py.typed"}
    expected |= {str(path.relative_to(ROOT)) for path in ROOT.glob("sslfast/**/*.py")}
    expected |= {f"sslfast/{path.relative_to(ROOT)}" for path in ROOT.glob("kernels/*.py")}
    expected |= {f"sslfast/pretrain/corpus/{name}" for name in ("wordnet_glosses.tsv.gz", "LICENSE.wordnet")}
    assert expected - names == set()
    assert {name.split("/")[0] for name in names} == {"sslfast", f"sslfast-{sslfast.__version__}.dist-info"}
    assert not wheel.name.endswith("-any.whl"), "it holds compiled code"
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    facts = zipfile.ZipFile(wheel).read(metadata).decode().split("\n\n")[0].splitlines()
    assert "License-Expression: Apache-2.0 AND LicenseRef-WordNet" in facts
    licences = {name for name in facts if name.startswith("License-File: ")}
    assert licences == {"License-File: LICENSE", "License-File: sslfast/pretrain/corpus/LICENSE.wordnet"}
    for licence in ("LICENSE", "sslfast/pretrain/corpus/LICENSE.wordnet"):
        assert f"sslfast-{sslfast.__version__}.dist-info/licenses/{licence}" in names
    (points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "sslfast = sslfast." in zipfile.ZipFile(wheel).read(points).decode()


USE = """
import sys
for name in ("lightning", "sklearn", "matplotlib", "typer", "scipy", "PIL"):
    sys.modules[name] = None  # what the core does not need
import torch, sslfast
from pathlib import Path
assert Path(sslfast.__file__).is_relative_to(sys.prefix), sslfast.__file__
from sslfast import augment, doctor, host, losses, masking, reference
ids, labels, masked = masking.mask_tokens(torch.arange(40).view(4, 10), mask_token_id=1, vocab_size=99, generator=3)
again = host.mask_tokens(torch.arange(40).view(4, 10).numpy(), mask_token_id=1, vocab_size=99, seed=3)
assert (ids.numpy() == again[0]).all()
assert masking.mask_patches(torch.ones(2, 8, 3))[0].shape == (2, 2, 3)
try:
    import triton
except ImportError:
    pass
else:
    from sslfast.kernels import philox
    assert Path(philox.__file__).is_relative_to(sys.prefix)
from sslfast.pretrain.text_data import load_glosses
assert len(load_glosses().classes) == 25
sys.exit(doctor.main())
"""


@pytest.mark.parametrize("place", ["elsewhere", "repository"])
def test_works_from_anywhere(python, place, tmp_path):
    """-P: in the repository its own folder sslfast/ would come first."""
    report = run(python, "-P", "-c", USE, cwd=tmp_path if place == "elsewhere" else ROOT)
    assert "not built: there was no nvcc" in report
    assert "token_mask                   C++" in report


def test_typed(python, tmp_path):
    code = "from importlib.resources import files; assert (files('sslfast') / 'py.typed').is_file()"
    run(python, "-P", "-c", code, cwd=tmp_path)
