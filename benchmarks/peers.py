"""Imports the peers beside any torch, a CPU torch too.

lightly, open_clip, pytorch-metric-learning, RecBole, timm and torchvision are installed into ``build/peers`` with
``--no-deps`` (requirements-no-deps.txt): their declared dependencies would put a CUDA torch in the place of a CPU one,
and a torchvision whose library does not load breaks every package that imports it, torchmetrics and Lightning among
them. So the directory is on the path of the benchmarks alone, and last: what the environment itself has comes first.
After it comes ``build/gpu-peers`` (requirements-gpu-no-deps.txt), which is Python alone and can be carried to a machine
with a GPU and no network. Last comes ``build/dali``: DALI with all that it needs, 1.1 GB, which nobody gets who does
not ask.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch

from benchmarks import machine

PEERS = machine.ROOT / "build" / "peers"
GPU_PEERS = machine.ROOT / "build" / "gpu-peers"
DALI = machine.ROOT / "build" / "dali"

# First word of a provider's name -> the distribution that it is.
_DISTRIBUTIONS = {
    "albumentations": "albumentations",
    "augrs": "augrs-py",
    "DALI": "nvidia-dali-cuda120",
    "cut-cross-entropy": "cut-cross-entropy",
    "cv2": "opencv-python-headless",
    "inf-cl": "inf-cl",
    "kornia": "kornia",
    "lightly": "lightly",
    "liger-kernel": "liger-kernel",
    "memeff": "memeff",
    "open_clip": "open_clip_torch",
    "Pillow": "pillow",
    "pytorch-metric-learning": "pytorch-metric-learning",
    "quack-kernels": "quack-kernels",
    "RecBole": "recbole",
    "siglip-kernel": "siglip-kernel",
    "simplejpeg": "simplejpeg",
    "sslfast": "sslfast",
    "timm": "timm",
    "torchvision": "torchvision",
    "transformers": "transformers",
}


def load(module: str) -> ModuleType:
    """Imports a module of a peer; raises ImportError where the peer is not installed."""
    _prepare()
    return importlib.import_module(module)


def version(provider: str) -> str:
    """The version of a provider's distribution; torch's own where a provider is plain torch."""
    _prepare()
    return machine.version(_DISTRIBUTIONS.get(provider.split()[0], "torch"))


@functools.cache
def _prepare() -> None:
    sys.path.extend(str(folder) for folder in (PEERS, GPU_PEERS, DALI) if folder.is_dir())
    _declare_torchvision_operators()
    # open_clip's package imports its models and what they need; its losses need torch alone. RecBole's imports what
    # reads and trains on its data sets; its transforms need its batches alone.
    for package in ("open_clip", "recbole", "recbole.data"):
        parent = package.rpartition(".")[0]
        spec = importlib.util.find_spec(package) if not parent or parent in sys.modules else None
        if spec is not None:
            bare = ModuleType(package)
            bare.__path__ = list(spec.submodule_search_locations or ())
            sys.modules[package] = bare
    if "recbole" in sys.modules:
        _import_batches_of_recbole()
    # albumentations asks the network for a newer release when it is imported.
    silent = ModuleType("albumentations.check_version")
    silent.check_for_updates = lambda: None
    sys.modules["albumentations.check_version"] = silent


def _import_batches_of_recbole() -> None:
    """Imports RecBole's batches, which ask whether what they are given is a frame of pandas, without pandas too."""
    if importlib.util.find_spec("pandas") is not None:
        return
    frames = ModuleType("pandas")
    frames.Series = frames.DataFrame = type("Frame", (), {})
    sys.modules["pandas"] = frames
    try:
        importlib.import_module("recbole.data.interaction")
    finally:
        del sys.modules["pandas"]  # others look for pandas, to use it


# A torch.library.Library takes its operators along when it is collected.
_torchvision_operators: list[torch.library.Library] = []


def _declare_torchvision_operators() -> None:
    """Declares the two operators that torchvision's import needs, where its compiled library cannot be loaded.

    The wheel on PyPI links CUDA. Without it torchvision's transforms, all that is measured here, still work: they are
    Python over torch.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return
    for library in Path(spec.submodule_search_locations[0]).glob("_C*.so"):
        try:
            torch.ops.load_library(library)
            return
        except OSError:
            continue
    operators = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _torchvision_operators.append(operators)
