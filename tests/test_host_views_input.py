"""What views over NumPy arrays say to bad input, and to text that describes none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from sslfast import augment as A
from sslfast import host

IMAGES = np.zeros((2, 8, 8, 3), np.uint8)
CROP = A.RandomResizedCrop(4).host()
VIEWS = A.MAEAugment(4).host()
FLIP = A.RandomHorizontalFlip().host()
ROWS = np.zeros((2, 10), np.float32)
READ_ONLY = np.zeros((2, 4, 4, 3), np.uint8)
READ_ONLY.flags.writeable = False

CALLS = [
    (lambda: CROP(1, seed=0), TypeError, "RandomResizedCrop: images must be an array or a sequence of arrays, got int"),
    (
        lambda: CROP("ab", seed=0),
        TypeError,
        "RandomResizedCrop: images must be an array or a sequence of arrays, got str",
    ),
    (
        lambda: CROP(torch.zeros(2, 8, 8, 3), seed=0),
        TypeError,
        "RandomResizedCrop: images must be an array or a sequence of arrays, got Tensor",
    ),
    (
        lambda: CROP(IMAGES[0], seed=0),
        ValueError,
        "RandomResizedCrop: images must have shape (N, H, W, C), got (8, 8, 3)",
    ),
    (
        lambda: CROP(IMAGES[0], seed=0, layout="NCHW"),
        ValueError,
        "RandomResizedCrop: images must have shape (N, C, H, W), got (8, 8, 3)",
    ),
    (
        lambda: CROP(IMAGES.astype(float), seed=0),
        TypeError,
        "RandomResizedCrop: images must be uint8, float32 or float16, got float64",
    ),
    (
        lambda: CROP(IMAGES[..., :0], seed=0),
        ValueError,
        "RandomResizedCrop: images must have 1 to 32 channels, got shape (2, 8, 8, 0)",
    ),
    (
        lambda: CROP(np.zeros((2, 8, 8, 33), np.uint8), seed=0),
        ValueError,
        "RandomResizedCrop: images must have 1 to 32 channels, got shape (2, 8, 8, 33)",
    ),
    (
        lambda: CROP(IMAGES[:, :0], seed=0),
        ValueError,
        "RandomResizedCrop: images must have height and width in [1, 2^24], got shape (2, 0, 8, 3)",
    ),
    (
        lambda: CROP([], seed=0),
        ValueError,
        "RandomResizedCrop: images must be a batch or a sequence of at least one image, got []",
    ),
    (lambda: CROP([IMAGES[0], 3], seed=0), TypeError, "RandomResizedCrop: images[1] must be an array, got int"),
    (
        lambda: CROP([IMAGES[0], IMAGES], seed=0),
        ValueError,
        "RandomResizedCrop: images[1] must have shape (H, W, C), got (2, 8, 8, 3)",
    ),
    (
        lambda: CROP([IMAGES[0], IMAGES[0, :, :, :1]], seed=0),
        ValueError,
        "RandomResizedCrop: images must have one number of channels and dtype, got (8, 8, 1), uint8 at 1",
    ),
    (
        lambda: CROP(IMAGES, seed=0, layout="HWC"),
        ValueError,
        "RandomResizedCrop: layout must be 'NHWC' or 'NCHW', got 'HWC'",
    ),
    (
        lambda: CROP(IMAGES, seed=0, out_layout="CHW"),
        ValueError,
        "RandomResizedCrop: out_layout must be 'NHWC' or 'NCHW', got 'CHW'",
    ),
    (lambda: CROP(IMAGES, seed=0.5), TypeError, "RandomResizedCrop: seed must be an int, got float"),
    (
        lambda: CROP(IMAGES, seed=2**63),
        ValueError,
        f"RandomResizedCrop: seed must be in [{-(2**63)}, {2**63 - 1}], got {2**63}",
    ),
    (lambda: CROP(IMAGES, seed=0, threads=0), ValueError, "RandomResizedCrop: threads must be in [1, 1024], got 0"),
    (
        lambda: CROP(IMAGES, seed=0, row_offset=-1),
        ValueError,
        "RandomResizedCrop: row_offset must be at least 0, got -1",
    ),
    (
        lambda: CROP(IMAGES, seed=0, sample_ids=[0, 1]),
        TypeError,
        "RandomResizedCrop: sample_ids must be an int64 array, got list",
    ),
    (
        lambda: CROP(IMAGES, seed=0, sample_ids=np.zeros(3, np.int64)),
        ValueError,
        "RandomResizedCrop: sample_ids must have shape (2,), one a row, got (3,)",
    ),
    (
        lambda: FLIP([IMAGES[0], IMAGES[0, :5]], seed=0),
        ValueError,
        "RandomHorizontalFlip: images of several sizes need a transform that gives views one size, got (5, 8), (8, 8)",
    ),
    (
        lambda: A.RandomGrayscale().host()(IMAGES[..., :2], seed=0),
        ValueError,
        "RandomGrayscale: gray needs images of 1 or 3 channels, got 2",
    ),
    (
        lambda: A.Normalize().host()(IMAGES[..., :1], seed=0),
        ValueError,
        "Normalize: mean must have one number per channel (1), got 3",
    ),
    (
        lambda: CROP.apply_params(IMAGES, ROWS.tolist()),
        TypeError,
        "RandomResizedCrop: params must be a float32 array, got list",
    ),
    (
        lambda: CROP.apply_params(IMAGES, ROWS[:1]),
        ValueError,
        "RandomResizedCrop: params must have shape (2, 10), got (1, 10)",
    ),
    (
        lambda: CROP(IMAGES, seed=0, out=[]),
        TypeError,
        "RandomResizedCrop: out must be an array, got list",
    ),
    (
        lambda: CROP(IMAGES, seed=0, out=np.zeros((2, 4, 4, 3))),
        TypeError,
        "RandomResizedCrop: out must be uint8, got float64",
    ),
    (
        lambda: CROP(IMAGES, seed=0, out=np.zeros((2, 3, 4, 4), np.uint8)),
        ValueError,
        "RandomResizedCrop: out must be contiguous and writeable, of shape (2, 4, 4, 3), got (2, 3, 4, 4), strides "
        "(48, 16, 4, 1), writeable True",
    ),
    (
        lambda: CROP(IMAGES, seed=0, out=READ_ONLY),
        ValueError,
        "RandomResizedCrop: out must be contiguous and writeable, of shape (2, 4, 4, 3), got (2, 4, 4, 3), strides "
        "(48, 12, 3, 1), writeable False",
    ),
    (
        lambda: VIEWS.apply_params(IMAGES, [ROWS, ROWS]),
        ValueError,
        "MAEAugment: params must be a list of 1 arrays, got 2",
    ),
    (
        lambda: VIEWS.apply_params(IMAGES, ROWS),
        ValueError,
        "MAEAugment: params must be a list of 1 arrays, got ndarray",
    ),
    (
        lambda: A.ToDtype(torch.bfloat16).host(),
        ValueError,
        "ToDtype: dtype must be one that NumPy has, float32, float16 or uint8, for host, got bfloat16",
    ),
    (lambda: host.ImageAugment.from_json(3), TypeError, "ImageAugment.from_json: text must be a string, got int"),
    (
        lambda: host.ImageAugment.from_json("[]"),
        ValueError,
        "ImageAugment.from_json: text must be what to_json gave, got '[]' (TypeError: list indices must be integers or "
        "slices, not str)",
    ),
    (
        lambda: host.ImageAugment.from_json(A.SimCLRAugment().host().to_json()),
        ValueError,
        "ImageAugment.from_json: text must describe one view, got 2",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), CALLS, ids=[text[:70] for _, _, text in CALLS])
def test_bad_input(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as found:
        call()
    assert str(found.value) == text


FULL = A.Compose([A.RandomResizedCrop(4), A.GaussianBlur(3), A.RandAugment(1), A.RandomAffine(9), A.Normalize()])


def change(found: Any, path: tuple[Any, ...], value: Any) -> str:
    """The text with one value in another's place."""
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(found)


SEGMENT = ("transforms", 0, "segments", 0)
STEPS = (*SEGMENT, "steps")
CHANGES = [
    (("sslfast_views",), 2),
    (("order",), []),
    (("order",), [1]),
    (("order",), [-1]),
    (("transforms", 0, "segments"), []),
    (("transforms", 0, "dtype"), "bfloat16"),
    (("transforms", 0, "std"), [0.0, 1.0, 1.0]),
    (("transforms", 0, "mean"), [0.0]),
    ((*SEGMENT, "resample", "kind"), 2),
    ((*SEGMENT, "resample", "size"), [4]),
    ((*SEGMENT, "resample", "size"), [4, 0]),
    ((*SEGMENT, "resample", "size"), None),
    ((*SEGMENT, "resample", "box"), [0.1]),
    ((*SEGMENT, "resample", "interpolation"), "lanczos"),
    ((*SEGMENT, "resample", "padding"), [1, 2, 3]),
    ((*SEGMENT, "resample", "fill"), 2.0),
    ((*SEGMENT, "resample", "rule"), [1, 0, 0]),
    ((*SEGMENT, "resample", "rule"), [7, 1, 1]),
    ((*STEPS, 0, "name"), "wobble"),
    ((*STEPS, 0, "name"), "resample"),
    ((*STEPS, 0, "rules"), [1.0]),
    ((*STEPS, 0, "rules"), [1.0, float("nan"), 1.0]),
    ((*STEPS, 0, "settings"), [3.0]),
    ((*STEPS, 0, "settings"), [2.0**31, 3.0, 0.0]),
    ((*STEPS, 0, "settings"), [3.0, 2.0**31 + 1, 0.0]),
    ((*STEPS, 0, "settings"), [3.0, 0.0, 0.0]),
    ((*STEPS, 1, "rules", 0), -1.0),
    ((*STEPS, 1, "rules", 3), 15.0),
    ((*STEPS, 1, "rules", 4), 14.0),
    ((*STEPS, 2, "settings", 0), 5.0),
    (STEPS, [{"name": "gray", "settings": [0.0] * 3, "rules": [0.5]}] * 9),
]


@pytest.mark.parametrize(("path", "value"), CHANGES, ids=[f"{path[-2:]} {value!r:.20}" for path, value in CHANGES])
def test_text_that_describes_no_views(path: tuple[Any, ...], value: Any) -> None:
    """Nothing that a kernel would read beyond its numbers for is let through."""
    found = json.loads(FULL.host().to_json())
    host.ImageAugment.from_json(json.dumps(found))
    with pytest.raises(ValueError, match=r"^ImageAugment\.from_json: text must be what to_json gave, got "):
        host.ImageAugment.from_json(change(found, path, value))
