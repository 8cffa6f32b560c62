"""The plugin of pytest for tests that run CUDA kernels on the CPU: what these have otherwise only on a GPU, and which
tests are left out, and why.
"""

from __future__ import annotations

import ctypes
import fnmatch
import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor

UNCHECKED = "the CPU's operator checks these values, a GPU's does not: the host would wait for it"
COMPILED = "torch.compile's own compiler takes most of the time, and does not look into an operator"
ROUNDED = "pixels of two backends agree to rounding"
SUMS = "sums of squares are made in another order, which float64 shows"
LEFT_OUT = {
    "*::test_compile*": COMPILED,
    "*::test_composes*": COMPILED,
    "*test_audio_augment.py::test_equals_reference*-mix0-dtype1]": SUMS,
    "*test_audio_augment.py::test_equals_reference*-[0-9]*-mix1-dtype1]": SUMS,
    "*test_audio_augment.py::test_any_strides*-dtype1]": SUMS,
    "*test_sampled_softmax.py::test_derivatives*": "float64 is for the CPU",
    "*test_augment_video.py::test_host_gives_the_same_bits*": ROUNDED,
    "*test_image_augment_fill.py::test_over_arrays_and_written_down*": ROUNDED,
    "*test_batch_mix_input.py::test_bad_images*": UNCHECKED,
    "*test_batch_mix_input.py::test_bad_labels*": UNCHECKED,
    "*test_gather_patches.py::test_ids_out_of_range*": UNCHECKED,
    "*test_patch_unshuffle.py::test_ids_that_are_no_permutation*": UNCHECKED,
}


@functools.cache
def library() -> ctypes.CDLL:
    """That of the kernels, which torch has loaded."""
    import sslfast

    folder = Path(sslfast.__file__).with_name("_ops.so").resolve().parent
    (path,) = folder.glob("libcuda_on_cpu*.so")
    return ctypes.CDLL(str(path))


def launches() -> int:
    """How often work was given to the GPU by now: kernels, and memory that is set."""
    count = library().cuda_on_cpu_launches
    count.restype = ctypes.c_longlong
    return count()


def address_table(name: str, images: list[Tensor], argument: str = "images") -> Tensor | None:
    """Where the kernels find the images of a list, as for a GPU."""
    if images[0].dim() == 4:
        return None
    return torch.tensor([(x.data_ptr(), x.shape[1], x.shape[2], *x.stride()) for x in images], dtype=torch.int64)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from sslfast.augment import _replay, _transform

    _replay.address_table = _transform.address_table = address_table
    for item in items:
        for pattern, reason in LEFT_OUT.items():
            if fnmatch.fnmatchcase(item.nodeid, pattern):
                item.add_marker(pytest.mark.skip(reason=reason))
